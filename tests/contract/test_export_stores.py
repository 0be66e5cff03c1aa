"""Embed on one machine, load on another: the same as a run, on every store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from export_bench import DOCUMENTS, PARAGRAPHS, ExportBench, assert_same_points, ensemble

from ingest.errors import ManifestMismatchError, SourceError, StoreError
from ingest.records import Document, Rejected
from ingest.store.contract import Store
from ingest.testing import FlakyStore, ListSource


@pytest.fixture
def bench(tmp_path: Path, collection: str) -> ExportBench:
    return ExportBench(tmp_path, collection)


@pytest.fixture
def beside(tmp_path: Path, collection: str) -> ExportBench:
    """For another collection in the same store, made by a run."""
    return ExportBench(tmp_path, f"{collection}_run")


def test_a_load_gives_what_a_run_gives(bench: ExportBench, beside: ExportBench, store: Store) -> None:
    source = ListSource([*DOCUMENTS, Rejected("line 9", "not JSON")])
    ran = beside.run(store, source)
    embedded = bench.embed(source)
    assert (embedded.read, embedded.written, embedded.rejected, embedded.balanced) == (11, 10, 1, True)
    assert embedded.chunks == ran.chunks

    loaded = bench.load(store)

    assert (loaded.read, loaded.written, loaded.chunks, loaded.balanced) == (10, 10, ran.chunks, True)
    assert loaded.collection == bench.collection
    assert_same_points(store, bench.collection, store, beside.collection)
    made, wanted = store.manifest(bench.collection), store.manifest(beside.collection)
    assert (made.vectors, made.chunking, made.weights) == (wanted.vectors, wanted.chunking, wanted.weights)

    again = bench.load(store)
    assert (again.read, again.unchanged, again.chunks.written, again.balanced) == (10, 10, 0, True)
    rerun = bench.run(store, source)
    assert (rerun.unchanged, rerun.chunks.written, rerun.balanced) == (10, 0, True)


def test_a_load_brings_older_documents_up_to_date_and_touches_no_others(
    bench: ExportBench, beside: ExportBench, store: Store
) -> None:
    old = ListSource(
        [
            Document("book", "\n\n".join(PARAGRAPHS[:5]) + "\n\nAn ending that went.", title=DOCUMENTS[8].title),
            Document("d0", PARAGRAPHS[0], metadata={"n": -1}),
            Document("d1", "Something else."),
            Document("kept", "Of this the export knows nothing."),
        ]
    )
    bench.run(store, old)
    bench.run(store, ListSource(DOCUMENTS, name="another"))
    beside.run(store, old)
    beside.run(store, ListSource(DOCUMENTS, name="another"))
    ran = beside.run(store, ListSource(DOCUMENTS))
    bench.embed(ListSource(DOCUMENTS))
    loaded = bench.load(store)
    chunks = replace(ran.chunks, copied=0)  # a load has all vectors and copies none
    assert (loaded.written, loaded.updated, loaded.chunks, loaded.balanced) == (ran.written, ran.updated, chunks, True)
    assert loaded.chunks.deleted > 0
    assert_same_points(store, bench.collection, store, beside.collection)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interrupted_load_continues(bench: ExportBench, beside: ExportBench, store: Store, moment: str) -> None:
    """`after`: the store applied the write, but its acknowledgement was lost."""

    def cue(name: str, number: int) -> Any:
        return (moment, StoreError("crash")) if (name, number) == ("upsert", 3) else None

    source = ListSource(DOCUMENTS)
    bench.embed(source)
    with pytest.raises(StoreError, match="crash"):
        bench.load(FlakyStore(store, cue))
    interrupted = store.count(bench.collection)
    assert interrupted > 0

    loaded = bench.load(store)

    assert loaded.balanced
    assert loaded.chunks.written == store.count(bench.collection) - interrupted
    beside.run(store, source)
    assert_same_points(store, bench.collection, store, beside.collection)


def test_a_foreign_manifest_is_refused_and_nothing_written(bench: ExportBench, store: Store) -> None:
    bench.run(store, ListSource(DOCUMENTS[:2]), models=ensemble(revision="2"))
    before = store.count(bench.collection)
    bench.embed(ListSource(DOCUMENTS))
    with pytest.raises(ManifestMismatchError, match="hash"):
        bench.load(store)
    assert store.count(bench.collection) == before


def test_a_damaged_shard_is_refused_before_anything_is_written(bench: ExportBench, store: Store) -> None:
    bench.embed(ListSource(DOCUMENTS))
    shard = bench.shards[-1]
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(SourceError, match=f"{shard.name} is damaged: its checksum"):
        bench.load(store)
    assert bench.collection not in {info.name.partition("__")[0] for info in store.collections()}
