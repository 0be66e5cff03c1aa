"""The writer: order, batches, retries, and how failures come out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_data import manifest, point, vectors

from ingest.errors import StoreError, StoreUnavailableError
from ingest.records import Point
from ingest.retry import RetryPolicy
from ingest.store.contract import CollectionOptions, Store
from ingest.store.edge.store import EdgeStore
from ingest.store.request_sizes import batches
from ingest.store.retrying import RetryingStore
from ingest.store.writer import Effects, Writer, stages
from ingest.testing import FlakyStore, Moment


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Store]:
    with EdgeStore(tmp_path) as store:
        store.ensure(manifest("docs"), CollectionOptions())
        yield store


class Journal(FlakyStore):
    """Fails `failures` times on each call to one effect, and writes down the effects that went through."""

    def __init__(self, store: Store, *, effect: str = "", failures: list[tuple[Moment, BaseException]] | None = None) -> None:
        super().__init__(store, self._next)
        self._effect = effect
        self._failures = list(failures or [])
        self.journal: list[str] = []

    def _next(self, name: str, _call: int) -> tuple[Moment, BaseException] | None:
        if name == self._effect and self._failures:
            return self._failures.pop(0)
        self.journal.append(name)
        return None


def unavailable(retry_after: float | None = None) -> tuple[Moment, BaseException]:
    return "before", StoreUnavailableError("Qdrant is overloaded", retry_after=retry_after)


# --- batches


@given(st.lists(st.integers(0, 50)), st.integers(1, 7), st.integers(1, 100))
def test_batches_keep_everything_in_order_and_within_bounds(sizes: list[int], max_items: int, max_size: int) -> None:
    made = list(batches(sizes, lambda size: size, max_items, max_size))
    assert [size for batch in made for size in batch] == sizes
    assert all(batch for batch in made)
    assert all(len(batch) <= max_items for batch in made)
    assert all(sum(batch) <= max_size or len(batch) == 1 for batch in made)
    for batch, following in pairwise(made):  # none is cut without need
        assert len(batch) == max_items or sum(batch) + following[0] > max_size


def test_requests_are_bounded_by_what_they_weigh(edge: Store) -> None:
    heavy = Point(point(0).id, {"dense": np.zeros(100_000, np.float32)}, {})
    wordy = Point(point(1).id, {}, {"metadata": {"deep": ["x" * 3_000_000]}})
    light = [point(number) for number in range(2, 2500)]
    effects = Effects(upserts=[heavy, heavy, heavy, wordy, *light])
    made = [request for stage in stages(edge, "docs", effects, 1000, 4 * 2**20) for request in stage]
    sizes = [len(request.args[1]) for request in made if hasattr(request, "args")]
    assert sizes[:2] == [1, 1]
    assert sum(sizes) == 4 + len(light)
    assert max(sizes) == 1000


# --- order


def test_additions_are_acknowledged_before_deletions(edge: Store) -> None:
    edge.upsert("docs", [point(number) for number in range(4)])
    journal = Journal(edge)
    new = point(9)
    with Writer(journal, "docs", max_points=2) as writer:
        writer.submit(
            Effects(
                deletes=[point(number).id for number in range(3)],
                payloads={point(3).id: {"text": "changed"}},
                vector_updates={point(3).id: {"dot": vectors(50)["dot"]}},
                upserts=[new],
            )
        )
    assert journal.journal == ["upsert", "update_vectors", "set_payload", "delete", "delete"]
    assert {found.id: found.payload for found in edge.scroll("docs")} == {new.id: new.payload, point(3).id: {"text": "changed"}}


def test_effects_are_written_in_the_order_of_submission(edge: Store) -> None:
    with Writer(edge, "docs") as writer:
        for number in range(20):
            writer.submit(Effects(upserts=[Point(point(1).id, {}, {"number": number})]))
    [found] = edge.scroll("docs")
    assert found.payload == {"number": 19}


def test_nothing_to_do_is_no_request(edge: Store) -> None:
    journal = Journal(edge)
    with Writer(journal, "docs") as writer:
        writer.submit(Effects())
    assert journal.journal == []


# --- several requests at a time


class Wide(FlakyStore):
    """Takes three writes at a time."""

    streams = 3


def test_points_are_written_as_many_requests_at_a_time_as_the_store_takes(edge: Store) -> None:
    together = threading.Barrier(Wide.streams, timeout=30)
    ended: list[str] = []

    def cue(name: str, _number: int) -> None:
        if name == "upsert":
            together.wait()  # breaks, unless so many come at a time
        else:
            ended.append(f"{name} of {edge.count('docs')}")

    points = [point(number) for number in range(9)]
    with Writer(Wide(edge, cue), "docs", max_points=1) as writer:
        writer.submit(Effects(upserts=points, deletes=[points[0].id]))
    assert ended == ["delete of 9"]
    assert edge.count("docs") == 8


def test_one_request_that_fails_ends_the_others(edge: Store) -> None:
    def cue(name: str, number: int) -> tuple[Moment, BaseException] | None:
        return ("before", StoreError("Qdrant says no")) if (name, number) == ("upsert", 2) else None

    points = [point(number) for number in range(60)]
    writer = Writer(Wide(edge, cue), "docs", max_points=1)
    with pytest.raises(StoreError, match="Qdrant says no"), writer:
        writer.submit(Effects(upserts=points, deletes=[points[0].id]))
    assert edge.count("docs") < len(points)


# --- retries


def test_a_lost_acknowledgement_is_harmless(edge: Store) -> None:
    journal = Journal(edge, effect="upsert", failures=[("after", StoreUnavailableError("connection lost"))])
    with Writer(RetryingStore(journal, RetryPolicy(first=0, longest=0)), "docs") as writer:
        writer.submit(Effects(upserts=[point(1), point(2)]))
    assert journal.calls["upsert"] == 2
    assert edge.count("docs") == 2


def test_attempts_are_those_of_the_store(edge: Store) -> None:
    journal = Journal(edge, effect="upsert", failures=[unavailable() for _ in range(9)])
    with (
        pytest.raises(StoreUnavailableError, match="gave up after 3 attempts"),
        Writer(RetryingStore(journal, RetryPolicy(attempts=3, first=0, longest=0)), "docs") as writer,
    ):
        writer.submit(Effects(upserts=[point(1)]))
    assert journal.calls["upsert"] == 3


# --- failures


def test_after_a_failure_nothing_more_is_written(edge: Store) -> None:
    journal = Journal(edge, effect="upsert", failures=[("before", StoreError("full"))])
    writer = Writer(journal, "docs", max_points=1)

    def write() -> None:
        with writer:
            for _ in range(100):  # more than the queue holds: sooner or later the failure is told at a submission
                writer.submit(Effects(upserts=[point(1), point(2)], deletes=[point(3).id]))

    with pytest.raises(StoreError, match="full"):
        write()
    assert journal.journal == []
    assert edge.count("docs") == 0
    with pytest.raises(StoreError, match="full"):
        writer.close()


class Gate(FlakyStore):
    """Holds every upsert until it is opened."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, self._wait)
        self.reached, self.opened = threading.Event(), threading.Event()

    def _wait(self, _name: str, _call: int) -> None:
        self.reached.set()
        assert self.opened.wait(60)


