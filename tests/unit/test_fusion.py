"""Fusion: the arithmetic, and that weights really act."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.records import ScoredPoint
from ingest.search.fusion import FusionMethod, fuse


def ranking(**scores: float) -> list[ScoredPoint]:
    return [ScoredPoint(id_, score, {}) for id_, score in scores.items()]


RANKINGS = {"dense": ranking(a=0.9, b=0.8, c=0.1), "bm25": ranking(b=12.0, d=3.0)}


def test_rrf_scores_are_sums_of_reciprocal_ranks_from_zero() -> None:
    fused = {each.id: each for each in fuse(RANKINGS, {})}
    assert fused["b"].score == pytest.approx(1 / 61 + 1 / 60)
    assert fused["a"].score == pytest.approx(1 / 60)
    assert fused["b"].ranks == {"dense": 2, "bm25": 1}
    assert fused["a"].ranks == {"dense": 1}


def test_dbsf_brings_scores_to_one_scale() -> None:
    fused = {each.id: each.score for each in fuse({"bm25": ranking(b=12.0, d=3.0)}, {}, "dbsf")}
    deviation = 4.5 * 2**0.5
    assert fused["b"] == pytest.approx(0.5 + 4.5 / (6 * deviation))
    assert fused["d"] == pytest.approx(0.5 - 4.5 / (6 * deviation))
    assert fuse({"one": ranking(x=3.0)}, {}, "dbsf")[0].score == 0.5
    assert {each.score for each in fuse({"flat": ranking(x=3.0, y=3.0)}, {}, "dbsf")} == {0.5}


def test_best_first_and_ties_by_id() -> None:
    assert [each.id for each in fuse(RANKINGS, {})] == ["b", "a", "d", "c"]


@pytest.mark.parametrize("method", ["rrf", "dbsf"])
def test_weights_change_the_order(method: FusionMethod) -> None:
    rankings = {"dense": ranking(a=1.0), "bm25": ranking(d=1.0)}
    assert [each.id for each in fuse(rankings, {}, method)] == ["a", "d"]
    assert [each.id for each in fuse(rankings, {"bm25": 2.0}, method)] == ["d", "a"]


@pytest.mark.parametrize("method", ["rrf", "dbsf"])
@given(
    rankings=st.dictionaries(
        st.sampled_from("xyz"),
        st.lists(
            st.builds(ScoredPoint, st.sampled_from("abcdefgh"), st.floats(-1e6, 1e6), st.just({})),
            unique_by=lambda point: point.id,
        ),
    )
)
def test_every_candidate_appears_once(method: FusionMethod, rankings: dict[str, list[ScoredPoint]]) -> None:
    fused = [each.id for each in fuse(rankings, {}, method)]
    assert sorted(fused) == sorted({point.id for found in rankings.values() for point in found})
