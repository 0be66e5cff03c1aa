"""The parameters of a search, their defaults and checks. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self, TypedDict, get_args

from ingest.errors import ConfigurationError, ConflictError
from ingest.parameters import (
    MAX_WEIGHT,
    InvalidValueError,
    checked,
    optional,
    parse_boolean,
    parse_choice,
    parse_instance,
    parse_integer,
    parse_list,
    parse_mapping,
    parse_number,
    parse_text,
    parse_unicode,
    shown,
)
from ingest.search.feedback import FEEDBACK_LIMIT
from ingest.search.fields import FieldUse
from ingest.search.fusion import FusionMethod
from ingest.search.grouping import Grouping, T, regrouped
from ingest.search.late import LATE_CANDIDATES, LateMode
from ingest.search.order import Boost
from ingest.search.rerank import RERANK_CANDIDATES, RerankMode, parse_rerank
from ingest.store.conditions import parse_field
from ingest.store.contract import Filter
from ingest.store.filters import Where, parse_filter

MAX_LIMIT = 1_000
"""Most hits or groups of one page."""

MAX_REACH = 10_000
"""Most hits or groups of all pages together, and the most points that one vector ranks."""

MAX_QUERY = 200_000
"""Most characters of a query. Tokenizing more takes seconds."""

MAX_CONTEXT = 10_000

MAX_GROUP_SIZE = 100


class SearchOptions(TypedDict, total=False):
    """The options of a search. All have defaults.

    Attributes:
        limit: most hits of the page, or most groups, 1 to 1,000. Default 10.
        offset: hits or groups to skip: with `limit=10`, `offset=10` is page 2. At most 10,000 together with `limit`.
        where: filters that every hit meets: `{"metadata.year": {"gte": 2020}}`, `"metadata.year>=2020 and not metadata.lang=en"`,
            a `qdrant_client.models.Filter`, or a list of these; see `parse_filter`.
        weights: vector name → weight in the fusion, 0 to 1,000,000, by default 1. None: the weights of the collection.
        vectors: names of the vectors to query. None: all.
        late: how multivectors take part: `rerank` (they order the best hundred fused candidates, inside the store; several
            collections together are not reranked), `fuse` (they are fused like the others, which compares with every chunk) or
            `off`. Multivectors alone are always fused. Default `rerank`.
        fusion: `scores`, `rrf` (ranks) or `dbsf` (scores normalized per query), see `fusion.fuse`.
        feedback: whether `scores` lets the dense queries, moved toward the three best chunks, score the found chunks again. Costs
            one to five milliseconds. Only for searches of several vectors and with a limit up to 100. Default True.
        score_threshold: least `score` of a hit. None: any.
        min_rank_vectors: least number of vectors that found the chunk among their best hundred. Default 1.
        group_by: payload field whose values make groups: `doc_id` (the document), `metadata.author`. A chunk with several values
            is in several groups, one without the field in none. None: no groups.
        group_size: most chunks of a group. Default 1.
        boost: fields that raise scores: a `Boost`, its text, such as `metadata.date:30d` (the half-life of dates) or
            `metadata.stars:0..5` (a number), or a list of these. The order changes among the best hundred of each vector.
        diversity: 0 to 1: how much hits that are like those before them go down (maximal marginal relevance over the best
            hundred, by the first dense vector). Default 0.
        like: id of a document or chunk, in place of a query: finds others like it.
        facets: payload fields whose values are counted over everything that `where` allows, see `Answer.facets`.
        snippets: whether hits get their `snippet` and `highlights`. Default False.
        context: number of chunks before and after each hit to return with it. Default 0.
        rerank: `auto` reranks if the model is available, `on` (or True) raises if it is not, `off` (or False) never reranks.
            Reranks the first 50 candidates, or `limit` if that is more. Default `off`.
    """

    limit: int
    offset: int
    where: Where
    weights: Mapping[str, float] | None
    vectors: Sequence[str] | None
    late: LateMode
    fusion: FusionMethod
    feedback: bool
    score_threshold: float | None
    min_rank_vectors: int
    group_by: str | None
    group_size: int
    boost: Boost | str | Sequence[Boost | str]
    diversity: float
    like: str | None
    facets: Sequence[str]
    snippets: bool
    context: int
    rerank: RerankMode | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """The options of a search, checked as far as possible without the collection; see `SearchOptions`.

    Attributes:
        conditions: the filters of `where`.
        feedback: False for a limit above `FEEDBACK_LIMIT`, too.
        grouping: how to group, or None.
        reranked: number of candidates or groups that a reranker reads, however many pages there are.
    """

    limit: int = 10
    offset: int = 0
    conditions: tuple[Filter, ...] = ()
    weights: Mapping[str, float] | None = None
    vectors: tuple[str, ...] | None = None
    late: LateMode = "rerank"
    fusion: FusionMethod = "scores"
    feedback: bool = True
    score_threshold: float | None = None
    min_rank_vectors: int = 1
    grouping: Grouping | None = None
    boost: tuple[Boost, ...] = ()
    diversity: float = 0.0
    like: str | None = None
    facets: tuple[str, ...] = ()
    snippets: bool = False
    context: int = 0
    rerank: RerankMode = "off"
    reranked: int = RERANK_CANDIDATES

    @classmethod
    def of(cls, options: SearchOptions) -> Self:
        """Check the options of a caller. Raises `ConfigurationError`, and `TypeError` for an unknown option."""
        given: dict[str, Any] = dict(options)
        if unknown := given.keys() - SearchOptions.__annotations__.keys():
            raise TypeError(f"search() got an unexpected keyword argument {min(unknown)!r}")
        parsed: dict[str, Any] = {name: checked(name, _PARSERS[name], value) for name, value in given.items() if name != "where"}
        field, size = parsed.pop("group_by", None), parsed.pop("group_size", 1)
        request = cls(
            **parsed,
            conditions=parse_filter(given.get("where")),
            grouping=None if field is None else Grouping(field, size),
        )
        if size > 1 and field is None:
            raise ConfigurationError(f"group_size: {size} chunks of each group need a group_by, such as doc_id")
        if request.diversity and request.grouping is not None:
            raise ConfigurationError("diversity: groups differ already: use diversity or group_by")
        if request.offset + request.limit > MAX_REACH:
            raise ConfigurationError(
                f"offset: {request.offset:,} and the limit {request.limit:,} are more than {MAX_REACH:,} hits together: narrow"
                " the search with where"
            )
        feedback = request.feedback and request.limit <= FEEDBACK_LIMIT
        return replace(request, feedback=feedback, reranked=max(request.limit, RERANK_CANDIDATES))

    @property
    def reranks(self) -> bool:
        """Whether a hit of the page may be reranked."""
        return self.rerank != "off" and self.like is None and self.offset < self.reranked

    @property
    def reorders(self) -> bool:
        """True if a later step may prefer other candidates than the first of the fusion."""
        return bool(self.boost) or self.diversity > 0 or self.min_rank_vectors > 1

    @property
    def reranks_late(self) -> bool:
        """Whether multivectors may order a hit of the page, or one that the reranker reads."""
        return self.late == "rerank" and self.like is None and (self.reranks or self.offset < self._late_window)

    @property
    def count(self) -> int:
        """The number of candidates or groups that the page requires."""
        return max(self.offset + self.limit, self.reranked if self.reranks else 0)

    @property
    def late_count(self) -> int:
        """The number of candidates or groups that the page requires if multivectors order them."""
        return max(self.count, self._late_window)

    @property
    def other_fields(self) -> list[FieldUse]:
        """The payload fields that the request names outside of its filters: of groups, boosts and facets."""
        grouped = [] if self.grouping is None else [self.grouping.use]
        return [*grouped, *(boost.use for boost in self.boost), *(FieldUse("facets", field) for field in self.facets)]

    def contradictions(self, vectors: Sequence[str]) -> list[str]:
        """Return a sentence if no hit can meet the request because too few vectors are queried."""
        if self.min_rank_vectors <= len(vectors):
            return []
        return [f"min_rank_vectors: {self.min_rank_vectors} vectors must find a hit, and only {', '.join(vectors)} is queried"]

    def page(self, items: Sequence[T]) -> list[T]:
        """Return the items of the page: candidates or hits, of which a group counts as one."""
        return [item for group in regrouped(items)[self.offset : self.offset + self.limit] for item in group]

    def required(self, items: Sequence[T]) -> list[T]:
        """Return the items that the page requires."""
        return _split(items, self.count)[0]

    def window(self, items: Sequence[T]) -> tuple[list[T], list[T]]:
        """Return the items that are reranked, and the rest. They depend on the limit alone, so that pages continue each other."""
        return _split(items, self.reranked)

    def late_window(self, items: Sequence[T]) -> tuple[list[T], list[T]]:
        """Return the items that multivectors order, and the rest, like `window`."""
        return _split(items, self._late_window)

    @property
    def _late_window(self) -> int:
        return max(self.limit, LATE_CANDIDATES)


def _split(items: Sequence[T], size: int) -> tuple[list[T], list[T]]:
    groups = regrouped(items)
    head, tail = groups[:size], groups[size:]
    return [item for group in head for item in group], [item for group in tail for item in group]


def parse_query(query: object) -> str:
    """Return the query if it is a text that is not blank. Raises `ConfigurationError`."""
    return checked("query", _parse_query, query)


def parse_query_or_like(query: object, request: SearchRequest) -> str:
    """Return the query, or an empty text if the request has `like` in its place. Raises `ConfigurationError`."""
    if request.like is None:
        if query is None:
            raise ConfigurationError("query: give the text to search for, or the id of a document with like")
        return parse_query(query)
    if query is not None:
        raise ConfigurationError("like: pass a query or like, not both")
    if request.rerank == "on":
        raise ConfigurationError("rerank: like has no query that a reranker could read")
    return ""


def parse_queries(queries: object) -> list[str]:
    """Return the queries of a batch. Raises `ConfigurationError`, even for a single text."""
    return checked("queries", parse_list, queries, _parse_query)


def parse_vectors(vectors: object) -> tuple[str, ...] | None:
    """Return the names of vectors without repetitions, or None for all. Raises `ConfigurationError` for an empty list."""
    return checked("vectors", optional(_parse_vectors), vectors)


def _parse_query(value: object) -> str:
    query = parse_unicode(value)
    if not query.strip():
        raise InvalidValueError(f"{shown(query)} is empty: pass a text to search for")
    if len(query) > MAX_QUERY:
        raise InvalidValueError(
            f"{len(query):,} characters are more than {MAX_QUERY:,}: shorten it, or pass a stored document as like"
        )
    return query


def _parse_limit(value: object) -> int:
    limit = parse_integer(value, least=1)
    if limit > MAX_LIMIT:
        raise InvalidValueError(f"{shown(limit)} is more than a page has, {MAX_LIMIT:,}: get the next ones with offset")
    return limit


def _parse_vectors(value: object) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(parse_list(value, parse_unicode)))
    if not names:
        raise InvalidValueError("[] names no vector: pass None for all of them")
    return names


def _parse_weights(value: object) -> dict[str, float]:
    return parse_mapping(value, partial(parse_number, most=MAX_WEIGHT))


def _parse_group(value: object) -> str:
    try:
        return parse_field(value)
    except ConfigurationError as exc:
        raise InvalidValueError(str(exc)) from exc


def _parse_boosts(value: object) -> tuple[Boost, ...]:
    return tuple(parse_list([value] if isinstance(value, Boost | str) else value, _parse_boost))


def _parse_boost(value: object) -> Boost:
    return Boost.of_text(value) if isinstance(value, str) else parse_instance(value, Boost)


def _parse_facets(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parse_list(value, _parse_group)))


def _parse_threshold(value: object) -> float:
    return parse_number(value, least=-math.inf)


_PARSERS: Mapping[str, Callable[[object], Any]] = {
    "limit": _parse_limit,
    "offset": partial(parse_integer, least=0, most=MAX_REACH),
    "weights": optional(_parse_weights),
    "vectors": optional(_parse_vectors),
    "late": partial(parse_choice, choices=get_args(LateMode)),
    "fusion": partial(parse_choice, choices=get_args(FusionMethod)),
    "feedback": parse_boolean,
    "score_threshold": optional(_parse_threshold),
    "min_rank_vectors": partial(parse_integer, least=1),
    "group_by": optional(_parse_group),
    "group_size": partial(parse_integer, least=1, most=MAX_GROUP_SIZE),
    "boost": _parse_boosts,
    "diversity": partial(parse_number, most=1.0),
    "like": optional(parse_text),
    "facets": _parse_facets,
    "snippets": parse_boolean,
    "context": partial(parse_integer, least=0, most=MAX_CONTEXT),
    "rerank": parse_rerank,
}


def check_names(name: str, given: Collection[str], known: Collection[str], collection: str) -> None:
    """Raise `ConflictError` for a vector that the collection does not have."""
    if unknown := [each for each in given if each not in known]:
        raise ConflictError(
            f"{name}: collection {collection!r} has no vector {', '.join(map(shown, unknown))}: it has {', '.join(known)}"
        )


def check_some_weight(weights: Mapping[str, float], queried: Collection[str]) -> None:
    """Raise `ConflictError` if every vector to query has the weight 0: all scores would be 0."""
    if all(weights.get(name, 1.0) == 0 for name in queried):
        raise ConflictError(
            f"weights: every vector that is queried ({', '.join(queried)}) has the weight 0: give one of them another"
        )
