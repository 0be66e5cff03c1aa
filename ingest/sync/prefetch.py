"""Working ahead: an iterator consumed by its own thread into a bounded queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

AHEAD = 1
"""Items that wait ready: with the one in use and the one in the making, three are alive at most."""

_POLL_SECONDS = 0.1
"""How soon a producer that waits for room notices that it is no longer wanted."""

_JOIN_SECONDS = 2.0
"""How long an abandoned producer may take to notice; one that hangs in its source (a silent pipe) dies with the process."""


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


class Prefetch(Generic[T]):
    """`with Prefetch(items) as ahead: for item in ahead: …`: the items, made ahead on another thread.

    What the items raise is raised where they are consumed. Leaving the context stops the thread after the item it is making.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
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
        while not isinstance(item := self._ready.get(), _End):
            yield item
        if item.error is not None:
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
