"""Retries of requests to a store or a model that is temporarily unavailable."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, NoReturn, TypeVar

from ingest.errors import ModelUnavailableError, StoreUnavailableError
from ingest.parameters import normalize, parse_integer, parse_number

if TYPE_CHECKING:
    from tenacity import RetryCallState

logger = logging.getLogger(__name__)

TRANSIENT = (StoreUnavailableError, ModelUnavailableError)
"""The errors that are retried, unless another policy has given up on them. Any other error is final."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits on the retries of one request.

    Attributes:
        attempts: maximum number of attempts, at least 1; 1 means no retries.
        seconds: time limit, counted from the first attempt. A wait that would end later is not started.
        first, longest: limits, in seconds, of the jittered wait between attempts, which doubles each time. The seconds in a
            server's `Retry-After` are added to it.
    """

    attempts: int = 8
    seconds: float = 300.0
    first: float = 0.5
    longest: float = 20.0

    def __post_init__(self) -> None:
        normalize(self, "attempts", parse_integer, least=1)
        normalize(self, "seconds", parse_number, positive=True)
        normalize(self, "longest", parse_number)
        normalize(self, "first", parse_number, most=self.longest)


def call_with_retries(
    call: Callable[[], _T],
    policy: RetryPolicy,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> _T:
    """Return the result of `call`, repeating it while it raises one of `TRANSIENT` and `policy` allows another attempt.

    Once the policy is used up, raises the last error with the number of attempts in its message, marked `gave_up`. Raises any
    other error at once. So calls may nest: each error is retried by the innermost policy alone.
    """
    started = clock()
    try:
        return call()  # most calls end here, before anything is made that only retries need
    except TRANSIENT as exc:
        attempts: Iterator[Callable[[], _T]] = chain([partial(_raise, exc)], repeat(call))
    from tenacity import Retrying, retry_if_exception, wait_random_exponential  # noqa: PLC0415  most commands retry nothing

    backoff = wait_random_exponential(multiplier=policy.first, max=policy.longest)

    def attempt() -> _T:
        return next(attempts)()

    def wait(state: RetryCallState) -> float:
        return backoff(state) + (_transient_error(state).retry_after or 0.0)

    def give_up(state: RetryCallState) -> bool:
        out_of_time = clock() - started + state.upcoming_sleep > policy.seconds
        return out_of_time or state.attempt_number >= policy.attempts

    def pause(seconds: float) -> None:
        sleep(seconds)

    def announce(state: RetryCallState) -> None:
        logger.warning(
            "%s; attempt %d of %d in %.1f s",
            _transient_error(state),
            state.attempt_number + 1,
            policy.attempts,
            state.upcoming_sleep,
        )

    def report(state: RetryCallState) -> None:
        error = _transient_error(state)
        seconds = clock() - started
        raise type(error)(
            f"{error} (gave up after {state.attempt_number} attempts in {seconds:.0f} s)",
            retry_after=error.retry_after,
            gave_up=True,
        ) from error

    retrying = Retrying(
        retry=retry_if_exception(_is_worth_retrying),
        wait=wait,
        stop=give_up,
        sleep=pause,
        before_sleep=announce,
        retry_error_callback=report,
    )
    return retrying(attempt)


def _raise(error: BaseException) -> NoReturn:
    raise error


def _is_worth_retrying(error: BaseException) -> bool:
    return isinstance(error, TRANSIENT) and not error.gave_up


def _transient_error(state: RetryCallState) -> StoreUnavailableError | ModelUnavailableError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TRANSIENT)  # noqa: S101  nothing else is retried
    return error
