"""Compare a model with the vectors that it or its like has stored, before a run adds to them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from ingest.encode.contract import Encoder, Model
from ingest.encode.precision import FLOATS
from ingest.errors import ModelError, PrecisionError
from ingest.records import StoredPoint
from ingest.store.contract import Store
from ingest.store.schema import encoded_text, fingerprint_of

PROBE_POINTS = 4
"""Number of stored chunks to encode again."""

_SCANNED_POINTS = 64
"""Number of points to search for them: a chunk below a heading is not stored with the text that was encoded."""

MIN_COSINE = 0.99
"""Minimum mean cosine to the stored vectors. Devices, libraries and precisions of floats differ by less."""


class VectorProbe:
    """A guard that encodes a few stored chunks again, once per dense model that computes in a float. Not thread-safe.

    Args:
        store, collection: where the vectors are stored.
    """

    def __init__(self, store: Store, collection: str) -> None:
        self._store = store
        self._collection = collection
        self._checked: set[str] = set()

    def check(self, model: Model, encoder: Encoder) -> None:
        """Compare the vectors of a model that is about to encode for the collection.

        Raises `PrecisionError` if they differ and the model computes in a half precision, otherwise `ModelError`.
        """
        if model.key in self._checked or not _is_probed(model):
            return
        self._checked.add(model.key)
        stored = list(islice(self._points(model), PROBE_POINTS))
        if not stored:
            return
        encoded = np.asarray(encoder.encode_documents([text for text, _ in stored]))
        expected = np.stack([vector for _, vector in stored])
        lengths = np.linalg.norm(encoded, axis=1) * np.linalg.norm(expected, axis=1)
        cosine = float(np.mean((encoded * expected).sum(axis=1) / lengths))
        if not cosine >= MIN_COSINE:  # it may be no number
            sentence = (
                f"model {model.key!r} in {model.dtype} differs from the stored vectors of {self._collection} (mean cosine"
                f" {cosine:.3f}, required: >= {MIN_COSINE:g})"
            )
            if model.dtype != "float32":
                raise PrecisionError(f"{sentence}: use --precision float32")
            raise ModelError(f"{sentence}: use the libraries it was made with, or rebuild it with ingest reindex")

    def _points(self, model: Model) -> Iterator[tuple[str, np.ndarray[tuple[int], np.dtype[np.float32]]]]:
        """Yield text and vector of stored chunks of a model."""
        for point in islice(self._store.scroll(self._collection, page=_SCANNED_POINTS, vectors=[model.key]), _SCANNED_POINTS):
            vector = point.vectors.get(model.key)
            if isinstance(vector, np.ndarray) and (text := _text_of(point, model)) is not None:
                yield text, vector


def _is_probed(model: Model) -> bool:
    """Return whether a model makes dense vectors in a float, with a library that rounds differently on another machine."""
    return model.kind == "dense" and model.dtype in FLOATS and model.backend in {"torch", "openvino"}


def _text_of(point: StoredPoint, model: Model) -> str | None:
    """Return the text that the model's vector of a point was made from, if that can be told."""
    fingerprint = fingerprint_of(point.id, point.payload)
    if fingerprint is None or fingerprint.vectors.get(model.key) != model.fingerprint:
        return None
    return encoded_text(point.payload, fingerprint)
