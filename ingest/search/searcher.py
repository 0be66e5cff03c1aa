"""The search helper for applications: opens a collection, loads the models that made it, and follows its alias."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from ingest.encode.devices import check_devices, default_devices, is_accelerator
from ingest.encode.lease import give_back
from ingest.errors import ConfigurationError
from ingest.parameters import (
    checked,
    optional,
    parse_instance,
    parse_integer,
    parse_list,
    parse_path,
    parse_text,
    shown,
)
from ingest.process import HomeProcess, NotCopied
from ingest.records import Hit, ScoredPoint
from ingest.retry import RetryPolicy
from ingest.search.answer import Answer
from ingest.search.current_view import CurrentView
from ingest.search.document import StoredDocument
from ingest.search.fusion import CANDIDATES, Fused
from ingest.search.models import ModelLoader, ModelPool, shared_models
from ingest.search.request import (
    MAX_REACH,
    SearchOptions,
    SearchRequest,
    parse_queries,
    parse_query,
    parse_query_or_like,
    parse_vectors,
)
from ingest.search.rerank import RerankPipeline
from ingest.search.tenant import Tenant, parse_tenant, tenant_conditions
from ingest.search.view import CollectionView
from ingest.search.why import Why, explain
from ingest.store import open_store, parse_store
from ingest.store.contract import Manifest, Store
from ingest.store.filters import Where, parse_filter
from ingest.store.schema import _normalize_collection_name

DEFAULT_STORE = ".ingest/qdrant"

SEARCH_RETRY = RetryPolicy(attempts=3, seconds=10.0, longest=2.0)
"""Retries of a store that a searcher opened. A user waits for the results, so they end sooner than those of a run."""

T = TypeVar("T")


class Searcher(NotCopied):
    """Hybrid search over one collection. Safe from several threads; the first query loads the models, which then stay loaded.

    A searcher follows its name: after a reindex or a rollback it searches the collection that the name stands for then, with the
    models that made that collection. A search under way finishes in the collection it began in, or starts over in the new one. If
    the new models are not available, the old collection is searched as long as it exists.

    It belongs to the process that opened it: a forked child opens its own.

    Args:
        store: an open store, which stays open.
        collection: name of the collection or alias, in any spelling.
        models: registry keys → models. None: from the registries alone.
        devices: devices that encode queries. None: the first GPU, or the CPU without one. Only accelerators are leased; on the
            CPU a query runs beside other work.
        lease_directory: folder of the lease files, shared by all processes. None: the user's.
        reranker: reranker for searches with reranking. None: the default one, created when first needed.
        tenant: the tenant whose points alone are read: the value of the field with a tenant index, or
            `{"metadata.tenant": "acme"}`.
        pool: models that several searchers share. None: its own.
        clock: monotonic seconds.

    Raises as `open` does.
    """

    what_instead = "open one in each process with Searcher.open"

    def __init__(
        self,
        store: Store,
        collection: str,
        *,
        models: ModelLoader | None = None,
        devices: Sequence[str] | None = None,
        lease_directory: str | Path | None = None,
        reranker: RerankPipeline | None = None,
        tenant: Tenant | None = None,
        pool: ModelPool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if models is not None and not callable(models):
            raise ConfigurationError(f"models: {shown(models)} is not a function from registry keys to models")
        checked("reranker", optional(parse_instance), reranker, RerankPipeline)
        self._home = HomeProcess("this Searcher")
        self._store = store
        self._name = _normalize_collection_name(checked("collection", parse_text, collection))
        self._load_models = models
        self._devices = tuple(filter(is_accelerator, default_devices() if devices is None else check_devices(devices)))
        self._lease_directory = checked("lease_directory", optional(parse_path), lease_directory)
        self._reranker = reranker
        self._tenant = checked("tenant", optional(parse_tenant), tenant)
        self._pool = checked("pool", optional(parse_instance), pool, ModelPool) or ModelPool()
        self._own_reranker: RerankPipeline | None = None
        self._reranker_lock = threading.Lock()
        self._closing = ExitStack()
        self._current = CurrentView(store, self._name, self._open_view, clock=clock)

    @classmethod
    def open(
        cls,
        collection: str,
        store: Store | str | Path = DEFAULT_STORE,
        *,
        models: ModelLoader | None = None,
        devices: Sequence[str] | None = None,
        lease_directory: str | Path | None = None,
        reranker: RerankPipeline | None = None,
        tenant: Tenant | None = None,
        pool: ModelPool | None = None,
        clock: Callable[[], float] = time.monotonic,
        preload: bool = False,
        api_key: str | None = None,
        ca_file: str | Path | None = None,
        timeout: float | None = None,
        prefer_grpc: bool | None = None,
        grpc_port: int | None = None,
        allow_plain_http_key: bool | None = None,
        retry: RetryPolicy | None = None,
    ) -> Self:
        """Open a collection for search with the models that made it.

        Args:
            store: an open store, which stays open; or a path or URL, whose store is closed with the searcher.
            preload: load the models now, so that the first query does not wait for them. Raises `ModelError`, too.
            api_key, ca_file, timeout, prefer_grpc, grpc_port, allow_plain_http_key: as in `open_store`, for a path or URL. The
                environment is not read: pass `api_key=os.environ["INGEST_API_KEY"]`.
            retry: as in `open_store`. None: `SEARCH_RETRY`.

        The other arguments are those of `Searcher`. Raises `ConfigurationError`, `StoreError`, `CollectionNotFoundError`,
        `UnknownModelError` if a model is in no registry, and `ManifestMismatchError` if the vector space of a model is not the
        stored one.
        """
        connection = {
            name: value
            for name, value in {
                "api_key": api_key,
                "ca_file": ca_file,
                "timeout": timeout,
                "prefer_grpc": prefer_grpc,
                "grpc_port": grpc_port,
                "allow_plain_http_key": allow_plain_http_key,
                "retry": retry,
            }.items()
            if value is not None
        }
        with ExitStack() as closing:
            searcher = cls(
                _open_store(store, connection, closing),
                collection,
                models=models,
                devices=devices,
                lease_directory=lease_directory,
                reranker=reranker,
                tenant=tenant,
                pool=pool,
                clock=clock,
            )
            searcher._closing = closing.pop_all()
        if preload:
            with ExitStack() as undoing:
                undoing.callback(searcher.close)
                searcher.view().load_models()
                undoing.pop_all()
        return searcher

    def close(self) -> None:
        """Release the devices that queries kept, unload the default reranker, and close the store if `open` opened it.

        Idempotent. Does nothing in a forked child, where all of them are the parent's.
        """
        if self._home.is_current:
            give_back(self._devices, self._lease_directory)
            if self._own_reranker is not None:
                self._own_reranker.close()
            self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The caller's name for the collection; an alias if `manifest.collection` differs."""
        return self._name

    @property
    def manifest(self) -> Manifest:
        """The manifest of the collection searched last."""
        return self._current.last.manifest

    def search(self, query: str | None = None, **options: Unpack[SearchOptions]) -> Answer:
        """Return the best chunks, best first. The options are those of `SearchOptions`; `like` takes the place of a query.

        Raises `ConfigurationError` for an invalid argument, `StoreError`, `ModelError`, and `ForkError` in a forked child.
        """
        request = SearchRequest.of(options)
        return self._answers([parse_query_or_like(query, request)], request)[0]

    def search_batch(self, queries: Sequence[str], **options: Unpack[SearchOptions]) -> list[Answer]:
        """Return the answer to each query, like `search`. Each model encodes all of them at once, and requests are shared."""
        request = SearchRequest.of(options)
        if request.like is not None:
            raise ConfigurationError("like: a batch takes queries: pass like to search")
        return self._answers(parse_queries(queries), request)

    async def asearch(self, query: str | None = None, **options: Unpack[SearchOptions]) -> Answer:
        """Run `search` in another thread, for asyncio applications. Safe to await many at once."""
        request = SearchRequest.of(options)
        answers = await asyncio.to_thread(self._answers, [parse_query_or_like(query, request)], request)
        return answers[0]

    def why(self, query: str, doc_id: str, **options: Unpack[SearchOptions]) -> Why:
        """Return why a document is not in the answer to a query with these options, and a change that brings it in."""
        request = SearchRequest.of(options)
        if request.like is not None:
            raise ConfigurationError("like: a document is explained for a query")
        text, wanted = parse_query(query), checked("doc_id", parse_text, doc_id)
        return self._ask(lambda view: explain(view, text, wanted, request))

    def facets(self, fields: Sequence[str], *, where: Where = None) -> dict[str, dict[str, int]]:
        """Return field → value as text → number of chunks, over everything that `where` allows, the most frequent first."""
        request = SearchRequest.of({"facets": fields, "where": where})
        return self._ask(lambda view: view.facets(request))

    def document(self, doc_id: str, *, source: str | None = None) -> StoredDocument | None:
        """Return a stored document with its chunks in order, or None if it is not stored or soft-deleted.

        `source` names its source; without it, `ConflictError` is raised if several sources have this id.
        """
        wanted, named = checked("doc_id", parse_text, doc_id), checked("source", optional(parse_text), source)
        return self._ask(lambda view: view.document(wanted, named))

    def rankings(
        self, query: str, *, depth: int = CANDIDATES, where: Where = None, vectors: Sequence[str] | None = None
    ) -> dict[str, list[ScoredPoint]]:
        """Return the `depth` best points of each vector, best first, with `doc_id` and `source`. Raises as `search` does."""
        text, conditions, names = parse_query(query), parse_filter(where), parse_vectors(vectors)
        depth = checked("depth", parse_integer, depth, least=1, most=MAX_REACH)
        return self._ask(lambda view: view.rankings(text, depth=depth, conditions=conditions, vectors=names))

    def hits(self, candidates: Sequence[Sequence[Fused]]) -> list[list[Hit]]:
        """Return the hits of each query's candidates, in their order. All payloads are read in one request.

        Candidates that are soft-deleted, deleted since, or written by another tool are left out.
        """
        checked_candidates = checked("candidates", parse_list, candidates, _parse_candidates)
        return self._ask(lambda view: view.hits(checked_candidates))

    def view(self) -> CollectionView:
        """Return a view of the collection that the name stands for now. The view keeps to that collection.

        Raises `ForkError` in a forked child.
        """
        self._home.check()
        return self._current.get()

    def _answers(self, queries: Sequence[str], request: SearchRequest) -> list[Answer]:
        """Return the answers to checked queries."""
        return self._ask(lambda view: view.search(queries, request))

    def _ask(self, ask: Callable[[CollectionView], T]) -> T:
        self._home.check()
        return self._current.ask(ask)

    def _open_view(self, manifest: Manifest, before: CollectionView | None) -> CollectionView:
        """Open the collection of a manifest for search. A model that also made the collection before it is kept."""
        known = (before.manifest, before.models) if before else None
        devices = self._devices or ("cpu",)
        models = shared_models(manifest, self._name, self._load_models, pool=self._pool, devices=devices, before=known)
        return CollectionView(
            self._store,
            self._name,
            manifest,
            models,
            get_devices=lambda: self._devices,
            lease_directory=self._lease_directory,
            get_reranker=lambda: self.reranker,
            own=tenant_conditions(self._tenant, self._store, manifest.collection),
        )

    @property
    def reranker(self) -> RerankPipeline:
        """The reranker for queries that ask for it. Nothing is loaded before the first."""
        with self._reranker_lock:
            if self._reranker is None:
                self._reranker = self._own_reranker = RerankPipeline(devices=self._devices, lease_directory=self._lease_directory)
            return self._reranker

    def set_device(self, device: str) -> None:
        """Encode queries and rerank on this device from now on, and release the present ones.

        `cpu` leaves the GPU to a long run of another process. Raises `ConfigurationError` for a device that does not exist.
        """
        devices = tuple(filter(is_accelerator, check_devices([device])))
        self._home.check()
        before, self._devices = self._devices, devices
        give_back(before, self._lease_directory)
        if self.reranker.get_device() != device:
            self.reranker.set_cross_encoder_device(device)


def _parse_candidates(value: object) -> list[Fused]:
    return parse_list(value, lambda each: parse_instance(each, Fused))


def _open_store(store: object, connection: Mapping[str, object], closing: ExitStack) -> Store:
    """Return an open store: the given one, or that at a location, which `closing` closes."""
    if isinstance(store, str | os.PathLike):
        options: dict[str, Any] = {"retry": SEARCH_RETRY, **connection}
        return closing.enter_context(open_store(Path(store) if isinstance(store, os.PathLike) else store, **options))
    opened = checked("store", parse_store, store)
    if connection:
        raise ConfigurationError(f"{', '.join(connection)}: the store is already open: pass it to open_store")
    return opened
