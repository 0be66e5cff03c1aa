"""Where vectors meet: rankings of several vectors become one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from ingest.records import ScoredPoint

RRF_K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

FusionMethod = Literal["rrf", "dbsf"]
"""`rrf`: weighted reciprocal ranks. `dbsf`: weighted scores, each vector's brought to one scale by its distribution."""

Rankings = Mapping[str, Sequence[ScoredPoint]]
"""Vector name → what it found, best first."""


@dataclass(frozen=True, slots=True)
class Fused:
    """One candidate: its score and, per vector that found it, its rank from 1."""

    id: str
    score: float
    ranks: Mapping[str, int]


def fuse(rankings: Rankings, weights: Mapping[str, float], method: FusionMethod = "rrf") -> list[Fused]:
    """One list, best first, ties by id. A vector without a weight counts 1.

    RRF: score = Σ weight / (60 + rank), the best rank being 0. DBSF: score = Σ weight · (s - (μ - 3σ)) / 6σ, with mean and sample
    deviation of that vector's scores, and 1/2 where they do not differ. Both are what Qdrant computes itself with equal weights.
    """
    score = _METHODS[method]
    scores: dict[str, float] = {}
    ranks: dict[str, dict[str, int]] = {}
    for name, found in rankings.items():
        weight = weights.get(name, 1.0)
        for rank, (point, value) in enumerate(zip(found, score(found), strict=True), start=1):
            scores[point.id] = scores.get(point.id, 0.0) + weight * value
            ranks.setdefault(point.id, {})[name] = rank
    ordered = sorted(scores, key=lambda id_: (-scores[id_], id_))
    return [Fused(id_, scores[id_], ranks[id_]) for id_ in ordered]


def documents(candidates: Sequence[Fused], rankings: Rankings) -> list[str]:
    """Ids of the candidates' documents, in the order of each one's best chunk; `doc_id` is in the rankings' payloads."""
    doc_ids = {point.id: str(point.payload["doc_id"]) for found in rankings.values() for point in found}
    return list(dict.fromkeys(doc_ids[candidate.id] for candidate in candidates))


def _reciprocal_ranks(found: Sequence[ScoredPoint]) -> list[float]:
    return [1 / (RRF_K + rank) for rank in range(len(found))]


def _normalized_scores(found: Sequence[ScoredPoint]) -> list[float]:
    scores = [point.score for point in found]
    deviation = stdev(scores) if len(scores) > 1 else 0.0
    if deviation == 0.0:
        return [0.5] * len(scores)
    lowest = fmean(scores) - 3 * deviation
    return [(score - lowest) / (6 * deviation) for score in scores]


_METHODS: dict[FusionMethod, Callable[[Sequence[ScoredPoint]], list[float]]] = {
    "rrf": _reciprocal_ranks,
    "dbsf": _normalized_scores,
}
