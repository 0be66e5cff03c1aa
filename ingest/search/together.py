"""One search over several collections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Unpack

from ingest.errors import ConfigurationError
from ingest.parameters import checked, parse_instance, parse_list
from ingest.records import Hit
from ingest.search.answer import Answer
from ingest.search.grouping import regrouped
from ingest.search.request import SearchOptions, SearchRequest, parse_query
from ingest.search.searcher import Searcher


def search_together(searchers: Sequence[Searcher], query: str, **options: Unpack[SearchOptions]) -> Answer:
    """Return the best hits of several collections, best first by `score`, ties in the order of the searchers.

    Each collection fuses its own hits. By `scores`, a fused score counts standard deviations of that collection's similarity, so
    scores compare as far as the collections do; by `rrf`, the best of each collection come first. Hits that the reranker read,
    as many of each collection as of a single one, come before the others. If it could not read those of every collection, the
    fused order is returned. Multivectors order the hits of a single collection only: their scores do not compare. Facets are
    added up.

    Args:
        searchers: open searchers of different collections. `Hit.collection` is the name of each.
        options: those of `Searcher.search`, except `like` and `diversity`.

    Raises as `Searcher.search`.
    """
    opened = checked("searchers", parse_list, searchers, _parse_searcher)
    request = SearchRequest.of(options)
    if not opened or len({searcher.name for searcher in opened}) < len(opened):
        raise ConfigurationError("searchers: pass one or more searchers of different collections")
    if request.like is not None or request.diversity:
        raise ConfigurationError("like and diversity compare the vectors of one collection: search one")
    late = "off" if len(opened) > 1 and request.late == "rerank" else request.late
    text, whole = parse_query(query), replace(request, limit=request.offset + request.limit, offset=0, late=late)
    answers = [searcher._answers([text], whole)[0] for searcher in opened]  # noqa: SLF001  of this room
    if any(answer.reranked for answer in answers) and not all(answer.reranked or not answer.hits for answer in answers):
        answers = [searcher._answers([text], replace(whole, rerank="off"))[0] for searcher in opened]  # noqa: SLF001
    groups = [
        [replace(hit, collection=searcher.name) for hit in group]
        for searcher, answer in zip(opened, answers, strict=True)
        for group in regrouped(answer.hits)
    ]
    page = sorted(groups, key=_best)[request.offset : request.offset + request.limit]
    seconds = [answer.feedback_seconds for answer in answers if answer.feedback_seconds is not None]
    return Answer(
        tuple(hit for group in page for hit in group),
        reranked=any(answer.reranked for answer in answers),
        note=next((answer.note for answer in answers if answer.note), None),
        missing_reranker=next((answer.missing_reranker for answer in answers if answer.missing_reranker), None),
        warnings=tuple(dict.fromkeys(warning for answer in answers for warning in answer.warnings)),
        facets={field: _added([answer.facets[field] for answer in answers]) for field in request.facets},
        feedback_seconds=sum(seconds) if seconds else None,
    )


def _parse_searcher(value: object) -> Searcher:
    return parse_instance(value, Searcher)


def _best(group: Sequence[Hit]) -> tuple[bool, float]:
    """Return the order of a group: a reranker's scores do not compare with fused ones."""
    return group[0].rerank_score is None, -group[0].score


def _added(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items(), key=lambda each: (-each[1], each[0])))
