"""Fusion weights, found on half of the judged queries and tested on the other half. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from ingest.errors import ConfigurationError
from ingest.search.beir import is_held_out
from ingest.search.fusion import Fused, Rankings, documents
from ingest.search.metrics import Judge, Judgements, Run

WEIGHTS = tuple(sorted((2 ** (step / 2) for step in range(-8, 9)), key=lambda weight: (abs(math.log(weight)), weight)))
"""Weights tried for a vector while the first has 1: 1/16 to 16 in steps of √2. The nearest to 1 comes first and wins a tie."""

Fuse = Callable[[Rankings, Mapping[str, float]], Sequence[Fused]]
"""Rankings and weights → candidates, best first."""

ROUNDS = 5
"""Most passes over all vectors. The search ends sooner when a pass improves nothing."""


@dataclass(frozen=True, slots=True)
class TunedHalf:
    """One half of the queries: their number, and their mean nDCG@10 with equal and with tuned weights."""

    queries: int
    equal: float
    tuned: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """The result of tuning.

    Attributes:
        weights: vector name → weight; only their ratio counts.
        training: the half that the weights were found on; they never score below equal weights there.
        held_out: the other half, which shows what to expect of other queries.
    """

    weights: Mapping[str, float]
    training: TunedHalf
    held_out: TunedHalf

    @property
    def toml(self) -> str:
        """The weights as a table of `ingest.toml`."""
        return "\n".join(["[weights]", *(f"{json.dumps(name)} = {weight:g}" for name, weight in self.weights.items())])


def tune(rankings: Mapping[str, Rankings], judgements: Judgements, fuse: Fuse) -> Tuned:
    """Return weights that raise nDCG@10 on the queries that are not held out, by coordinate search from equal weights.

    Change a weight only if nDCG improves by more than one standard error over the queries; smaller gains are noise. So vectors of
    about the same quality keep equal weights.

    Args:
        rankings: query id → rankings, with `doc_id` in the payloads and the same vectors for every query.
        judgements: judgements of the same queries.
        fuse: the fusion to tune.

    Raises as `check_tunable` does.
    """
    names = list(dict.fromkeys(name for of_query in rankings.values() for name in of_query))
    check_tunable(names, judgements)
    halves = (_HalfOfQueries(rankings, judgements, fuse, held_out=held_out) for held_out in (False, True))
    training, held_out = halves
    equal = dict.fromkeys(names, 1.0)
    weights = _search(training, equal)
    return Tuned(
        weights,
        *(
            TunedHalf(len(half.judgements), fmean(half.ndcg_10(equal)), fmean(half.ndcg_10(weights)))
            for half in (training, held_out)
        ),
    )


def check_tunable(vectors: Sequence[str], query_ids: Collection[str]) -> None:
    """Raise `ConfigurationError` if there is only one vector, or a half without queries."""
    if len(vectors) < 2:  # noqa: PLR2004  one has no ratio to another
        raise ConfigurationError(
            f"tuning weighs vectors against each other, and there is only {', '.join(vectors)}: leave it out"
        )
    if len({is_held_out(query_id) for query_id in query_ids}) < 2:  # noqa: PLR2004  both halves
        raise ConfigurationError(
            f"{len(query_ids)} judged queries are too few to tune on half of them: judge more, or leave tuning out"
        )


class _HalfOfQueries:
    """One half of the queries, fused once for each set of weights."""

    def __init__(self, rankings: Mapping[str, Rankings], judgements: Judgements, fuse: Fuse, *, held_out: bool) -> None:
        self.judgements = {id_: judged for id_, judged in judgements.items() if is_held_out(id_) == held_out}
        self._rankings = {id_: rankings[id_] for id_ in self.judgements}
        self._fuse = fuse
        self._judge = Judge(self.judgements)

    def ndcg_10(self, weights: Mapping[str, float]) -> list[float]:
        """Return the nDCG@10 of each query."""
        run: Run = {id_: documents(self._fuse(of_query, weights), of_query) for id_, of_query in self._rankings.items()}
        return list(self._judge.ndcg_10(run).values())


def _search(queries: _HalfOfQueries, start: Mapping[str, float]) -> dict[str, float]:
    weights, best = dict(start), queries.ndcg_10(start)
    for _ in range(ROUNDS):
        before = weights
        for name in list(weights)[1:]:  # only ratios count: the first keeps its weight
            for weight in WEIGHTS:
                tried = {**weights, name: weight}
                if _is_better(ndcg := queries.ndcg_10(tried), best):
                    weights, best = tried, ndcg
        if weights == before:
            break
    return weights


def _is_better(tried: Sequence[float], best: Sequence[float]) -> bool:
    gains = [after - before for after, before in zip(tried, best, strict=True)]
    error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return fmean(gains) > error
