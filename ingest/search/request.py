"""The parameters of a search, their defaults and checks. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

from ingest.errors import ConfigurationError
from ingest.parameters import (
    InvalidValueError,
    checked,
    optional,
    parse_boolean,
    parse_choice,
    parse_integer,
    parse_list,
    parse_mapping,
    parse_number,
    parse_unicode,
    shown,
)
from ingest.search.fusion import FusionMethod
from ingest.search.rerank import RerankMode, parse_rerank
from ingest.store.contract import Filter
from ingest.store.filters import Where, parse_filter

MAX_LIMIT = 10_000

MAX_CONTEXT = 10_000

_GROUPS: tuple[Literal["doc_id"]] = ("doc_id",)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """The parameters of `Searcher.search` except the query, checked as far as possible without the collection.

    Attributes:
        conditions: parsed filters of `where`.
        weights: vector name → weight. None: those of the collection.
        vectors: names of the vectors to query. None: all.
    """

    limit: int = 10
    conditions: tuple[Filter, ...] = ()
    weights: Mapping[str, float] | None = None
    vectors: tuple[str, ...] | None = None
    fusion: FusionMethod = "scores"
    feedback: bool = True
    group_by: Literal["doc_id"] | None = None
    context: int = 0
    rerank: RerankMode = "off"

    @classmethod
    def of(
        cls,
        *,
        limit: int,
        where: Where,
        weights: Mapping[str, float] | None,
        vectors: Sequence[str] | None,
        fusion: FusionMethod,
        feedback: bool,
        group_by: Literal["doc_id"] | None,
        context: int,
        rerank: RerankMode | bool,
    ) -> Self:
        """Check the parameters of a caller. Raises `ConfigurationError`."""
        return cls(
            limit=checked("limit", parse_integer, limit, least=1, most=MAX_LIMIT),
            conditions=parse_filter(where),
            weights=checked("weights", optional(_parse_weights), weights),
            vectors=parse_vectors(vectors),
            fusion=checked("fusion", parse_choice, fusion, get_args(FusionMethod)),
            feedback=checked("feedback", parse_boolean, feedback),
            group_by=None if group_by is None else checked("group_by", parse_choice, group_by, _GROUPS),
            context=checked("context", parse_integer, context, least=0, most=MAX_CONTEXT),
            rerank=checked("rerank", parse_rerank, rerank),
        )


def parse_query(query: object) -> str:
    """Return the query if it is a text that is not blank. Raises `ConfigurationError`."""
    return checked("query", _parse_query, query)


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
    return query


def _parse_vectors(value: object) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(parse_list(value, parse_unicode)))
    if not names:
        raise InvalidValueError("[] names no vector: pass None for all of them")
    return names


def _parse_weights(value: object) -> dict[str, float]:
    return parse_mapping(value, parse_number)


def check_names(name: str, given: Collection[str], known: Collection[str], collection: str) -> None:
    """Raise `ConfigurationError` for a vector that the collection does not have."""
    if unknown := [each for each in given if each not in known]:
        raise ConfigurationError(
            f"{name}: collection {collection!r} has no vector {', '.join(map(shown, unknown))}: it has {', '.join(known)}"
        )


def check_some_weight(weights: Mapping[str, float], queried: Collection[str]) -> None:
    """Raise `ConfigurationError` if every vector to query has the weight 0: all scores would be 0."""
    if all(weights.get(name, 1.0) == 0 for name in queried):
        raise ConfigurationError(
            f"weights: every vector that is queried ({', '.join(queried)}) has the weight 0: give one of them another"
        )
