"""The limit on concurrent write requests: as many as the server answers quickly, whatever the number of workers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ingest.cluster.connection import fetch
from ingest.errors import StoreUnavailableError
from ingest.store.contract import Store

INITIAL_LIMIT = 4.0
"""Concurrent write requests at the start of a run."""

SLOW_FACTOR = 3.0
"""A response is slow if it takes this many times as long as the quickest one: the server is overloaded."""

QUICKEST_DECAY = 1.01
"""Factor by which each response raises the quickest time: a server slows down as its collection grows."""

MIN_TIMED_POINTS = 100
"""Smallest request, in points, whose duration is measured."""


@dataclass(slots=True)
class UploadLimit:
    """An adaptive limit: one more with each round of quick responses, a tenth less after a slow one, half after a refusal.

    Attributes:
        allowed: write requests allowed at once; at least 1.
        quickest: seconds per point of the quickest response.
    """

    allowed: float = INITIAL_LIMIT
    quickest: float | None = None

    def record_response(self, points: int, seconds: float, *, refused: bool) -> None:
        """Adjust the limit to a response.

        Args:
            points: points in the request.
            seconds: time until the response.
            refused: True if the server was overloaded, unreachable or too slow.
        """
        if refused:
            self.allowed = max(1.0, self.allowed / 2)
        elif points >= MIN_TIMED_POINTS:
            each = seconds / points
            self.quickest = each if self.quickest is None else min(self.quickest * QUICKEST_DECAY, each)
            self.allowed = max(1.0, self.allowed * 0.9) if each > SLOW_FACTOR * self.quickest else self.allowed + 1 / self.allowed


class GatedStore:
    """A store whose writes wait for the coordinator's permission. All other calls go to the wrapped store directly."""

    WRITES = frozenset({"upsert", "update_vectors", "set_payload"})

    def __init__(self, store: Store, coordinator: Any, partition: int) -> None:
        self._store = store
        self._coordinator = coordinator
        self._partition = partition

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if name not in self.WRITES:
            return attribute

        def write(collection: str, points: Any) -> None:
            fetch(self._coordinator.acquire.remote(self._partition))
            started = time.monotonic()
            refused = False
            try:
                attribute(collection, points)
            except StoreUnavailableError:
                refused = True
                raise
            finally:
                self._coordinator.release.remote(self._partition, len(points), time.monotonic() - started, refused)

        return write
