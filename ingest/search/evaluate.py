"""Quality of a collection on judged queries: each vector alone, fused, ordered by multivectors, and reranked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np

from ingest.errors import ConfigurationError
from ingest.parameters import (
    checked,
    optional,
    parse_boolean,
    parse_choice,
    parse_instance,
    parse_integer,
    parse_path,
)
from ingest.records import Hit
from ingest.search.beir import load_beir
from ingest.search.fusion import CANDIDATES, FusionMethod, Rankings, documents, fuse
from ingest.search.metrics import Judge, Judgements, Scores
from ingest.search.request import MAX_REACH, SearchRequest
from ingest.search.rerank import RERANK_CANDIDATES, RerankMode, parse_rerank
from ingest.search.searcher import Searcher
from ingest.search.tuning import Tuned, check_tunable, tune
from ingest.search.view import CollectionView

__all__ = ["Evaluation", "EvaluationRow", "Rerank", "evaluate", "load_beir"]

logger = logging.getLogger(__name__)

TIMED = 50
"""Queries that are searched once more, with each vector alone and with all, to measure latency."""

LOG_SECONDS = 10.0
"""Seconds between two log lines about progress, at least."""

Rerank = Callable[[str, Sequence[Hit]], Sequence[Hit]]
"""Query and hits → the same hits, best first."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """The scores of one ranking method, and the median and 95th percentile of its latency per query in milliseconds."""

    name: str
    scores: Scores
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The quality of a collection.

    Attributes:
        queries: number of judged queries.
        rows: one row for each vector, one for `fused`, one for `late` if multivectors order what was fused, and one for
            `reranked` if a reranker was passed.
        tuned: result of tuning, or None.
        note: why nothing was reranked although that was asked for if possible, or None.
    """

    collection: str
    queries: int
    rows: tuple[EvaluationRow, ...]
    tuned: Tuned | None = None
    note: str | None = None


