"""What every store does with multivectors: one row per token, compared by max-sim."""

from __future__ import annotations

import uuid
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from store_data import manifest

from ingest.errors import ManifestMismatchError
from ingest.records import Point
from ingest.store.contract import CollectionOptions, Manifest, Store, VectorQuery, VectorSpec

DIM, POINTS = 16, 40
RNG = np.random.default_rng(0)


def _rows(count: int) -> NDArray[np.float32]:
    rows = RNG.standard_normal((count, DIM), np.float32)
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


STORED = {str(uuid.UUID(int=number + 1)): _rows(1 + number % 7) for number in range(POINTS)}
QUERIES = [_rows(4) for _ in range(200)]


def _manifest(collection: str) -> Manifest:
    both = (VectorSpec("dense", DIM, "dense-1"), VectorSpec("late", DIM, "late-1", distance="dot", multi=True))
    return replace(manifest(collection), vectors=both, weights={})


def _ready(store: Store, collection: str, options: CollectionOptions = CollectionOptions()) -> Store:
    store.ensure(_manifest(collection), options)
    store.upsert(collection, [Point(id_, {"dense": rows[0], "late": rows}, {"n": len(rows)}) for id_, rows in STORED.items()])
    return store


def _ranking(query: NDArray[np.float32], ids: list[str]) -> list[tuple[str, float]]:
    scores = {id_: float((query @ STORED[id_].T).max(axis=1).sum()) for id_ in ids}
    return sorted(scores.items(), key=lambda pair: -pair[1])


def test_multivectors_come_back_as_they_were_stored(store: Store, collection: str) -> None:
    _ready(store, collection)
    assert store.manifest(collection) == _manifest(collection)
    for found in [*store.scroll(collection, vectors=True), *store.retrieve(collection, list(STORED), vectors=["late"])]:
        late = found.vectors["late"]
        assert isinstance(late, np.ndarray)
        assert late.dtype == np.float32
        assert np.array_equal(late, STORED[found.id])


def test_the_order_is_that_of_a_plain_max_sim(store: Store, collection: str) -> None:
    _ready(store, collection)
    found = store.query(collection, [VectorQuery("late", query, POINTS) for query in QUERIES], payload=False)
    for query, points in zip(QUERIES, found, strict=True):
        expected = _ranking(query, list(STORED))
        assert [point.id for point in points] == [id_ for id_, _ in expected]
        assert [point.score for point in points] == pytest.approx([score for _, score in expected], abs=1e-5)


def test_a_query_compares_with_the_named_points_alone(store: Store, collection: str) -> None:
    _ready(store, collection)
    some = list(STORED)[5:12]
    [found, none] = store.query(
        collection, [VectorQuery("late", QUERIES[0], POINTS, among=tuple(some)), VectorQuery("dense", QUERIES[0][0], 9, among=())]
    )
    assert [point.id for point in found] == [id_ for id_, _ in _ranking(QUERIES[0], some)]
    assert none == []


def test_a_multivector_is_replaced_by_one_of_another_length(store: Store, collection: str) -> None:
    _ready(store, collection)
    first, longer = next(iter(STORED)), _rows(9)
    store.update_vectors(collection, {first: {"late": longer}})
    [found] = store.retrieve(collection, [first], vectors=True)
    assert np.array_equal(np.asarray(found.vectors["late"]), longer)
    assert np.allclose(np.asarray(found.vectors["dense"]), STORED[first][0], atol=1e-6)


@pytest.mark.parametrize("quantization", ["scalar", "binary"])
def test_every_layout_keeps_and_finds_multivectors(store: Store, collection: str, quantization: str) -> None:
    _ready(store, collection, CollectionOptions(quantization=quantization, on_disk=True))  # type: ignore[arg-type]  # a parameter
    store.finalize(collection)
    [found] = store.query(collection, [VectorQuery("late", QUERIES[0], 3, exact=True)])
    assert [point.id for point in found] == [id_ for id_, _ in _ranking(QUERIES[0], list(STORED))[:3]]


def test_a_dense_vector_cannot_become_a_multivector(store: Store, collection: str) -> None:
    _ready(store, collection)
    dense, late = _manifest(collection).vectors
    with pytest.raises(ManifestMismatchError, match="dense"):
        store.write_manifest(replace(_manifest(collection), vectors=(replace(dense, multi=True), late)))
