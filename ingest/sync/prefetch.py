"""Working ahead: an iterator consumed by its own thread into a bounded queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

AHEAD = 1
"""Items that wait ready: with the one in use and the one in the making, three are alive at most."""

_POLL_SECONDS = 0.1
"""How soon a producer that waits for room notices that it is no longer wanted, and a consumer that waits for an item likewise."""

_JOIN_SECONDS = 2.0
"""How long an abandoned producer may take to notice; one that hangs in its source (a silent pipe) dies with the process."""


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class Prefetch(Generic[T]):
    """`with Prefetch(items) as ahead: for item in ahead: …`: the items, made ahead on another thread.

    What the items raise is raised where they are consumed. Leaving the context stops the thread after the item it is making.
    Once `stop` says True no more items are given, also where the next one is slow to come.
    """

    def __init__(self, items: Iterator[T], *, stop: Callable[[], bool] = lambda: False) -> None:
        self._items = items
        self._stop = stop
        self._ready: queue.Queue[T | _End] = queue.Queue(AHEAD)
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
        """False if nobody wants it any more."""
        while not self._abandoned.is_set():
            try:
                self._ready.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False
