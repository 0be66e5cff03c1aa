"""Which points of a collection are shown: not soft-deleted ones, and not those of other tools."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ingest.records import Payload
from ingest.search.fusion import Rankings
from ingest.store.contract import Combination, Condition, Store
from ingest.store.schema import INGEST_FIELD, SOFT_DELETED_FIELD

SHOWN = (Condition(SOFT_DELETED_FIELD, "exists", value=False), Condition("doc_id", "exists", value=True))
"""Conditions that exclude soft-deleted points and those of other tools. Rarely sent, because a filter slows every query."""

SHOWN_FIELDS = ("doc_id", SOFT_DELETED_FIELD)
"""The payload fields that `is_shown` reads."""

COUNT_SECONDS = 60.0
"""Seconds between two counts of the points that must not be shown."""


def is_shown(payload: Payload) -> bool:
    """Return whether a point meets `SHOWN`; `payload` has at least its fields."""
    own = payload.get(INGEST_FIELD)
    soft_deleted = isinstance(own, dict) and own.get("soft_deleted_at") is not None
    return not soft_deleted and payload.get("doc_id") is not None


def all_shown(rankings: Rankings) -> bool:
    """Return whether all points of the rankings meet `SHOWN`."""
    return all(is_shown(point.payload) for ranking in rankings.values() for point in ranking)


class HiddenPoints:
    """A watch for points that must not be shown, counted once a minute. Safe from several threads.

    Every page of a search then has the same filter, so that page 2 continues page 1.
    """

    def __init__(self, store: Store, collection: str, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._collection = collection
        self._clock = clock
        self._lock = threading.Lock()
        self._next_count = float("-inf")
        self._exist = False

    def filters(self) -> tuple[Condition, ...]:
        """Return the conditions that a query needs: `SHOWN` or none. Raises `StoreError` and `CollectionNotFoundError`."""
        if self._clock() >= self._next_count and self._lock.acquire(blocking=False):
            try:
                self._next_count = self._clock() + COUNT_SECONDS
                self._exist = self._store.count(self._collection, [Combination("not", (Combination("and", SHOWN),))]) > 0
            finally:
                self._lock.release()
        return SHOWN if self._exist else ()

    def notice(self) -> None:
        """Note that there is one: a search has found it."""
        self._exist = True
        self._next_count = self._clock() + COUNT_SECONDS
