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
    legs, multivectors = view.roles(request)
    alone = {name: _Measured() for name in legs}
    if tuning:
        check_tunable(list(alone), queries.texts.keys())
    fused, late, reranked = _Measured(), _Measured(), _Measured()
    kept: dict[str, Rankings] = {}
    _warm_up(view, reorder, next(iter(queries.texts.values())))
    for query_id, text in _reported(queries.texts):
        began = time.perf_counter()
        found = view.candidates(text, request, depth=max(depth, CANDIDATES))
        order = [each for each in found.fused if min(each.ranks.values()) <= depth]
        fused.run[query_id] = documents(order, found.final)
        if multivectors:
            order = [*view.reordered(text, found, order, request)]
            late.run[query_id] = documents(order, found.final)
        if reorder is not None:
            best = reorder(text, view.hits([order[:candidates]])[0])
            reranked.seconds.append(time.perf_counter() - began)
            rest = documents(order[candidates:], found.final)
            reranked.run[query_id] = list(dict.fromkeys([*(hit.doc_id for hit in best), *rest]))
        for name, of_vector in alone.items():
            of_vector.run[query_id] = list(dict.fromkeys(str(point.payload["doc_id"]) for point in found.rankings[name][:depth]))
        if tuning:
            kept[query_id] = found.rankings
    methods = [*(((name,), of_vector) for name, of_vector in alone.items()), (tuple(alone), fused)]
    _time(
        view,
        list(queries.texts.values())[:TIMED],
        request,
        [*methods, *([((*legs, *multivectors), late)] if multivectors else [])],
    )
    _warn_of_unknown_documents(fused.run, queries.judgements)
    measured = {
        **alone,
        "fused": fused,
        **({"late": late} if multivectors else {}),
        **({"reranked": reranked} if reorder is not None else {}),
    }
    return Evaluation(
        searcher.name,
        len(queries.texts),
        tuple(each.row(name, judge) for name, each in measured.items()),
        tune(kept, queries.judgements, partial(fuse, method=fusion, sigmas=view.sigmas())) if tuning else None,
        note,
    )


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


def _time(
    view: CollectionView, texts: Sequence[str], request: SearchRequest, methods: Sequence[tuple[Sequence[str], _Measured]]
) -> None:
    """Measure one method after the other, so that big models swap on a device once and not with every query."""
    for vectors, measured in methods:
        of_vectors = replace(request, vectors=tuple(vectors))
        view.search(texts[:1], of_vectors)
        for text in texts:
            began = time.perf_counter()
            view.search([text], of_vectors)
            measured.seconds.append(time.perf_counter() - began)


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
