"""Fusion: the arithmetic, and that weights really act."""

from __future__ import annotations

import math
from statistics import pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.records import ScoredPoint
from ingest.search.fusion import Fused, FusionMethod, Rankings, fuse

METHODS: list[FusionMethod] = ["scores", "rrf", "dbsf"]


def ranking(**scores: float) -> list[ScoredPoint]:
    return [ScoredPoint(id_, score, {}) for id_, score in scores.items()]


def long_ranking(best: float, step: float, count: int, prefix: str = "p") -> list[ScoredPoint]:
    return [ScoredPoint(f"{prefix}{number:03}", best - step * number, {}) for number in range(count)]


RANKINGS = {"dense": ranking(a=0.9, b=0.8, c=0.1), "bm25": ranking(b=12.0, d=3.0)}


def by_id(fused: list[Fused]) -> dict[str, float]:
    return {each.id: each.score for each in fused}


def test_rrf_scores_are_sums_of_reciprocal_ranks_from_zero() -> None:
    fused = {each.id: each for each in fuse(RANKINGS, {}, "rrf")}
    assert fused["b"].score == pytest.approx(1 / 61 + 1 / 60)
    assert fused["a"].score == pytest.approx(1 / 60)
    assert fused["b"].ranks == {"dense": 2, "bm25": 1}
    assert fused["a"].ranks == {"dense": 1}


def test_dbsf_brings_scores_to_one_scale() -> None:
    fused = by_id(fuse({"bm25": ranking(b=12.0, d=3.0)}, {}, "dbsf"))
    deviation = 4.5 * 2**0.5
    assert fused["b"] == pytest.approx(0.5 + 4.5 / (6 * deviation))
    assert fused["d"] == pytest.approx(0.5 - 4.5 / (6 * deviation))
    assert fuse({"one": ranking(x=3.0)}, {}, "dbsf")[0].score == 0.5
    assert {each.score for each in fuse({"flat": ranking(x=3.0, y=3.0)}, {}, "dbsf")} == {0.5}


def test_a_complete_list_ends_at_the_median_or_at_zero() -> None:
    """Dense: the median of 0.9, 0.8, 0.1 is 0.8. Sparse: 2.75 · 12 / 12 and 2.75 · 3 / 12."""
    fused = fuse(RANKINGS, {}, "scores", {"dense": 0.05})
    assert by_id(fused) == pytest.approx({"b": 2.75, "a": 0.1 / 0.05, "d": 2.75 / 4, "c": 0.0})
    assert [each.id for each in fused] == ["b", "a", "d", "c"]
    even = fuse({"dense": ranking(a=0.9, b=0.7)}, {}, "scores", {"dense": 0.1})
    assert by_id(even) == pytest.approx({"a": 1.0, "b": 0.0})


def test_a_long_list_ends_at_rank_100_whatever_its_depth() -> None:
    """The dense end is 0.9 - 99 · 0.001; the sparse one 12 - 99 · 0.1, of which the best is 12."""
    for count in (100, 130):
        rankings = {"dense": long_ranking(0.9, 0.001, count), "bm25": long_ranking(12.0, 0.1, count, "q")}
        fused = by_id(fuse(rankings, {}, "scores", {"dense": 0.05}))
        assert fused["p000"] == pytest.approx(0.099 / 0.05)
        assert fused["p050"] == pytest.approx(0.049 / 0.05)
        assert fused["q000"] == pytest.approx(2.75 * 9.9 / 12)
        assert fused["q098"] == pytest.approx(2.75 * 0.1 / 12)
        assert fused["p099"] == fused["q099"] == pytest.approx(0.0, abs=1e-12)
        assert all(fused[f"{prefix}{number:03}"] == 0.0 for prefix in "pq" for number in range(100, count))
    assert by_id(fuse({"bm25": long_ranking(12.0, 0.1, 99, "q")}, {}, "scores"))["q098"] == pytest.approx(2.75 * 2.2 / 12)


