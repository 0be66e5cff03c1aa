"""How many requests may write to the server at once: as many as it answers quickly, however many workers there are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ingest.cluster.connection import fetch
from ingest.errors import StoreUnavailableError
from ingest.store.contract import Store

FIRST = 4.0
SLOW = 3.0
"""Times as long as at its quickest, that a server takes which has more to do than it can."""
FORGETTING = 1.01
"""With each answer the quickest one counts as so much slower: the server's best changes as it grows."""
TOLD_FROM = 100
"""Points of a request from which the time it took says something."""


@dataclass(slots=True)
class UploadLimit:
    """One more with each round of quick answers, a tenth fewer with a slow one, half with a refusal; at least one."""

    allowed: float = FIRST
    quickest: float | None = None

    def answered(self, points: int, seconds: float, *, refused: bool) -> None:
        """A request with so many points took so long; `refused`: the server was overloaded, out of reach or too slow."""
        if refused:
            self.allowed = max(1.0, self.allowed / 2)
        elif points >= TOLD_FROM:
            each = seconds / points
            self.quickest = each if self.quickest is None else min(self.quickest * FORGETTING, each)
            self.allowed = max(1.0, self.allowed * 0.9) if each > SLOW * self.quickest else self.allowed + 1 / self.allowed


class GatedStore:
    """A store whose writes wait until the coordinator lets them. Everything else is the store it wraps."""

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
