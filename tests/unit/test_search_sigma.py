"""The scale of a dense vector's scores, and feedback: the arithmetic."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from ingest.search.feedback import refined, vectors_to_refine
from ingest.store.contract import Distance
from ingest.store.similarity import sigma

RANDOM = np.random.default_rng(5)
VECTORS = RANDOM.standard_normal((40, 6)).astype(np.float32)


def similarity(one: np.ndarray, other: np.ndarray, distance: Distance) -> float:
    match distance:
        case "cosine":
            return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
        case "dot":
            return float(one @ other)
        case "euclid":
            return float(np.linalg.norm(one - other))
        case "manhattan":
            return float(np.abs(one - other).sum())


@pytest.mark.parametrize("distance", ["cosine", "dot", "euclid", "manhattan"])
def test_sigma_is_the_deviation_over_all_pairs(distance: Distance) -> None:
    pairs = [similarity(one, other, distance) for one, other in combinations(VECTORS.astype(np.float64), 2)]
    assert sigma(VECTORS, distance) == pytest.approx(np.std(pairs), rel=1e-5)


def test_too_few_or_equal_chunks_have_no_sigma() -> None:
    assert [sigma(VECTORS[:count], "cosine") for count in (0, 1, 2)] == [None, None, None]
    assert sigma(VECTORS[:3], "cosine") is not None
    assert sigma(np.repeat(VECTORS[:1], 20, axis=0), "cosine") is None
    assert sigma(np.zeros((5, 6), dtype=np.float32), "cosine") is None


def test_a_query_moves_half_way_to_the_mean_of_the_chunks() -> None:
    query, chunks = np.array([2.0, 0.0], dtype=np.float32), [np.array([0.0, 1.0], dtype=np.float32)] * 2
    moved = refined(query, chunks)
    assert moved == pytest.approx(np.array([1.0, 0.5]) / np.hypot(1.0, 0.5))
    assert moved.dtype == np.float32
    assert refined(query, []) is query


def test_only_dense_vectors_beside_others_are_refined() -> None:
    dense = ["one", "two"]
    assert vectors_to_refine(["one", "bm25"], dense, {}) == ["one"]
    assert vectors_to_refine(["one", "two"], dense, {}) == ["one", "two"]
    assert vectors_to_refine(["one"], dense, {}) == []
    assert vectors_to_refine(["bm25", "splade"], dense, {}) == []
    assert vectors_to_refine(["one", "bm25"], dense, {"bm25": 0.0}) == []
    assert vectors_to_refine(["one", "two", "bm25"], dense, {"two": 0.0}) == ["one"]
