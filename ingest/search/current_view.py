"""The collection that a name stands for, looked up again while it is searched."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from ingest.errors import CollectionNotFoundError, IngestError, ManifestMismatchError, StoreError, StoreUnavailableError
from ingest.search.view import CollectionView
from ingest.store.contract import Manifest, Store

FOLLOW_SECONDS = 2.0
"""Least seconds between two look-ups of the collection that a name stands for."""

_REPEATS = 5
"""Most times that a search starts over because its collection was replaced. One search rarely meets several reindexes."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class CurrentView:
    """The view of the collection that a name stands for. Safe from several threads.

    After a reindex or a rollback it is the view of the new collection. If that cannot be opened, for example because its models
    are not available, it stays the view of the old one, as long as that exists.

    Args:
        store: an open store.
        name: normalized name of a collection or alias.
        open_view: opens a manifest's collection, given the view before it or None.
        clock: monotonic seconds.

    Raises what `open_view` raises, `StoreError` and `CollectionNotFoundError`.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        open_view: Callable[[Manifest, CollectionView | None], CollectionView],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._name = name
        self._open = open_view
        self._clock = clock
        self._lock = threading.Lock()
        self._reported = ""
        self._view = open_view(store.manifest(name), None)
        self._next_look_up = clock() + FOLLOW_SECONDS

    @property
    def last(self) -> CollectionView:
        """The view of the last look-up."""
        return self._view

    def get(self) -> CollectionView:
        """Return the view, looked up again if `FOLLOW_SECONDS` have passed. The view itself never changes."""
        if self._clock() >= self._next_look_up and self._lock.acquire(blocking=False):
            try:
                self._follow()
            finally:
                self._lock.release()
        return self._view

    def ask(self, ask: Callable[[CollectionView], T]) -> T:
        """Return what `ask` returns for the current view. If the name moves meanwhile, start over in the new collection.

        The first result is discarded then: by now another collection may have the first one's name and be incomplete.
        """
        view = self.get()
        for _ in range(_REPEATS):
            try:
                result = ask(view)
            except CollectionNotFoundError:
                view = self._after(view)
                continue
            except StoreUnavailableError:
                raise
            except StoreError:  # perhaps a vector that a reindex in place has replaced and dropped
                if (newer := self._looked_up()) is view:
                    raise
                view = newer
                continue
            before, view = view, self.get()
            if view is before:
                return result
        return ask(view)

    def _follow(self) -> None:
        """Look the name up once. A `StoreError` is ignored: if it matters, the search itself raises it."""
        self._next_look_up = self._clock() + FOLLOW_SECONDS
        try:
            manifest = self._store.manifest(self._name)
            if manifest != self._view.manifest:
                self._view = self._open(manifest, self._view)
        except StoreError as exc:
            logger.debug("the name %s was not looked up: %s", self._name, exc)
        except IngestError as exc:
            if str(exc) != self._reported:
                logger.warning("the search of %s stays in %s: %s", self._name, self._view.manifest.collection, exc)
                self._reported = str(exc)

    def _looked_up(self) -> CollectionView:
        """Return the view after a look-up now."""
        with self._lock:
            self._follow()
            return self._view

    def _after(self, dropped: CollectionView) -> CollectionView:
        """Return the view that replaces that of a dropped collection."""
        with self._lock:
            if self._view is dropped:
                self._view = self._newest(dropped)
                self._next_look_up = self._clock() + FOLLOW_SECONDS
            return self._view

    def _newest(self, before: CollectionView) -> CollectionView:
        while True:
            manifest = self._manifest()
            try:
                return self._open(manifest, before)
            except ManifestMismatchError:  # also raised if the name moves again before a loader looks it up
                if self._manifest() == manifest:
                    raise

    def _manifest(self) -> Manifest:
        try:
            return self._store.manifest(self._name)
        except CollectionNotFoundError:  # also raised if the alias moves between the two requests that this takes
            return self._store.manifest(self._name)