def test_the_queue_is_bounded(edge: Store) -> None:
    gate = Gate(edge)
    submitted: list[int] = []

    def submit_all(writer: Writer) -> None:
        for number in range(4):
            writer.submit(Effects(upserts=[point(number)]))
            submitted.append(number)

    with Writer(gate, "docs", queue_size=1) as writer:
        thread = threading.Thread(target=submit_all, args=(writer,))
        thread.start()
        assert gate.reached.wait(60)
        assert len(submitted) <= 2  # one being written, one waiting: the third is not taken
        gate.opened.set()
        thread.join()
    assert edge.count("docs") == 4


def test_an_exception_in_the_block_stops_after_the_request_in_flight(edge: Store) -> None:
    gate = Gate(edge)

    def fail() -> None:
        with Writer(gate, "docs", max_points=1) as writer:
            writer.submit(Effects(upserts=[point(1), point(2)], deletes=[point(3).id]))
            writer.submit(Effects(upserts=[point(4)]))
            assert gate.reached.wait(60)
            threading.Timer(0.05, gate.opened.set).start()  # the request in flight ends only after the block was left
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [found.id for found in edge.scroll("docs")] == [point(1).id]


def test_an_interrupt_does_not_even_wait_for_the_request_in_flight(edge: Store) -> None:
    gate = Gate(edge)
    writer = Writer(gate, "docs", max_points=1)

    def interrupt() -> None:
        with writer:
            writer.submit(Effects(upserts=[point(1), point(2)]))
            assert gate.reached.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert edge.count("docs") == 0
    gate.opened.set()
    writer.close()
    assert [found.id for found in edge.scroll("docs")] == [point(1).id]


def test_an_exception_in_the_block_cuts_a_wait_short(edge: Store) -> None:
    journal = Journal(edge, effect="upsert", failures=[unavailable(retry_after=3600)] * 3)
    failed = threading.Event()
    journal_next = journal._cue

    def cue(name: str, call: int) -> tuple[Moment, BaseException] | None:
        failed.set()
        return journal_next(name, call)

    journal._cue = cue

    def fail() -> None:
        with Writer(RetryingStore(journal, RetryPolicy(seconds=100_000)), "docs") as writer:
            writer.submit(Effects(upserts=[point(1)]))
            assert failed.wait(60)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert journal.calls["upsert"] == 1


# --- deferred indexing


class Deferring(FlakyStore):
    """Counts deferrals, and refuses each with `error`, if it has one."""

    def __init__(self, store: Store, error: StoreError | None = None) -> None:
        super().__init__(store, lambda _name, _call: None)
        self._error = error
        self.deferred = 0

    def defer_indexing(self, collection: str) -> None:
        self.deferred += 1
        if self._error is not None:
            raise self._error
        self._store.defer_indexing(collection)


def test_indexing_is_deferred_once_and_only_for_a_long_load(edge: Store) -> None:
    for points, deferred in ((9, 0), (10, 1), (35, 1)):
        store = Deferring(edge)
        with Writer(store, "docs", defer_from=10) as writer:
            for number in range(points):
                writer.submit(Effects(upserts=[point(number)]))
        assert store.deferred == deferred


def test_a_load_whose_indexes_cannot_be_deferred_goes_on(edge: Store, caplog: pytest.LogCaptureFixture) -> None:
    store = Deferring(edge, StoreError("Qdrant refuses what the key may do"))
    with Writer(store, "docs", defer_from=1) as writer:
        for number in range(5):
            writer.submit(Effects(upserts=[point(number)]))
    assert edge.count("docs") == 5
    [said] = caplog.messages
    assert "the key may do" in said
