"""Writes effects to a store on threads of its own: in order, in bounded requests."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from ingest.errors import StoreError, StoreUnavailableError
from ingest.records import Payload, Point, SparseVector, Vector
from ingest.store.contract import Store
from ingest.store.retrying import RetryingStore

logger = logging.getLogger(__name__)

MAX_POINTS = 1000
"""Points in one request."""

MAX_BYTES = 4 * 2**20
"""Estimated bytes in one request; a server refuses more than 32 MiB."""

DEFER_FROM = 50_000
"""Points written from which indexing waits for the end of the load. A server builds a graph over each segment of a few thousand
points, and builds it again whenever segments are merged: over a short load that is soon done, over a long one it is most of the
work, and slows down the rest."""

_FLOAT_BYTES = 21
"""Of a float32 in JSON, written out as the float64 it is equal to, with its comma."""

_SPARSE_BYTES = _FLOAT_BYTES + 11
"""Of an index and its value."""

_ID_BYTES = 40

_SMALL_FIELDS_BYTES = 640
"""About what the fingerprint of a point with three models takes, with the names of all fields and the numbers among them."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Effects:
    """What is to be done to a collection. Everything that adds is acknowledged before anything is deleted.

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
    """Writes what is submitted to one collection, from its own threads, in the order it was submitted.

    Points of one submission are written `Store.streams` requests at a time.

    After `defer_from` points the collection's indexes are deferred: whoever loads much calls `Store.finalize` in the end.

    `with Writer(store, collection) as writer: writer.submit(effects)`. Leaving the block waits until everything is acknowledged;
    leaving it by an exception stops after the requests in flight, without retries, and leaves the rest undone; by
    `KeyboardInterrupt`, it does not
    wait for those either. Submit from one thread.

    Args:
        max_points, max_bytes: bounds of one request (bytes estimated); a point that alone exceeds them travels alone.
        defer_from: points to be written until then.
        queue_size: submitted effects that may wait while others are being written.
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
        """Hands over; waits while the queue is full. Raises what the writer failed with, if it has: nothing more is written."""
        if self._failure is not None:
            raise self._failure
        self._queue.put(effects)

    def close(self) -> None:
        """Waits until everything submitted is acknowledged. Raises what the writer failed with. Idempotent."""
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
        if not isinstance(error, KeyboardInterrupt):  # whoever cannot wait should not wait for a server that says nothing
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        """Takes from the queue to its end even after a failure, so that nobody waits for room in it for ever."""
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
        """As many requests at a time as the store takes with profit; returns, or raises, when none is in flight any more."""
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

        # Daemons, as the writer's own thread: nobody waits for them who does not wait for that.
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
    """The requests that make up `effects`: each stage must be acknowledged before the next begins, in it the order is free."""
    points = batches(effects.upserts, _point_bytes, max_points, max_bytes)
    yield (partial(store.upsert, collection, batch) for batch in points)
    columns = batches(effects.vector_updates.items(), _columns_bytes, max_points, max_bytes)
    yield (partial(store.update_vectors, collection, dict(batch)) for batch in columns)
    payloads = batches(effects.payloads.items(), _payload_bytes, max_points, max_bytes)
    yield (partial(store.set_payload, collection, dict(batch)) for batch in payloads)
    ids = batches(effects.deletes, lambda _: _ID_BYTES, max_points, max_bytes)
    yield (partial(store.delete, collection, batch) for batch in ids)


def batches(items: Iterable[_Item], size: Callable[[_Item], int], max_items: int, max_size: int) -> Iterator[list[_Item]]:
    """The items in order, cut where one more would go over `max_items` or `max_size`; an item larger than that comes alone."""
    batch: list[_Item] = []
    total = 0
    for item in items:
        item_size = size(item)
        if batch and (len(batch) == max_items or total + item_size > max_size):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += item_size
    if batch:
        yield batch


def _point_bytes(point: Point) -> int:
    return _ID_BYTES + _vectors_bytes(point.vectors) + _stored_bytes(point.payload)


def _columns_bytes(item: tuple[str, Mapping[str, Vector]]) -> int:
    return _ID_BYTES + _vectors_bytes(item[1])


def _payload_bytes(item: tuple[str, Payload]) -> int:
    return _ID_BYTES + _stored_bytes(item[1])


def _vectors_bytes(vectors: Mapping[str, Vector]) -> int:
    total = 0
    for vector in vectors.values():
        total += len(vector.indices) * _SPARSE_BYTES if isinstance(vector, SparseVector) else len(vector) * _FLOAT_BYTES
    return total


def _stored_bytes(payload: Payload) -> int:
    """Of a whole payload, what is always there and never long at a flat rate."""
    total = _SMALL_FIELDS_BYTES
    for name, item in payload.items():
        if isinstance(item, str):
            total += len(item)
        elif name == "metadata":
            total += _json_bytes(item)
    return total


def _json_bytes(value: Any) -> int:
    """Characters, not bytes, of texts: far quicker to tell, and never off by more than the margin of `MAX_BYTES` allows."""
    if isinstance(value, str):
        return len(value) + 3
    if isinstance(value, dict):
        total = 2
        for name, item in value.items():
            total += len(name) + 4 + (len(item) + 3 if isinstance(item, str) else _json_bytes(item))
        return total
    if isinstance(value, (list, tuple)):
        return 2 + sum(map(_json_bytes, value))
    return 10
