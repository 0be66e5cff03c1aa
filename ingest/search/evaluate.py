"""How good a collection answers judged questions: every vector alone, their fusion, and what a reranker makes of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from ingest.errors import ConfigurationError
from ingest.parameters import (
    InvalidValueError,
    checked,
    optional,
    parse_boolean,
    parse_instance,
    parse_integer,
    parse_path,
    shown,
)
from ingest.records import Hit, ScoredPoint
from ingest.search.beir import load_beir
from ingest.search.fusion import documents, fuse
from ingest.search.metrics import Judge, Judgements, Scores
from ingest.search.question import MAX_LIMIT, SearchRequest
from ingest.search.rerank import RERANK_CANDIDATES
from ingest.search.searcher import Searcher
from ingest.search.tuning import Tuned, check_tunable, tune
from ingest.search.view import CANDIDATES, CollectionView

__all__ = ["Evaluation", "Rerank", "Row", "evaluate", "load_beir"]

logger = logging.getLogger(__name__)

TIMED = 50
"""Questions that are asked once more, of each vector alone and of all, to see how long that takes."""

LOG_SECONDS = 10.0
"""A line about how far it is at most this often."""

Rerank = Callable[[str, Sequence[Hit]], Sequence[Hit]]
"""A question and hits → the same hits, best first."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Row:
    """One way to answer: how well, and the median and 95th percentile of a question's latency in milliseconds."""

    name: str
    scores: Scores
    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good a collection answers so many `questions`: a row for each vector, `fused`, and `reranked` if that was asked for."""

    collection: str
    questions: int
    rows: tuple[Row, ...]
    tuned: Tuned | None = None


@dataclass(slots=True)
class _Way:
    """One way to answer: what it found for each question, and the seconds it took."""

    run: dict[str, list[str]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def row(self, name: str, judge: Judge) -> Row:
        p50, p95 = np.percentile(self.seconds, [50, 95]) * 1000
        return Row(name, judge.scores(self.run), float(p50), float(p95))


def evaluate(
    searcher: Searcher,
    beir_dir: Path | str,
    *,
    depth: int = CANDIDATES,
    limit: int | None = None,
    held_out: bool = False,
    rerank: Rerank | None = None,
    candidates: int = RERANK_CANDIDATES,
    tuning: bool = False,
) -> Evaluation:
    """Asks every judged question and scores the documents whose chunks were found, each at the place of its best chunk.

    All rows come from the same rankings, for which a question is encoded once per vector and asked in one request. Latencies are
    those of a warm searcher, one question at a time: of `Searcher.search` by each vector alone and by all (`fused`), for the
    first 50 questions asked once more; for `reranked`, of finding, fetching and reranking the candidates of every question.

    Args:
        beir_dir: judged questions in the BEIR layout; documents have the ids they were ingested with.
        depth: chunks that each vector brings. Where documents have many chunks, take more than 100 to find 100 documents.
        limit: only so many questions, the first.
        held_out: only the half of the questions that nothing is trained or tuned on.
        rerank: puts hits in a better order.
        candidates: hits of the fusion that are reranked; the rest follows in its own order.
        tuning: also looks for better weights, see `tune`.

    The collection is the one that the name stands for at the beginning, to the end. Raises as `load_beir`, `tune`, `rerank` and
    `Searcher.rankings` do, `ConfigurationError` for an argument that cannot be used, and `MissingExtraError` without ir-measures.
    """
    checked("searcher", parse_instance, searcher, Searcher)
    checked("rerank", optional(_parse_callable), rerank)
    depth = checked("depth", parse_integer, depth, least=1, most=MAX_LIMIT)
    candidates = checked("candidates", parse_integer, candidates, least=1, most=MAX_LIMIT)
    limit = checked("limit", optional(parse_integer), limit, least=1)
    held_out = checked("held_out", parse_boolean, held_out)
    tuning = checked("tuning", parse_boolean, tuning)
    judged = load_beir(checked("beir_dir", parse_path, beir_dir))
    view = searcher.view()
    questions = (judged.held_out() if held_out else judged).first(limit)
    if not questions.texts:
        raise ConfigurationError(f"none of the {len(judged.texts)} questions of {beir_dir} is held out: judge more")
    judge = Judge(questions.judgements)
    alone = {spec.name: _Way() for spec in view.manifest.vectors}
    if tuning:
        check_tunable(list(alone), questions.texts.keys())
    fused, reranked = _Way(), _Way()
    kept: dict[str, Mapping[str, Sequence[ScoredPoint]]] = {}
    _warm_up(view, rerank, next(iter(questions.texts.values())))
    for question, text in _reported(questions.texts):
        began = time.perf_counter()
        rankings = view.rankings(text, depth=depth)
        order = fuse(rankings, view.manifest.weights)
        fused.run[question] = documents(order, rankings)
        if rerank is not None:
            best = rerank(text, view.hits([order[:candidates]])[0])
            reranked.seconds.append(time.perf_counter() - began)
            rest = documents(order[candidates:], rankings)
            reranked.run[question] = list(dict.fromkeys([*(hit.doc_id for hit in best), *rest]))
        for name, way in alone.items():
            way.run[question] = documents(fuse({name: rankings[name]}, {}), rankings)
        if tuning:
            kept[question] = rankings
    _time(view, list(questions.texts.values())[:TIMED], alone, fused)
    _warn_of_strangers(fused.run, questions.judgements)
    ways = {**alone, "fused": fused, **({"reranked": reranked} if rerank is not None else {})}
    return Evaluation(
        searcher.name,
        len(questions.texts),
        tuple(way.row(name, judge) for name, way in ways.items()),
        tune(kept, questions.judgements) if tuning else None,
    )


def _parse_callable(value: object) -> object:
    if not callable(value):
        raise InvalidValueError(f"{shown(value)} is not a function of a query and hits")
    return value


def _warm_up(view: CollectionView, rerank: Rerank | None, text: str) -> None:
    """Loads the models: whoever asks first waits for that, and nobody else."""
    hits = view.hits([fuse(view.rankings(text, depth=1), {})])[0]
    if rerank is not None:
        rerank(text, hits)


def _time(view: CollectionView, texts: Sequence[str], alone: Mapping[str, _Way], fused: _Way) -> None:
    """Goes one way after the other, so that several big models take turns on a device once, not with every question."""
    for vectors, way in [*(((name,), way) for name, way in alone.items()), (tuple(alone), fused)]:
        request = SearchRequest(vectors=vectors)
        view.search(texts[:1], request)
        for text in texts:
            began = time.perf_counter()
            view.search([text], request)
            way.seconds.append(time.perf_counter() - began)


def _warn_of_strangers(run: Mapping[str, Sequence[str]], judgements: Judgements) -> None:
    if not any(document in judgements[question] for question, found in run.items() for document in found):
        logger.warning(
            "none of the judged documents was found: is this the collection that was judged, under the same document ids?"
        )


def _reported(items: Mapping[str, Item]) -> Iterator[tuple[str, Item]]:
    said = time.monotonic()
    for number, item in enumerate(items.items()):
        if time.monotonic() - said >= LOG_SECONDS:
            said = time.monotonic()
            logger.info("%d of %d questions asked", number, len(items))
        yield item
