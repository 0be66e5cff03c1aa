"""Vectors that another tool stored, in place of those that a model would make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ingest.encode.contract import Model
from ingest.encode.http.proof import cosine
from ingest.encode.runner import BatchRunner
from ingest.encode.vectors import unit_rows
from ingest.errors import ConfigurationError
from ingest.identity import digest_bytes
from ingest.records import SparseVector, Vector
from ingest.store.vector_faults import Shaped, find_faults, has_shape
from ingest.sync.effects import Copies
from ingest.sync.reading import PlannedDocument

MIN_COSINE = 0.99
"""Minimum cosine of a stored vector to the one that its model makes. Devices and libraries differ by less."""

SAMPLED = 16
"""Number of texts that are encoded again."""

KEPT_BYTES = 256 * 2**20
"""Most bytes of the vectors that wait for their texts. The oldest ones give way, and their texts are encoded."""


class KeptVectors:
    """The stored vectors of texts that were read and are not planned yet. Use it from one thread.

    Args:
        shapes: model key → kind and dimension of its vectors.
    """

    def __init__(self, shapes: Mapping[str, Shaped]) -> None:
        self._shapes = shapes
        self._waiting: OrderedDict[tuple[str, str], Vector] = OrderedDict()
        self._bytes = 0

    def keep(self, model: str, text: str, vector: Vector) -> None:
        """Keep the vector of a text, at unit length if it is dense, unless it is damaged or has another shape."""
        if not has_shape(vector, self._shapes[model]):
            return
        if not isinstance(vector, SparseVector):
            vector = unit_rows(vector[np.newaxis])[0]
        if any(find_faults([(0, vector)], self._shapes[model])):
            return
        key = model, digest_bytes(text.encode())
        self._forget(key)
        self._waiting[key] = vector
        self._bytes += _size(vector)
        while self._bytes > KEPT_BYTES:
            self._forget(next(iter(self._waiting)))

    def find(self, documents: Sequence[PlannedDocument]) -> Copies:
        """Return the kept vectors of the texts of these documents."""
        found: dict[str, dict[str, Vector]] = {}
        for planned in documents:
            for fingerprint in planned.fingerprints:
                for model in self._shapes:
                    if (vector := self._waiting.get((model, fingerprint.text_fp))) is not None:
                        found.setdefault(fingerprint.text_fp, {})[model] = vector
        for text, vectors in found.items():
            for model in vectors:
                self._forget((model, text))
        return found

    def _forget(self, key: tuple[str, str]) -> None:
        if (vector := self._waiting.pop(key, None)) is not None:
            self._bytes -= _size(vector)


def check_vectors(model: Model, name: str, sample: Iterable[tuple[str, Vector]], runner: BatchRunner, remedy: str) -> float:
    """Return the least cosine of some stored vectors to those that a model makes of their texts.

    Args:
        name: name of the stored vector, for messages.
        sample: encoded text and stored vector of some chunks; those that are too long for the model are left out.
        runner: encodes with the model.
        remedy: what to do if the model did not make them, for messages.

    Raises `ConfigurationError` if it is less than `MIN_COSINE`, or if there is nothing to compare.
    """
    pairs, limit = list(sample), model.token_limit
    if limit is not None:
        counts = limit.count([text for text, _ in pairs])
        pairs = [pair for pair, tokens in zip(pairs, counts, strict=True) if tokens <= limit.max_tokens]
    pairs = pairs[:SAMPLED]
    encoded = runner.run({model.key: [text for text, _ in pairs]})[model.key]
    cosines = [cosine(vector, made) for (_, vector), made in zip(pairs, encoded.vectors, strict=True)]
    called = repr(name) if name else "without a name"
    if not cosines:
        raise ConfigurationError(f"no chunk has a vector {called} that can be compared with {model.key}: leave it out (--have)")
    least = min(cosines)
    if not least >= MIN_COSINE:  # it may be no number
        raise ConfigurationError(
            f"the vector {called} was not made by {model.key}: a chunk that was encoded again has a cosine of {least:.3f} to it"
            f" (required: >= {MIN_COSINE:g}); {remedy}"
        )
    return least


def _size(vector: Vector) -> int:
    return 8 * len(vector.values) if isinstance(vector, SparseVector) else vector.nbytes
