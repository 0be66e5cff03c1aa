"""Asking: the models that made a collection encode the question, every vector answers, the answers are fused."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from ingest.encode.contract import StagedModel, Vectors
from ingest.encode.devices import check_devices, default_devices, is_accelerator
from ingest.encode.lease import lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.openvino_choice import Computing
from ingest.encode.registry import EnsembleConfig
from ingest.errors import ConfigurationError, LeaseTimeoutError, ManifestMismatchError
from ingest.records import Hit, Payload, ScoredPoint, doc_key
from ingest.search.fusion import Fused, Rankings, fuse
from ingest.search.question import Asked, SearchArguments, Where, check_question, conditions_of
from ingest.search.rerank import RERANK_CANDIDATES, Answer, RerankPipeline, rerank_or_explain
from ingest.store import open_store
from ingest.store.contract import Condition, Manifest, Store, VectorQuery
from ingest.store.schema import DOC_KEY_FIELD, GONE_FIELD, INGEST_FIELD, _normalize_collection_name

DEFAULT_STORE = ".ingest/qdrant"

CANDIDATES = 100
"""Points that each vector brings into the fusion at least."""

GROUP_DEPTH = 5
"""Chunks looked at for each document that grouping by document is to return."""

DOCUMENT_FIELDS = ("doc_id", "source")
HIT_FIELDS = ("text", "doc_id", "source", "chunk", "start", "end", "title", "metadata", GONE_FIELD)
_ALWAYS_THERE = frozenset(HIT_FIELDS) - {"title", "metadata", GONE_FIELD}

SHOWN = (Condition(GONE_FIELD, "exists", value=False), Condition("doc_id", "exists", value=True))
"""Met by all points but those that wait for their deletion, and other tools'. Seldom asked for: see `Searcher.search_batch`."""

LEASE_SECONDS = 1.0
"""How long a question waits for the accelerator, for all its models together, before it is encoded on the processor instead."""

ModelLoader = Callable[[Sequence[str]], Sequence[StagedModel]]

logger = logging.getLogger(__name__)


