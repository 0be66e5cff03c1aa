"""Fusion of the rankings of several vectors into one. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, pstdev, stdev
from typing import Literal

from ingest.records import ScoredPoint

CANDIDATES = 100
"""Least number of points per vector that enter the fusion. In `scores`, the point of this rank contributes 0."""

BEST_SPARSE = 2.75
"""The contribution of a sparse vector's best hit to `scores`, in standard deviations of a dense vector's similarity."""

RRF_K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

FusionMethod = Literal["scores", "rrf", "dbsf"]
"""`scores`: weighted scores, each vector's on a scale that holds for the collection. `rrf`: weighted reciprocal ranks. `dbsf`:
weighted scores, each vector's normalized by their distribution for the query."""

Rankings = Mapping[str, Sequence[ScoredPoint]]
"""Vector name → the points it found, best first."""

Sigmas = Mapping[str, float | None]
"""Name of a dense vector → the standard deviation of the similarity between two random chunks, or None if it is unknown."""


@dataclass(frozen=True, slots=True)
class Fused:
    """One candidate.

    Attributes:
        id: the chunk's UUID string.
        score: sum of its contributions.
        ranks: vector name → rank in that vector's list, from 1. A vector that did not find it is absent, here and below.
        vector_scores: vector name → score of the store.
        contributions: vector name → what it adds to `score`.
        group: the group it stands for in a grouped search, or None.
    """

    id: str
    score: float
    ranks: Mapping[str, int]
    vector_scores: Mapping[str, float]
    contributions: Mapping[str, float]
    group: str | int | float | bool | None = None


def fuse(
    rankings: Rankings,
    weights: Mapping[str, float],
    method: FusionMethod = "scores",
    sigmas: Sigmas | None = None,
    *,
    most: int | None = None,
) -> list[Fused]:
    """Return the candidates, best first, ties by best rank and id. A candidate's score is the weighted sum over its vectors.

    A vector adds nothing for points after rank 100, so a deeper ranking only appends candidates.

    `scores` (0 or more; the sum of these, where n is the number of vectors of that kind):
        dense vector: (s - end) / sigma / √n, at least 0
        sparse vector: 2.75 · (s - end) / best / √n, at least 0
        `end` is the score at rank 100 and `best` that at rank 1. A list of fewer than 100 points is complete; its end is 0 for a
        sparse vector and the median for a dense one.
    `rrf` (0 or more): 1 / (60 + rank), with ranks from 0.
    `dbsf` (about 0 to 1 per vector): (s - (μ - 3σ)) / 6σ, with the mean and sample deviation of that vector's scores, or 1/2 if
        they are all equal.
    With equal weights the last two match Qdrant's own fusion.

    Args:
        rankings: the points of each vector. `scores` requires at least 100 per vector, or all there are.
        weights: vector name → weight, by default 1.
        method: how to bring the vectors' scores to one scale.
        sigmas: for `scores`: every dense vector; a vector without an entry is sparse.
        most: number of candidates to return, the best ones. None: all.
    """
    unweighted = _contributions(rankings, method, sigmas or {})
    weighted = {name: _weighted(values, weights.get(name, 1.0)) for name, values in unweighted.items()}
    totals: dict[str, float] = {}
    for name, ranking in rankings.items():
        for point, value in zip(ranking, weighted[name], strict=True):
            totals[point.id] = totals.get(point.id, 0.0) + value
    if most is not None and most < len(totals):  # records of the others would take longer than all the rest
        least = sorted(totals.values(), reverse=True)[most - 1]
        totals = {id_: total for id_, total in totals.items() if total >= least}
    ranks: dict[str, dict[str, int]] = {id_: {} for id_ in totals}
    scores: dict[str, dict[str, float]] = {id_: {} for id_ in totals}
    contributions: dict[str, dict[str, float]] = {id_: {} for id_ in totals}
    for name, ranking in rankings.items():
        for rank, (point, value) in enumerate(zip(ranking, weighted[name], strict=True), start=1):
            id_ = point.id
            if id_ in totals:
                ranks[id_][name], scores[id_][name], contributions[id_][name] = rank, point.score, value
    order = sorted((-total, min(ranks[id_].values()), id_) for id_, total in totals.items())
    return [Fused(id_, totals[id_], ranks[id_], scores[id_], contributions[id_]) for _, _, id_ in order[:most]]


def documents(candidates: Sequence[Fused], rankings: Rankings) -> list[str]:
    """Return the ids of the candidates' documents by best chunk. The rankings' payloads contain `doc_id`."""
    doc_ids = {point.id: str(point.payload["doc_id"]) for ranking in rankings.values() for point in ranking}
    return list(dict.fromkeys(doc_ids[candidate.id] for candidate in candidates))


def _contributions(rankings: Rankings, method: FusionMethod, sigmas: Sigmas) -> dict[str, list[float]]:
    """Return vector name → what each point of its ranking contributes with the weight 1."""
    if method == "rrf":
        return {name: _reciprocal(len(ranking)) for name, ranking in rankings.items()}
    similarities = {name: _similarities(ranking) for name, ranking in rankings.items()}
    if method == "dbsf":
        return {name: _padded(_normalized(values[:CANDIDATES]), len(values)) for name, values in similarities.items()}
    return _scaled(similarities, sigmas)


def _similarities(ranking: Sequence[ScoredPoint]) -> list[float]:
    """Return the scores such that higher is better: those of a distance, which ascend, with the opposite sign."""
    scores = [point.score for point in ranking]
    return [-score for score in scores] if scores and scores[0] < scores[-1] else scores


def _scaled(similarities: Mapping[str, Sequence[float]], sigmas: Sigmas) -> dict[str, list[float]]:
    """Return what each point contributes to `scores`, see `fuse`."""
    dense = sum(name in sigmas for name in similarities)
    sparse = len(similarities) - dense
    scaled = {}
    for name, values in similarities.items():
        if not values:
            end, unit = 0.0, 0.0
        elif name in sigmas:
            end, unit = _end(values, median(values)), (sigmas[name] or pstdev(values)) * math.sqrt(dense)
        else:
            end, unit = _end(values, 0.0), values[0] / BEST_SPARSE * math.sqrt(sparse)
        head = values[:CANDIDATES] if unit > 0 else []
        scaled[name] = _padded([(value - end) / unit if value > end else 0.0 for value in head], len(values))
    return scaled


def _weighted(values: list[float], weight: float) -> list[float]:
    return values if weight == 1 else [weight * value for value in values]


def _end(values: Sequence[float], of_complete_list: float) -> float:
    return values[CANDIDATES - 1] if len(values) >= CANDIDATES else of_complete_list


def _reciprocal(length: int) -> list[float]:
    return _padded([1 / (RRF_K + rank) for rank in range(min(length, CANDIDATES))], length)


def _padded(values: list[float], length: int) -> list[float]:
    return values + [0.0] * (length - len(values))


def _normalized(values: Sequence[float]) -> list[float]:
    deviation = stdev(values) if len(values) > 1 else 0.0
    if deviation == 0.0:
        return [0.5] * len(values)
    lowest = fmean(values) - 3 * deviation
    return [(value - lowest) / (6 * deviation) for value in values]
