"""A collection open for reading: it holds the options and parts that all operations share, searches, and describes itself."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, Unpack
from weakref import WeakSet

from ingest.cluster.engine import ClusterOptions, check_location
from ingest.cluster.worker import WorkerSetup
from ingest.encode.contract import Model
from ingest.encode.ensemble import DEFAULT_ENCODING, DEFAULT_MODELS, EncodingOptions, Ensemble, open_ensemble
from ingest.encode.registry import EnsembleConfig
from ingest.errors import CollectionNotFoundError
from ingest.parameters import checked, optional, parse_callable, parse_instance, parse_mapping, parse_path, parse_text
from ingest.records import Source
from ingest.retry import RetryPolicy
from ingest.search.answer import Answer
from ingest.search.document import StoredDocument
from ingest.search.evaluate import Evaluation, evaluate
from ingest.search.fusion import CANDIDATES, FusionMethod
from ingest.search.models import ModelPool
from ingest.search.opening import open_reranker, open_searcher
from ingest.search.request import SearchOptions
from ingest.search.rerank import DEFAULT_RERANKER, RERANK_LEASE_SECONDS, RerankMode, RerankPipeline
from ingest.search.searcher import DEFAULT_STORE, Searcher
from ingest.search.self_test import SELF_TEST_QUERIES, SelfTest, run_self_test
from ingest.search.tenant import Tenant, parse_tenant
from ingest.search.why import Why
from ingest.source.chunking import ChunkingOptions, borders_of
from ingest.source.inputs import SourceLike, sources_of
from ingest.store import open_store, parse_store
from ingest.store.contract import CollectionOptions, Distance, Manifest, Store
from ingest.store.filters import Where
from ingest.store.schema import _normalize_collection_name
from ingest.sync.job import Job
from ingest.sync.manifest import CollectionDetails, describe_collection, stored_options
from ingest.sync.moving import check_move
from ingest.sync.plan import DeleteMode
from ingest.sync.rates import remember_rates
from ingest.sync.reading import WindowBounds
from ingest.sync.rejects import rejected_because
from ingest.sync.sources import check_sources
from ingest.sync.stored_sources import StoredSource, list_sources
from ingest.sync.versions import Check
from ingest.telemetry import Progress, ThroughputMonitor

OnProgress = Callable[[Progress], object]
CheckMode = Check | Literal["version", "content"]
Delete = DeleteMode | Literal["none", "incremental", "full"]
Duration = float | str | timedelta
Share = float | str | Fraction

_open: WeakSet[SearchableCollection] = WeakSet()


class SearchableCollection:
    """A collection that can be searched and described. Store, models and searcher are opened when they are first needed.

    Attributes:
        name: normalized name of the collection.
    """

    def __init__(
        self,
        name: str,
        *,
        store: Store | str | Path = DEFAULT_STORE,
        models: Sequence[str | Model] | EnsembleConfig | None = None,
        language: str | None = None,
        chunking: ChunkingOptions | None = None,
        weights: Mapping[str, float] | None = None,
        distance: Distance | None = None,
        layout: CollectionOptions = CollectionOptions(),
        index: Mapping[str, str] | None = None,
        window: WindowBounds = WindowBounds(),
        reranker: str | Path | RerankPipeline = DEFAULT_RERANKER,
        rerank_lease_timeout: float = RERANK_LEASE_SECONDS,
        encoding: EncodingOptions = DEFAULT_ENCODING,
        cluster: ClusterOptions | None = None,
        monitor: ThroughputMonitor | None = None,
        tenant: Tenant | None = None,
        pool: ModelPool | None = None,
        aliases: Mapping[str, str] | None = None,
        state: str | Path = ".ingest",
        api_key: str | None = None,
        ca_file: str | Path | None = None,
        prefer_grpc: bool | None = None,
        grpc_port: int | None = None,
        timeout: float = 60.0,
        allow_plain_http_key: bool = False,
        retry: RetryPolicy = RetryPolicy(),
    ) -> None:
        """Check the arguments. Nothing is opened.

        Args:
            name: name of the collection, in any spelling; it is normalized.
            store: a folder for the embedded engine, a server's URL, or an open store, which stays open.
            models: registry keys or models, in the order of their passes. None: those of the stored manifest, for a new
                collection `all-miniLM-l6` and `bm25`. An `EnsembleConfig` names the models, their weights in the fusion (unless
                `weights` does), and whether the lease is exclusive.
            language: language of the stop words and stems of `bm25`: a name or code, such as `german` or `de`. `auto`: that of
                the stored manifest, for a new collection that of its first documents. None: that of `custom_models`, else `auto`.
            chunking, weights, distance: None: those of the stored manifest, for a new collection the defaults.
            layout: layout of the collection if it has to be created.
            index: field → type of its payload index, added to those of `layout`: `{"year": "integer"}`.
            window: limits of the first windows of a run.
            reranker: registry key, folder or hub id of the reranker, or a pipeline.
            rerank_lease_timeout: seconds that a query waits for a GPU before it is reranked on the CPU.
            encoding: devices, backend and limits for the models.
            cluster: the Ray cluster on which `sync` runs. None: this process.
            monitor: receives the lease, pass and progress events of each run.
            tenant: the tenant whose points alone are searched, explained and evaluated, see `Searcher`. None: all. Whatever
                writes or verifies concerns the whole collection.
            pool: models that several collections share; it keeps them loaded after each run. None: no others, and none kept.
            aliases: normalized name → name of the collection it stands for.
            state: folder for rejects, learned batch sizes and measured rates.
            api_key, ca_file, prefer_grpc, grpc_port, timeout, allow_plain_http_key, retry: connection to a store that is given
                as a location; see `open_store`.

        Raises `UnknownModelError` and `ConfigurationError`.
        """
        encoding = checked("encoding", parse_instance, encoding, EncodingOptions)
        if isinstance(models, EnsembleConfig):
            encoding = replace(encoding, exclusive_mode=models.exclusive_mode)
            weights = (models.model_weights or None) if weights is None else weights
            models = models.ensemble_models
        if language is not None:
            encoding = encoding.with_language(language)
        self._raw_name, self._aliases = name, checked("aliases", parse_mapping, {} if aliases is None else aliases, parse_text)
        self.name = _normalize_collection_name(name, self._aliases)
        self._chosen = self._given = () if models is None else encoding.check(models)
        self._chunking, self._weights, self._distance = chunking, weights, distance
        layout = checked("layout", parse_instance, layout, CollectionOptions)
        added = {} if index is None else checked("index", parse_mapping, index, parse_text)
        self._layout = replace(layout, index={**layout.index, **added})
        self._window, self._state = window, checked("state", parse_path, state)
        self._encoding, self._cluster = encoding, checked("cluster", optional(parse_instance), cluster, ClusterOptions)
        self._monitor = checked("monitor", optional(parse_instance), monitor, ThroughputMonitor) or ThroughputMonitor()
        self._tenant = checked("tenant", optional(parse_tenant), tenant)
        self._reranker, self._rerank_lease_timeout = reranker, rerank_lease_timeout
        self._pool = checked("pool", optional(parse_instance), pool, ModelPool)
        self._searcher: Searcher | None = None
        if cluster is not None:
            check_location(store)
        self._store = None if isinstance(store, str | os.PathLike) else checked("store", parse_store, store)
        self._open_store = partial(
            open_store,
            str(store),
            api_key=api_key,
            ca_file=ca_file,
            prefer_grpc=prefer_grpc,
            grpc_port=grpc_port,
            timeout=timeout,
            allow_plain_http_key=allow_plain_http_key,
            retry=retry,
        )
        self._opening = threading.RLock()
        self._closing = ExitStack()
        _open.add(self)

    def close(self) -> None:
        """Release the devices that searches kept, and close the store unless it was given open. Idempotent.

        At the end of the process, open collections are closed before modules are unloaded.
        """
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def store(self) -> Store:
        """The open store. Raises what `open_store` raises."""
        with self._opening:
            if self._store is None:
                self._store = self._closing.enter_context(self._open_store())
            return self._store

    @property
    def searcher(self) -> Searcher:
        """The searcher of the collection, open as long as this object. It follows a reindex."""
        with self._opening:
            if self._searcher is None:
                self._searcher = self._open_searcher(self.name)
            return self._searcher

    def search(self, query: str | None = None, **options: Unpack[SearchOptions]) -> Answer:
        """Return the best chunks for a query, best first. The options are those of `SearchOptions`. See `Searcher.search`."""
        return self.searcher.search(query, **options)

    def facets(self, fields: Sequence[str], *, where: Where = None) -> dict[str, dict[str, int]]:
        """Return the values of payload fields with their numbers of chunks. See `Searcher.facets`."""
        return self.searcher.facets(fields, where=where)

    def document(self, doc_id: str, *, source: str | None = None) -> StoredDocument | None:
        """Return a stored document with its chunks in order, or None. See `Searcher.document`."""
        return self.searcher.document(doc_id, source=source)

    def why(self, query: str, doc_id: str, **options: Unpack[SearchOptions]) -> Why:
        """Return why a document is not in the answer to a query with these options, and a change that brings it in.

        A document that is not stored is looked up among the rejects of the last run. See `Searcher.why`.
        """
        found = self.searcher.why(query, doc_id, **options)
        if found.cause == "not stored" and (reason := rejected_because(self._rejects_path(None), doc_id)):
            return replace(found, cause="rejected", sentence=f"the last run rejected it: {reason}")
        return found

    async def asearch(self, query: str | None = None, **options: Unpack[SearchOptions]) -> Answer:
        """Run `search` in another thread. Safe to await many at once."""
        return await asyncio.to_thread(lambda: self.search(query, **options))

    def evaluate(
        self,
        beir_dir: str | Path,
        *,
        depth: int = CANDIDATES,
        limit: int | None = None,
        held_out: bool = False,
        fusion: FusionMethod = "scores",
        feedback: bool = True,
        tune: bool = False,
        rerank: RerankMode | bool = "off",
    ) -> Evaluation:
        """Measure how well the collection ranks judged queries: each vector alone, fused, and reranked. See `evaluate`."""
        return evaluate(
            self.searcher,
            beir_dir,
            depth=depth,
            limit=limit,
            held_out=held_out,
            fusion=fusion,
            feedback=feedback,
            tuning=tune,
            rerank=rerank,
        )

    def self_test(
        self,
        *,
        queries: int = SELF_TEST_QUERIES,
        against: str | None = None,
        fusion: FusionMethod = "scores",
        feedback: bool = True,
    ) -> SelfTest:
        """Measure, without judged queries, how well the collection finds its own chunks. See `run_self_test`.

        Args:
            against: another collection in the same store, made from the same documents, whose results are compared.
        """
        other = None if against is None else self._open_searcher(_normalize_collection_name(against, self._aliases))
        return run_self_test(self.searcher, queries=queries, against=other, fusion=fusion, feedback=feedback)

    def info(self) -> CollectionDetails:
        """Return what is stored and what it was made with. Raises `CollectionNotFoundError`."""
        return describe_collection(self.store, self.name)

    def sources(self) -> list[StoredSource]:
        """Return what is stored of each source, and when it was last read. Raises `CollectionNotFoundError`."""
        return list_sources(self.store, self.store.manifest(self.name).collection)

    def _open_searcher(self, name: str, store: Store | None = None) -> Searcher:
        """Return a searcher of a collection in this store or a view of it, with the models that its manifest names."""
        if not isinstance(self._reranker, RerankPipeline):
            self._reranker = open_reranker(self._reranker, self._encoding, self._rerank_lease_timeout)
            self._closing.callback(self._reranker.close)
        own = {each.key: each for each in self._given if not isinstance(each, str)}
        searcher = open_searcher(
            store or self.store,
            name,
            encoding=self._encoding,
            reranker=self._reranker,
            own=own,
            tenant=self._tenant,
            pool=self._pool,
        )
        self._closing.callback(searcher.close)
        return searcher

    def _stored(self) -> Manifest | None:
        try:
            return self.store.manifest(self.name)
        except CollectionNotFoundError:
            return None

    def _job(self, stored: Manifest | None, **given: Any) -> Job:
        """Return a job with the options of this object, else those of the stored manifest, else the defaults."""
        found = stored_options(stored)
        options = {
            "chunking": self._chunking or found.chunking,
            "weights": found.weights if self._weights is None else self._weights,
            "distance": self._distance or found.distance,
        }
        return Job(self._raw_name, aliases=self._aliases, options=self._layout, bounds=self._window, **{**options, **given})

    def _check(
        self, source: SourceLike, name: str | None, include: Sequence[str] = (), exclude: Sequence[str] = (), **options: Any
    ) -> list[Source]:
        """Return the sources if a job with these options can read them. Nothing is opened or read."""
        sources = sources_of(source, name=name, include=include, exclude=exclude)
        job = self._job(None, **options)
        check_move(job.moved_from, sources)
        borders_of(job.chunking)
        check_sources(sources, deletes_missing=job.delete == DeleteMode.FULL)
        if self._chosen:
            self._model_maker(None, self._local_encoding)()
        return sources

    def _models_for(self, stored: Manifest | None) -> Sequence[str | Model]:
        return self._chosen or ([spec.name for spec in stored.vectors] if stored else DEFAULT_MODELS)

    def _encoding_for(
        self, stored: Manifest | None, encoding: EncodingOptions, texts: Callable[[], Sequence[str]]
    ) -> EncodingOptions:
        """Return the encoding options with those of the stored collection, for a new one with the language of its texts."""
        found = encoding.in_collection(self._models_for(stored), stored.options if stored else None, texts)
        return found.with_stored_proofs(stored.proofs) if stored else found

    def _proven_encoding(
        self, stored: Manifest | None, encoding: EncodingOptions, texts: Callable[[], Sequence[str]]
    ) -> EncodingOptions:
        """Return the encoding options like `_encoding_for`, and let the endpoints of remote models prove themselves."""
        return self._encoding_for(stored, encoding, texts).with_new_proofs(self._models_for(stored))

    @property
    def _local_encoding(self) -> EncodingOptions:
        """The encoding options on this machine: the devices of a cluster are its workers'."""
        return self._encoding if self._cluster is None else replace(self._encoding, devices=None)

    def _model_maker(
        self, stored: Manifest | None, encoding: EncodingOptions, *, worth_converting: bool = False
    ) -> Callable[[], tuple[Model, ...]]:
        """Return a function that makes the models in the stored precisions, in this process or in another."""
        precisions = stored.precisions if stored else {}
        return partial(encoding.models, self._models_for(stored), stored_precisions=precisions, worth_converting=worth_converting)

    @contextmanager
    def _ensemble(
        self,
        stored: Manifest | None,
        encoding: EncodingOptions,
        monitor: ThroughputMonitor,
        *,
        worth_converting: bool = False,
    ) -> Iterator[Ensemble]:
        """Open the models. At the end, what was learned about them is kept for the next time."""
        models = self._model_maker(stored, encoding, worth_converting=worth_converting)()
        if self._pool is not None:
            models = self._pool.of_documents(models)
        with open_ensemble(models, encoding, monitor=monitor, learned_batches=self._state / "batches.json") as ensemble:
            yield ensemble
        remember_rates(self._rates, ensemble.fingerprints, monitor.model_reports())

    def _worker_setup(self, stored: Manifest | None, encoding: EncodingOptions, *, worth_converting: bool) -> WorkerSetup:
        return WorkerSetup(
            open_store=self._open_store,
            make_models=self._model_maker(stored, encoding, worth_converting=worth_converting),
            devices=encoding.devices,
            memory_limit_gb=encoding.memory_limit_gb,
            retry=encoding.retry,
        )

    def _rejects_path(self, rejects: str | Path | None, name: str | None = None) -> Path:
        """Return the path of a rejects file: the given one, else that of this name, or of the collection, in the state folder."""
        return checked("rejects", optional(parse_path), rejects) or self._state / "rejects" / f"{name or self.name}.jsonl"

    @property
    def _rates(self) -> Path:
        """File of the measured rates."""
        return self._state / "rates.json"

    def _monitored(self, on_progress: OnProgress | None) -> ThroughputMonitor:
        called = checked("on_progress", optional(parse_callable), on_progress)
        return self._monitor if called is None else replace(self._monitor, on_progress=called)


@atexit.register
def _close_all() -> None:
    with ExitStack() as closing:
        for each in list(_open):
            closing.callback(each.close)
