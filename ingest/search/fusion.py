"""Where vectors meet: rankings of several vectors become one. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

RRF_K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""


@dataclass(frozen=True, slots=True)
class Fused:
    """One candidate: its score and, per vector that found it, its rank from 1."""

    id: str
    score: float
    ranks: Mapping[str, int] = field(default_factory=dict)


def reciprocal_rank_fusion(rankings: Mapping[str, Sequence[str]], weights: Mapping[str, float], k: int = RRF_K) -> list[Fused]:
    """Weighted RRF: score = Σ weight / (k + rank), the best rank being 0 as in Qdrant's own fusion; best first, ties by id.

    `rankings`: vector name → ids, best first. A vector without a weight counts 1.
    """
    scores: dict[str, float] = {}
    ranks: dict[str, dict[str, int]] = {}
    for name, ids in rankings.items():
        weight = weights.get(name, 1.0)
        for rank, id_ in enumerate(ids):
            scores[id_] = scores.get(id_, 0.0) + weight / (k + rank)
            ranks.setdefault(id_, {})[name] = rank + 1
    ordered = sorted(scores, key=lambda id_: (-scores[id_], id_))
    return [Fused(id_, scores[id_], ranks[id_]) for id_ in ordered]