def test_a_candidate_shows_what_each_vector_adds() -> None:
    best = fuse(RANKINGS, {"bm25": 0.5}, "scores", {"dense": 0.05})[0]
    assert (best.id, best.ranks, best.vector_scores) == ("a", {"dense": 1}, {"dense": 0.9})
    assert best.contributions == pytest.approx({"dense": 2.0})
    second = fuse(RANKINGS, {"bm25": 0.5}, "scores", {"dense": 0.05})[1]
    assert (second.id, second.ranks, second.vector_scores) == ("b", {"dense": 2, "bm25": 1}, {"dense": 0.8, "bm25": 12.0})
    assert second.contributions == pytest.approx({"dense": 0.0, "bm25": 0.5 * 2.75})
    assert second.score == sum(second.contributions.values())


def test_vectors_of_one_kind_share_their_say() -> None:
    rankings = {name: ranking(a=0.9, b=0.5, c=0.1) for name in ("one", "two")} | {"bm25": ranking(d=5.0)}
    fused = by_id(fuse(rankings, {}, "scores", {"one": 0.1, "two": 0.2}))
    assert fused["a"] == pytest.approx((0.4 / 0.1 + 0.4 / 0.2) / math.sqrt(2))
    assert fused["d"] == pytest.approx(2.75)
    sparse = {"bm25": ranking(d=5.0), "splade": ranking(d=9.0)}
    assert by_id(fuse(sparse, {}, "scores"))["d"] == pytest.approx(2 * 2.75 / math.sqrt(2))


def test_without_a_sigma_the_list_sets_the_scale() -> None:
    scores = [0.9, 0.6, 0.3]
    fused = by_id(fuse({"dense": ranking(a=0.9, b=0.6, c=0.3)}, {}, "scores", {"dense": None}))
    assert fused == pytest.approx({"a": 0.3 / pstdev(scores), "b": 0.0, "c": 0.0})


def test_equal_scores_and_ties_are_ordered_by_best_rank_then_id() -> None:
    flat = {"dense": ranking(z=0.5, y=0.5), "bm25": ranking(y=0.0, x=0.0)}
    fused = fuse(flat, {}, "scores", {"dense": 0.1})
    assert [(each.id, each.score) for each in fused] == [("y", 0.0), ("z", 0.0), ("x", 0.0)]


def test_the_best_candidates_are_the_first_of_all() -> None:
    everything = fuse(RANKINGS, {}, "scores", {"dense": 0.05})
    assert fuse(RANKINGS, {}, "scores", {"dense": 0.05}, most=2) == everything[:2]
    assert fuse(RANKINGS, {}, "scores", {"dense": 0.05}, most=9) == everything


def test_a_distance_counts_the_other_way_round() -> None:
    near_first = ranking(a=0.1, b=0.5, c=0.9)
    assert by_id(fuse({"dense": near_first}, {}, "scores", {"dense": 0.2})) == pytest.approx({"a": 2.0, "b": 0.0, "c": 0.0})
    assert [each.id for each in fuse({"dense": near_first}, {}, "dbsf")] == ["a", "b", "c"]


@pytest.mark.parametrize("method", METHODS)
def test_weights_change_the_order(method: FusionMethod) -> None:
    rankings = {"dense": ranking(a=1.0, x=0.9), "bm25": ranking(d=1.0, y=0.9)}
    sigmas = {"dense": 0.05 / 2.75}
    assert fuse(rankings, {"bm25": 0.9}, method, sigmas)[0].id == "a"
    assert fuse(rankings, {"bm25": 2.0}, method, sigmas)[0].id == "d"
    assert by_id(fuse(rankings, {"bm25": 0.0}, method, sigmas))["d"] == 0.0


SCORE = st.floats(-1e6, 1e6)
LISTS = st.lists(st.builds(ScoredPoint, st.sampled_from("abcdefgh"), SCORE, st.just({})), unique_by=lambda point: point.id).map(
    lambda found: sorted(found, key=lambda point: -point.score)
)


@pytest.mark.parametrize("method", METHODS)
@given(rankings=st.dictionaries(st.sampled_from("xyz"), LISTS), sigma=st.none() | st.floats(1e-3, 10))
def test_every_candidate_appears_once_with_a_finite_score(method: FusionMethod, rankings: Rankings, sigma: float | None) -> None:
    fused = fuse(rankings, {}, method, {"x": sigma, "y": None})
    assert sorted(each.id for each in fused) == sorted({point.id for found in rankings.values() for point in found})
    assert all(math.isfinite(each.score) for each in fused)
    if method == "scores":
        assert all(each.score >= 0 for each in fused)
