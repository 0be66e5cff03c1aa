"""Prefetching: a thread that consumes an iterator into a bounded queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

PREFETCH_DEPTH = 1
"""Number of items in the queue. With the one in use and the one being made, at most three exist at a time."""

_POLL_SECONDS = 0.1
"""Seconds until a waiting producer notices that it was abandoned, or a waiting consumer that it must stop."""

_JOIN_SECONDS = 2.0
"""Seconds to wait for an abandoned producer. If it hangs in its source (a silent pipe), it ends with the process."""


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class Prefetch(Generic[T]):
    """An iterator whose items are made ahead on another thread: `with Prefetch(items) as ahead: for item in ahead: …`.

    Errors of the items are raised in the consumer. Leaving the context stops the thread after its current item. Once `stop`
    returns True, the iteration ends, even if the next item takes long.
    """

    def __init__(self, items: Iterator[T], *, stop: Callable[[], bool] = lambda: False) -> None:
        self._items = items
        self._stop = stop
        self._ready: queue.Queue[T | _End] = queue.Queue(PREFETCH_DEPTH)
        self._abandoned = threading.Event()
        self._thread = threading.Thread(target=self._produce, name="ingest-reader", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._abandoned.set()
        self._thread.join(_JOIN_SECONDS)

    def __iter__(self) -> Iterator[T]:
        while not self._stop():
            try:
                item = self._ready.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if not isinstance(item, _End):
                yield item
            elif item.error is None:
                return
            else:
                raise item.error

    def _produce(self) -> None:
        end = _End(None)
        try:
            for item in self._items:
                if not self._offer(item):
                    return
        except BaseException as error:  # noqa: BLE001  raised again on the consumer's thread
            end = _End(error)
        self._offer(end)

    def _offer(self, item: T | _End) -> bool:
        """Queue an item, and return False if the producer was abandoned."""
        while not self._abandoned.is_set():
            try:
                self._ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
