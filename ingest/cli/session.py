"""From settings to the library's objects: the one place that knows both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ingest.cluster.engine import ClusterOptions
from ingest.cluster.worker import WorkerSetup
from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.contract import Model
from ingest.encode.models import ModelManager
from ingest.encode.openvino.choice import BackendOptions
from ingest.encode.registry import EnsembleConfig, find_model
from ingest.encode.runner import BatchRunner
from ingest.errors import CollectionNotFoundError, ConfigurationError
from ingest.records import Source
from ingest.retry import RetryPolicy
from ingest.search.rerank import RerankPipeline
from ingest.search.searcher import Searcher
from ingest.settings import Settings, load_settings
from ingest.source import FieldMap, open_source
from ingest.source.chunking import ChunkingOptions
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Manifest, Store
from ingest.store.retrying import RetryingStore
from ingest.store.schema import _normalize_collection_name
from ingest.sync.job import Job
from ingest.sync.reading import WindowBounds
from ingest.telemetry import ThroughputMonitor

logger = logging.getLogger(__name__)

LEARNED_BATCHES = Path(".ingest/batches.json")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What was said before the command's name."""

    config: Path | None

    def settings(self, **overrides: Any) -> Settings:
        """The settings, with what the command line gave (what is None was not given)."""
        return load_settings(_given(overrides), self.config)


def store_of(settings: Settings) -> Store:
    return opener_of(settings)()


def opener_of(settings: Settings) -> Callable[[], RetryingStore]:
    """Opens the store, here or in another process."""
    return partial(
        open_store,
        settings.store,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        ca_file=settings.ca_file,
        prefer_grpc=settings.prefer_grpc,
        grpc_port=settings.grpc_port,
        timeout=settings.timeout,
        allow_plain_http_key=settings.allow_plain_http_key,
        retry=retry_policy(settings),
    )


def retry_policy(settings: Settings) -> RetryPolicy:
    return RetryPolicy(attempts=settings.retry_attempts, seconds=settings.retry_seconds)


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
            fields=FieldMap(id=settings.fields.id, text=settings.fields.text, title=settings.fields.title),
            max_record_bytes=settings.max_record_bytes,
        )
        for location in locations
    ]


def models_of(settings: Settings, stored: Manifest | None = None, *, worth_converting: bool = False) -> ModelManager:
    """The ensemble a job runs, in the precisions of what is stored already; `worth_converting`: see `BackendOptions`.

    Raises `ConfigurationError` for a sparse model among the dense ones, or the other way round.
    """
    for kind, keys in (("dense", settings.dense), ("sparse", settings.sparse)):
        for key in keys:
            if (found := find_model(key, custom=settings.models)).kind != kind:
                raise ConfigurationError(f"{key} is a {found.kind} model: name it under --{found.kind}, not --{kind}")
    if settings.engine == "ray":
        settings = settings.model_copy(update={"device": []})  # they are the workers', and checked there
    return _manager(settings, (*settings.dense, *settings.sparse), settings.weights, stored, worth_converting=worth_converting)


def stored_manifest(settings: Settings, store: Store, collection: str) -> Manifest | None:
    """Return the stored manifest of a collection in any spelling, or None if the collection does not exist."""
    name = _normalize_collection_name(collection, settings.collections.aliases)
    try:
        return store.manifest(name)
    except CollectionNotFoundError:
        return None


def searcher_of(settings: Settings, store: Store, collection: str) -> Searcher:
    """Over a collection in any spelling, with the models its manifest names."""
    name = _normalize_collection_name(collection, settings.collections.aliases)
    return Searcher.open(
        name,
        store,
        models=lambda keys: _manager(settings, keys, {}, stored_manifest(settings, store, name)).members,
        devices=settings.device or None,
        lease_directory=settings.lease_dir,
        reranker=reranker_of(settings),
    )


def reranker_of(settings: Settings) -> RerankPipeline:
    return RerankPipeline(
        settings.reranker,
        devices=settings.device or None,
        lease_timeout=settings.rerank_lease_timeout,
        lease_directory=settings.lease_dir,
        exclusive=settings.exclusive_mode,
        custom_models=settings.models,
        trust_remote_code=settings.trust_remote_code,
        cache_directory=settings.cache_dir.expanduser() if settings.backend != "torch" else None,
    )


