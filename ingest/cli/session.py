"""From settings to the objects of the library."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from ingest.cli.invocation import connection_of
from ingest.cli.searchers import encoding_of
from ingest.cluster.engine import ClusterOptions
from ingest.collection import Collection
from ingest.encode.registry import find_model
from ingest.errors import ConfigurationError
from ingest.records import Source
from ingest.redaction import without_secrets
from ingest.search.models import ModelPool
from ingest.search.rerank import RerankPipeline
from ingest.settings import Settings
from ingest.source import FieldMap, open_source
from ingest.source.chunking import ChunkingOptions
from ingest.source.read_options import ReadOptions
from ingest.store.contract import CollectionOptions, Store
from ingest.store.schema import _normalize_collection_name
from ingest.sync.reading import WindowBounds
from ingest.telemetry import ThroughputMonitor

logger = logging.getLogger(__name__)


def collection_of(
    settings: Settings,
    name: str,
    *,
    models: Sequence[str] | None = None,
    cluster: ClusterOptions | None = None,
    monitor: ThroughputMonitor | None = None,
    store: Store | None = None,
    reranker: RerankPipeline | None = None,
    tenant: str | None = None,
    pool: ModelPool | None = None,
) -> Collection:
    """Return a collection in any spelling, as the settings have it.

    Args:
        reranker: an open reranker, which stays open. None: that of the settings.
        store: an open store, which stays open. None: that of the settings.
        models: registry keys, see `models_of`. None: those of the stored manifest.
        cluster: see `cluster_of`. None: this process.
        tenant: the tenant whose points alone are searched. None: all.
        pool: models that several collections share.
    """
    if (stored := _normalize_collection_name(name)) != name:
        logger.info("%r is stored as %s", name, stored)
    return Collection(
        name,
        store=settings.store if store is None else store,
        models=models,
        language=settings.language,
        chunking=ChunkingOptions(tokens=settings.chunk_tokens, overlap=settings.chunk_overlap, chunker=settings.chunker),
        weights=settings.weights,
        distance=settings.layout.distance,
        layout=CollectionOptions(**settings.layout.model_dump(exclude={"distance"}), index=settings.index),
        window=WindowBounds(chunks=settings.window_chunks),
        reranker=settings.reranker if reranker is None else reranker,
        rerank_lease_timeout=settings.rerank_lease_timeout,
        encoding=encoding_of(settings),
        cluster=cluster,
        monitor=monitor,
        tenant=tenant,
        pool=pool,
        aliases=settings.collections.aliases,
        **connection_of(settings),
    )


def search_command(collection: str, store: str | None) -> str:
    """Return the command that searches a collection. `store`: the option that the user gave."""
    place = "" if store is None else f" --store {shlex.quote(without_secrets(store))}"
    return f'ingest search {collection} "your question"{place}'


def models_of(settings: Settings) -> list[str]:
    """Return the registry keys of the models to encode with.

    Raises `UnknownModelError`, and `ConfigurationError` without any model, or for a model among those of another kind.
    """
    given = {"dense": settings.dense, "sparse": settings.sparse, "multivector": settings.multivector}
    for kind, keys in given.items():
        for key in keys:
            if (found := find_model(key, custom=settings.models)).kind != kind:
                raise ConfigurationError(f"{key} is a {found.kind} model: name it under --{found.kind}, not --{kind}")
    keys = list(chain.from_iterable(given.values()))
    if not keys:
        raise ConfigurationError("there is no model to encode with: name one under --dense, --sparse or --multivector")
    return keys


def cluster_of(settings: Settings) -> ClusterOptions | None:
    """Return the cluster to run on. None: this process."""
    return ClusterOptions(settings.ray_address, settings.workers) if settings.engine == "ray" else None


def deletion_of(settings: Settings) -> dict[str, Any]:
    """Return what a run may delete, as arguments of `Collection.sync`."""
    return {"delete": settings.delete, "delete_after": settings.delete_after, "max_delete": settings.max_delete}


def sources_of(
    settings: Settings, locations: Sequence[str], *, name: str | None, data_format: str | None, query: str | None
) -> list[Source]:
    """Open the sources. Raises `ConfigurationError` if one name is to stand for several of them."""
    if name is not None and len(locations) > 1:
        raise ConfigurationError(f"--name {name} cannot name {len(locations)} sources: run them one by one")
    return [
        open_source(
            location,
            name=name,
            format=data_format,
            query=query,
            fields=_fields_of(settings),
            options=ReadOptions(
                encoding=settings.encoding,
                delimiter=settings.delimiter,
                columns=tuple(settings.columns) or None,
                types=settings.types,
                html_content=settings.html.content,
                records=settings.records,
            ),
            include=settings.include,
            exclude=settings.exclude,
            max_record_bytes=settings.max_record_bytes,
        )
        for location in locations
    ]


def _fields_of(settings: Settings) -> FieldMap:
    fields = settings.fields
    chosen = None if fields.metadata is None else tuple(fields.metadata)
    return FieldMap(id=fields.id, text=tuple(fields.text) or None, title=fields.title, metadata=chosen, version=fields.version)


def rejects_path(settings: Settings, collection: str) -> Path:
    """Return the path of the rejects file for a collection in any spelling."""
    name = _normalize_collection_name(collection, settings.collections.aliases)
    return settings.rejects or Path(".ingest/rejects") / f"{name}.jsonl"
