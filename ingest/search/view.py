"""Search in one collection with the models that made it: query every vector, fuse the rankings."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ingest.encode.contract import Model, Vectors
from ingest.encode.lease import lease_gpus
from ingest.errors import LeaseTimeoutError
from ingest.records import Hit, Payload, ScoredPoint, Vector, doc_key
from ingest.search.feedback import FEEDBACK_CHUNKS, FEEDBACK_LIMIT, refined, vectors_to_refine
from ingest.search.fields import FieldCheck
from ingest.search.fusion import CANDIDATES, Fused, Rankings, Sigmas, fuse
from ingest.search.grouping import GROUP_DEPTH, best_of_each_document, document_keys
from ingest.search.models import SharedModel
from ingest.search.request import SearchRequest, check_names, check_some_weight
from ingest.search.rerank import RERANK_CANDIDATES, Answer, RerankPipeline, rerank_or_explain
from ingest.search.sigma import SimilarityScale
from ingest.store.contract import Condition, Filter, Manifest, Store, VectorQuery
from ingest.store.schema import DOC_KEY_FIELD, INGEST_FIELD, SOFT_DELETED_FIELD

DOCUMENT_FIELDS = ("doc_id", "source")
HIT_FIELDS = ("text", "doc_id", "source", "chunk", "start", "end", "title", "metadata", SOFT_DELETED_FIELD)
_SHOWN_FIELDS = (*DOCUMENT_FIELDS, SOFT_DELETED_FIELD)
_REQUIRED_FIELDS = frozenset(HIT_FIELDS) - {"title", "metadata", SOFT_DELETED_FIELD}

SHOWN = (Condition(SOFT_DELETED_FIELD, "exists", value=False), Condition("doc_id", "exists", value=True))
"""Conditions that exclude soft-deleted points and those of other tools. Rarely sent: see `CollectionView.search`."""

LEASE_SECONDS = 1.0
"""Seconds a query waits for the accelerator, for all its models together, before it is encoded on the CPU instead."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The candidates of one query.

    Attributes:
        queries: vector name → the query of `final`.
        rankings: vector name → the points that the query itself found.
        final: the rankings that were fused: `rankings`, or those after feedback.
        fused: the fused candidates, best first.
        feedback_seconds: time of the second query, shared by all queries of a batch, or None without feedback.
    """

    queries: Mapping[str, Vector]
    rankings: Rankings
    final: Rankings
    fused: Sequence[Fused]
    feedback_seconds: float | None


class CollectionView:
    """The collection of one manifest, open for search. It never follows an alias, so vector spaces never mix. Thread-safe.

    Args:
        store: an open store.
        name: the caller's name for the collection, for messages.
        manifest: manifest of the collection.
        models: vector name → model, one for each vector of the manifest.
        devices: accelerators that encode queries; empty for the CPU.
        lease_directory: folder of the lease files. None: the user's.
        get_reranker: returns the reranker; called when a request needs it.

    Every method raises `CollectionNotFoundError` once the collection has been dropped.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        manifest: Manifest,
        models: Mapping[str, SharedModel],
        *,
        devices: Sequence[str],
        lease_directory: Path | None,
        get_reranker: Callable[[], RerankPipeline],
    ) -> None:
        self.name = name
        self.manifest = manifest
        self.models = models
        self._store = store
        self._devices = devices
        self._lease_directory = lease_directory
        self._get_reranker = get_reranker
        self._scale = SimilarityScale(store, manifest)
        self._fields = FieldCheck(store, manifest.collection, name)

    def search(self, queries: Sequence[str], request: SearchRequest) -> list[Answer]:
        """Return the answers to checked queries. Each model encodes all of them at once, and they share their requests.

        A vector finds a hundred candidates for ten hits, so payloads are read for the hits alone. If one of them must not be
        shown, the search is repeated with a filter: a filter would slow every query, and few collections need it.
        """
        vectors = self._vectors(request.vectors)
        if request.weights is not None:
            check_names("weights", request.weights, self.models, self.name)
            check_some_weight(request.weights, vectors)
        if not queries:
            return []
        encoded = self._encoded(queries, vectors)
        best = self._best(encoded, request, request.conditions)
        hits = self.hits([each.fused for each in best])
        if any(len(shown) < len(each.fused) for shown, each in zip(hits, best, strict=True)):
            best = self._best(encoded, request, (*request.conditions, *SHOWN))
            hits = self.hits([each.fused for each in best])
        warnings = self._fields.warnings(request.conditions, found=any(hits))
        answers = (
            rerank_or_explain(request.rerank, self._get_reranker, query, candidates, request.limit)
            for query, candidates in zip(queries, hits, strict=True)
        )
        return [
            replace(
                answer,
                hits=tuple(self._with_context(hit, request.context) for hit in answer.hits),
                warnings=warnings,
                feedback_seconds=each.feedback_seconds,
            )
            for answer, each in zip(answers, best, strict=True)
        ]

    def rankings(
        self, query: str, *, depth: int, conditions: tuple[Filter, ...] = (), vectors: Sequence[str] | None = None
    ) -> dict[str, list[ScoredPoint]]:
        """Return the `depth` best points of each vector for a checked query, best first, with `doc_id` and `source`."""
        encoded = self._encoded([query], self._vectors(vectors))
        rankings = self._query(encoded, depth, conditions, payload=_SHOWN_FIELDS)[0]
        if _all_shown(rankings):
            return rankings
        return self._query(encoded, depth, (*conditions, *SHOWN), payload=DOCUMENT_FIELDS)[0]

    def sigmas(self) -> Sigmas:
        """Return the scale of every dense vector, for `fuse`."""
        return self._scale.sigmas()

    def candidates(self, query: str, request: SearchRequest, *, depth: int) -> Candidates:
        """Return the candidates of a checked query, from the `depth` best points of each vector, with `doc_id` and `source`."""
        encoded = self._encoded([query], self._vectors(request.vectors))
        [candidates] = self._candidates(encoded, request, depth, request.conditions, payload=_SHOWN_FIELDS)
        if _all_shown(candidates.rankings) and _all_shown(candidates.final):
            return candidates
        return self._candidates(encoded, request, depth, (*request.conditions, *SHOWN), payload=DOCUMENT_FIELDS)[0]

    def hits(self, candidates: Sequence[Sequence[Fused]]) -> list[list[Hit]]:
        """Return the hits of each query's candidates, in their order. All payloads are read in one request.

        Candidates that are soft-deleted, deleted since, or written by another tool are left out.
        """
        ids = list({candidate.id: None for of_query in candidates for candidate in of_query})
        stored = self._store.retrieve(self.manifest.collection, ids, payload=HIT_FIELDS) if ids else []
        payloads = {
            point.id: point.payload for point in stored if _is_shown(point.payload) and point.payload.keys() >= _REQUIRED_FIELDS
        }
        return [[_hit(each, payloads[each.id]) for each in of_query if each.id in payloads] for of_query in candidates]

    def _best(self, encoded: Mapping[str, Vectors], request: SearchRequest, conditions: tuple[Filter, ...]) -> list[Candidates]:
        """Return the best fused candidates of each query: as many as hits, or as the reranker reads."""
        count = request.limit if request.rerank == "off" else max(request.limit, RERANK_CANDIDATES)
        depth = max(CANDIDATES, count * GROUP_DEPTH if request.group_by else count)
        payload = DOCUMENT_FIELDS if request.group_by else False
        candidates = self._candidates(encoded, request, depth, conditions, payload=payload)
        if request.group_by:
            documents = [self._best_documents(each, request, depth, conditions, count) for each in candidates]
            candidates = [replace(each, fused=fused) for each, fused in zip(candidates, documents, strict=True)]
        return [replace(each, fused=each.fused[:count]) for each in candidates]

    def _best_documents(
        self, candidates: Candidates, request: SearchRequest, depth: int, conditions: tuple[Filter, ...], count: int
    ) -> list[Fused]:
        """Return the best candidate of each document, of `count` documents or all.

        A document with many chunks can fill a ranking. Then it continues without the documents found so far.
        """
        rankings = {name: list(ranking) for name, ranking in candidates.final.items()}
        continued = [name for name, ranking in rankings.items() if len(ranking) >= depth]
        known: set[str] = set()
        while continued and known < (found := document_keys(rankings)) and len(found) < count:
            known = found
            others = (*conditions, Condition(DOC_KEY_FIELD, "none", tuple(sorted(known))))
            queries = [VectorQuery(name, candidates.queries[name], depth, others) for name in continued]
            answers = self._store.query(self.manifest.collection, queries, payload=DOCUMENT_FIELDS)
            for name, ranking in zip(continued, answers, strict=True):
                rankings[name] += ranking
            continued = [name for name, ranking in zip(continued, answers, strict=True) if len(ranking) >= depth]
        fused = self._fuse(rankings, request) if known else candidates.fused
        return best_of_each_document(fused, rankings)

    def _fuse(self, rankings: Rankings, request: SearchRequest) -> list[Fused]:
        return fuse(rankings, self._weights(request), request.fusion, self.sigmas() if request.fusion == "scores" else None)

    def _weights(self, request: SearchRequest) -> Mapping[str, float]:
        return self.manifest.weights if request.weights is None else request.weights

    def _candidates(
        self,
        encoded: Mapping[str, Vectors],
        request: SearchRequest,
        depth: int,
        conditions: tuple[Filter, ...],
        *,
        payload: Sequence[str] | bool,
    ) -> list[Candidates]:
        """Return the candidates of each query, with feedback if the request wants it."""
        first = self._query(encoded, depth, conditions, payload=payload)
        fused = [self._fuse(rankings, request) for rankings in first]
        final, queries, seconds = first, encoded, None
        if (names := self._vectors_to_refine(encoded, request)) and any(fused):
            began = time.perf_counter()
            queries = {**encoded, **self._refined(encoded, names, fused)}
            again = self._query({name: queries[name] for name in names}, depth, conditions, payload=payload)
            final = [{**rankings, **dense} for rankings, dense in zip(first, again, strict=True)]
            fused = [self._fuse(rankings, request) for rankings in final]
            seconds = time.perf_counter() - began
        return [
            Candidates({name: vectors[number] for name, vectors in queries.items()}, *found, seconds)
            for number, found in enumerate(zip(first, final, fused, strict=True))
        ]

    def _vectors_to_refine(self, encoded: Mapping[str, Vectors], request: SearchRequest) -> list[str]:
        if request.fusion != "scores" or not request.feedback or request.limit > FEEDBACK_LIMIT:
            return []
        dense = [spec.name for spec in self.manifest.vectors if not spec.sparse]
        return vectors_to_refine(encoded, dense, self._weights(request))

    def _refined(
        self, encoded: Mapping[str, Vectors], vectors: Sequence[str], fused: Sequence[Sequence[Fused]]
    ) -> dict[str, Vectors]:
        """Return the queries of these dense vectors, moved toward the best fused chunks. Hidden chunks do not count."""
        ids = list({candidate.id: None for of_query in fused for candidate in of_query[:FEEDBACK_CHUNKS]})
        stored = self._store.retrieve(self.manifest.collection, ids, payload=_SHOWN_FIELDS, vectors=vectors)
        chunks: dict[str, Mapping[str, Any]] = {point.id: point.vectors for point in stored if _is_shown(point.payload)}
        return {
            name: np.array(
                [
                    refined(query, [chunks[each.id][name] for each in best[:FEEDBACK_CHUNKS] if name in chunks.get(each.id, {})])
                    for query, best in zip(np.asarray(encoded[name]), fused, strict=True)
                ]
            )
            for name in vectors
        }

    def _query(
        self, encoded: Mapping[str, Vectors], depth: int, conditions: tuple[Filter, ...], *, payload: Sequence[str] | bool
    ) -> list[dict[str, list[ScoredPoint]]]:
        """Return the rankings of each query, found in one request."""
        count = len(next(iter(encoded.values())))
        queries = [VectorQuery(name, encoded[name][number], depth, conditions) for number in range(count) for name in encoded]
        rankings = iter(self._store.query(self.manifest.collection, queries, payload=payload))
        return [{name: next(rankings) for name in encoded} for _ in range(count)]

    def _vectors(self, vectors: Sequence[str] | None) -> Sequence[str]:
        if vectors is None:
            return list(self.models)
        check_names("vectors", vectors, self.models, self.name)
        return vectors

    def _encoded(self, queries: Sequence[str], vectors: Sequence[str]) -> dict[str, Vectors]:
        deadline = time.monotonic() + LEASE_SECONDS
        return {name: self._encode(self.models[name], queries, deadline) for name in vectors}

    def _encode(self, shared: SharedModel, queries: Sequence[str], deadline: float) -> Vectors:
        devices = self._devices if shared.model.runs_on == "accelerator" else ()
        with shared.lock:
            try:
                return self._encode_on(shared.model, devices, queries, max(0.0, deadline - time.monotonic()))
            except LeaseTimeoutError as exc:
                logger.info("the query is encoded on the CPU: %s", exc)
                return self._encode_on(shared.model, (), queries, 0.0)

    def _encode_on(self, model: Model, devices: Sequence[str], queries: Sequence[str], patience: float) -> Vectors:
        with lease_gpus(model, devices, timeout=patience, directory=self._lease_directory) as lease:
            return lease.encoder.encode_queries(queries)

    def _with_context(self, hit: Hit, reach: int) -> Hit:
        """Return the hit with the texts of up to `reach` chunks before and after it."""
        if not reach:
            return hit
        neighbours = self._store.scroll(
            self.manifest.collection,
            [
                Condition(DOC_KEY_FIELD, "eq", doc_key(hit.source, hit.doc_id)),
                Condition("chunk", "gte", hit.chunk - reach),
                Condition("chunk", "lte", hit.chunk + reach),
            ],
            payload=["text", "chunk", "doc_id", SOFT_DELETED_FIELD],
        )
        texts = sorted((point.payload["chunk"], point.payload["text"]) for point in neighbours if _is_shown(point.payload))
        return replace(
            hit,
            before=tuple(text for chunk, text in texts if chunk < hit.chunk),
            after=tuple(text for chunk, text in texts if chunk > hit.chunk),
        )


def _all_shown(rankings: Rankings) -> bool:
    return all(_is_shown(point.payload) for ranking in rankings.values() for point in ranking)


def _is_shown(payload: Payload) -> bool:
    """Return whether a point meets `SHOWN`; `payload` has at least its fields."""
    own = payload.get(INGEST_FIELD)
    soft_deleted = isinstance(own, dict) and own.get("soft_deleted_at") is not None
    return not soft_deleted and payload.get("doc_id") is not None


def _hit(candidate: Fused, payload: Payload) -> Hit:
    return Hit(
        id=candidate.id,
        score=candidate.score,
        text=payload["text"],
        doc_id=payload["doc_id"],
        title=payload.get("title"),
        source=payload["source"],
        start=payload["start"],
        chunk=payload["chunk"],
        end=payload["end"],
        metadata=payload.get("metadata", {}),
        ranks=candidate.ranks,
        fused_score=candidate.score,
        vector_scores=candidate.vector_scores,
        contributions=candidate.contributions,
    )
