"""Fusion of the rankings of several vectors into one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from ingest.records import ScoredPoint

RRF_K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

FusionMethod = Literal["rrf", "dbsf"]
"""`rrf`: weighted reciprocal ranks. `dbsf`: weighted scores, normalized by the distribution of each vector."""

Rankings = Mapping[str, Sequence[ScoredPoint]]
"""Vector name → the points it found, best first."""


@dataclass(frozen=True, slots=True)
class Fused:
    """One candidate: its id, its score, and its rank from 1 in each vector that found it."""

    id: str
    score: float
    ranks: Mapping[str, int]


def fuse(rankings: Rankings, weights: Mapping[str, float], method: FusionMethod = "rrf") -> list[Fused]:
    """Return all candidates, best first, ties by id. The default weight is 1.

    RRF: score = Σ weight / (60 + rank), with ranks from 0. DBSF: score = Σ weight · (s - (μ - 3σ)) / 6σ, with the mean and sample
    deviation of that vector's scores, or 1/2 if they are all equal. With equal weights both match Qdrant's own fusion.
    """
    score = _METHODS[method]
    scores: dict[str, float] = {}
    ranks: dict[str, dict[str, int]] = {}
    for name, ranking in rankings.items():
        weight = weights.get(name, 1.0)
        for rank, (point, value) in enumerate(zip(ranking, score(ranking), strict=True), start=1):
            scores[point.id] = scores.get(point.id, 0.0) + weight * value
            ranks.setdefault(point.id, {})[name] = rank
    ordered = sorted(scores, key=lambda id_: (-scores[id_], id_))
    return [Fused(id_, scores[id_], ranks[id_]) for id_ in ordered]


def documents(candidates: Sequence[Fused], rankings: Rankings) -> list[str]:
    """Return the ids of the candidates' documents by best chunk. The rankings' payloads contain `doc_id`."""
    doc_ids = {point.id: str(point.payload["doc_id"]) for ranking in rankings.values() for point in ranking}
    return list(dict.fromkeys(doc_ids[candidate.id] for candidate in candidates))


def _reciprocal_ranks(ranking: Sequence[ScoredPoint]) -> list[float]:
    return [1 / (RRF_K + rank) for rank in range(len(ranking))]


def _normalized_scores(ranking: Sequence[ScoredPoint]) -> list[float]:
    scores = [point.score for point in ranking]
    deviation = stdev(scores) if len(scores) > 1 else 0.0
    if deviation == 0.0:
        return [0.5] * len(scores)
    lowest = fmean(scores) - 3 * deviation
    return [(score - lowest) / (6 * deviation) for score in scores]


_METHODS: dict[FusionMethod, Callable[[Sequence[ScoredPoint]], list[float]]] = {
    "rrf": _reciprocal_ranks,
    "dbsf": _normalized_scores,
}