@dataclass(slots=True)
class _Measured:
    """The run of one ranking method, and the seconds that each query took."""

    run: dict[str, list[str]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def row(self, name: str, judge: Judge) -> EvaluationRow:
        p50, p95 = np.percentile(self.seconds, [50, 95]) * 1000
        return EvaluationRow(name, judge.scores(self.run), float(p50), float(p95))


def evaluate(
    searcher: Searcher,
    beir_dir: Path | str,
    *,
    depth: int = CANDIDATES,
    limit: int | None = None,
    held_out: bool = False,
    rerank: Rerank | RerankMode | bool = "off",
    candidates: int = RERANK_CANDIDATES,
    fusion: FusionMethod = "scores",
    feedback: bool = True,
    tuning: bool = False,
) -> Evaluation:
    """Run every judged query and score the documents that it finds, each ranked by its best chunk.

    All rows come from the same rankings: each query is encoded once per vector and sent in one request. Latencies are those of a
    warm searcher, one query at a time. For each vector alone, for all (`fused`) and for `late` the first 50 queries are searched
    again, like in `Searcher.search`; for `reranked` they cover finding, reading and reranking the candidates of every query.

    Args:
        searcher: an open searcher. The collection that its name stands for at the beginning is used to the end.
        beir_dir: judged queries in the BEIR layout; documents have the ids they were ingested with.
        depth: number of chunks per vector. If documents have many chunks, more than 100 are needed to find 100 documents.
        limit: only the first N queries.
        held_out: only the half of the queries that is never used for training or tuning.
        rerank: a function that reorders hits, or when to use the searcher's reranker: `auto` (if the model is available), `on`
            (or True), `off` (or False).
        candidates: number of fused hits to rerank; the others follow in fused order.
        fusion: how to fuse, see `Searcher.search`.
        feedback: whether to fuse with feedback, see `Searcher.search`.
        tuning: whether to search for better weights, see `tune`. Tuning fuses without feedback.

    Raises as `load_beir`, `tune`, `rerank` and `Searcher.rankings` do, `ConfigurationError` for an invalid argument, and
    `MissingExtraError` without ir-measures.
    """
    checked("searcher", parse_instance, searcher, Searcher)
    reorder, note = _reranking(searcher, rerank)
    depth = checked("depth", parse_integer, depth, least=1, most=MAX_REACH)
    candidates = checked("candidates", parse_integer, candidates, least=1, most=MAX_REACH)
    limit = checked("limit", optional(parse_integer), limit, least=1)
    held_out = checked("held_out", parse_boolean, held_out)
    fusion = checked("fusion", parse_choice, fusion, get_args(FusionMethod))
    request = SearchRequest(fusion=fusion, feedback=checked("feedback", parse_boolean, feedback))
    tuning = checked("tuning", parse_boolean, tuning)
    judged = load_beir(checked("beir_dir", parse_path, beir_dir))
    view = searcher.view()
    queries = (judged.held_out() if held_out else judged).first(limit)
    if not queries.texts:
        raise ConfigurationError(f"none of the {len(judged.texts)} queries of {beir_dir} is held out: judge more")
    judge = Judge(queries.judgements)
    methods = _Methods(view, request, reorder, depth=depth, candidates=candidates)
    if tuning:
        check_tunable(list(methods.alone), queries.texts.keys())
    _warm_up(view, reorder, next(iter(queries.texts.values())))
    kept: dict[str, Rankings] = {}
    for query_id, text in _reported(queries.texts):
        rankings = methods.rank(query_id, text)
        if tuning:
            kept[query_id] = rankings
    methods.measure_latency(list(queries.texts.values())[:TIMED])
    _warn_of_unknown_documents(methods.fused.run, queries.judgements)
    return Evaluation(
        searcher.name,
        len(queries.texts),
        methods.rows(judge),
        tune(kept, queries.judgements, partial(fuse, method=fusion, sigmas=view.sigmas())) if tuning else None,
        note,
    )


class _Methods:
    """The ranking methods that are compared, and what each made of the queries so far. Not thread-safe.

    Attributes:
        alone: vector → its own ranking.
        fused: the ranking by all vectors together.
    """

    def __init__(
        self, view: CollectionView, request: SearchRequest, reorder: Rerank | None, *, depth: int, candidates: int
    ) -> None:
        self._view, self._request, self._reorder = view, request, reorder
        self._depth, self._candidates = depth, candidates
        legs, self._multivectors = view.roles(request)
        self.alone = {name: _Measured() for name in legs}
        self.fused, self._late, self._reranked = _Measured(), _Measured(), _Measured()

    def rank(self, query_id: str, text: str) -> Rankings:
        """Rank the documents for one query by every method, and return the rankings of the vectors."""
        began = time.perf_counter()
        found = self._view.candidates(text, self._request, depth=max(self._depth, CANDIDATES))
        order = [each for each in found.fused if min(each.ranks.values()) <= self._depth]
        self.fused.run[query_id] = documents(order, found.final)
        if self._multivectors:
            order = [*self._view.reordered(text, found, order, self._request)]
            self._late.run[query_id] = documents(order, found.final)
        if self._reorder is not None:
            best = self._reorder(text, self._view.hits([order[: self._candidates]])[0])
            self._reranked.seconds.append(time.perf_counter() - began)
            rest = documents(order[self._candidates :], found.final)
            self._reranked.run[query_id] = list(dict.fromkeys([*(hit.doc_id for hit in best), *rest]))
        for name, of_vector in self.alone.items():
            ranking = found.rankings[name][: self._depth]
            of_vector.run[query_id] = list(dict.fromkeys(str(point.payload["doc_id"]) for point in ranking))
        return found.rankings

    def measure_latency(self, texts: Sequence[str]) -> None:
        """Measure one method after the other, so that big models swap on a device once and not with every query."""
        timed = [*(((name,), of_vector) for name, of_vector in self.alone.items()), (tuple(self.alone), self.fused)]
        if self._multivectors:
            timed.append(((*self.alone, *self._multivectors), self._late))
        for vectors, measured in timed:
            of_vectors = replace(self._request, vectors=tuple(vectors))
            self._view.search(texts[:1], of_vectors)
            for text in texts:
                began = time.perf_counter()
                self._view.search([text], of_vectors)
                measured.seconds.append(time.perf_counter() - began)

    def rows(self, judge: Judge) -> tuple[EvaluationRow, ...]:
        """Return the row of each method that ranked."""
        measured = {**self.alone, "fused": self.fused, "late": self._late, "reranked": self._reranked}
        return tuple(each.row(name, judge) for name, each in measured.items() if each.run)


def _reranking(searcher: Searcher, rerank: Rerank | RerankMode | bool) -> tuple[Rerank | None, str | None]:
    """Return the function that reorders hits, if any, and a sentence if there is none because the model is not available."""
    if callable(rerank):
        return rerank, None
    mode = checked("rerank", parse_rerank, rerank)
    if mode == "off":
        return None, None
    pipeline = searcher.reranker
    if mode == "auto" and (missing := pipeline.missing()) is not None:
        return None, f"not reranked: {missing}"
    return lambda query, hits: pipeline.rerank(query, hits).hits, None


def _warm_up(view: CollectionView, rerank: Rerank | None, text: str) -> None:
    """Load the models, so that no measured query waits for it."""
    [answer] = view.search([text], SearchRequest())
    if rerank is not None:
        rerank(text, answer.hits)


def _warn_of_unknown_documents(run: Mapping[str, Sequence[str]], judgements: Judgements) -> None:
    if not any(id_ in judgements[query_id] for query_id, doc_ids in run.items() for id_ in doc_ids):
        logger.warning(
            "none of the judged documents was found: check that this is the judged collection, with the same document ids"
        )


def _reported(items: Mapping[str, Item]) -> Iterator[tuple[str, Item]]:
    logged_at = time.monotonic()
    for number, item in enumerate(items.items()):
        if time.monotonic() - logged_at >= LOG_SECONDS:
            logged_at = time.monotonic()
            logger.info("ran %d of %d queries", number, len(items))
        yield item
