"""Encode the vectors that the points of a collection lack, from its own texts, and add them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from ingest.encode.ensemble import Ensemble
from ingest.errors import ModelError, StoreError
from ingest.records import Fingerprint, StoredPoint, Vector
from ingest.reindex.rebuild import PAGE_POINTS, encoded_text_of, is_sound, location_of
from ingest.store.contract import Condition, Manifest, Store, VectorSpec
from ingest.store.request_sizes import batches
from ingest.store.schema import DOC_KEY_FIELD, INGEST_FIELD, fingerprint_of
from ingest.sync.reading import WindowBounds

logger = logging.getLogger(__name__)

OURS = (Condition(DOC_KEY_FIELD, "exists", value=True),)
"""The points that this package wrote. Those of other tools are left alone."""


def count_lacking(store: Store, manifest: Manifest) -> int:
    """Return the number of points that lack a vector of the manifest, or have it from another model."""
    stored = store.scroll(manifest.collection, OURS, payload=[INGEST_FIELD])
    return sum(1 for point in stored if unrecorded_vectors(point, manifest.fingerprints))


def unrecorded_vectors(point: StoredPoint, models: Mapping[str, str]) -> list[str]:
    """Return the names of the vectors that a point does not record as made by these models; none if its record is damaged."""
    made = fingerprint_of(point.id, point.payload)
    return [name for name, model in models.items() if made is not None and made.vectors.get(name) != model]


_Lacking = tuple[StoredPoint, list[str]]
"""A point with its payload, and the names of the vectors to encode for it."""


class Filling:
    """New named vectors for the points of a collection that is in use. Not thread-safe.

    Args:
        added: the new vectors, which exist.
        ensemble: its models include those of the new vectors.
        bounds: maximum size of a window.

    Attributes:
        encoded: vector name → number of points it was encoded for.
    """

    def __init__(
        self, store: Store, collection: str, *, added: Sequence[VectorSpec], ensemble: Ensemble, bounds: WindowBounds
    ) -> None:
        self._store = store
        self._collection = collection
        self._specs = {spec.name: spec for spec in added}
        self._models = {spec.name: spec.fingerprint for spec in added}
        self._vector_bytes = ensemble.vector_bytes
        self._ensemble = ensemble
        self._bounds = bounds
        self.encoded: Counter[str] = Counter()

    def catch_up(self) -> int:
        """Fill the points that lack a vector. Return their number. Raises `ModelError` if a chunk cannot be encoded."""
        stored = self._store.scroll(self._collection, OURS, payload=[INGEST_FIELD])
        return self._fill_all((point.id, names) for point in stored if (names := unrecorded_vectors(point, self._models)))

    def verify(self) -> None:
        """Encode each new vector again that is missing, not finite or of another dimension. Raise `StoreError` if that fails."""
        if self._fill_all(self._faulty()) and (still := next(self._faulty(), None)) is not None:
            raise StoreError(
                f"the new vector {still[1][0]} of point {still[0]} in {self._collection} is missing or damaged, also after it was"
                " encoded again: the present vectors are searched as before; check the model and the disk, and run reindex again"
            )

    def _faulty(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each point with faulty vectors, with their names."""
        for point in self._store.scroll(self._collection, OURS, payload=False, vectors=list(self._models), page=PAGE_POINTS):
            if names := [name for name in self._models if not self._has_sound(point, name)]:
                yield point.id, names

    def _has_sound(self, point: StoredPoint, name: str) -> bool:
        return name in point.vectors and is_sound(point.vectors[name], self._specs[name])

    def _fill_all(self, lacking: Iterable[tuple[str, list[str]]]) -> int:
        """Fill points, given by id with the names of the vectors they lack, window by window. Return their number."""
        filled = 0
        page = min(PAGE_POINTS, self._bounds.chunks)
        points = chain.from_iterable(map(self._read, batches(lacking, lambda _: 1, page, page)))
        for window in batches(points, self._bytes, self._bounds.chunks, self._bounds.bytes):
            self._fill(window)
            filled += len(window)
            logger.info("added vectors to %d points of %s", filled, self._collection)
        return filled

    def _read(self, lacking: Sequence[tuple[str, list[str]]]) -> list[_Lacking]:
        names = dict(lacking)
        return [(point, names[point.id]) for point in self._store.retrieve(self._collection, list(names))]

    def _bytes(self, lacking: _Lacking) -> int:
        return 2 * len(str(lacking[0].payload.get("text", ""))) + self._vector_bytes

    def _fill(self, points: Sequence[_Lacking]) -> None:
        """Encode the vectors that each point lacks and add them, unless its text has changed meanwhile."""
        made = [(point, fingerprint, names) for point, names in points if (fingerprint := self._fingerprint(point))]
        texts = [encoded_text_of(point, fingerprint) for point, fingerprint, _ in made]
        wanted = {name: [text for text, (_, _, names) in zip(texts, made, strict=True) if name in names] for name in self._models}
        encoded = self._ensemble.runner.run({name: each for name, each in wanted.items() if each})
        rows = {name: iter(range(len(each))) for name, each in wanted.items()}
        filled: list[tuple[Fingerprint, Mapping[str, Vector]]] = []
        for point, fingerprint, names in made:
            vectors: dict[str, Vector] = {}
            for name in names:
                row = next(rows[name])
                if row in encoded[name].failed:
                    raise ModelError(
                        f"{name} cannot encode {location_of(point)} ({encoded[name].failed[row]}), so the present vectors are"
                        " searched as before: reindex with another model, or correct that document in its source and run ingest"
                        " run first"
                    )
                vectors[name] = encoded[name].vectors[row]
            filled.append((fingerprint, vectors))
            self.encoded.update(names)
        self._store.fill_vectors(self._collection, filled)

    def _fingerprint(self, point: StoredPoint) -> Fingerprint | None:
        """Return the fingerprint of a point with the models of the new vectors, or None if it was damaged meanwhile."""
        stored = fingerprint_of(point.id, point.payload)
        return replace(stored, vectors=self._models) if stored is not None else None
