"""Late interaction: the multivectors score the best fused candidates again, inside the store. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ingest.records import ScoredPoint
from ingest.search.fusion import Fused
from ingest.search.grouping import regrouped

LATE_CANDIDATES = 100
"""Least number of fused candidates or groups that the multivectors score."""

LateMode = Literal["rerank", "fuse", "off"]
"""`rerank`: the multivectors order the best fused candidates. `fuse`: they are fused like the other vectors. `off`: neither."""


def reordered(head: Sequence[Fused], rankings: Mapping[str, Sequence[ScoredPoint]], weights: Mapping[str, float]) -> list[Fused]:
    """Return the candidates by their max-sim, those of one group together; without a multivector last, in their order.

    A score is the weighted sum of the max-sims of the rankings. A boost multiplies it like the fused score.
    """
    places = {
        name: {point.id: (rank, point.score) for rank, point in enumerate(ranking, start=1)} for name, ranking in rankings.items()
    }
    scored = {id_ for of_vector in places.values() for id_ in of_vector}

    def order(candidate: Fused) -> tuple[bool, float]:
        return (False, -candidate.score) if candidate.id in scored else (True, 0.0)

    groups = [sorted((_scored(each, places, weights) for each in group), key=order) for group in regrouped(head)]
    return [each for group in sorted(groups, key=lambda group: order(group[0])) for each in group]


def _scored(candidate: Fused, places: Mapping[str, Mapping[str, tuple[int, float]]], weights: Mapping[str, float]) -> Fused:
    found = {name: of_vector[candidate.id] for name, of_vector in places.items() if candidate.id in of_vector}
    if not found:
        return candidate
    fused = sum(candidate.contributions.values())
    boost = candidate.score / fused if fused > 0 else 1.0
    return replace(
        candidate,
        score=boost * sum(weights.get(name, 1.0) * score for name, (_, score) in found.items()),
        ranks={**candidate.ranks, **{name: rank for name, (rank, _) in found.items()}},
        vector_scores={**candidate.vector_scores, **{name: score for name, (_, score) in found.items()}},
    )
