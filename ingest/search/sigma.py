"""The scales of a collection's dense vectors, as a searcher needs them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ingest.search.fusion import Sigmas
from ingest.store.contract import Manifest, Store
from ingest.store.similarity import NOTE, SAMPLE_POINTS, measure, stored_sigmas

FRESH_SECONDS = 60.0
"""Seconds after which a noted scale is read again, and a sample smaller than `SAMPLE_POINTS` taken again: the collection may
have grown."""


class SimilarityScale:
    """The `Sigmas` of one collection: those that a run noted, else measured when first needed. Safe from several threads.

    Args:
        store: an open store.
        manifest: manifest of the collection.
        clock: monotonic seconds.
    """

    def __init__(self, store: Store, manifest: Manifest, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._manifest = manifest
        self._clock = clock
        self._lock = threading.Lock()
        self._sigmas: Sigmas = {spec.name: None for spec in manifest.vectors if spec.kind == "dense"}
        self._fresh_until = float("-inf")

    def sigmas(self) -> Sigmas:
        """Return the scale of every dense vector. Raises `StoreError` and `CollectionNotFoundError`."""
        if self._sigmas and self._clock() >= self._fresh_until:
            with self._lock:
                if self._clock() >= self._fresh_until:
                    self._read()
        return self._sigmas

    def _read(self) -> None:
        noted = stored_sigmas(self._store.notes(self._manifest.collection).get(NOTE), self._manifest)
        if noted is not None:
            self._sigmas, self._fresh_until = noted, self._clock() + FRESH_SECONDS
            return
        sample = measure(self._store, self._manifest)
        self._sigmas = sample.sigmas
        self._fresh_until = self._clock() + FRESH_SECONDS if sample.points < SAMPLE_POINTS else float("inf")