def cluster_of(settings: Settings) -> ClusterOptions:
    return ClusterOptions(settings.ray_address, settings.workers)


def setup_of(settings: Settings, stored: Manifest | None, *, worth_converting: bool) -> WorkerSetup:
    """What a worker on Ray opens for itself; `worth_converting`: see `BackendOptions`."""
    maker = _maker(settings, (*settings.dense, *settings.sparse), settings.weights, stored, worth_converting=worth_converting)
    return WorkerSetup(
        open_store=opener_of(settings),
        make_models=partial(_members, maker),
        devices=tuple(settings.device) or None,
        memory_limit_gb=settings.gpu_memory_soft_limit_gb,
        retry=retry_policy(settings),
    )


def _members(make: Callable[[], ModelManager]) -> Sequence[Model]:
    return make().members


def _manager(
    settings: Settings,
    keys: Sequence[str],
    weights: Mapping[str, float],
    stored: Manifest | None,
    *,
    worth_converting: bool = False,
) -> ModelManager:
    return _maker(settings, keys, weights, stored, worth_converting=worth_converting)()


def _maker(
    settings: Settings, keys: Sequence[str], weights: Mapping[str, float], stored: Manifest | None, *, worth_converting: bool
) -> Callable[[], ModelManager]:
    """Builds the ensemble, here or in another process."""
    return partial(
        ModelManager,
        EnsembleConfig(ensemble_models=keys, model_weights=weights, exclusive_mode=settings.exclusive_mode),
        custom_models=settings.models,
        trust_remote_code=settings.trust_remote_code,
        devices=settings.device or None,
        backend_options=BackendOptions(
            backend=settings.backend,
            precision=settings.precision,
            stored_precisions=stored.precisions if stored else {},
            worth_converting=worth_converting,
            cache_directory=settings.cache_dir.expanduser(),
        ),
    )


@contextmanager
def runner_of(settings: Settings, manager: ModelManager, monitor: ThroughputMonitor) -> Iterator[BatchRunner]:
    """A runner that starts from what earlier runs learned about batches, and leaves what it learns to later ones."""
    controller = AdaptiveBatchController(
        manager.batch_hints,
        soft_limit_gb=settings.gpu_memory_soft_limit_gb,
        cpu_tokens=settings.cpu_batch_tokens,
    )
    controller.load(LEARNED_BATCHES)
    runner = BatchRunner(
        manager.members,
        config=manager.config,
        devices=settings.device or None,
        monitor=monitor,
        lease_timeout=settings.lease_timeout,
        lease_directory=settings.lease_dir,
        controller=controller,
        retry=retry_policy(settings),
    )
    try:
        with runner:
            yield runner
    finally:
        try:
            controller.save(LEARNED_BATCHES)
        except OSError as exc:  # worth a little speed next time, and never a run
            logger.warning("what was learned about batches is not kept: %s cannot be written (%s)", LEARNED_BATCHES, exc.strerror)


def job_of(settings: Settings, collection: str, *, moved_from: str | None = None) -> Job:
    return Job(
        collection,
        delete=settings.delete,
        delete_after=settings.delete_after,
        max_delete=settings.max_delete,
        chunking=ChunkingOptions(tokens=settings.chunk_tokens, overlap=settings.chunk_overlap),
        weights=settings.weights,
        aliases=settings.collections.aliases,
        options=CollectionOptions(**settings.layout.model_dump(exclude={"distance"})),
        distance=settings.layout.distance,
        bounds=WindowBounds(chunks=settings.window_chunks),
        moved_from=moved_from,
    )


def rejects_path(settings: Settings, collection: str) -> Path:
    return settings.rejects or Path(".ingest/rejects") / f"{collection}.jsonl"


def _given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    given = {}
    for name, value in overrides.items():
        if isinstance(value, Mapping):
            if nested := _given(value):
                given[name] = nested
        elif value is not None:
            given[name] = value
    return given
