"""The search helper for applications: it opens a collection, loads the models that made it, and follows its alias."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from ingest.encode.devices import check_devices, default_devices, is_accelerator
from ingest.errors import CollectionNotFoundError, ConfigurationError, IngestError, ManifestMismatchError, StoreError
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
from ingest.search.fusion import Fused, FusionMethod
from ingest.search.members import ModelLoader, members_of
from ingest.search.question import MAX_LIMIT, SearchRequest, Where, parse_filter, parse_queries, parse_query, parse_vectors
from ingest.search.rerank import Answer, RerankMode, RerankPipeline
from ingest.search.view import CANDIDATES, CollectionView
from ingest.store import open_store
from ingest.store.contract import Manifest, Store
from ingest.store.schema import _normalize_collection_name

DEFAULT_STORE = ".ingest/qdrant"

FOLLOW_SECONDS = 2.0
"""How often an open searcher looks at most whether its name stands for another collection by now."""

SEARCH_RETRY = RetryPolicy(attempts=3, seconds=10.0, longest=2.0)
"""For requests to a store that a searcher opened: whoever asks waits for the answer, so it is given up sooner than a run."""

_REPEATS = 5
"""Times that a search begins anew because its collection was replaced. Reindexes seldom follow each other within one search."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Searcher(NotCopied):
    """Hybrid search over one collection. Safe from several threads; models are loaded by the first query and kept.

    A searcher follows its name: after a reindex or a rollback it goes on in the collection that the name stands for then, with
    the models that made that one. A search under way ends in the collection it began in, or begins anew in the other. If the new
    models are not available, the old collection is searched as long as it is kept.

    It belongs to the process that opened it: a forked child opens its own.

    Args:
        store: an open store, which stays open.
        collection: in any spelling.
        models: registry keys → staged models; by default from the registries alone.
        devices: to encode queries on; by default the first GPU, else the CPU. Only accelerators are leased: on the CPU a query
            runs beside what else runs.
        lease_directory: where processes meet to take turns on a GPU; by default the user's.
        reranker: for queries that ask for it; by default the default one, made when it is first needed.
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
        self._making_reranker = threading.Lock()
        self._clock = clock
        self._looking = threading.Lock()
        self._closing = ExitStack()
        self._reported = ""
        self._view = self._view_of(store.manifest(self._name), None)
        self._look_again_at = clock() + FOLLOW_SECONDS

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
        clock: Callable[[], float] = time.monotonic,
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
            store: an open store, which stays open; or its path or URL, to be closed with the searcher.
            api_key, ca_file, timeout, prefer_grpc, grpc_port, allow_plain_http_key: as in `open_store`, if `store` is a path or
                URL. The environment is not read: pass `api_key=os.environ["INGEST_API_KEY"]`.
            retry: likewise; by default `SEARCH_RETRY`.

        The other arguments are those of `Searcher`. Raises `ConfigurationError`, `StoreError`, `CollectionNotFoundError`,
        `UnknownModelError` if a model is not in any registry now, and `ManifestMismatchError` if a model of that name would
        search another vector space than the one that is stored.
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
                _opened(store, connection, closing),
                collection,
                models=models,
                devices=devices,
                lease_directory=lease_directory,
                reranker=reranker,
                clock=clock,
            )
            searcher._closing = closing.pop_all()
        return searcher

    def close(self) -> None:
        """Close the store if `open` opened it. Idempotent; does nothing in a forked child, where the store is the parent's."""
        if self._home.is_current:
            self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The name of the collection as the caller uses it; an alias if `manifest.collection` is another."""
        return self._name

    @property
    def manifest(self) -> Manifest:
        """The manifest of the collection that was searched last."""
        return self._view.manifest

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        where: Where = None,
        weights: Mapping[str, float] | None = None,
        vectors: Sequence[str] | None = None,
        fusion: FusionMethod = "rrf",
        group_by: Literal["doc_id"] | None = None,
        context: int = 0,
        rerank: RerankMode | bool = "off",
    ) -> Answer:
        """Return the best chunks, best first.

        Args:
            limit: the most hits to return, 1 to 10,000.
            where: conditions that every hit meets: `{"metadata.year": {"gte": 2020}}`, `"metadata.year>=2020"`, or a list.
            weights: vector name → weight in the fusion, 1 for a vector that is not named; by default those of the collection.
            vectors: the vectors to query; by default all.
            fusion: `rrf` or `dbsf`, see `fusion.fuse`.
            group_by: `doc_id` returns only the best chunk of each document.
            context: the number of chunks before and after each hit to return with it.
            rerank: `auto` reranks the best if the model is available at once, `on` (or True) makes its absence an error, `off`
                (or False) does not rerank.

        Raises `ConfigurationError` for an argument that cannot be used, `StoreError`, `ModelError`, and `ForkError` in a forked
        child.
        """
        request = SearchRequest.of(
            limit=limit,
            where=where,
            weights=weights,
            vectors=vectors,
            fusion=fusion,
            group_by=group_by,
            context=context,
            rerank=rerank,
        )
        text = parse_query(query)
        return self._ask(lambda view: view.search([text], request))[0]

    def search_batch(
        self,
        queries: Sequence[str],
        *,
        limit: int = 10,
        where: Where = None,
        weights: Mapping[str, float] | None = None,
        vectors: Sequence[str] | None = None,
        fusion: FusionMethod = "rrf",
        group_by: Literal["doc_id"] | None = None,
        context: int = 0,
        rerank: RerankMode | bool = "off",
    ) -> list[Answer]:
        """Return the answers to several queries, as `search` does: each model encodes all of them at once, in one request."""
        request = SearchRequest.of(
            limit=limit,
            where=where,
            weights=weights,
            vectors=vectors,
            fusion=fusion,
            group_by=group_by,
            context=context,
            rerank=rerank,
        )
        texts = parse_queries(queries)
        return self._ask(lambda view: view.search(texts, request))

    async def asearch(
        self,
        query: str,
        *,
        limit: int = 10,
        where: Where = None,
        weights: Mapping[str, float] | None = None,
        vectors: Sequence[str] | None = None,
        fusion: FusionMethod = "rrf",
        group_by: Literal["doc_id"] | None = None,
        context: int = 0,
        rerank: RerankMode | bool = "off",
    ) -> Answer:
        """Run `search` in another thread, for applications on asyncio. Safe to await many at once."""
        return await asyncio.to_thread(
            self.search,
            query,
            limit=limit,
            where=where,
            weights=weights,
            vectors=vectors,
            fusion=fusion,
            group_by=group_by,
            context=context,
            rerank=rerank,
        )

    def rankings(
        self, query: str, *, depth: int = CANDIDATES, where: Where = None, vectors: Sequence[str] | None = None
    ) -> dict[str, list[ScoredPoint]]:
        """Return what each vector finds: its `depth` best, best first, with `doc_id` and `source`. Raises as `search` does."""
        text, conditions, names = parse_query(query), parse_filter(where), parse_vectors(vectors)
        depth = checked("depth", parse_integer, depth, least=1, most=MAX_LIMIT)
        return self._ask(lambda view: view.rankings(text, depth=depth, conditions=conditions, vectors=names))

    def hits(self, candidates: Sequence[Sequence[Fused]]) -> list[list[Hit]]:
        """Return the hits of each query's candidates, in their order; all payloads are read at once.

        A candidate that is soft-deleted, was deleted meanwhile, or was written by another tool is left out.
        """
        fused = checked("candidates", parse_list, candidates, _parse_candidates)
        return self._ask(lambda view: view.hits(fused))

    def view(self) -> CollectionView:
        """Return the collection that the name stands for, looked up every `FOLLOW_SECONDS`; it stays what it is.

        Raises `ForkError` in a forked child.
        """
        self._home.check()
        if self._clock() >= self._look_again_at and self._looking.acquire(blocking=False):
            try:
                self._follow()
            finally:
                self._looking.release()
        return self._view

    def _ask(self, ask: Callable[[CollectionView], T]) -> T:
        """Ask the collection that the name stands for, and where it stands for another in the end, that one.

        What was found before counts for nothing then: a collection of the same name as the first can be in the making by now.
        """
        view = self.view()
        for _ in range(_REPEATS):
            try:
                answer = ask(view)
            except CollectionNotFoundError:
                view = self._after(view)
                continue
            before, view = view, self.view()
            if view is before:
                return answer
        return ask(view)

    def _follow(self) -> None:
        """Look the name up once. What stands in the way is left to the search itself to find, if it is in its way too."""
        self._look_again_at = self._clock() + FOLLOW_SECONDS
        try:
            manifest = self._store.manifest(self._name)
            if manifest != self._view.manifest:
                self._view = self._view_of(manifest, self._view)
        except StoreError as exc:
            logger.debug("the name %s was not looked up: %s", self._name, exc)
        except IngestError as exc:
            if str(exc) != self._reported:
                logger.warning("the search of %s goes on in %s: %s", self._name, self._view.manifest.collection, exc)
                self._reported = str(exc)

    def _after(self, gone: CollectionView) -> CollectionView:
        """Return what is to be searched instead of a collection that was dropped."""
        with self._looking:
            if self._view is gone:
                self._view = self._newest(gone)
                self._look_again_at = self._clock() + FOLLOW_SECONDS
            return self._view

    def _newest(self, before: CollectionView) -> CollectionView:
        while True:
            manifest = self._manifest()
            try:
                return self._view_of(manifest, before)
            except ManifestMismatchError:  # also where the name moves again before a loader looks it up
                if self._manifest() == manifest:
                    raise

    def _manifest(self) -> Manifest:
        try:
            return self._store.manifest(self._name)
        except CollectionNotFoundError:  # also where the alias moves between the two requests that this takes
            return self._store.manifest(self._name)

    def _view_of(self, manifest: Manifest, before: CollectionView | None) -> CollectionView:
        """Search in the manifest's collection. A model that also made the collection before it is kept."""
        members = members_of(manifest, self._name, self._load_models, (before.manifest, before.members) if before else None)
        return CollectionView(
            self._store,
            self._name,
            manifest,
            members,
            devices=self._devices,
            lease_directory=self._lease_directory,
            get_reranker=self._get_reranker,
        )

    def _get_reranker(self) -> RerankPipeline:
        with self._making_reranker:
            if self._reranker is None:
                self._reranker = RerankPipeline(devices=self._devices)
            return self._reranker


def _parse_candidates(value: object) -> list[Fused]:
    return parse_list(value, lambda each: parse_instance(each, Fused))


def _opened(store: object, connection: Mapping[str, object], closing: ExitStack) -> Store:
    """Open the store at a location, to be closed by `closing`; return one that is open as it is."""
    if isinstance(store, str | os.PathLike):
        options: dict[str, Any] = {"retry": SEARCH_RETRY, **connection}
        return closing.enter_context(open_store(Path(store) if isinstance(store, os.PathLike) else store, **options))
    if not callable(getattr(store, "manifest", None)):
        raise ConfigurationError(f"store: {shown(store)} is neither a path, a URL nor an open store")
    if connection:
        raise ConfigurationError(f"{', '.join(connection)}: the store is open already: pass it to open_store")
    return store  # type: ignore[return-value]
