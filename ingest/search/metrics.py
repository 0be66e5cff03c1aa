"""How good rankings of documents are: nDCG@10, recall@100 and MRR@10, computed by ir-measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import MissingExtraError

if TYPE_CHECKING:
    from ir_measures import Evaluator, Measure

MAX_RELEVANCE = 16
"""Highest grade of a judgement: the library makes room for every gain up to the highest, and gains double from grade to grade."""

Judgements = Mapping[str, Mapping[str, int]]
"""Question id → document id → relevance: 0 or less is none, more is better."""

Run = Mapping[str, Sequence[str]]
"""Question id → document ids, best first, none twice."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over all judged questions, 0 to 1."""

    ndcg_10: float
    recall_100: float
    mrr_10: float


class Judge:
    """Scores runs by one set of judgements.

    The gain of relevance r is 2^r - 1 in nDCG; recall and MRR count what has relevance 1 or more. A judged question that a run
    leaves out, or has no answer to, scores 0. What is not judged is not relevant. Raises `MissingExtraError` without ir-measures.
    """

    def __init__(self, judgements: Judgements) -> None:
        try:
            import ir_measures  # noqa: PLC0415  an extra
        except ImportError as exc:
            raise MissingExtraError("measuring needs ir-measures: pip install 'qdrant-ingest[eval]'") from exc

        qrels = {question: dict(documents) for question, documents in judgements.items()}
        gains = {relevance: 2**relevance - 1 for relevance in range(1, MAX_RELEVANCE + 1)}
        self._ndcg: Measure = ir_measures.nDCG(gains=gains) @ 10
        self._recall: Measure = ir_measures.R @ 100
        self._mrr: Measure = ir_measures.RR @ 10
        self._all: Evaluator = ir_measures.evaluator([self._ndcg, self._recall, self._mrr], qrels)
        self._ndcg_alone: Evaluator = ir_measures.evaluator([self._ndcg], qrels)
        self._questions = tuple(judgements)

    def scores(self, run: Run) -> Scores:
        means = self._all.calc_aggregate(_scored(run))
        return Scores(float(means[self._ndcg]), float(means[self._recall]), float(means[self._mrr]))

    def ndcg_10(self, run: Run) -> dict[str, float]:
        """Question id → what it contributes to the first of the `scores`; for those who ask often."""
        found = {each.query_id: float(each.value) for each in self._ndcg_alone.iter_calc(_scored(run))}
        return {question: found.get(question, 0.0) for question in self._questions}


def _scored(run: Run) -> dict[str, dict[str, float]]:
    """The library orders by score, and breaks ties its own way: so there are none."""
    return {question: {document: float(-rank) for rank, document in enumerate(documents)} for question, documents in run.items()}
