"""The candidates of encoded queries: every vector queried, fused, with feedback, and grouped."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np

from ingest.encode.contract import Vectors
from ingest.errors import ConfigurationError
from ingest.records import DenseMatrix, ScoredPoint, Vector
from ingest.search.feedback import FEEDBACK_CHUNKS, refined, vectors_to_refine
from ingest.search.fusion import CANDIDATES, Fused, Rankings, Sigmas, fuse
from ingest.search.grouping import GROUP_DEPTH, Grouping, Key
from ingest.search.late import reordered
from ingest.search.order import boosted, diverse
from ingest.search.request import MAX_REACH, SearchRequest
from ingest.search.shown import SHOWN_FIELDS, is_shown
from ingest.search.sigma import SimilarityScale
from ingest.store.contract import Filter, Manifest, Store, VectorQuery

DEPTHS = (CANDIDATES, 1_000, MAX_REACH)
"""The limits of a vector's queries: for a page that requires more points than one of them, the next one is asked for, too."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of one query.

    Attributes:
        queries: vector name → the query of `final`.
        rankings: vector name → the points that the query itself found.
        final: the rankings that were fused: `rankings`, or those after feedback.
        fused: the fused candidates, best first; those of one group together.
        feedback_seconds: time of the second query, shared by all queries of a batch, or None without feedback.
    """

    queries: Mapping[str, Vector]
    rankings: Rankings
    final: Rankings
    fused: Sequence[Fused]
    feedback_seconds: float | None


class CandidateFinder:
    """Finds the candidates of queries in one collection.

    Args:
        store: an open store.
        manifest: manifest of the collection.
    """

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store = store
        self._manifest = manifest
        self._scale = SimilarityScale(store, manifest)

    def sigmas(self) -> Sigmas:
        """Return the scale of every dense vector, for `fuse`."""
        return self._scale.sigmas()

    def best(
        self,
        encoded: Mapping[str, Vectors],
        request: SearchRequest,
        filters: tuple[Filter, ...],
        *,
        late: Mapping[str, Vectors] = MappingProxyType({}),
    ) -> list[Candidates]:
        """Return the best candidates of each query that its page requires, or as many groups.

        Args:
            late: queries of the multivectors that order the fused candidates.
        """
        if not late:
            return self._best(encoded, request, filters, count=request.count)
        found = self._best(encoded, replace(request, diversity=0.0), filters, count=request.late_count)
        found = self.reordered(found, late, request)
        return [replace(each, fused=request.required(self._diverse(each.fused, request))) for each in found]

    def reordered(self, found: Sequence[Candidates], late: Mapping[str, Vectors], request: SearchRequest) -> list[Candidates]:
        """Return the candidates of each query, the best ordered by these multivectors. The store scores them, in one request."""
        windows = [request.late_window(each.fused) for each in found]
        queries = [
            VectorQuery(name, vectors[number], len(head), among=tuple(each.id for each in head))
            for number, (head, _) in enumerate(windows)
            for name, vectors in late.items()
            if head
        ]
        answers = iter(self._store.query(self._manifest.collection, queries, payload=False) if queries else ())
        weights = self._weights(request)
        return [
            replace(each, fused=[*reordered(head, {name: next(answers) for name in late if head}, weights), *tail])
            for each, (head, tail) in zip(found, windows, strict=True)
        ]

    def _best(
        self, encoded: Mapping[str, Vectors], request: SearchRequest, filters: tuple[Filter, ...], *, count: int
    ) -> list[Candidates]:
        """Return the `count` best fused candidates of each query, or as many groups.

        The depths of groups do not depend on the page, so that pages continue each other.
        """
        if request.grouping is None:
            depth, most = max(CANDIDATES, count), None if request.reorders else count
            found = self.find(encoded, request, depth, filters, payload=_boost_fields(request) or False, most=most)
            return [replace(each, fused=self._ordered(each.fused, each.final, request)[:count]) for each in found]
        wanted = (*filters, *request.grouping.filters)
        found = self.find(encoded, request, CANDIDATES, wanted, payload=_payload(request.grouping, request))
        return [self._grouped(each, request, request.grouping, wanted, count=count) for each in found]

    def find(
        self,
        encoded: Mapping[str, Vectors],
        request: SearchRequest,
        depth: int,
        filters: tuple[Filter, ...],
        *,
        payload: Sequence[str] | bool,
        most: int | None = None,
    ) -> list[Candidates]:
        """Return the candidates of each query from the `depth` best points of each vector, with feedback if it is requested.

        If `most` is given, only so many, the best ones: a record of each of two hundred takes longer than fusing them.
        """
        first = self.query(encoded, depth, filters, payload=payload)
        names = self._vectors_to_refine(encoded, request)
        fused = [self._fuse(rankings, request, FEEDBACK_CHUNKS if names else most) for rankings in first]
        final: Sequence[Rankings] = first
        queries, seconds = encoded, None
        if names and any(fused):
            began = time.perf_counter()
            queries = {**encoded, **self._refined(encoded, names, fused)}
            final = self._scored_again({name: queries[name] for name in names}, first, payload=payload)
            fused = [self._fuse(rankings, request, most) for rankings in final]
            seconds = time.perf_counter() - began
        return [
            Candidates({name: vectors[number] for name, vectors in queries.items()}, *found, seconds)
            for number, found in enumerate(zip(first, final, fused, strict=True))
        ]

    def query(
        self, encoded: Mapping[str, Vectors], depth: int, filters: tuple[Filter, ...], *, payload: Sequence[str] | bool
    ) -> list[dict[str, list[ScoredPoint]]]:
        """Return the rankings of each query, found in one request. One of a smaller depth begins every deeper one.

        A store cannot promise that: for another limit, it finds others of equal scores at the end, or others by an approximate
        search. So it is asked for the limits of `DEPTHS` alone, and each following one appends what those before it lack.
        """
        count = len(next(iter(encoded.values())))
        limits = [each for each, before in zip(DEPTHS, (0, *DEPTHS), strict=False) if before < depth]
        queries = [
            VectorQuery(name, encoded[name][number], limit, filters)
            for number in range(count)
            for name in encoded
            for limit in limits
        ]
        answers = iter(self._store.query(self._manifest.collection, queries, payload=payload))
        return [{name: reduce(_followed, [next(answers) for _ in limits])[:depth] for name in encoded} for _ in range(count)]

    def _scored_again(
        self, refined: Mapping[str, Vectors], first: Sequence[Rankings], *, payload: Sequence[str] | bool
    ) -> list[Rankings]:
        """Return the rankings of each query with those of the refined vectors, which compare with the candidates alone.

        That takes as long in a large collection as in a small one. What a vector found, but not again, follows in its order.
        """
        candidates = [tuple({point.id: None for ranking in each.values() for point in ranking[:CANDIDATES]}) for each in first]
        queries = [
            VectorQuery(name, vectors[number], CANDIDATES, among=ids)
            for number, ids in enumerate(candidates)
            for name, vectors in refined.items()
            if ids
        ]
        answers = iter(self._store.query(self._manifest.collection, queries, payload=payload))
        return [
            {**rankings, **{name: _followed(next(answers), rankings[name]) for name in refined if ids}}
            for rankings, ids in zip(first, candidates, strict=True)
        ]

    def _grouped(
        self,
        candidates: Candidates,
        request: SearchRequest,
        grouping: Grouping,
        filters: tuple[Filter, ...],
        *,
        count: int,
    ) -> Candidates:
        """Return the candidates of the `count` best groups, each with its best chunks.

        A group with many chunks can fill a ranking. Then it continues without the groups found so far.
        """
        rankings = {name: list(ranking) for name, ranking in candidates.final.items()}
        continued = [name for name, ranking in rankings.items() if len(ranking) >= CANDIDATES]
        fused, known = candidates.fused, -1
        groups = grouping.groups(self._ordered(fused, rankings, request), rankings)
        while continued and len(groups) < count and (keys := grouping.keys_in(rankings)) and len(keys) > known:
            known = len(keys)
            queries = [
                VectorQuery(name, candidates.queries[name], GROUP_DEPTH, (*filters, grouping.without(keys))) for name in continued
            ]
            answers = self._store.query(self._manifest.collection, queries, payload=_payload(grouping, request))
            for name, ranking in zip(continued, answers, strict=True):
                rankings[name] += ranking
            continued = [name for name, ranking in zip(continued, answers, strict=True) if len(ranking) >= GROUP_DEPTH]
            fused = self._fuse(rankings, request)
            groups = grouping.groups(self._ordered(fused, rankings, request), rankings)
        best = dict(list(groups.items())[:count])
        if lacking := [key for key, chunks in best.items() if len(chunks) < grouping.size]:
            best |= self._filled(candidates, request, grouping, filters, rankings=rankings, lacking=lacking)
        chosen = [chunk for chunks in best.values() for chunk in chunks[: grouping.size]]
        return replace(candidates, final=rankings, fused=chosen)

    def _filled(
        self,
        candidates: Candidates,
        request: SearchRequest,
        grouping: Grouping,
        filters: tuple[Filter, ...],
        *,
        rankings: Mapping[str, list[ScoredPoint]],
        lacking: Sequence[Key],
    ) -> dict[Key, list[Fused]]:
        """Return the groups that had too few chunks among the candidates, with their best ones."""
        cut = [name for name, ranking in rankings.items() if len(ranking) >= CANDIDATES]
        if not cut:
            return {}
        queries = [
            VectorQuery(name, candidates.queries[name], grouping.size, (*filters, grouping.within(key)))
            for name in cut
            for key in lacking
        ]
        answers = iter(self._store.query(self._manifest.collection, queries, payload=_payload(grouping, request)))
        for name in cut:
            listed = {point.id for point in rankings[name]}
            more = {point.id: point for _ in lacking for point in next(answers) if point.id not in listed}
            rankings[name].extend(more.values())
        groups = grouping.groups(self._ordered(self._fuse(rankings, request), rankings, request), rankings)
        return {key: groups[key] for key in lacking}

    def _ordered(self, fused: Sequence[Fused], rankings: Rankings, request: SearchRequest) -> Sequence[Fused]:
        """Return the candidates that enough vectors found, boosted and diverse if that is requested."""
        passing = _passing(fused, request)
        if request.boost:
            payloads = {point.id: point.payload for ranking in rankings.values() for point in ranking}
            passing = boosted(passing, payloads, request.boost, datetime.now(UTC))
        return self._diverse(passing, request)

    def _diverse(self, candidates: Sequence[Fused], request: SearchRequest) -> Sequence[Fused]:
        if not request.diversity:
            return candidates
        head = candidates[:CANDIDATES]
        return [*diverse(head, self._dense_vectors(head), request.diversity), *candidates[CANDIDATES:]]

    def _dense_vectors(self, candidates: Sequence[Fused]) -> dict[str, DenseMatrix]:
        """Return the first dense vector of each candidate."""
        dense = [spec.name for spec in self._manifest.vectors if spec.kind == "dense"]
        if not dense:
            raise ConfigurationError("diversity: the collection has no dense vector to compare hits by")
        ids = [each.id for each in candidates]
        stored = self._store.retrieve(self._manifest.collection, ids, payload=False, vectors=dense[:1]) if ids else []
        return {point.id: np.asarray(point.vectors[dense[0]]) for point in stored if dense[0] in point.vectors}

    def _fuse(self, rankings: Rankings, request: SearchRequest, most: int | None = None) -> list[Fused]:
        sigmas = self.sigmas() if request.fusion == "scores" else None
        return fuse(rankings, self._weights(request), request.fusion, sigmas, most=most)

    def _weights(self, request: SearchRequest) -> Mapping[str, float]:
        return self._manifest.weights if request.weights is None else request.weights

    def _vectors_to_refine(self, encoded: Mapping[str, Vectors], request: SearchRequest) -> list[str]:
        if request.fusion != "scores" or not request.feedback:
            return []
        dense = [spec.name for spec in self._manifest.vectors if spec.kind == "dense"]
        return vectors_to_refine(encoded, dense, self._weights(request))

    def _refined(
        self, encoded: Mapping[str, Vectors], vectors: Sequence[str], fused: Sequence[Sequence[Fused]]
    ) -> dict[str, Vectors]:
        """Return the queries of these dense vectors, moved toward the best fused chunks. Hidden chunks do not count."""
        ids = list({candidate.id: None for of_query in fused for candidate in of_query[:FEEDBACK_CHUNKS]})
        stored = self._store.retrieve(self._manifest.collection, ids, payload=SHOWN_FIELDS, vectors=vectors)
        chunks: dict[str, Mapping[str, Any]] = {point.id: point.vectors for point in stored if is_shown(point.payload)}
        return {
            name: np.array(
                [
                    refined(query, [chunks[each.id][name] for each in best[:FEEDBACK_CHUNKS] if name in chunks.get(each.id, {})])
                    for query, best in zip(np.asarray(encoded[name]), fused, strict=True)
                ]
            )
            for name in vectors
        }


def _followed(ranking: Sequence[ScoredPoint], other: Sequence[ScoredPoint]) -> list[ScoredPoint]:
    """Return a ranking, followed by the points of another ranking of the same vector that are not in it."""
    listed = {point.id for point in ranking}
    return [*ranking, *(point for point in other if point.id not in listed)]


def _boost_fields(request: SearchRequest) -> list[str]:
    return [boost.field for boost in request.boost]


def _payload(grouping: Grouping, request: SearchRequest) -> list[str]:
    return [*grouping.payload, *_boost_fields(request)]


def _passing(fused: Sequence[Fused], request: SearchRequest) -> Sequence[Fused]:
    """Return the candidates that enough vectors found among their best hundred."""
    least = request.min_rank_vectors
    if least <= 1:
        return fused
    return [each for each in fused if sum(rank <= CANDIDATES for rank in each.ranks.values()) >= least]
