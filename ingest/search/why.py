"""Why a document is not in an answer, and the cheapest change that brings it in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ingest.search.feedback import FEEDBACK_LIMIT
from ingest.search.fusion import CANDIDATES
from ingest.search.request import MAX_LIMIT, MAX_REACH, SearchRequest
from ingest.search.shown import SHOWN
from ingest.search.view import CollectionView
from ingest.store.contract import Condition, Filter
from ingest.store.expression_text import format_expression

WhyCause = Literal["found", "not stored", "rejected", "soft-deleted", "filter", "option", "depth", "fusion", "reranking"]

_HEAVIER = (2.0, 4.0, 8.0)
"""Weights that are tried for each vector."""


@dataclass(frozen=True, slots=True)
class VectorPlace:
    """The place of a document's best chunk in one vector, by exact search under the filters of the query.

    Attributes:
        rank: from 1, or None if the vector has no such chunk or ranks it after 10,000.
        score: score of the store, or None if the vector has no such chunk.
    """

    rank: int | None
    score: float | None


@dataclass(frozen=True, slots=True)
class Why:
    """Why a document is in an answer or not.

    Attributes:
        cause: where it is lost on its way: `found` if it is not; `option`: an option of the search excludes it, named in
            `change`; `depth`: no vector ranks it among its best hundred; `fusion`: others have higher fused scores.
        sentence: the cause in words, with what to do.
        position: position of its first hit in the answer, from 1; of a document that is not in it, the position with a higher
            limit and without reranking, or None.
        vectors: vector name → place, as far as the document came.
        change: options of the search that bring it in, tried out; empty if no option does.
    """

    doc_id: str
    cause: WhyCause
    sentence: str
    position: int | None = None
    vectors: Mapping[str, VectorPlace] = field(default_factory=dict)
    change: Mapping[str, Any] = field(default_factory=dict)


def explain(view: CollectionView, query: str, doc_id: str, request: SearchRequest) -> Why:
    """Return why a document is not in the answer to a checked query, or its position if it is.

    Follows its way: stored, not soft-deleted, not filtered, found by a vector, fused, reranked. A change is named only after a
    search with it found the document.
    """
    document = Condition("doc_id", "eq", doc_id)
    if (position := _position(view, query, doc_id, request)) is not None:
        return Why(doc_id, "found", f"it is hit {position} of the answer", position, _places(view, query, request, doc_id))
    return _unreachable(view, doc_id, document) or _filtered(view, query, doc_id, request) or _lost(view, query, doc_id, request)


def _unreachable(view: CollectionView, doc_id: str, document: Condition) -> Why | None:
    """Return why no search can find the document, if so."""
    if not view.count([document]):
        return Why(
            doc_id, "not stored", "no chunk of it is stored: check its id, then whether the source has it, and run the sync again"
        )
    if not view.count([document, *SHOWN]):
        return Why(
            doc_id,
            "soft-deleted",
            f"it is soft-deleted: bring it back with ingest collections undelete {view.name} --doc-id {doc_id}",
        )
    return None


def _filtered(view: CollectionView, query: str, doc_id: str, request: SearchRequest) -> Why | None:
    """Return which filters no chunk of the document meets."""
    document = (Condition("doc_id", "eq", doc_id), *SHOWN)
    filters = request.conditions
    if view.count([*document, *filters]):
        return None
    alone = [each for each in filters if not view.count([*document, each])]
    excluding = alone or list(filters)
    kept = [each for each in filters if each not in excluding]
    change = _first_that_works(
        view, query, doc_id, request, ({"where": kept, **more} for more in _changes(view, request, None, kept, doc_id))
    )
    together = "" if alone else ", which no chunk of it meets together"
    sentence = f"it is excluded by where {format_expression(excluding)}{together}: drop that filter"
    return Why(doc_id, "filter", sentence, change=change)


def _lost(view: CollectionView, query: str, doc_id: str, request: SearchRequest) -> Why:
    """Return where a document is lost that can be found."""
    places = _places(view, query, request, doc_id)
    position = None
    for limit in (max(request.limit, FEEDBACK_LIMIT), MAX_REACH):  # a search for more is one without feedback
        position = position or _position(view, query, doc_id, replace(request, limit=limit, offset=0, rerank="off", late="off"))
    for change, sentence in _relaxations(request):
        if _found(view, query, doc_id, request, change):
            return Why(doc_id, "option", f"{sentence}: pass {_written(change)}", position, places, change)
    if view.roles(request)[1] and _found(view, query, doc_id, request, {"late": "off"}):
        sentence = "the multivectors put it after the last hit: pass late='off', or a higher limit"
        return Why(doc_id, "reranking", sentence, position, places, {"late": "off"})
    if request.reranks and _found(view, query, doc_id, request, {"rerank": "off"}):
        sentence = "the reranker puts it after the last hit: pass rerank='off', or a higher limit"
        return Why(doc_id, "reranking", sentence, position, places, {"rerank": "off"})
    change = _first_that_works(view, query, doc_id, request, _changes(view, request, position, request.conditions, doc_id))
    ranks = [place.rank for place in places.values() if place.rank is not None]
    advice = f": pass {_written(change)}" if change else ": narrow the query or the filter"
    if not ranks or min(ranks) > CANDIDATES:
        best = f"its best rank is {min(ranks):,}" if ranks else "none finds it"
        return Why(doc_id, "depth", f"no vector has it among its best {CANDIDATES} ({best}){advice}", position, places, change)
    where = f"it is number {position:,}" if position else "it is far down"
    return Why(doc_id, "fusion", f"others have higher fused scores: {where}{advice}", position, places, change)


def _relaxations(request: SearchRequest) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield options that exclude hits, reset, with a sentence each."""
    if request.offset:
        yield {"offset": 0}, f"it is on a page before offset {request.offset}"
    if request.score_threshold is not None:
        yield {"score_threshold": None}, f"its score is below the threshold {request.score_threshold:g}"
    if request.min_rank_vectors > 1:
        yield {"min_rank_vectors": 1}, f"fewer than {request.min_rank_vectors} vectors have it among their best {CANDIDATES}"
    if request.diversity:
        yield {"diversity": 0.0}, "it is too much like hits before it"
    if request.boost:
        yield {"boost": ()}, "boosts raise others above it"
    if request.vectors is not None:
        yield {"vectors": None}, f"only {', '.join(request.vectors)} was queried"
    if request.weights is not None:
        yield {"weights": None}, "the weights of the query favor others"
    if request.grouping is not None:
        ungrouped = {"group_by": None, "group_size": 1} if request.grouping.size > 1 else {"group_by": None}
        yield ungrouped, f"a group of {request.grouping.field} shows others, or it has no such field"