class Searcher:
    """Hybrid search over one collection. Safe from several threads; models are loaded by the first question and kept.

    Args:
        models: the very models the collection was made with, in any order; see `open`.
        name: what the collection is called by who asks, if not by its own name.
        devices: to encode questions on. Only accelerators are leased: on the processor a question runs beside what else runs.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        models: Sequence[StagedModel],
        *,
        name: str | None = None,
        devices: Sequence[str] = (),
        lease_directory: Path | None = None,
        reranker: RerankPipeline | None = None,
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._name = name or manifest.collection
        self._models = {model.key: model for model in models}
        self._devices = tuple(device for device in check_devices(devices) if is_accelerator(device))
        self._turns = {model.key: threading.Lock() for model in models}
        self._lease_directory = lease_directory
        self._reranker = reranker
        self._making = threading.Lock()
        self._fields: set[str] = set()
        self._closing = ExitStack()

    @classmethod
    def open(
        cls,
        collection: str,
        store: Store | str | Path = DEFAULT_STORE,
        *,
        models: ModelLoader | None = None,
        devices: Sequence[str] | None = None,
        lease_directory: Path | None = None,
        reranker: RerankPipeline | None = None,
    ) -> Self:
        """Reads the collection's manifest and takes the very models it was made with.

        Args:
            collection: in any spelling.
            store: an open store, which stays open; or its path or URL, to be closed with the searcher.
            models: registry keys → staged models; by default from the registries alone.
            devices: to encode questions on; by default the first card, else the processor.
            lease_directory: where processes meet to take turns on a card; by default the user's.
            reranker: for questions that ask for it; by default the default one, made when it is first needed.

        Raises `ConfigurationError` for a device that is not there, `CollectionNotFoundError`, `UnknownModelError` if a model is
        in no registry now, and `ManifestMismatchError` if one by that name would search another vector space than is stored.
        """
        devices = default_devices() if devices is None else check_devices(devices)
        with ExitStack() as closing:
            opened = closing.enter_context(open_store(store)) if isinstance(store, str | Path) else store
            name = _normalize_collection_name(collection)
            manifest = opened.manifest(name)
            keys = [spec.name for spec in manifest.vectors]
            staged = models(keys) if models else _registered(keys, manifest)
            _check_spaces(name, manifest, staged)
            searcher = cls(
                opened,
                manifest,
                staged,
                name=name,
                devices=devices,
                lease_directory=lease_directory,
                reranker=reranker,
            )
            searcher._closing = closing.pop_all()
        return searcher

    def close(self) -> None:
        """Closes the store if `open` opened it. Idempotent."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def name(self) -> str:
        """What the collection is called by who asks; an alias, where `manifest.collection` is another."""
        return self._name

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def search(self, query: str, **arguments: Unpack[SearchArguments]) -> Answer:
        """The best chunks, best first. See `SearchArguments` for what can be asked.

        Raises `ConfigurationError` for an empty question, a limit out of range, an unknown vector or a malformed condition;
        `StoreError`, `ModelError`.
        """
        return self.search_batch([query], **arguments)[0]

    def search_batch(self, queries: Sequence[str], **arguments: Unpack[SearchArguments]) -> list[Answer]:
        """The answers to several questions: each model encodes all of them at once, and the store is asked once.

        A vector brings a hundred candidates for ten hits, so payloads are read of the latter alone, and only where one of them is
        not to be shown the store is asked again, with a filter: it would cost every question, and few collections need it.
        """
        asked = Asked(**arguments)
        if not queries:
            return []
        conditions = conditions_of(asked.where)
        encoded = self._encoded(queries, asked.vectors)
        best = self._best(encoded, asked, conditions)
        hits = self.hits(best)
        if any(len(shown) < len(wanted) for shown, wanted in zip(hits, best, strict=True)):
            hits = self.hits(self._best(encoded, asked, (*conditions, *SHOWN)))
        warnings = self._warnings(conditions, found=any(hits))
        answers = (
            rerank_or_explain(asked.rerank, self._get_reranker, query, candidates, asked.limit)
            for query, candidates in zip(queries, hits, strict=True)
        )
        return [
            replace(answer, hits=tuple(self._with_context(hit, asked.context) for hit in answer.hits), warnings=warnings)
            for answer in answers
        ]

    async def asearch(self, query: str, **arguments: Unpack[SearchArguments]) -> Answer:
        """`search` on another thread, for applications on asyncio. Safe to await many at once."""
        return await asyncio.to_thread(self.search, query, **arguments)

    def _get_reranker(self) -> RerankPipeline:
        with self._making:
            if self._reranker is None:
                self._reranker = RerankPipeline(devices=self._devices)
            return self._reranker

    def rankings(
        self, query: str, *, depth: int = CANDIDATES, where: Where = (), vectors: Sequence[str] | None = None
    ) -> dict[str, list[ScoredPoint]]:
        """What each vector finds by itself: its `depth` best, best first, with `doc_id` and `source`. Raises as `search`."""
        encoded = self._encoded([query], vectors)
        conditions = conditions_of(where)
        found = self._query(encoded, depth, conditions, payload=(*DOCUMENT_FIELDS, GONE_FIELD))[0]
        if all(_is_shown(point.payload) for ranking in found.values() for point in ranking):
            return found
        return self._query(encoded, depth, (*conditions, *SHOWN), payload=DOCUMENT_FIELDS)[0]

    def hits(self, candidates: Sequence[Sequence[Fused]]) -> list[list[Hit]]:
        """What there is to show of the candidates of each question, in their order; all are read at once.

        One that waits for its deletion, was deleted meanwhile, or that another tool wrote, is left out.
        """
        ids = list({candidate.id: None for of_one in candidates for candidate in of_one})
        stored = self._store.retrieve(self._manifest.collection, ids, payload=HIT_FIELDS) if ids else []
        payloads = {
            point.id: point.payload for point in stored if _is_shown(point.payload) and point.payload.keys() >= _ALWAYS_THERE
        }
        return [[_hit(each, payloads[each.id]) for each in of_one if each.id in payloads] for of_one in candidates]

    def _best(self, encoded: Mapping[str, Vectors], asked: Asked, conditions: tuple[Condition, ...]) -> list[list[Fused]]:
        """The fused order of each question, as far as it is wanted."""
        wanted = asked.limit if asked.rerank == "off" else max(asked.limit, RERANK_CANDIDATES)
        depth = max(CANDIDATES, wanted * GROUP_DEPTH if asked.group_by else wanted)
        weights = self._manifest.weights if asked.weights is None else asked.weights
        best = []
        for rankings in self._query(encoded, depth, conditions, payload=DOCUMENT_FIELDS if asked.group_by else False):
            fused = fuse(rankings, weights, asked.fusion)
            best.append((_first_of_each_document(fused, rankings) if asked.group_by else fused)[:wanted])
        return best

    def _query(
        self, encoded: Mapping[str, Vectors], depth: int, conditions: tuple[Condition, ...], *, payload: Sequence[str] | bool
    ) -> list[dict[str, list[ScoredPoint]]]:
        """What each vector finds for each question, in one request."""
        count = len(next(iter(encoded.values())))
        queries = [VectorQuery(name, encoded[name][number], depth, conditions) for number in range(count) for name in encoded]
        found = iter(self._store.query(self._manifest.collection, queries, payload=payload))
        return [{name: next(found) for name in encoded} for _ in range(count)]

    def _encoded(self, queries: Sequence[str], vectors: Sequence[str] | None) -> dict[str, Vectors]:
        for query in queries:
            check_question(query)
        deadline = time.monotonic() + LEASE_SECONDS
        return {name: self._encode(name, queries, deadline) for name in self._vector_names(vectors)}

    def _vector_names(self, vectors: Sequence[str] | None) -> list[str]:
        if vectors is None:
            return list(self._models)
        if not vectors:
            raise ConfigurationError("no vector was named to be asked: name one, or leave the choice out")
        if unknown := [name for name in vectors if name not in self._models]:
            raise ConfigurationError(
                f"collection {self._name!r} has no vector {', '.join(unknown)}: it has {', '.join(self._models)}"
            )
        return list(dict.fromkeys(vectors))

    def _warnings(self, conditions: Sequence[Condition], *, found: bool) -> tuple[str, ...]:
        """A misspelt field looks like one whose test nothing passes or, where absence passes, like one that all chunks lack."""
        doubtful = [each.field for each in conditions if not found or _absence_passes(each)]
        return tuple(
            f"no chunk of {self._name!r} has a field {field}: a document's own fields are named metadata.…"
            for field in dict.fromkeys(doubtful)
            if not self._has(field)
        )

    def _has(self, field: str) -> bool:
        """Whether any chunk has the field. That it is there is found at once, and remembered; that it is not takes a scan."""
        if field not in self._fields:
            having = self._store.scroll(
                self._manifest.collection, [Condition(field, "exists", value=True)], payload=False, page=1
            )
            if next(having, None) is None:
                return False
            self._fields.add(field)
        return True

    def _encode(self, name: str, queries: Sequence[str], deadline: float) -> Vectors:
        model = self._models[name]
        devices = self._devices if model.runs_on == "accelerator" else ()
        with self._turns[name]:
            try:
                return self._encode_on(model, devices, queries, max(0.0, deadline - time.monotonic()))
            except LeaseTimeoutError as exc:
                logger.info("the question is encoded on the processor: %s", exc)
                return self._encode_on(model, (), queries, 0.0)

    def _encode_on(self, model: StagedModel, devices: Sequence[str], queries: Sequence[str], patience: float) -> Vectors:
        with lease_gpus(model, devices, timeout=patience, directory=self._lease_directory) as lease:
            return lease.encoder.encode_queries(queries)

    def _with_context(self, hit: Hit, reach: int) -> Hit:
        """The hit with the texts of up to `reach` chunks before and after it."""
        if not reach:
            return hit
        neighbours = self._store.scroll(
            self._manifest.collection,
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


def _registered(keys: Sequence[str], manifest: Manifest) -> Sequence[StagedModel]:
    as_stored = Computing(backend="auto", made=manifest.precisions)
    return ModelManager(EnsembleConfig(ensemble_models=keys), computing=as_stored).members


def _check_spaces(name: str, manifest: Manifest, models: Sequence[StagedModel]) -> None:
    for spec, model in zip(manifest.vectors, models, strict=True):
        if spec.space != model.space or spec.dim != model.dim:
            raise ManifestMismatchError(
                f"collection {name!r} was made with another {spec.name} (revision, prompt, pooling or dimension) "
                "than the one configured here: configure the one it was made with, or ingest it anew"
            )


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
