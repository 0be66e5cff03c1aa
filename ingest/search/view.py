"""Search in one collection, with the models that made it: every vector is queried and the rankings are fused."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingest.encode.contract import Model, Vectors
from ingest.encode.lease import lease_gpus
from ingest.errors import LeaseTimeoutError
from ingest.records import Hit, Payload, ScoredPoint, doc_key
from ingest.search.fusion import Fused, Rankings, fuse
from ingest.search.members import Member
from ingest.search.question import SearchRequest, check_names, check_some_weight
from ingest.search.rerank import RERANK_CANDIDATES, Answer, RerankPipeline, rerank_or_explain
from ingest.store.contract import Condition, Manifest, Store, VectorQuery
from ingest.store.schema import DOC_KEY_FIELD, GONE_FIELD, INGEST_FIELD

CANDIDATES = 100
"""Points that each vector brings into the fusion at least."""

GROUP_DEPTH = 5
"""Chunks looked at for each document that grouping by document is to return."""

DOCUMENT_FIELDS = ("doc_id", "source")
HIT_FIELDS = ("text", "doc_id", "source", "chunk", "start", "end", "title", "metadata", GONE_FIELD)
_ALWAYS_THERE = frozenset(HIT_FIELDS) - {"title", "metadata", GONE_FIELD}

SHOWN = (Condition(GONE_FIELD, "exists", value=False), Condition("doc_id", "exists", value=True))
"""Met by all points but those that wait for their deletion, and other tools'. Seldom asked for: see `CollectionView.search`."""

LEASE_SECONDS = 1.0
"""How long a query waits for the accelerator, for all its models together, before it is encoded on the CPU instead."""

logger = logging.getLogger(__name__)


