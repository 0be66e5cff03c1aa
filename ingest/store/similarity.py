"""The scale of a dense vector's scores: the standard deviation of the similarity between two random chunks, `sigma`.

It is measured at the end of a run and stored as a note of the collection.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.errors import StoreError
from ingest.records import DenseMatrix
from ingest.store.contract import Distance, Manifest, Store

Matrix = NDArray[np.float64]

SAMPLE_POINTS = 512
"""Points of the sample: the first by id, which are random because ids are hashes. The deviation is then exact to about 1 %."""

GROWTH = 1.5
"""Growth of a collection from which it is measured again."""

NOTE = "similarity"
"""The key of the note: `{"points", "fingerprints", "sigmas"}`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """The scale of every dense vector, measured on a sample.

    Attributes:
        sigmas: vector name → sigma, or None if there are too few points to tell.
        points: size of the sample.
    """

    sigmas: Mapping[str, float | None]
    points: int


def note_sigmas(store: Store, collection: str) -> None:
    """Measure the collection and note it, if that is missing, of other models, or of two thirds of its points or less.

    If the store refuses, log a warning.
    """
    try:
        manifest, points = store.manifest(collection), store.count(collection)
        note: Any = store.notes(collection).get(NOTE)
        if stored_sigmas(note, manifest) is not None and points < GROWTH * note["points"]:
            return
        sample = measure(store, manifest)
        if sample.sigmas and None not in sample.sigmas.values():
            fingerprints = {name: manifest.fingerprints[name] for name in sample.sigmas}
            store.update_notes(collection, {NOTE: {"points": points, "fingerprints": fingerprints, "sigmas": sample.sigmas}})
    except StoreError as exc:  # for example, an API key that may write points only
        logger.warning("the run is done, but each searcher measures the similarity of its chunks again: %s", exc)


def stored_sigmas(note: Any, manifest: Manifest) -> dict[str, float] | None:
    """Return the noted scale of every dense vector, or None if there is no valid note of these models."""
    dense = [spec.name for spec in manifest.vectors if spec.kind == "dense"]
    match note:
        case {"points": int(), "fingerprints": dict() as fingerprints, "sigmas": dict() as sigmas}:
            same = all(fingerprints.get(name) == manifest.fingerprints[name] for name in dense)
            if same and all(isinstance(sigmas.get(name), float) and sigmas[name] > 0 for name in dense):
                return {name: sigmas[name] for name in dense}
    return None


def measure(store: Store, manifest: Manifest) -> Sample:
    """Return the scale of every dense vector of a collection. Raises `StoreError` and `CollectionNotFoundError`."""
    distances = {spec.name: spec.distance for spec in manifest.vectors if spec.kind == "dense"}
    if not distances:
        return Sample({}, 0)
    points = store.scroll(manifest.collection, payload=False, vectors=list(distances), page=SAMPLE_POINTS)
    sample = list(islice(points, SAMPLE_POINTS))
    vectors = {name: [point.vectors[name] for point in sample if name in point.vectors] for name in distances}
    return Sample({name: sigma(np.array(vectors[name]), distance) for name, distance in distances.items()}, len(sample))


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
