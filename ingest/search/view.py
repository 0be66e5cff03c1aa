"""Search in one collection with the models that made it: query every vector, fuse the rankings."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from ingest.encode.contract import Vectors
from ingest.encode.runner import BatchRunner
from ingest.errors import ConflictError, DeviceError, LeaseTimeoutError, ModelError
from ingest.identity import doc_key, is_uuid
from ingest.parameters import shown as shown_value
from ingest.records import Hit, Payload, ScoredPoint, SparseVector, StoredPoint
from ingest.retry import RetryPolicy
from ingest.search.answer import Answer
from ingest.search.candidates import CandidateFinder, Candidates
from ingest.search.document import StoredDocument, read_document
from ingest.search.facets import count_values, facet_warnings
from ingest.search.fields import FieldCheck
from ingest.search.fusion import Fused, Sigmas
from ingest.search.like import mean_vector
from ingest.search.models import SharedModel
from ingest.search.request import MAX_REACH, SearchRequest, check_names, check_some_weight
from ingest.search.rerank import RerankPipeline, rerank_or_explain
from ingest.search.shown import SHOWN, HiddenPoints, all_shown, is_shown
from ingest.search.snippets import matching, snippet_of, words_alike
from ingest.store.contract import Condition, Filter, Manifest, Store, VectorQuery
from ingest.store.payload_path import values_at
from ingest.store.schema import DOC_KEY_FIELD, SOFT_DELETED_FIELD

DOCUMENT_FIELDS = ("doc_id", "source")
_REQUIRED_FIELDS = frozenset({"text", "doc_id", "source", "chunk", "start", "end"})
_PLACE_FIELDS = ("section", "table_header", "page", "url", "anchor", "line")
HIT_FIELDS = (*sorted(_REQUIRED_FIELDS), "title", "metadata", *_PLACE_FIELDS, SOFT_DELETED_FIELD)
_SHOWN_FIELDS = (*DOCUMENT_FIELDS, SOFT_DELETED_FIELD)

LIKE_CHUNKS = 1000
"""Most chunks of a document whose vectors make a query."""

LEASE_SECONDS = 1.0
"""Seconds a query waits for the accelerator, for all its models together, before it is encoded on the CPU instead."""

NO_RETRIES = RetryPolicy(attempts=1)
"""A user waits for the answer: a model that is unavailable fails the query at once."""

logger = logging.getLogger(__name__)


class CollectionView:
    """The collection of one manifest, open for search. It never follows an alias, so vector spaces never mix. Thread-safe.

    Args:
        store: an open store.
        name: the caller's name for the collection, for messages.
        manifest: manifest of the collection.
        models: vector name → model, one for each vector of the manifest.
        get_devices: returns the accelerators that encode queries; none for the CPU.
        lease_directory: folder of the lease files. None: the user's.
        get_reranker: returns the reranker; called when a request needs it.
        own: conditions that every point meets that this view reads: those of a tenant.

    Every method raises `CollectionNotFoundError` once the collection has been dropped.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        manifest: Manifest,
        models: Mapping[str, SharedModel],
        *,
        get_devices: Callable[[], Sequence[str]],
        lease_directory: Path | None,
        get_reranker: Callable[[], RerankPipeline],
        own: tuple[Condition, ...] = (),
    ) -> None:
        self.name = name
        self.manifest = manifest
        self.models = models
        self._store = store
        self._get_devices = get_devices
        self._lease_directory = lease_directory
        self._get_reranker = get_reranker
        self._finder = CandidateFinder(store, manifest)
        self._hidden = HiddenPoints(store, manifest.collection, clock=time.monotonic)
        self._own = own
        self._fields = FieldCheck(store, manifest.collection, name, own)

    def search(self, queries: Sequence[str], request: SearchRequest) -> list[Answer]:
        """Return the answers to checked queries. Each model encodes all of them at once, and they share their requests.

        A vector finds a hundred candidates for ten hits, so payloads are read for the hits alone. If one of them must not be
        shown, the search is repeated with a filter: a filter would slow every query, and few collections need it.
        """
        vectors, late_vectors = self.roles(request)
        if request.weights is not None:
            check_names("weights", request.weights, self.models, self.name)
            check_some_weight(request.weights, vectors)
        self._fields.check(request.conditions)
        if not queries:
            return []
        encoded, others = (self._encoded(queries, vectors), ()) if request.like is None else self._like(request.like, vectors)
        late = self._encoded(queries, late_vectors)
        found_by = replace(request, conditions=(*request.conditions, *others))
        hidden = self._hidden.filters()
        best, hits = self._best(encoded, late, found_by, hidden)
        if not hidden and any(len(shown) < len(each.fused) for shown, each in zip(hits, best, strict=True)):
            self._hidden.notice()
            best, hits = self._best(encoded, late, found_by, SHOWN)
        facets = self.facets(request)
        sentences = self._fields.warnings(request.conditions, request.other_fields, found=any(hits))
        warnings = (*request.contradictions(vectors), *sentences, *facet_warnings(facets))
        return [
            replace(
                answer,
                hits=tuple(self._with_context(hit, request.context) for hit in self._with_snippets(query, answer.hits, request)),
                warnings=(*self._truncations(query, [*vectors, *late_vectors]), *warnings),
                facets=facets,
                feedback_seconds=each.feedback_seconds,
            )
            for query, answer, each in zip(queries, map(partial(self._answer, request), queries, hits), best, strict=True)
        ]

    def load_models(self) -> None:
        """Load the models of queries by encoding one, except remote models: a request to them costs time and money."""
        self._encoded(["query"], [name for name, shared in self.models.items() if shared.model.runs_on != "remote"])

    def rankings(
        self, query: str, *, depth: int, conditions: tuple[Filter, ...] = (), vectors: Sequence[str] | None = None
    ) -> dict[str, list[ScoredPoint]]:
        """Return the `depth` best points of each vector for a checked query, best first, with `doc_id` and `source`."""
        conditions = (*self._own, *conditions)
        legs, _ = self.roles(SearchRequest(vectors=None if vectors is None else tuple(vectors), late="off"))
        encoded = self._encoded([query], legs)
        rankings = self._finder.query(encoded, depth, conditions, payload=_SHOWN_FIELDS)[0]
        if all_shown(rankings):
            return rankings
        return self._finder.query(encoded, depth, (*conditions, *SHOWN), payload=DOCUMENT_FIELDS)[0]

    def chunks(self) -> Iterator[StoredPoint]:
        """Yield all chunks, ordered by id, with the payload that queries can be made of. A filter hides what is not shown."""
        fields = ("text", "title", "section", "chunk", "doc_id")
        return self._store.scroll(self.manifest.collection, [*self._own, *SHOWN], payload=fields)

    def count(self, filters: Sequence[Filter]) -> int:
        """Return the number of points that meet all filters."""
        return self._store.count(self.manifest.collection, [*self._own, *filters])

    def places(self, query: str, request: SearchRequest, document: Condition) -> dict[str, tuple[int | None, float | None]]:
        """Return the rank and score of a document's best chunk in each vector, by exact search under the filters."""
        encoded = self._encoded([query], self.roles(request)[0])
        filters = (*self._own, *request.conditions, *SHOWN)
        queries = [VectorQuery(name, encoded[name][0], 1, (*filters, document), exact=True) for name in encoded]
        queries += [VectorQuery(name, encoded[name][0], MAX_REACH, filters, exact=True) for name in encoded]
        answers = self._store.query(self.manifest.collection, queries, payload=False)
        return {
            name: _place(best, ranking)
            for name, best, ranking in zip(encoded, answers[: len(encoded)], answers[len(encoded) :], strict=True)
        }

    def document(self, doc_id: str, source: str | None) -> StoredDocument | None:
        """Return a document with its chunks in order. See `read_document`."""
        return read_document(self._store, self.manifest.collection, doc_id, source, self._own)

    def sigmas(self) -> Sigmas:
        """Return the scale of every dense vector, for `fuse`."""
        return self._finder.sigmas()

    def candidates(self, query: str, request: SearchRequest, *, depth: int) -> Candidates:
        """Return the candidates of a checked query, from the `depth` best points of each vector, with `doc_id` and `source`."""
        conditions = (*self._own, *request.conditions)
        encoded = self._encoded([query], self.roles(request)[0])
        [candidates] = self._finder.find(encoded, request, depth, conditions, payload=_SHOWN_FIELDS)
        if all_shown(candidates.rankings) and all_shown(candidates.final):
            return candidates
        return self._finder.find(encoded, request, depth, (*conditions, *SHOWN), payload=DOCUMENT_FIELDS)[0]

    def reordered(self, query: str, found: Candidates, order: Sequence[Fused], request: SearchRequest) -> Sequence[Fused]:
        """Return candidates of a checked query, the best ordered by the multivectors of the request."""
        late = self._encoded([query], self.roles(request)[1])
        return self._finder.reordered([replace(found, fused=order)], late, request)[0].fused

    def _best(
        self, encoded: Mapping[str, Vectors], late: Mapping[str, Vectors], request: SearchRequest, hidden: tuple[Filter, ...]
    ) -> tuple[list[Candidates], list[list[Hit]]]:
        """Return the best candidates of each query and their hits: those of the page, or those that the reranker reads, too."""
        best = self._finder.best(encoded, request, (*self._own, *request.conditions, *hidden), late=late)
        if not request.reranks:
            best = [replace(each, fused=request.page(each.fused)) for each in best]
        return best, self.hits([each.fused for each in best])

    def _answer(self, request: SearchRequest, query: str, hits: Sequence[Hit]) -> Answer:
        """Return the hits of the page, reranked if the request wants it, and at least as good as its threshold."""
        if request.reranks:
            head, tail = request.window(hits)
            answer = rerank_or_explain(request.rerank, self._get_reranker, query, head)
            hits = request.page([*answer.hits, *tail])
        else:
            answer = Answer((), reranked=False)
        least = request.score_threshold
        return replace(answer, hits=tuple(hit for hit in hits if least is None or hit.score >= least))

    def hits(self, candidates: Sequence[Sequence[Fused]]) -> list[list[Hit]]:
        """Return the hits of each query's candidates, in their order. All payloads are read in one request.

        Candidates that are soft-deleted, deleted since, or written by another tool are left out.
        """
        ids = list({candidate.id: None for of_query in candidates for candidate in of_query})
        stored = self._store.retrieve(self.manifest.collection, ids, payload=HIT_FIELDS) if ids else []
        payloads = {
            point.id: point.payload
            for point in stored
            if is_shown(point.payload) and point.payload.keys() >= _REQUIRED_FIELDS and self._is_own(point.payload)
        }
        return [[_hit(each, payloads[each.id]) for each in of_query if each.id in payloads] for of_query in candidates]

    def _like(self, like: str, vectors: Sequence[str]) -> tuple[dict[str, Vectors], tuple[Filter, ...]]:
        """Return the mean vectors of a document or chunk as a query, and the filter that excludes that document."""
        collection, shown = self.manifest.collection, (*self._own, *SHOWN)
        ids = [like.lower()] if is_uuid(like.lower()) else []  # stored in lower case, but other tools show them in upper case
        chunks = self._store.retrieve(collection, ids, payload=True, vectors=list(vectors)) if ids else []
        points = [point for point in chunks if is_shown(point.payload) and self._is_own(point.payload)]
        if not points:
            of_document = [*shown, Condition("doc_id", "eq", like)]
            points = list(islice(self._store.scroll(collection, of_document, vectors=list(vectors)), LIKE_CHUNKS))
        if not points:
            raise ConflictError(f"like: {self.name!r} has no document or chunk {shown_value(like)}")
        means = {name: mean_vector([point.vectors[name] for point in points if name in point.vectors]) for name in vectors}
        keys = tuple({key for point in points for key in values_at(point.payload, DOC_KEY_FIELD)})
        found = {name: mean for name, mean in means.items() if mean is not None}
        return found, (Condition(DOC_KEY_FIELD, "none", keys),) if keys else ()

    def facets(self, request: SearchRequest) -> dict[str, dict[str, int]]:
        """Return the values of the requested fields over everything that the filters allow: field → value → chunks."""
        filters = (*self._own, *request.conditions, *(self._hidden.filters() if request.facets else ()))
        return {field: count_values(self._store, self.manifest.collection, field, filters) for field in request.facets}

    def _with_snippets(self, query: str, hits: Sequence[Hit], request: SearchRequest) -> Sequence[Hit]:
        if not request.snippets:
            return hits
        words = matching(words_alike([hit.text for hit in hits], query), query, self._terms)
        snippets = [snippet_of(hit.text, words) for hit in hits]
        return [replace(hit, snippet=snippet, highlights=ranges) for hit, (snippet, ranges) in zip(hits, snippets, strict=True)]

    @property
    def _terms(self) -> Callable[[Sequence[str]], list[set[int]]] | None:
        """A function that returns the terms of texts by the first model that compares words, or None without one."""
        model = next((self.models[spec.name] for spec in self.manifest.vectors if spec.kind == "sparse" and spec.idf), None)
        if model is None:
            return None

        def terms(texts: Sequence[str]) -> list[set[int]]:
            vectors = self._encode(model, texts, time.monotonic())
            return [set(vector.indices.tolist()) for vector in vectors if isinstance(vector, SparseVector)]

        return terms

    def _is_own(self, payload: Payload) -> bool:
        return all(condition.value in values_at(payload, condition.field) for condition in self._own)

    def roles(self, request: SearchRequest) -> tuple[Sequence[str], Sequence[str]]:
        """Return the vectors that a request fuses, and the multivectors that order what was fused."""
        multi = {spec.name for spec in self.manifest.vectors if spec.kind == "multivector"}
        names = list(self.models) if request.vectors is None else request.vectors
        check_names("vectors", names, self.models, self.name)
        others = [name for name in names if name not in multi]
        if request.like is not None and not others:
            raise ConflictError("like: multivectors cannot be averaged: name other vectors, or pass a query")
        if not others or (request.late == "fuse" and request.like is None):
            return names, ()
        return others, [name for name in names if name in multi] if request.reranks_late else ()

    def _truncations(self, query: str, vectors: Sequence[str]) -> list[str]:
        """Return a sentence for each model that reads only the beginning of the query."""
        return [sentence for name in vectors if (sentence := self.models[name].truncation(query))]

    def _encoded(self, queries: Sequence[str], vectors: Sequence[str]) -> dict[str, Vectors]:
        deadline = time.monotonic() + LEASE_SECONDS
        return {name: self._encode(self.models[name], queries, deadline) for name in vectors}

    def _encode(self, shared: SharedModel, queries: Sequence[str], deadline: float) -> Vectors:
        devices = self._get_devices() if shared.model.runs_on == "accelerator" else ()

        def encode(texts: Sequence[str]) -> Vectors:
            try:
                return self._encode_on(shared, devices, texts, max(0.0, deadline - time.monotonic()))
            except (LeaseTimeoutError, DeviceError) as exc:
                logger.info("the query is encoded on the CPU: %s", exc)
                return self._encode_on(shared, (), texts, 0.0)

        return shared.combined.encode(queries, encode)

    def _encode_on(self, shared: SharedModel, devices: Sequence[str], queries: Sequence[str], patience: float) -> Vectors:
        """Encode the queries under a lease. The model stays on its devices until another one or another process needs them."""
        runner = BatchRunner(
            [shared.queries],
            devices=devices,
            lease_timeout=patience,
            lease_directory=self._lease_directory,
            controller=shared.controller,
            retry=NO_RETRIES,
        )
        encoded = runner.run({shared.model.key: queries})[shared.model.key]
        for reason in encoded.failed.values():
            raise ModelError(f"model {shared.model.key!r} cannot encode a query: {reason}")
        return encoded.vectors

    def _with_context(self, hit: Hit, reach: int) -> Hit:
        """Return the hit with the texts of up to `reach` chunks before and after it."""
        if not reach:
            return hit
        neighbours = self._store.scroll(
            self.manifest.collection,
            [
                *self._own,
                Condition(DOC_KEY_FIELD, "eq", doc_key(hit.source, hit.doc_id)),
                Condition("chunk", "gte", hit.chunk - reach),
                Condition("chunk", "lte", hit.chunk + reach),
            ],
            payload=["text", "chunk", "doc_id", SOFT_DELETED_FIELD],
        )
        texts = sorted((point.payload["chunk"], point.payload["text"]) for point in neighbours if is_shown(point.payload))
        return replace(
            hit,
            before=tuple(text for chunk, text in texts if chunk < hit.chunk),
            after=tuple(text for chunk, text in texts if chunk > hit.chunk),
        )


def _place(best: Sequence[ScoredPoint], ranking: Sequence[ScoredPoint]) -> tuple[int | None, float | None]:
    if not best:
        return None, None
    better = sum(point.score > best[0].score for point in ranking)
    return (better + 1 if better < MAX_REACH else None), best[0].score


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
        fused_score=sum(candidate.contributions.values()),
        vector_scores=candidate.vector_scores,
        contributions=candidate.contributions,
        group=candidate.group,
        section=tuple(payload.get("section", ())),
        table_header=payload.get("table_header"),
        page=payload.get("page"),
        url=payload.get("url"),
        anchor=payload.get("anchor"),
        line=payload.get("line"),
    )
