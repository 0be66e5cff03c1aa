"""The scale of a dense vector's scores: the standard deviation of the similarity between two random chunks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ingest.records import DenseMatrix
from ingest.search.fusion import Sigmas
from ingest.store.contract import Distance, Manifest, Store

Matrix = NDArray[np.float64]

SAMPLE_POINTS = 512
"""Points of the sample: the first by id, which are random because ids are hashes. The deviation is then exact to about 1 %."""

FRESH_SECONDS = 60.0
"""Seconds after which a sample that was smaller than `SAMPLE_POINTS` is taken again: the collection may have grown."""


class SimilarityScale:
    """The `Sigmas` of one collection, measured when first needed. Safe from several threads, of which one measures.

    Args:
        store: an open store.
        manifest: manifest of the collection.
        clock: monotonic seconds.
    """

    def __init__(self, store: Store, manifest: Manifest, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._collection = manifest.collection
        self._distances = {spec.name: spec.distance for spec in manifest.vectors if not spec.sparse}
        self._clock = clock
        self._lock = threading.Lock()
        self._sigmas: Sigmas = dict.fromkeys(self._distances)
        self._fresh_until = float("-inf")

    def sigmas(self) -> Sigmas:
        """Return the scale of every dense vector. Raises `StoreError` and `CollectionNotFoundError`."""
        if self._distances and self._clock() >= self._fresh_until:
            with self._lock:
                if self._clock() >= self._fresh_until:
                    self._measure()
        return self._sigmas

    def _measure(self) -> None:
        points = self._store.scroll(self._collection, payload=False, vectors=list(self._distances), page=SAMPLE_POINTS)
        sample = list(islice(points, SAMPLE_POINTS))
        vectors = {name: [point.vectors[name] for point in sample if name in point.vectors] for name in self._distances}
        self._sigmas = {name: sigma(np.array(vectors[name]), distance) for name, distance in self._distances.items()}
        self._fresh_until = self._clock() + FRESH_SECONDS if len(sample) < SAMPLE_POINTS else float("inf")


def sigma(vectors: DenseMatrix, distance: Distance) -> float | None:
    """Return the standard deviation of the similarity between two rows, or None if there are too few to tell or all are equal."""
    count = len(vectors)
    if count < 3:  # noqa: PLR2004  two make one pair, which has no deviation
        return None
    pairs = _similarities(vectors.astype(np.float64), distance)[np.triu_indices(count, k=1)]
    deviation = float(pairs.std())
    return deviation if deviation > np.finfo(np.float32).eps else None


def _similarities(vectors: Matrix, distance: Distance) -> Matrix:
    """Return the similarity of each pair of rows; that of a distance only has the right spread, not the right sign."""
    match distance:
        case "cosine":
            unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
            similarities: Matrix = unit @ unit.T
        case "dot":
            similarities = vectors @ vectors.T
        case "euclid":
            squares = (vectors**2).sum(axis=1)
            similarities = np.sqrt(np.maximum(squares[:, None] + squares - 2 * vectors @ vectors.T, 0.0))
        case "manhattan":
            similarities = np.array([np.abs(vectors - row).sum(axis=1) for row in vectors])
    return similarities
