"""Fusion: the arithmetic, and that weights really act."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.search.fusion import reciprocal_rank_fusion

RANKINGS = {"dense": ["a", "b", "c"], "bm25": ["b", "d"]}


def test_scores_are_sums_of_reciprocal_ranks_from_zero() -> None:
    fused = {each.id: each for each in reciprocal_rank_fusion(RANKINGS, {}, k=60)}
    assert fused["b"].score == pytest.approx(1 / 61 + 1 / 60)
    assert fused["a"].score == pytest.approx(1 / 60)
    assert fused["b"].ranks == {"dense": 2, "bm25": 1}
    assert fused["a"].ranks == {"dense": 1}


def test_best_first_and_ties_by_id() -> None:
    assert [each.id for each in reciprocal_rank_fusion(RANKINGS, {})] == ["b", "a", "d", "c"]


def test_weights_change_the_order() -> None:
    assert [each.id for each in reciprocal_rank_fusion(RANKINGS, {"dense": 10.0})][:2] == ["b", "a"]
    assert [each.id for each in reciprocal_rank_fusion({"dense": ["a"], "bm25": ["d"]}, {"bm25": 2.0})] == ["d", "a"]


@given(st.dictionaries(st.sampled_from("xyz"), st.lists(st.sampled_from("abcdefgh"), unique=True)))
def test_every_candidate_appears_once(rankings: dict[str, list[str]]) -> None:
    fused = [each.id for each in reciprocal_rank_fusion(rankings, {})]
    assert sorted(fused) == sorted({id_ for ids in rankings.values() for id_ in ids})
