"""Weights of the fusion, found on half of the judged questions and tried on the other half. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from ingest.errors import ConfigurationError
from ingest.search.beir import is_held_out
from ingest.search.fusion import Rankings, documents, fuse
from ingest.search.metrics import Judge, Judgements, Run

WEIGHTS = tuple(sorted((2 ** (step / 2) for step in range(-8, 9)), key=lambda weight: (abs(math.log(weight)), weight)))
"""What is tried for a vector while the first has 1: 1/16 to 16 in steps of √2, the nearest to 1 first, so that it wins a tie."""

ROUNDS = 5
"""Times that all vectors are gone through at most; it ends sooner where nothing gets better."""


@dataclass(frozen=True, slots=True)
class Half:
    """One half of the questions: how many, and their mean nDCG@10 with equal and with tuned weights."""

    questions: int
    equal: float
    tuned: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """What tuning found.

    Attributes:
        weights: vector name → weight; what counts is their ratio.
        training: the half they were found on: never worse than equal weights there.
        held_out: the half they were not: what to expect of other questions.
    """

    weights: Mapping[str, float]
    training: Half
    held_out: Half

    @property
    def toml(self) -> str:
        """The weights as a table of `ingest.toml`."""
        return "\n".join(["[weights]", *(f"{json.dumps(name)} = {weight:g}" for name, weight in self.weights.items())])


def tune(rankings: Mapping[str, Rankings], judgements: Judgements) -> Tuned:
    """Weights with a better nDCG@10 on the questions that are not held out, by coordinate search from equal weights.

    A weight is changed only where that gains more than the standard error of the gain over the questions: less is as likely luck,
    and lost on other questions. So equal weights stay where the vectors are about as good as each other.

    Args:
        rankings: question id → what each vector found, with `doc_id` in the payloads; the same vectors for every question.
        judgements: of the same questions.

    Raises as `check_tunable` does.
    """
    names = list(dict.fromkeys(name for found in rankings.values() for name in found))
    check_tunable(names, judgements)
    halves = (_Questions(rankings, judgements, held_out=held_out) for held_out in (False, True))
    training, held_out = halves
    equal = dict.fromkeys(names, 1.0)
    weights = _search(training, equal)
    return Tuned(
        weights,
        *(Half(len(half.judgements), fmean(half.ndcg_10(equal)), fmean(half.ndcg_10(weights))) for half in (training, held_out)),
    )


def check_tunable(vectors: Sequence[str], questions: Collection[str]) -> None:
    """Raises `ConfigurationError` if there is one vector only, or a half without questions."""
    if len(vectors) < 2:  # noqa: PLR2004  one has no ratio to another
        raise ConfigurationError(
            f"tuning weighs vectors against each other, and there is only {', '.join(vectors)}: leave it out"
        )
    if len({is_held_out(question) for question in questions}) < 2:  # noqa: PLR2004  both halves
        raise ConfigurationError(
            f"{len(questions)} judged questions are too few to tune on half of them: judge more, or leave it out"
        )


class _Questions:
    """One half of the questions, to be fused again and again."""

    def __init__(self, rankings: Mapping[str, Rankings], judgements: Judgements, *, held_out: bool) -> None:
        self.judgements = {id_: judged for id_, judged in judgements.items() if is_held_out(id_) == held_out}
        self._rankings = {id_: rankings[id_] for id_ in self.judgements}
        self._judge = Judge(self.judgements)

    def ndcg_10(self, weights: Mapping[str, float]) -> list[float]:
        """Of each question."""
        run: Run = {id_: documents(fuse(found, weights), found) for id_, found in self._rankings.items()}
        return list(self._judge.ndcg_10(run).values())


def _search(questions: _Questions, start: Mapping[str, float]) -> dict[str, float]:
    weights, best = dict(start), questions.ndcg_10(start)
    for _ in range(ROUNDS):
        before = weights
        for name in list(weights)[1:]:  # only ratios count: the first keeps its weight
            for weight in WEIGHTS:
                tried = {**weights, name: weight}
                if _is_better(ndcg := questions.ndcg_10(tried), best):
                    weights, best = tried, ndcg
        if weights == before:
            break
    return weights


def _is_better(tried: Sequence[float], best: Sequence[float]) -> bool:
    gains = [after - before for after, before in zip(tried, best, strict=True)]
    error = stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return fmean(gains) > error
