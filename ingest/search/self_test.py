"""A verdict on a collection without judged queries: whether it finds its chunks by queries that were made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import sqrt
from statistics import fmean, stdev
from typing import get_args

from ingest.errors import ConfigurationError
from ingest.parameters import checked, optional, parse_boolean, parse_choice, parse_instance, parse_integer
from ingest.search.candidates import Candidates
from ingest.search.fusion import CANDIDATES, FusionMethod, documents
from ingest.search.known_items import known_items
from ingest.search.request import SearchRequest
from ingest.search.searcher import Searcher

SELF_TEST_QUERIES = 300
"""Queries of a self-test: they bound the standard error of a share by 3 %."""

SAMPLED_CHUNKS = 2000
"""Chunks that queries are made from: the first by id, which are a random sample, since ids are hashes."""

DEPTH = 10
"""Ranks that count."""

PERSISTENCE = 0.9
"""The parameter of rank-biased overlap: the share of readers of a hit that read the next one."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over queries and its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Return the mean of at least one value. The error of a single one is 0."""
        return cls(fmean(values), stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0)


@dataclass(frozen=True, slots=True)
class SelfTestRow:
    """How well one ranking method finds the own chunk of each query.

    Attributes:
        recall_10: share of the queries whose own chunk is among the best ten.
        mrr_10: mean of 1 / rank of the own chunk, 0 beyond the tenth.
    """

    name: str
    recall_10: Mean
    mrr_10: Mean


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The result of a self-test.

    Attributes:
        queries: number of queries.
        rows: one row for each vector, and one for `fused`.
        against: name of the collection that the results were compared with, or None.
        overlap: rank-biased overlap of the ten best documents with those of that collection, 0 to 1, or None.
        change: mean over the queries of 1 / rank of the own document in that collection's fused results, less the same in this
            collection's, or None. Its error is small even where those of the rows are large, since the queries are the same.
    """

    collection: str
    queries: int
    rows: tuple[SelfTestRow, ...]
    against: str | None = None
    overlap: Mean | None = None
    change: Mean | None = None


def run_self_test(
    searcher: Searcher,
    *,
    queries: int = SELF_TEST_QUERIES,
    against: Searcher | None = None,
    fusion: FusionMethod = "scores",
    feedback: bool = True,
) -> SelfTest:
    """Ask a collection queries made from its own chunks, and count where each finds its chunk. Repeats exactly.

    It tells a working configuration from a broken one, and shows what a change of models or of precision costs. It says nothing
    about queries in other words than the text's, so weights must not be set by it.

    Args:
        queries: most queries to make.
        against: a searcher of another configuration of the same documents, which is asked the same queries.
        fusion, feedback: how to fuse, see `Searcher.search`.

    Raises `ConfigurationError` for an invalid argument and if no query can be made, and what `Searcher.search` raises.
    """
    checked("searcher", parse_instance, searcher, Searcher)
    checked("against", optional(parse_instance), against, Searcher)
    count = checked("queries", parse_integer, queries, least=1)
    request = SearchRequest(
        fusion=checked("fusion", parse_choice, fusion, get_args(FusionMethod)),
        feedback=checked("feedback", parse_boolean, feedback),
    )
    view, other = searcher.view(), None if against is None else against.view()
    items = known_items(list(islice(view.chunks(), SAMPLED_CHUNKS)), count)
    if not items:
        raise ConfigurationError(f"collection {searcher.name!r} has no text to make queries from: ingest some first")
    found: dict[str, list[float]] = {}
    overlaps, changes = [], []
    for item in items:
        candidates = view.candidates(item.query, request, depth=CANDIDATES)
        for name, value in _reciprocal_ranks(candidates, item.id).items():
            found.setdefault(name, []).append(value)
        if other is not None:
            theirs = other.candidates(item.query, request, depth=CANDIDATES)
            documents_here, documents_there = _best_documents(candidates), _best_documents(theirs)
            overlaps.append(rank_biased_overlap(documents_here, documents_there))
            changes.append(_reciprocal_rank(documents_there, item.doc_id) - _reciprocal_rank(documents_here, item.doc_id))
    return SelfTest(
        searcher.name,
        len(items),
        tuple(_row(name, values) for name, values in found.items()),
        against.name if against else None,
        Mean.of(overlaps) if overlaps else None,
        Mean.of(changes) if changes else None,
    )


def rank_biased_overlap(one: Sequence[str], other: Sequence[str], depth: int = DEPTH) -> float:
    """Return the rank-biased overlap of two rankings up to a depth (Webber, Moffat and Zobel, TOIS 2010), 1 if they are equal.

    It is divided by its greatest possible value. A ranking that ends before the depth has no further agreement.
    """
    depth = min(depth, max(len(one), len(other)))
    weights = [PERSISTENCE**rank for rank in range(depth)]
    if not weights:
        return 1.0
    agreement = [len({*one[:rank]} & {*other[:rank]}) / rank for rank in range(1, depth + 1)]
    return sum(weight * share for weight, share in zip(weights, agreement, strict=True)) / sum(weights)


def _reciprocal_ranks(candidates: Candidates, id_: str) -> dict[str, float]:
    """Return ranking method → 1 / rank of a chunk, or 0 beyond `DEPTH`."""
    orders = {name: [point.id for point in ranking[:DEPTH]] for name, ranking in candidates.rankings.items()}
    orders["fused"] = [each.id for each in candidates.fused[:DEPTH]]
    return {name: _reciprocal_rank(order, id_) for name, order in orders.items()}


def _reciprocal_rank(order: Sequence[str], id_: str) -> float:
    return 1 / (1 + order.index(id_)) if id_ in order else 0.0


def _best_documents(candidates: Candidates) -> list[str]:
    return documents(candidates.fused, candidates.final)[:DEPTH]


def _row(name: str, values: Sequence[float]) -> SelfTestRow:
    return SelfTestRow(name, Mean.of([float(value > 0) for value in values]), Mean.of(values))