class CollectionView:
    """Search in the collection of one manifest. It never follows an alias, so one vector space answers. Safe from any thread.

    Args:
        name: the name the caller uses for the collection, for messages.
        members: one for each vector of the manifest.
        devices: accelerators to encode queries on; none for the CPU.
        get_reranker: called when a request asks for reranking.

    Every method raises `CollectionNotFoundError` once the collection has been dropped.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        manifest: Manifest,
        members: Mapping[str, Member],
        *,
        devices: Sequence[str],
        lease_directory: Path | None,
        get_reranker: Callable[[], RerankPipeline],
    ) -> None:
        self.name = name
        self.manifest = manifest
        self.members = members
        self._store = store
        self._devices = devices
        self._lease_directory = lease_directory
        self._get_reranker = get_reranker
        self._fields: set[str] = set()

    def search(self, queries: Sequence[str], request: SearchRequest) -> list[Answer]:
        """Return the answers to checked queries: each model encodes all of them at once, and the store is asked once.

        A vector brings a hundred candidates for ten hits, so payloads are read of the latter alone, and only where one of them is
        not to be shown the store is asked again, with a filter: it would cost every query, and few collections need it.
        """
        vectors = self._vectors(request.vectors)
        if request.weights is not None:
            check_names("weights", request.weights, self.members, self.name)
            check_some_weight(request.weights, vectors)
        if not queries:
            return []
        encoded = self._encoded(queries, vectors)
        best = self._best(encoded, request, request.conditions)
        hits = self.hits(best)
        if any(len(found) < len(wanted) for found, wanted in zip(hits, best, strict=True)):
            hits = self.hits(self._best(encoded, request, (*request.conditions, *SHOWN)))
        warnings = self._warnings(request.conditions, found=any(hits))
        answers = (
            rerank_or_explain(request.rerank, self._get_reranker, query, candidates, request.limit)
            for query, candidates in zip(queries, hits, strict=True)
        )
        return [
            replace(answer, hits=tuple(self._with_context(hit, request.context) for hit in answer.hits), warnings=warnings)
            for answer in answers
        ]

    def rankings(
        self, query: str, *, depth: int, conditions: tuple[Condition, ...] = (), vectors: Sequence[str] | None = None
    ) -> dict[str, list[ScoredPoint]]:
        """Return what each vector finds for a checked query, its `depth` best, best first, with `doc_id` and `source`."""
        encoded = self._encoded([query], self._vectors(vectors))
        found = self._query(encoded, depth, conditions, payload=(*DOCUMENT_FIELDS, GONE_FIELD))[0]
        if all(_is_shown(point.payload) for ranking in found.values() for point in ranking):
            return found
        return self._query(encoded, depth, (*conditions, *SHOWN), payload=DOCUMENT_FIELDS)[0]

    def hits(self, candidates: Sequence[Sequence[Fused]]) -> list[list[Hit]]:
        """Return the hits of each query's candidates, in their order; all payloads are read at once.

        A candidate that is soft-deleted, was deleted meanwhile, or was written by another tool is left out.
        """
        ids = list({candidate.id: None for of_one in candidates for candidate in of_one})
        stored = self._store.retrieve(self.manifest.collection, ids, payload=HIT_FIELDS) if ids else []
        payloads = {
            point.id: point.payload for point in stored if _is_shown(point.payload) and point.payload.keys() >= _ALWAYS_THERE
        }
        return [[_hit(each, payloads[each.id]) for each in of_one if each.id in payloads] for of_one in candidates]

    def _best(
        self, encoded: Mapping[str, Vectors], request: SearchRequest, conditions: tuple[Condition, ...]
    ) -> list[list[Fused]]:
        """The fused order of each query, as far as it is wanted."""
        wanted = request.limit if request.rerank == "off" else max(request.limit, RERANK_CANDIDATES)
        depth = max(CANDIDATES, wanted * GROUP_DEPTH if request.group_by else wanted)
        weights = self.manifest.weights if request.weights is None else request.weights
        best = []
        for rankings in self._query(encoded, depth, conditions, payload=DOCUMENT_FIELDS if request.group_by else False):
            fused = fuse(rankings, weights, request.fusion)
            best.append((_first_of_each_document(fused, rankings) if request.group_by else fused)[:wanted])
        return best

    def _query(
        self, encoded: Mapping[str, Vectors], depth: int, conditions: tuple[Condition, ...], *, payload: Sequence[str] | bool
    ) -> list[dict[str, list[ScoredPoint]]]:
        """What each vector finds for each query, in one request."""
        count = len(next(iter(encoded.values())))
        queries = [VectorQuery(name, encoded[name][number], depth, conditions) for number in range(count) for name in encoded]
        found = iter(self._store.query(self.manifest.collection, queries, payload=payload))
        return [{name: next(found) for name in encoded} for _ in range(count)]

    def _vectors(self, vectors: Sequence[str] | None) -> Sequence[str]:
        if vectors is None:
            return list(self.members)
        check_names("vectors", vectors, self.members, self.name)
        return vectors

    def _encoded(self, queries: Sequence[str], vectors: Sequence[str]) -> dict[str, Vectors]:
        deadline = time.monotonic() + LEASE_SECONDS
        return {name: self._encode(self.members[name], queries, deadline) for name in vectors}

    def _encode(self, member: Member, queries: Sequence[str], deadline: float) -> Vectors:
        devices = self._devices if member.model.runs_on == "accelerator" else ()
        with member.turn:
            try:
                return self._encode_on(member.model, devices, queries, max(0.0, deadline - time.monotonic()))
            except LeaseTimeoutError as exc:
                logger.info("the query is encoded on the CPU: %s", exc)
                return self._encode_on(member.model, (), queries, 0.0)

    def _encode_on(self, model: Model, devices: Sequence[str], queries: Sequence[str], patience: float) -> Vectors:
        with lease_gpus(model, devices, timeout=patience, directory=self._lease_directory) as lease:
            return lease.encoder.encode_queries(queries)

    def _warnings(self, conditions: Sequence[Condition], *, found: bool) -> tuple[str, ...]:
        """A misspelt field looks like one whose test nothing passes or, where absence passes, like one that all chunks lack."""
        doubtful = [each.field for each in conditions if not found or _absence_passes(each)]
        return tuple(
            f"no chunk of {self.name!r} has a field {field}: a document's own fields are named metadata.…"
            for field in dict.fromkeys(doubtful)
            if not self._has(field)
        )

    def _has(self, field: str) -> bool:
        """Whether any chunk has the field. That it is there is found at once, and remembered; that it is not takes a scan."""
        if field not in self._fields:
            having = self._store.scroll(self.manifest.collection, [Condition(field, "exists", value=True)], payload=False, page=1)
            if next(having, None) is None:
                return False
            self._fields.add(field)
        return True

    def _with_context(self, hit: Hit, reach: int) -> Hit:
        """The hit with the texts of up to `reach` chunks before and after it."""
        if not reach:
            return hit
        neighbours = self._store.scroll(
            self.manifest.collection,
            [
                Condition(DOC_KEY_FIELD, "eq", doc_key(hit.source, hit.doc_id)),
                Condition("chunk", "gte", hit.chunk - reach),
                Condition("chunk", "lte", hit.chunk + reach),
            ],
            payload=["text", "chunk", "doc_id", GONE_FIELD],
        )
        texts = sorted((point.payload["chunk"], point.payload["text"]) for point in neighbours if _is_shown(point.payload))
        return replace(
            hit,
            before=tuple(text for chunk, text in texts if chunk < hit.chunk),
            after=tuple(text for chunk, text in texts if chunk > hit.chunk),
        )


def _absence_passes(condition: Condition) -> bool:
    return condition.operator == "none" or (condition.operator == "exists" and not condition.value)


def _is_shown(payload: Payload) -> bool:
    """Whether a point, of whose payload at least `SHOWN` was asked for, meets that."""
    made = payload.get(INGEST_FIELD)
    gone = isinstance(made, dict) and made.get("gone_since") is not None
    return not gone and payload.get("doc_id") is not None


def _first_of_each_document(fused: Sequence[Fused], rankings: Rankings) -> list[Fused]:
    payloads = {point.id: point.payload for found in rankings.values() for point in found}
    first: dict[tuple[Any, Any], Fused] = {}
    for candidate in fused:
        first.setdefault((payloads[candidate.id].get("source"), payloads[candidate.id].get("doc_id")), candidate)
    return list(first.values())


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
    )
