"""Faults between the client and a real server: afterwards it holds what an undisturbed run leaves, and the receipt balances."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import Answer, Cue, Delay, Fault, FaultyProxy
from qdrant_server import Address
from sync_bench import SyncBench, counts, document

from ingest.errors import IngestError, StoreUnavailableError
from ingest.receipt import Receipt
from ingest.retry import RetryPolicy
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.sync.plan import DeleteMode

QUICK = RetryPolicy(attempts=8, seconds=60.0, first=0.01, longest=0.05)

BEFORE = [document(f"d{number}", "abc"[: 1 + number % 3], year=number) for number in range(24)]
AFTER = [
    *(document(f"d{number}", "xbc"[: 1 + number % 3], year=number) for number in range(8)),
    *(document(f"d{number}", "abc"[: 1 + number % 3], year=-number) for number in range(8, 16)),
    *BEFORE[16:20],
    *(document(f"new{number}", "ab") for number in range(8)),
]
"""After edits, metadata edits, deletions and additions: every kind of write there is."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A real server, what a run in peace leaves there, and a collection that is to become the same."""

    server: Address
    peace: SyncBench
    war: SyncBench

    def run(self, store: Store, **changes: Any) -> Receipt:
        return self.war.run(AFTER, store=store, **{"delete": DeleteMode.FULL, "max_delete": 1.0, **changes})

    def check_equal(self) -> None:
        assert self.war.stored() == self.peace.stored()


@pytest.fixture
def scene(server: Address, collection: str, tmp_path: Path) -> Iterator[Scene]:
    with open_store(server.url) as direct:
        peace, war = (SyncBench(direct, f"{collection}_{name}", tmp_path / name) for name in ("peace", "war"))
        peace.run(AFTER)
        war.run(BEFORE)
        yield Scene(server, peace, war)
        for made in direct.collections():
            if made.name.startswith(collection):
                direct.drop(made.name)


def every(number: int, fault: Fault | Answer | Delay) -> Cue:
    return lambda request: fault if request.number % number == 0 else None


def every_write(number: int, fault: Fault | Answer | Delay) -> Cue:
    """Strikes each so-manieth request that changes points."""
    writes = itertools.count(1)
    return lambda request: fault if request.writes and next(writes) % number == 0 else None


@pytest.mark.parametrize(
    "cue",
    [
        pytest.param(every(10, Fault.CUT), id="cut at every tenth request"),
        pytest.param(every(10, Fault.LOST), id="acknowledgement lost at every tenth request"),
        pytest.param(every_write(2, Fault.LOST), id="acknowledgement lost at every second write"),
        pytest.param(every(10, Fault.HALF), id="half an answer at every tenth request"),
        pytest.param(every(5, Answer(429, retry_after=0)), id="a storm of 429"),
        pytest.param(every(7, Answer(500)), id="500"),
        pytest.param(every(7, Answer(503)), id="503"),
        pytest.param(every_write(3, Delay(0.3)), id="slow writes"),
    ],
)
def test_what_passes_is_survived(scene: Scene, cue: Cue) -> None:
    with FaultyProxy(scene.server.url, cue) as proxy, open_store(proxy.url, retry=QUICK) as store:
        receipt = scene.run(store)

    assert proxy.struck
    assert counts(receipt) == {"read": 28, "written": 8, "updated": 16, "unchanged": 4, "deleted": 4}
    scene.check_equal()


def test_a_request_that_is_never_answered_is_asked_again(scene: Scene) -> None:
    silent = iter([Fault.SILENT])
    cue: Cue = lambda request: next(silent, None) if request.writes else None  # noqa: E731  as short as it gets

    with FaultyProxy(scene.server.url, cue) as proxy, open_store(proxy.url, timeout=1.0, retry=QUICK) as store:
        counts(scene.run(store))

    assert len(proxy.struck) == 1
    scene.check_equal()


def test_noise_for_an_answer_fails_the_run_and_the_next_one_mends_it(scene: Scene) -> None:
    with FaultyProxy(scene.server.url, every_write(2, Fault.GARBLED)) as proxy, open_store(proxy.url, retry=QUICK) as store:
        with pytest.raises(IngestError, match="does not answer like Qdrant"):
            scene.run(store)
        proxy.cue = lambda _request: None
        counts(scene.run(store))
    scene.check_equal()


def test_a_server_that_never_recovers_is_given_up_in_time_and_nothing_is_lost(scene: Scene) -> None:
    before = scene.war.stored()
    impatient = RetryPolicy(attempts=3, seconds=5.0, first=0.01, longest=0.02)

    with FaultyProxy(scene.server.url, lambda request: Fault.CUT if request.writes else None) as proxy:
        with (
            open_store(proxy.url, retry=impatient) as store,
            pytest.raises(StoreUnavailableError, match="gave up after 3 attempts"),
        ):
            scene.run(store)
        assert scene.war.stored() == before
        proxy.cue = lambda _request: None
        with open_store(proxy.url, retry=QUICK) as store:
            counts(scene.run(store))
    scene.check_equal()
