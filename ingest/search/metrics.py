"""Quality of document rankings: nDCG@10, recall@100 and MRR@10, computed by ir-measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import MissingExtraError

if TYPE_CHECKING:
    from ir_measures import Evaluator, Measure

MAX_RELEVANCE = 16
"""Highest grade of a judgement. ir-measures allocates room for every gain up to the highest, and gains double per grade."""

Judgements = Mapping[str, Mapping[str, int]]
"""Query id → document id → relevance: 0 or less is not relevant, more is better."""

Run = Mapping[str, Sequence[str]]
"""Query id → distinct document ids, best first."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Means over all judged queries, 0 to 1."""

    ndcg_10: float
    recall_100: float
    mrr_10: float


class Judge:
    """Scores runs against one set of judgements.

    In nDCG the gain of relevance r is 2^r - 1; recall and MRR count documents with relevance 1 or more. A judged query that a run
    lacks, or that found nothing, scores 0. A document without a judgement is not relevant. Raises `MissingExtraError` without
    ir-measures.
    """

    def __init__(self, judgements: Judgements) -> None:
        try:
            import ir_measures  # noqa: PLC0415  an extra
        except ImportError as exc:
            raise MissingExtraError("evaluation requires ir-measures: pip install 'qdrant-ingest[eval]'") from exc

        qrels = {query_id: dict(documents) for query_id, documents in judgements.items()}
        gains = {relevance: 2**relevance - 1 for relevance in range(1, MAX_RELEVANCE + 1)}
        self._ndcg: Measure = ir_measures.nDCG(gains=gains) @ 10
        self._recall: Measure = ir_measures.R @ 100
        self._mrr: Measure = ir_measures.RR @ 10
        self._all: Evaluator = ir_measures.evaluator([self._ndcg, self._recall, self._mrr], qrels)
        self._ndcg_alone: Evaluator = ir_measures.evaluator([self._ndcg], qrels)
        self._query_ids = tuple(judgements)

    def scores(self, run: Run) -> Scores:
        """Return the means of all three measures."""
        means = self._all.calc_aggregate(_scored(run))
        return Scores(float(means[self._ndcg]), float(means[self._recall]), float(means[self._mrr]))

    def ndcg_10(self, run: Run) -> dict[str, float]:
        """Return query id → nDCG@10, whose mean is that of `scores`. Faster than `scores`."""
        values = {each.query_id: float(each.value) for each in self._ndcg_alone.iter_calc(_scored(run))}
        return {query_id: values.get(query_id, 0.0) for query_id in self._query_ids}


def _scored(run: Run) -> dict[str, dict[str, float]]:
    """Give each document a distinct score: ir-measures orders by score and breaks ties in its own way."""
    return {query_id: {document: float(-rank) for rank, document in enumerate(documents)} for query_id, documents in run.items()}