def _changes(
    view: CollectionView, request: SearchRequest, position: int | None, kept: Sequence[Filter], doc_id: str
) -> Iterator[dict[str, Any]]:
    """Yield changes, the cheapest first: nothing, a weight, one vector alone, a higher limit; then with all options reset; then a
    filter for the document.
    """
    reset = {name: value for change, _ in _relaxations(request) for name, value in change.items()}
    fused = {"rerank": "off"} if request.rerank != "off" else {}
    for base in ({}, reset) if reset else ({},):
        yield base
        names = list(view.roles(request)[0])
        if len(names) > 1:
            now = request.weights or view.manifest.weights
            yield from ({**base, "weights": {**now, name: weight}} for weight in _HEAVIER for name in names)
            yield from ({**base, "vectors": [name]} for name in names)
        for limit in (position, FEEDBACK_LIMIT, MAX_LIMIT):
            if limit is not None and request.limit < limit <= MAX_LIMIT and request.offset + limit <= MAX_REACH:
                yield {**base, "limit": limit, **fused}
        if position is not None and position > MAX_LIMIT:
            yield {**base, "limit": MAX_LIMIT, "offset": (position - 1) // MAX_LIMIT * MAX_LIMIT, **fused}
    yield {**reset, "where": [*kept, Condition("doc_id", "eq", doc_id)]}


def _first_that_works(
    view: CollectionView, query: str, doc_id: str, request: SearchRequest, changes: Iterator[dict[str, Any]]
) -> dict[str, Any]:
    return next((change for change in changes if change and _found(view, query, doc_id, request, change)), {})


def _found(view: CollectionView, query: str, doc_id: str, request: SearchRequest, change: Mapping[str, Any]) -> bool:
    changed = dict(change)
    if "where" in changed:
        changed["conditions"] = tuple(changed.pop("where"))
    if "group_by" in changed:
        changed["grouping"] = changed.pop("group_by")
        changed.pop("group_size", None)
    if changed.get("vectors") is not None:
        changed["vectors"] = tuple(changed["vectors"])
    return _position(view, query, doc_id, replace(request, **changed)) is not None


def _places(view: CollectionView, query: str, request: SearchRequest, doc_id: str) -> dict[str, VectorPlace]:
    places = view.places(query, request, Condition("doc_id", "eq", doc_id))
    return {name: VectorPlace(*place) for name, place in places.items()}


def _position(view: CollectionView, query: str, doc_id: str, request: SearchRequest) -> int | None:
    feedback = request.feedback and request.limit <= FEEDBACK_LIMIT
    [answer] = view.search([query], replace(request, feedback=feedback, context=0, snippets=False, facets=()))
    return next((number for number, hit in enumerate(answer, start=1) if hit.doc_id == doc_id), None)


def _written(change: Mapping[str, Any]) -> str:
    return ", ".join(_written_option(name, value) for name, value in change.items())


def _written_option(name: str, value: Any) -> str:
    return f"{name}={(format_expression(value) if name == 'where' else value)!r}"
