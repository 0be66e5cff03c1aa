"""Whatever happens to a source, and wherever a run crashes: run again, and the store is what a fresh ingestion makes of it.

A round changes the source, perhaps swaps a model, and runs a job that crashes some times before it is left to finish. An app may
write and delete documents before, and some changes may be watched, whose events are lost, doubled and reordered. After each
run every point of the collection must be as a model of the job says, to the bit: what the source has as a fresh ingestion
stores it, what is gone as it was, hidden, or removed.

`pytest --hypothesis-profile thorough` tries many more histories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import get_args

from changing_source import Change, ChangeKind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_server import Address
from sync_bench import DAY
from sync_world import Round, Step, World, ensemble

from ingest.records import Point
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.sync.plan import DeleteMode
from ingest.testing import Moment

GRACE = 2 * DAY
EFFECTS = 8
"""Requests at least, of a run that has something of everything to do."""

changes = st.builds(
    Change,
    st.sampled_from([*get_args(ChangeKind), "edit", "delete", "restore"]),
    st.integers(0, 11),
    st.sampled_from("abcd"),
)
steps = st.builds(Step, changes, st.one_of(st.none(), *[st.lists(st.integers(0, 9), max_size=3)] * 3))
rounds = st.builds(
    Round,
    st.lists(changes, max_size=5),
    delete=st.sampled_from([DeleteMode.FULL, DeleteMode.FULL, DeleteMode.INCREMENTAL, DeleteMode.NONE]),
    grace=st.sampled_from([None, GRACE, GRACE]),
    days=st.integers(0, 2),
    swap=st.sampled_from([None, None, None, "in place", "reindex"]),
    crashes=st.lists(st.tuples(st.integers(1, 9), st.sampled_from(get_args(Moment))), max_size=2),
    breaks_off=st.one_of(st.none(), st.none(), st.integers(0, 3)),
    pushes=st.integers(0, 2),
    removals=st.integers(0, 1),
    steps=st.one_of(st.just([]), st.lists(steps, max_size=4)),
)


@contextmanager
def world(store: Store, folder: Path) -> Iterator[World]:
    made = World(store, folder)
    try:
        yield made
    finally:
        made.drop()


LAST = Round([Change("mend", 0, "a")], DeleteMode.FULL, None)
"""After it, nothing is left but what the source has."""


def check(store: Store, folder: Path, history: Sequence[Round]) -> None:
    with world(store, folder) as lived:
        for round_ in history:
            lived.live_through(round_)
        lived.live_through(LAST)
        assert lived.bench.stored() == lived.ingested_afresh()
        again = lived.bench.run(lived.shelf.records(), delete=DeleteMode.FULL, models=ensemble(lived.revision))
        assert (again.unchanged, again.skipped_unread, lived.bench.effects) == (*2 * [len(lived.shelf.documents)], {})


def check_crashes(store: Store, folder: Path, *, every: int) -> None:
    """At every so many effects of a run that has documents to write, to mark, to delete and to bring back, and a column that was
    swapped.
    """
    hide = Round([], grace=GRACE)
    with world(store, folder) as lived:
        documents = lived.shelf.documents
        documents |= {"d1": ("bc", 0), "d2": ("cad", 0), "d3": ("d", 0), "d4": ("ac", 0), "d5": ("b", 0), "d6": ("dd", 0)}
        lived.shelf.versions |= dict.fromkeys(documents, 1)
        lived.live_through(hide)
        for id_ in ("d4", "d5", "d6"):
            del documents[id_]
        lived.live_through(hide)
        documents |= {"d0": ("ad", 0), "d1": ("bc", 1), "d2": ("dac", 0), "d5": ("b", 0), "d7": ("abcd", 0), "d6": ("dd", 0)}
        lived.shelf.versions |= dict.fromkeys(("d0", "d1", "d2", "d7"), 2)
        del documents["d3"]
        lived.shelf.broken = {"d6"}
        lived.bench.clock += GRACE
        lived.revision += 1
        lived.bench.agree_to(ensemble(lived.revision))
        points = [Point(point.id, point.vectors, point.payload) for point in store.scroll(lived.bench.collection, vectors=True)]

        for at in count(1, every):
            for moment in get_args(Moment):
                store.delete(lived.bench.collection, list(lived.bench.stored()))
                store.upsert(lived.bench.collection, points)
                crashed = lived.sync(replace(hide, crashes=[(at, moment)]))
            if not crashed:
                break
        assert at > EFFECTS


histories = st.lists(rounds, min_size=1, max_size=3)
EXAMPLES = settings().max_examples // 6
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@settings(UNHURRIED, max_examples=EXAMPLES)
@given(history=histories)
def test_on_the_embedded_engine_the_end_is_a_fresh_ingestion(tmp_path: Path, history: list[Round]) -> None:
    with open_store(tmp_path / "store") as store:
        check(store, tmp_path, history)


@settings(UNHURRIED, max_examples=EXAMPLES // 3)
@given(history=histories)
def test_on_a_server_the_end_is_a_fresh_ingestion(server: Address, tmp_path: Path, history: list[Round]) -> None:
    with open_store(server.url) as store:
        check(store, tmp_path, history)


def test_on_the_embedded_engine_a_crash_at_any_effect_heals(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        check_crashes(store, tmp_path, every=1)


def test_on_a_server_a_crash_at_some_effects_heals(server: Address, tmp_path: Path) -> None:
    with open_store(server.url) as store:
        check_crashes(store, tmp_path, every=3)
