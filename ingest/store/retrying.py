"""A store that retries requests while the store behind it is unavailable, and splits those that are too large for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ingest.errors import CollectionNotFoundError, RequestTooLargeError, StoreError
from ingest.records import Fingerprint, Payload, Point, ScoredPoint, StoredPoint
from ingest.retry import RetryPolicy, call_with_retries
from ingest.store.contract import MAX_FACETS, CollectionInfo, CollectionOptions, Filter, Manifest, Store, VectorQuery
from ingest.store.payload_index import PayloadIndex
from ingest.store.request_sizes import id_bytes, payload_bytes, point_bytes, query_bytes, vectors_bytes, version_bytes
from ingest.store.splitting import RequestLimits, joined, pages_of

if TYPE_CHECKING:
    from ingest.records import Vector

T = TypeVar("T")


class RetryingStore:
    """A store that repeats each request to `store` under `policy` while it raises `StoreUnavailableError`.

    Each method call and each page of `scroll` has its own attempts; `scroll` continues after the last point it returned. A
    request whose response was lost is sent again. When `store` raises `RequestTooLargeError`, this request and all later ones are
    sent in smaller parts.

    Args:
        clock, sleep: the clock that measures retries, and the function that waits.
        stopped: once set, no attempt starts and every wait ends; see `until`.
        limits: the known limits on the size of requests.
    """

    def __init__(
        self,
        store: Store,
        policy: RetryPolicy = RetryPolicy(),
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        stopped: threading.Event | None = None,
        limits: RequestLimits | None = None,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._stopped = stopped
        self._limits = limits or RequestLimits()

    def until(self, stopped: threading.Event) -> RetryingStore:
        """Return this store for a caller that must not wait: once `stopped` is set, it retries nothing and its waits end."""
        return RetryingStore(
            self._store, self._policy, clock=self._clock, sleep=stopped.wait, stopped=stopped, limits=self._limits
        )

    def through(self, wrap: Callable[[Store], Store]) -> RetryingStore:
        """Return a store that makes each attempt through `wrap(store)`, where `store` is the store behind this one."""
        return RetryingStore(
            wrap(self._store), self._policy, clock=self._clock, sleep=self._sleep, stopped=self._stopped, limits=self._limits
        )

    @property
    def location(self) -> str:
        return self._store.location

    @property
    def engine(self) -> str:
        return self._store.engine

    @property
    def streams(self) -> int:
        return self._store.streams

    def ensure(self, manifest: Manifest, options: CollectionOptions, like: str | None = None) -> Manifest:
        return self._call(lambda: self._store.ensure(manifest, options, like))

    def manifest(self, collection: str) -> Manifest:
        return self._call(lambda: self._store.manifest(collection))

    def write_manifest(self, manifest: Manifest) -> None:
        self._call(lambda: self._store.write_manifest(manifest))

    def set_vectors(self, manifest: Manifest) -> None:
        self._call(lambda: self._store.set_vectors(manifest))

    def collections(self) -> list[CollectionInfo]:
        return self._call(self._store.collections)

    def drop(self, collection: str) -> None:
        attempts = 0

        def attempt() -> None:
            nonlocal attempts
            attempts += 1
            try:
                self._store.drop(collection)
            except CollectionNotFoundError:
                if attempts == 1:
                    raise
                # An earlier attempt dropped it, and its response was lost.

        self._call(attempt)

    def aliases(self) -> dict[str, str]:
        return self._call(self._store.aliases)

    def set_aliases(self, targets: Mapping[str, str | None]) -> None:
        resolved = self._resolved(targets)
        self._call(lambda: self._store.set_aliases(resolved))

    def exchange_alias(self, alias: str, targets: Mapping[str, str | None]) -> bool:
        resolved = self._resolved(targets)
        if self._call(lambda: self._store.exchange_alias(alias, resolved)):
            return True
        aliases = self.aliases()  # an earlier attempt may have done it, and its response was lost
        return all(aliases.get(each) == target for each, target in resolved.items())

    def _resolved(self, targets: Mapping[str, str | None]) -> dict[str, str | None]:
        """Return the targets for all attempts: one may itself be an alias that the call moves."""
        aliases = self.aliases()
        return {alias: target and aliases.get(target, target) for alias, target in targets.items()}

    def defer_indexing(self, collection: str) -> None:
        self._call(lambda: self._store.defer_indexing(collection))

    def fingerprints(self, collection: str, doc_keys: Sequence[str]) -> list[Fingerprint]:
        def request(keys: Sequence[str]) -> list[Fingerprint]:
            return self._call(lambda: self._store.fingerprints(collection, keys))

        return _chained(self._limits.send((collection, "fingerprints"), doc_keys, id_bytes, request, _document))

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        def request(batch: Sequence[Point]) -> None:
            self._call(lambda: self._store.upsert(collection, batch))

        self._limits.send((collection, "upsert"), points, point_bytes, request, _point)

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        def request(batch: Sequence[tuple[str, Mapping[str, Vector]]]) -> None:
            self._call(lambda: self._store.update_vectors(collection, dict(batch)))

        self._limits.send((collection, "update_vectors"), list(vectors.items()), vectors_bytes, request, _change)

    def fill_vectors(self, collection: str, filled: Sequence[tuple[Fingerprint, Mapping[str, Vector]]]) -> None:
        self._call(lambda: self._store.fill_vectors(collection, filled))

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        def request(batch: Sequence[tuple[str, Payload]]) -> None:
            self._call(lambda: self._store.set_payload(collection, dict(batch)))

        self._limits.send((collection, "set_payload"), list(payloads.items()), payload_bytes, request, _change)

    def set_versions(self, collection: str, versions: Mapping[str, str | None]) -> None:
        def request(batch: Sequence[tuple[str, str | None]]) -> None:
            self._call(lambda: self._store.set_versions(collection, dict(batch)))

        self._limits.send((collection, "set_versions"), list(versions.items()), version_bytes, request, _change)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        def request(batch: Sequence[str]) -> None:
            self._call(lambda: self._store.delete(collection, batch))

        self._limits.send((collection, "delete"), ids, id_bytes, request, str)

    def scroll(
        self,
        collection: str,
        conditions: Sequence[Filter] = (),
        *,
        payload: Sequence[str] | bool = True,
        vectors: Sequence[str] | bool = False,
        page: int = 1000,
        after: str | None = None,
    ) -> Iterator[StoredPoint]:
        kind = (collection, "scroll")
        scroll = partial(self._store.scroll, collection, conditions, payload=payload, vectors=vectors)

        def next_page() -> list[StoredPoint]:
            return list(islice(scroll(page=size, after=after), size))

        while True:
            size = min(page, self._limits.most(kind))
            try:
                points = self._call(next_page)
            except RequestTooLargeError as exc:
                if not self._limits.learn(kind, size, exc):
                    raise
                continue
            yield from points
            if len(points) < size:
                return
            after = points[-1].id

    def retrieve(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: Sequence[str] | bool = True,
        vectors: Sequence[str] | bool = False,
    ) -> list[StoredPoint]:
        def request(batch: Sequence[str]) -> list[StoredPoint]:
            return self._call(lambda: self._store.retrieve(collection, batch, payload=payload, vectors=vectors))

        return _chained(self._limits.send((collection, "retrieve"), ids, id_bytes, request, str))

    def query(
        self, collection: str, queries: Sequence[VectorQuery], *, payload: Sequence[str] | bool = True
    ) -> list[list[ScoredPoint]]:
        def request(batch: Sequence[VectorQuery]) -> list[list[ScoredPoint]]:
            return self._call(lambda: self._store.query(collection, batch, payload=payload))

        kind = (collection, "results")
        while True:
            pages = [pages_of(query, self._limits.most(kind)) for query in queries]
            try:
                parts = self._limits.send((collection, "query"), _chained(pages), query_bytes, request, _query)
            except RequestTooLargeError as exc:
                if not self._limits.learn(kind, max(query.limit for query in queries), exc):
                    raise
                continue
            found = iter(_chained(parts))
            return [joined([next(found) for _ in each]) for each in pages]

    def count(self, collection: str, conditions: Sequence[Filter] = ()) -> int:
        return self._call(lambda: self._store.count(collection, conditions))

    def facet(self, collection: str, field: str, conditions: Sequence[Filter] = (), *, limit: int = MAX_FACETS) -> dict[str, int]:
        kind = (collection, "facet")
        while True:
            size = min(limit, self._limits.most(kind))
            try:
                return self._call(partial(self._store.facet, collection, field, conditions, limit=size))
            except RequestTooLargeError as exc:
                if not self._limits.learn(kind, size, exc):
                    raise

    def indexes(self, collection: str) -> dict[str, PayloadIndex]:
        return self._call(lambda: self._store.indexes(collection))

    def notes(self, collection: str) -> dict[str, Any]:
        return self._call(lambda: self._store.notes(collection))

    def update_notes(self, collection: str, notes: Mapping[str, Any]) -> None:
        self._call(lambda: self._store.update_notes(collection, notes))

    def finalize(self, collection: str) -> None:
        self._call(lambda: self._store.finalize(collection))

    def close(self) -> None:
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _call(self, request: Callable[[], T]) -> T:
        def attempt() -> T:
            if self._stopped is not None and self._stopped.is_set():
                raise StoreError(f"a request to {self.location} was not sent, because the work it belongs to was stopped")
            return request()

        return call_with_retries(attempt, self._policy, clock=self._clock, sleep=self._sleep)


def _chained(lists: Iterable[Sequence[T]]) -> list[T]:
    return list(chain.from_iterable(lists))


def _document(key: str) -> str:
    return f"the key of a document, {key},"


def _point(point: Point) -> str:
    return f"the point {point.id} of document {point.payload.get('doc_id')!r}"


def _change(item: tuple[str, object]) -> str:
    return f"the change of point {item[0]}"


def _query(query: VectorQuery) -> str:
    return f"the query of {query.vector}"
