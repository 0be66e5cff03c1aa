"""Writes effects to a store on threads of its own: in order, in bounded requests."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

from ingest.errors import StoreError, StoreUnavailableError
from ingest.records import Payload, Point, Vector
from ingest.store.contract import Store
from ingest.store.request_sizes import batches, id_bytes, payload_bytes, point_bytes, vectors_bytes
from ingest.store.retrying import RetryingStore

logger = logging.getLogger(__name__)

MAX_POINTS = 1000
"""Points in one request."""

MAX_BYTES = 4 * 2**20
"""Estimated bytes in one request; a server refuses more than 32 MiB."""

DEFER_FROM = 50_000
"""Points written before indexing is deferred to the end of the load. A server builds a graph for each segment of a few thousand
points, and builds it again when segments merge: in a long load that is most of the work."""


@dataclass(frozen=True, slots=True)
class Effects:
    """Changes to a collection. Everything added is acknowledged before anything is deleted.

    Attributes:
        upserts: whole points.
        vector_updates: point id → vector name → vector.
        payloads: point id → the whole new payload.
        deletes: point ids.
    """

    upserts: Sequence[Point] = ()
    vector_updates: Mapping[str, Mapping[str, Vector]] = field(default_factory=dict)
    payloads: Mapping[str, Payload] = field(default_factory=dict)
    deletes: Sequence[str] = ()


class Writer:
    """A writer of one collection, which applies submitted effects in order on its own threads.

    The points of one submission are written in `Store.streams` concurrent requests. After `defer_from` points, indexing is
    deferred until the caller calls `Store.finalize`.

    `with Writer(store, collection) as writer: writer.submit(effects)`. Leaving the block waits until everything is acknowledged;
    leaving it with an exception stops after the requests in flight, without retries, and drops the rest; `KeyboardInterrupt`
    does not wait for those either. Submit from one thread.

    Args:
        max_points, max_bytes: limits of one request, the bytes estimated; a larger point is sent alone.
        defer_from: points written before indexing is deferred.
        queue_size: maximum number of submitted effects in the queue.
    """

    def __init__(
        self,
        store: Store,
        collection: str,
        *,
        max_points: int = MAX_POINTS,
        max_bytes: int = MAX_BYTES,
        defer_from: int = DEFER_FROM,
        queue_size: int = 1,
    ) -> None:
        self._stopped = threading.Event()
        self._store = store.until(self._stopped) if isinstance(store, RetryingStore) else store
        self._collection = collection
        self._max_points = max_points
        self._max_bytes = max_bytes
        self._queue: queue.Queue[Effects | None] = queue.Queue(queue_size)
        self._failure: BaseException | None = None
        self._defer_from = defer_from
        self._written = 0
        self._thread = threading.Thread(target=self._run, name=f"write {collection}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def submit(self, effects: Effects) -> None:
        """Queue effects; waits while the queue is full. Raises the error of a writer that failed and writes nothing more."""
        if self._failure is not None:
            raise self._failure
        self._queue.put(effects)

    def close(self) -> None:
        """Wait until everything submitted is acknowledged. Raises the error of a writer that failed. Idempotent."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()
            return
        self._stopped.set()
        if not isinstance(error, KeyboardInterrupt):  # which must not wait for a server that does not respond
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        """Empty the queue even after a failure, so that `submit` never blocks forever."""
        while (effects := self._queue.get()) is not None:
            if self._failure is not None:
                continue
            try:
                self._write(effects)
            except BaseException as exc:  # noqa: BLE001  raised again in the submitting thread
                self._failure = exc

    def _write(self, effects: Effects) -> None:
        for stage in stages(self._store, self._collection, effects, self._max_points, self._max_bytes):
            self._send(stage)
        before = self._written
        self._written += len(effects.upserts) + len(effects.vector_updates)
        if before < self._defer_from <= self._written:
            defer_indexing(self._store, self._collection)

    def _send(self, stage: Iterator[Request]) -> None:
        """Send the requests of a stage, `Store.streams` at a time; return or raise once none is in flight."""
        failures: list[BaseException] = []
        taking = threading.Lock()

        def send() -> None:
            try:
                while not failures and not self._stopped.is_set():
                    with taking:
                        request = next(stage, None)
                    if request is None:
                        return
                    request()
            except BaseException as exc:  # noqa: BLE001  raised again below
                failures.append(exc)

        # Daemons, like the writer's own thread.
        helpers = [threading.Thread(target=send, name="write", daemon=True) for _ in range(self._store.streams - 1)]
        for helper in helpers:
            helper.start()
        send()
        for helper in helpers:
            helper.join()
        if failures:
            raise failures[0]


Request = Callable[[], None]


def defer_indexing(store: Store, collection: str) -> None:
    """Defer the collection's indexing. A refusal is logged, and not an error: it costs only time."""
    try:
        store.defer_indexing(collection)
    except StoreUnavailableError:
        raise
    except StoreError as exc:  # such as a key that may write points and nothing else
        logger.warning("the load goes on, but slower, since its indexes cannot be deferred: %s", exc)


def stages(store: Store, collection: str, effects: Effects, max_points: int, max_bytes: int) -> Iterator[Iterator[Request]]:
    """Yield the requests of `effects` in stages; a stage must be acknowledged before the next, its requests have no order."""
    points = batches(effects.upserts, point_bytes, max_points, max_bytes)
    yield (partial(store.upsert, collection, batch) for batch in points)
    vectors = batches(effects.vector_updates.items(), vectors_bytes, max_points, max_bytes)
    yield (partial(store.update_vectors, collection, dict(batch)) for batch in vectors)
    payloads = batches(effects.payloads.items(), payload_bytes, max_points, max_bytes)
    yield (partial(store.set_payload, collection, dict(batch)) for batch in payloads)
    ids = batches(effects.deletes, id_bytes, max_points, max_bytes)
    yield (partial(store.delete, collection, batch) for batch in ids)
