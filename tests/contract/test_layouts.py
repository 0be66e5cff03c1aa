"""What a layout changes: searches in quantized vectors, vectors that were rounded, and a reindex to another layout."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reindexing import FEW, KEPT, NEW, OLD, Bench
from store_data import point

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError
from ingest.records import Point
from ingest.store.contract import CollectionOptions, Manifest, Store, VectorQuery, VectorSpec
from ingest.testing import ListSource
from ingest.verify.verification import Verification, verify_job

MODELS = [KEPT, OLD]
FLOAT16 = CollectionOptions(datatype="float16")
CHUNKS = 6


@pytest.fixture
def bench(store: Store, tmp_path: Path, collection: str) -> Bench:
    return Bench(store, tmp_path, collection)


def verified(bench: Bench) -> Verification:
    with BatchRunner(MODELS, lease_directory=bench.folder / "leases") as runner:
        return verify_job(
            bench.job, [ListSource(FEW)], store=bench.store, ensemble=Ensemble(runner), sample="all", rng=random.Random(0)
        )


def reindexed(
    bench: Bench, options: CollectionOptions, models: Sequence[Model] = MODELS
) -> tuple[dict[str, int], dict[str, int]]:
    """The points that vectors were copied to, and encoded for."""
    bench.job = replace(bench.job, options=options)
    report = bench.reindex(models)
    return dict(report.copied), dict(report.encoded)


def test_the_best_of_quantized_vectors_are_scored_by_the_stored_ones(
    store: Store, store_kind: str, collection: str, tmp_path: Path
) -> None:
    dim, count = 2_048, 1_300  # slightly more than the size from which vectors are quantized
    rows = np.random.default_rng(0).standard_normal((count, dim), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    by_id = {point(number).id: row for number, row in enumerate(rows)}
    options = CollectionOptions(quantization="scalar", hnsw_m=4, hnsw_ef_construct=10)
    store.ensure(Manifest(collection, collection, (VectorSpec("v", dim, "v"),)), options)
    stored = [Point(id_, {"v": row}, {}) for id_, row in by_id.items()]
    for start in range(0, count, 325):
        store.upsert(collection, stored[start : start + 325])
    store.finalize(collection)
    if store_kind == "embedded":
        assert any((tmp_path / "store").rglob("quantized.*"))
    wanted = rows[:3].sum(axis=0)
    wanted /= np.linalg.norm(wanted)
    [hits] = store.query(collection, [VectorQuery("v", wanted, 5)])
    assert [hit.score for hit in hits] == pytest.approx([float(by_id[hit.id] @ wanted) for hit in hits], abs=1e-6)


def test_rounded_vectors_are_neither_damaged_nor_encoded_again(bench: Bench) -> None:
    assert bench.run(FEW, MODELS, options=FLOAT16).chunks.written == CHUNKS
    vector = next(iter(bench.content().values()))[1]["kept"]
    assert np.array_equal(np.float16(vector), np.float32(vector))  # type: ignore[arg-type]
    assert bench.run(FEW, MODELS, options=FLOAT16).chunks.written == 0
    report = verified(bench)
    assert (report.clean, report.sampled) == (True, CHUNKS)


def test_a_reindex_to_another_layout_copies_the_vectors(bench: Bench) -> None:
    bench.run(FEW, MODELS)
    before = bench.content()
    everywhere = {"kept": CHUNKS, "swapped": CHUNKS}
    assert reindexed(bench, CollectionOptions()) == ({}, {})
    assert reindexed(bench, CollectionOptions(quantization="scalar", hnsw_m=8)) == (everywhere, {})
    assert bench.content() == before
    assert reindexed(bench, CollectionOptions(quantization="scalar", hnsw_m=8)) == ({}, {})
    assert reindexed(bench, FLOAT16) == (everywhere, {})
    layout = {"datatype": "float16", "quantization": "scalar", "hnsw_m": 8}
    assert bench.store.manifest(bench.name).layout == layout
    assert verified(bench).clean
    assert reindexed(bench, CollectionOptions(), [KEPT, NEW]) == ({"kept": CHUNKS}, {"swapped": CHUNKS})
    assert bench.store.manifest(bench.name).layout == layout
    vector = next(iter(bench.content().values()))[1]["swapped"]
    assert np.array_equal(np.float16(vector), np.float32(vector))  # type: ignore[arg-type]


def test_a_collection_kept_for_a_rollback_is_not_used_for_another_layout(bench: Bench) -> None:
    bench.run(FEW, MODELS)
    first = bench.store.manifest(bench.name).collection
    reindexed(bench, FLOAT16)
    assert reindexed(bench, CollectionOptions(datatype="float16", hnsw_m=8))[0] == {"kept": CHUNKS, "swapped": CHUNKS}
    assert bench.store.manifest(bench.name).collection != first


def test_vectors_in_fewer_bits_are_encoded_again_for_other_bits(
    tmp_path: Path, store: Store, store_kind: str, collection: str
) -> None:
    bench = Bench(store, tmp_path, collection)
    bench.run(FEW, MODELS, options=FLOAT16)
    if store_kind == "embedded":
        assert reindexed(bench, CollectionOptions(datatype="turbo16")) == ({}, {"kept": CHUNKS, "swapped": CHUNKS})
        assert verified(bench).clean
        return
    with pytest.raises(ConfigurationError, match=r"datatype 'turbo16', which Qdrant has from 1\.20 on"):
        reindexed(bench, CollectionOptions(datatype="turbo16"))
    assert [info.name for info in store.collections() if info.name.startswith(collection)] == [
        store.manifest(collection).collection
    ]


def test_vectors_in_fewer_bits_are_not_reused_for_another_collection(bench: Bench) -> None:
    bench.run(FEW, MODELS, options=FLOAT16)
    other = Bench(bench.store, bench.folder, f"{bench.name}_other")
    with pytest.raises(ConfigurationError, match="no vector of the same model, distance and datatype"):
        other.run(FEW, MODELS, reuse=[bench.name])
    third = Bench(bench.store, bench.folder, f"{bench.name}_third")
    assert third.run(FEW, MODELS, reuse=["all"]).chunks.copied == 0
