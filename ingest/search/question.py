"""What can be asked of a searcher: arguments, their defaults, and what is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

from ingest.errors import ConfigurationError
from ingest.search.fusion import FusionMethod
from ingest.search.rerank import RerankMode
from ingest.store.contract import Condition
from ingest.store.filters import parse_where

MAX_LIMIT = 10_000

Where = Mapping[str, Any] | Sequence[Condition]
"""`{"metadata.year": {"gte": 2020}, "metadata.lang": ["en", "de"]}`, or conditions ready made."""


class SearchArguments(TypedDict, total=False):
    """What can be asked beside the question.

    Attributes:
        limit: hits at most, 1 to 10,000; 10 if not given.
        where: conditions that every hit meets.
        weights: vector name → weight in the fusion; the collection's own if not given, 1 where it has none.
        vectors: ask these only; all if not given.
        fusion: `rrf` (default) or `dbsf`, see `fusion.fuse`.
        group_by: `doc_id` gives the best chunk of each document only.
        context: that many chunks before and after each hit come with it.
        rerank: `off` (default), `auto` reranks the best if the model can be had at once, `on` makes its absence an error.
    """

    limit: int
    where: Where
    weights: Mapping[str, float] | None
    vectors: Sequence[str] | None
    fusion: FusionMethod
    group_by: Literal["doc_id"] | None
    context: int
    rerank: RerankMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`SearchArguments` with its defaults, checked."""

    limit: int = 10
    where: Where = ()
    weights: Mapping[str, float] | None = None
    vectors: Sequence[str] | None = None
    fusion: FusionMethod = "rrf"
    group_by: Literal["doc_id"] | None = None
    context: int = 0
    rerank: RerankMode = "off"

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise ConfigurationError(f"a limit of {self.limit} hits is out of range: ask for 1 to {MAX_LIMIT}")
        if self.fusion not in get_args(FusionMethod):
            raise ConfigurationError(f"there is no fusion {self.fusion!r}: there are {', '.join(get_args(FusionMethod))}")
        if self.group_by not in {None, "doc_id"}:
            raise ConfigurationError(f"hits cannot be grouped by {self.group_by!r}: only by doc_id")
        if self.context < 0:
            raise ConfigurationError(f"a context of {self.context} chunks cannot be: ask for 0 or more")


def check_question(query: str) -> None:
    if not query.strip():
        raise ConfigurationError("the question is empty: ask something")
    if not query.isascii() and any("\ud800" <= character <= "\udfff" for character in query):
        raise ConfigurationError(f"the question {query[:40]!r} is not Unicode text: it holds half of a surrogate pair")


def conditions_of(where: Where) -> tuple[Condition, ...]:
    return parse_where(where) if isinstance(where, Mapping) else tuple(where)
