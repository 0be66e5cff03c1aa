"""Reindexing that is interrupted at every effect, or overtaken by a run that writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from reindexing import DOCUMENTS, FEW, KEPT, NEW, OLD, Bench, embedded_bench

from ingest.errors import IngestError, StoreError
from ingest.records import Document
from ingest.reindex.in_place import reindex_in_place
from ingest.reindex.reindex import roll_back
from ingest.store.edge.store import EdgeStore
from ingest.sync.ownership import next_alias
from ingest.testing import FlakyStore, HashEncoder

Moment = Literal["before", "after"]


class Killed(BaseException):
    """The process died here."""


class CrashingStore(FlakyStore):
    """Crashes also at what is done to whole collections."""

    EFFECTS = FlakyStore.EFFECTS | {
        "ensure",
        "set_aliases",
        "write_manifest",
        "defer_indexing",
        "finalize",
        "drop",
        "exchange_alias",
    }


class InPlaceCrashingStore(CrashingStore):
    """Crashes also at what only a reindex in place does."""

    EFFECTS = CrashingStore.EFFECTS | {"set_vectors", "fill_vectors"}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with embedded_bench(tmp_path, DOCUMENTS, [KEPT, OLD]) as made:
        yield made


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Bench]:
    """What a fresh ingestion with the new models makes."""
    with embedded_bench(tmp_path / "fresh", DOCUMENTS, [KEPT, NEW]) as made:
        yield made


# --- crashes


def test_after_a_crash_at_any_effect_the_old_one_answers_and_another_run_completes(tmp_path: Path, fresh: Bench) -> None:
    """After each effect, which is also before the next: with the acknowledgement lost, and nothing done any more."""
    fresh.run(FEW, [KEPT, NEW])
    expected = fresh.content()
    with EdgeStore(tmp_path / "before") as store:
        bench = Bench(store, tmp_path)
        bench.run(FEW, [KEPT, HashEncoder("swapped", 16, revision="0")])
        bench.reindex([KEPT, OLD])
        old = bench.content()
    crashed_at: list[str] = []
    while True:
        at = len(crashed_at) + 1
        shutil.copytree(tmp_path / "before", tmp_path / str(at))
        with EdgeStore(tmp_path / str(at)) as store:
            bench = Bench(store, tmp_path)
            effects: list[str] = []

            def cue(name: str, _: int, effects: list[str] = effects, at: int = at) -> tuple[Moment, BaseException] | None:
                effects.append(name)
                return ("after", Killed()) if len(effects) == at else None

            try:
                bench.reindex([KEPT, NEW], store=CrashingStore(store, cue))
                break
            except Killed:
                crashed_at.append(effects[-1])
            assert bench.content() in (old, expected)
            report = bench.reindex([KEPT, NEW])
            assert bench.content() == expected
            assert {info.name for info in store.collections()} == {report.stored_as, report.previous}
            assert next_alias("docs") not in store.aliases()
            roll_back("docs", store=store)
            assert bench.content() == old
    assert set(crashed_at) == CrashingStore.EFFECTS - {"update_vectors", "set_payload", "set_versions", "delete"}
    assert crashed_at.count("upsert") > 1


def test_in_place_a_crash_at_any_effect_leaves_the_old_or_the_new_vectors_and_another_run_completes(tmp_path: Path) -> None:
    """It begins beside a collection that a blue-green reindex kept, and drops the old vectors in the end."""
    more = HashEncoder("more", 8)
    with EdgeStore(tmp_path / "before") as store:
        bench = Bench(store, tmp_path)
        bench.run(FEW, [KEPT, HashEncoder("swapped", 16, revision="0")])
        bench.reindex([KEPT, OLD])
        old = bench.searched()
    with EdgeStore(tmp_path / "ingested") as store:
        ingested = Bench(store, tmp_path)
        ingested.run(FEW, [KEPT, more])
        expected = ingested.content()
    crashed_at: list[str] = []
    while True:
        at = len(crashed_at) + 1
        shutil.copytree(tmp_path / "before", tmp_path / f"in_place_{at}")
        with EdgeStore(tmp_path / f"in_place_{at}") as store:
            bench = Bench(store, tmp_path)
            effects: list[str] = []

            def cue(name: str, _: int, effects: list[str] = effects, at: int = at) -> tuple[Moment, BaseException] | None:
                effects.append(name)
                return ("after", Killed()) if len(effects) == at else None

            crashing = InPlaceCrashingStore(store, cue)
            try:
                bench.reindex([KEPT, more], store=crashing, keep_old=False, build=reindex_in_place)
            except Killed:
                crashed_at.append(effects[-1])
                assert bench.searched() in (old, expected)
                assert bench.run(FEW, [KEPT, OLD if bench.searched() == old else more]).unchanged == len(FEW)
            bench.reindex([KEPT, more], keep_old=False, build=reindex_in_place)
            assert bench.content() == bench.searched() == expected
            assert [info.name for info in store.collections()] == [store.aliases()["docs"]]
            assert store.aliases().keys() == {"docs"}
            if len(crashed_at) < at:
                break
    assert set(crashed_at) == {"set_vectors", "fill_vectors", "finalize", "write_manifest", "set_aliases", "drop"}


def test_a_resumed_reindex_encodes_only_what_is_missing(bench: Bench) -> None:
    def cue(_: str, call: int) -> tuple[Moment, BaseException] | None:
        return ("before", Killed()) if call == 2 else None

    first, second = (HashEncoder("swapped", 16, revision="2", record=True) for _ in range(2))
    with pytest.raises(Killed):
        bench.reindex([KEPT, first], store=FlakyStore(bench.store, cue))
    done = bench.store.count(next_alias("docs"))
    assert done > 0
    report = bench.reindex([KEPT, second])
    assert len(second.encoded) == report.points - done


def test_one_that_was_abandoned_for_other_models_is_dropped(bench: Bench) -> None:
    def refuse(_old: str, _new: str) -> None:
        raise IngestError("not this one")

    with pytest.raises(IngestError, match="not this one"):
        bench.reindex([KEPT, NEW], gate=refuse)
    abandoned = bench.store.aliases()[next_alias("docs")]
    report = bench.reindex([KEPT, HashEncoder("swapped", 16, revision="3")])
    assert abandoned in report.dropped
    assert {info.name for info in bench.store.collections()} == {report.stored_as, report.previous}


# --- while somebody writes


def test_what_is_written_meanwhile_is_brought_over(bench: Bench) -> None:
    edited = [
        Document("d1", "Wholly new text", metadata={"number": 1}),
        replace(DOCUMENTS[2], metadata={"number": -2}),
        *DOCUMENTS[3:],
        Document("d99", "A new document"),
    ]

    def run_meanwhile(name: str, call: int) -> None:
        if (name, call) == ("upsert", 2):
            bench.run(edited, [KEPT, OLD])

    bench.reindex([KEPT, NEW], store=FlakyStore(bench.store, run_meanwhile))
    again = bench.run(edited, [KEPT, NEW])
    assert (again.unchanged, again.deleted, again.chunks.deleted) == (len(edited), 0, 0)
    assert len({payload["doc_id"] for payload, _ in bench.content().values()}) == len(edited)


def test_what_is_written_while_the_gate_decides_is_brought_over(bench: Bench) -> None:
    def gate(_old: str, _new: str) -> None:
        bench.run(DOCUMENTS[:2], [KEPT, OLD])

    bench.reindex([KEPT, NEW], gate=gate)
    assert {payload["doc_id"] for payload, _ in bench.content().values()} == {"d0", "d1"}


def test_what_is_written_after_a_rollback_meanwhile_is_not_lost(bench: Bench) -> None:
    bench.reindex([KEPT, NEW])

    def gate(_old: str, _new: str) -> None:
        roll_back("docs", store=bench.store)
        bench.run([Document("late", "A new document")], [KEPT, OLD])

    with pytest.raises(StoreError, match="another reindex or a rollback swapped it meanwhile"):
        bench.reindex([KEPT, HashEncoder("swapped", 16, revision="3")], gate=gate)
    assert "late" in {payload["doc_id"] for payload, _ in bench.content().values()}


def test_a_collection_that_never_stops_changing_is_not_swapped(bench: Bench) -> None:
    old = bench.store.aliases()["docs"]
    runs = 0

    def always(name: str, _: int) -> None:
        nonlocal runs
        if name == "upsert":
            runs += 1
            bench.run([*DOCUMENTS, Document("more", f"text {runs}")], [KEPT, OLD])

    with pytest.raises(StoreError, match="kept changing"):
        bench.reindex([KEPT, NEW], store=FlakyStore(bench.store, always))
    assert bench.store.aliases()["docs"] == old
