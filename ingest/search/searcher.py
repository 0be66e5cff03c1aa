"""Asking: the models that made a collection encode the question, every vector answers, the answers are fused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ingest.encode.contract import StagedModel
from ingest.encode.devices import default_devices, is_accelerator
from ingest.encode.lease import lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.errors import ConfigurationError, LeaseTimeoutError, ManifestMismatchError
from ingest.records import Hit, Payload, Vector
from ingest.search.fusion import Fused, reciprocal_rank_fusion
from ingest.store import open_store
from ingest.store.contract import Condition, Manifest, Store, VectorQuery
from ingest.store.filters import parse_where
from ingest.store.schema import _normalize_collection_name

DEFAULT_STORE = ".ingest/qdrant"

CANDIDATES = 100
"""Points that each vector brings into the fusion at least."""

MAX_LIMIT = 10_000

LEASE_SECONDS = 1.0
"""How long a question waits for the accelerator before it is encoded on the CPU instead."""

ModelLoader = Callable[[Sequence[str]], Sequence[StagedModel]]

Where = Mapping[str, Any] | Sequence[Condition]
"""`{"metadata.year": {"gte": 2020}, "metadata.lang": ["en", "de"]}`, or conditions ready made."""


class Searcher:
    """Hybrid search over one collection. Safe from several threads; models are loaded by the first question and kept.

    Args:
        models: the very models the collection was made with, in any order; see `open`.
        devices: to encode questions on. Only accelerators are leased: on the processor a question runs beside what else runs.
    """

    def __init__(self, store: Store, manifest: Manifest, models: Sequence[StagedModel], *, devices: Sequence[str] = ()) -> None:
        self._store = store
        self._manifest = manifest
        self._models = {model.key: model for model in models}
        self._devices = tuple(device for device in devices if is_accelerator(device))
        self._turns = {model.key: threading.Lock() for model in models}
        self._closing = ExitStack()

    @classmethod
    def open(
        cls,
        collection: str,
        store: Store | str | Path = DEFAULT_STORE,
        *,
        models: ModelLoader | None = None,
        devices: Sequence[str] | None = None,
    ) -> Self:
        """Reads the collection's manifest and takes the very models it was made with.

        Args:
            collection: in any spelling.
            store: an open store, which stays open; or its path or URL, to be closed with the searcher.
            models: registry keys → staged models; by default from the registries alone.
            devices: to encode questions on; by default the first card, else the processor.

        Raises `CollectionNotFoundError`, `UnknownModelError` if a model is in no registry now, and `ManifestMismatchError` if
        one by that name would search another vector space than the one that is stored.
        """
        with ExitStack() as closing:
            opened = closing.enter_context(open_store(store)) if isinstance(store, str | Path) else store
            manifest = opened.manifest(_normalize_collection_name(collection))
            staged = (models or _registered)([spec.name for spec in manifest.vectors])
            _check_spaces(manifest, staged)
            searcher = cls(opened, manifest, staged, devices=default_devices() if devices is None else devices)
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
    def manifest(self) -> Manifest:
        return self._manifest

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        where: Where = (),
        weights: Mapping[str, float] | None = None,
        vectors: Sequence[str] | None = None,
    ) -> list[Hit]:
        """The `limit` best chunks, best first.

        Args:
            where: conditions that every hit meets.
            weights: vector name → weight in the fusion; the collection's own if not given, 1 where it has none.
            vectors: ask these only; all if not given.

        Raises `ConfigurationError` for an empty question, a limit out of 1 to 10,000, an unknown vector or a malformed condition.
        """
        asked = self._asked(query, limit, vectors)
        conditions = parse_where(where) if isinstance(where, Mapping) else tuple(where)
        depth = max(CANDIDATES, limit)
        queries = [VectorQuery(name, self._encode(name, query), depth, conditions) for name in asked]
        answers = self._store.query(self._manifest.collection, queries)
        payloads: dict[str, Payload] = {point.id: point.payload for answer in answers for point in answer}
        rankings = {name: [point.id for point in answer] for name, answer in zip(asked, answers, strict=True)}
        fused = reciprocal_rank_fusion(rankings, self._manifest.weights if weights is None else weights)
        return [_hit(candidate, payloads[candidate.id]) for candidate in fused[:limit]]

    def _asked(self, query: str, limit: int, vectors: Sequence[str] | None) -> list[str]:
        if not query.strip():
            raise ConfigurationError("the question is empty: ask something")
        if not 1 <= limit <= MAX_LIMIT:
            raise ConfigurationError(f"a limit of {limit} hits is out of range: ask for 1 to {MAX_LIMIT}")
        if vectors is None:
            return list(self._models)
        if unknown := [name for name in vectors if name not in self._models]:
            raise ConfigurationError(
                f"collection {self._manifest.collection!r} has no vector {', '.join(unknown)}: it has {', '.join(self._models)}"
            )
        return list(dict.fromkeys(vectors))

    def _encode(self, name: str, query: str) -> Vector:
        model = self._models[name]
        devices = self._devices if model.uses_accelerator else ()
        with self._turns[name]:
            try:
                return self._encode_on(model, devices, query)
            except LeaseTimeoutError:
                return self._encode_on(model, (), query)

    @staticmethod
    def _encode_on(model: StagedModel, devices: Sequence[str], query: str) -> Vector:
        with lease_gpus(model, devices, timeout=LEASE_SECONDS) as lease:
            return lease.encoder.encode_queries([query])[0]


def _registered(keys: Sequence[str]) -> Sequence[StagedModel]:
    return ModelManager(EnsembleConfig(ensemble_models=keys)).members


def _check_spaces(manifest: Manifest, models: Sequence[StagedModel]) -> None:
    for spec, model in zip(manifest.vectors, models, strict=True):
        if spec.space != model.space or spec.dim != model.dim:
            raise ManifestMismatchError(
                f"collection {manifest.collection!r} was made with another {spec.name} (revision, prompt, pooling or dimension) "
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
        end=payload["end"],
        metadata=payload.get("metadata", {}),
        ranks=candidate.ranks,
        fused_score=candidate.score,
    )
