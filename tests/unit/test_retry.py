"""Retries: growing waits, what a server asks for, and the limits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from ingest.errors import ConfigurationError, IngestError, ModelError, ModelUnavailableError, StoreError, StoreUnavailableError
from ingest.retry import RetryPolicy, call_with_retries
from ingest.testing import FakeClock

POLICY = RetryPolicy(attempts=5, seconds=60)


def failing(errors: Iterable[IngestError]) -> Callable[[], str]:
    """Raises these errors, one a call, and then returns."""
    left = iter(errors)

    def call() -> str:
        if error := next(left, None):
            raise error
        return "done"

    return call


def retried(errors: Iterable[IngestError], clock: FakeClock) -> str:
    return call_with_retries(failing(errors), POLICY, clock=clock, sleep=clock.sleep)


def overloaded(retry_after: float | None = None) -> StoreUnavailableError:
    return StoreUnavailableError("Qdrant is overloaded", retry_after=retry_after)


def test_what_passes_is_tried_again_with_growing_jittered_waits() -> None:
    clock = FakeClock()
    assert retried([overloaded()] * 4, clock) == "done"
    assert len(clock.slept) == 4
    assert all(0 <= wait <= POLICY.first * 2**attempt for attempt, wait in enumerate(clock.slept))


def test_the_server_says_how_long_to_wait() -> None:
    clock = FakeClock()
    assert retried([overloaded(7)], clock) == "done"
    [waited] = clock.slept
    assert 7 <= waited <= 7 + POLICY.first


def test_attempts_are_capped() -> None:
    clock = FakeClock()
    with pytest.raises(StoreUnavailableError, match=r"overloaded \(gave up after 5 attempts in \d+ s\)"):
        retried([overloaded()] * 9, clock)
    assert len(clock.slept) == 4


def test_seconds_are_capped_and_no_wait_is_begun_in_vain() -> None:
    clock = FakeClock()
    with pytest.raises(StoreUnavailableError, match=r"gave up after 3 attempts in 5\d s") as caught:
        retried([overloaded(25)] * 4, clock)
    assert clock.now <= POLICY.seconds
    assert caught.value.retry_after == 25


def test_a_model_that_is_unavailable_is_tried_again_and_stays_what_it_is() -> None:
    clock = FakeClock()
    assert retried([ModelUnavailableError("the model server is down")] * 4, clock) == "done"
    with pytest.raises(ModelUnavailableError, match=r"the model server is down \(gave up after 5 attempts"):
        retried([ModelUnavailableError("the model server is down")] * 9, clock)


@pytest.mark.parametrize("error", [StoreError("no such vector"), ModelError("no such vector")])
def test_what_does_not_pass_is_not_tried_again(error: IngestError) -> None:
    clock = FakeClock()
    with pytest.raises(type(error), match=r"^no such vector$"):
        retried([error], clock)
    assert clock.slept == []


def test_each_wait_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        retried([overloaded(3)], FakeClock())
    [message] = caplog.messages
    assert message.startswith("Qdrant is overloaded; attempt 2 of 5 in 3.")


@pytest.mark.parametrize(
    "limits",
    [
        {"attempts": 0},
        {"attempts": 1.5},
        {"attempts": True},
        {"seconds": 0},
        {"seconds": float("nan")},
        {"first": -1},
        {"first": 3, "longest": 2},
        {"longest": float("inf")},
    ],
)
def test_a_policy_that_means_nothing_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"^RetryPolicy\."):
        RetryPolicy(**limits)


def test_what_one_policy_gave_up_on_is_not_retried_by_another() -> None:
    clock = FakeClock()
    with pytest.raises(StoreUnavailableError, match=r"^Qdrant is overloaded \(gave up after 5 attempts in \d+ s\)$"):
        call_with_retries(lambda: retried([overloaded()] * 9, clock), POLICY, clock=clock, sleep=clock.sleep)
    assert len(clock.slept) == 4
