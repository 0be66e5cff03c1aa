"""Vectors that need not be encoded, because their text is stored already with a vector of the same model.

A renamed file, a moved folder or a paragraph that forty contracts share has the digest (`Fingerprint.text_fp`) of a stored text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ingest.encode.contract import Model
from ingest.errors import ConfigurationError, StoreError, StoreUnavailableError
from ingest.records import Fingerprint, StoredPoint, Vector
from ingest.store.contract import Condition, Manifest, Store, VectorSpec
from ingest.store.layout import kept_datatype
from ingest.store.request_sizes import batches
from ingest.store.schema import INGEST_FIELD, TEXT_FP_FIELD, _normalize_collection_name, fingerprint_of
from ingest.store.vector_faults import find_faults
from ingest.sync.effects import Copies
from ingest.sync.reading import PlannedDocument

logger = logging.getLogger(__name__)

BATCH_TEXTS = 256
"""Number of texts in one request."""

PAGE_POINTS = 256
"""Maximum number of points in one response, with their vectors."""

FindCopies = Callable[[Sequence[PlannedDocument]], Copies]
"""A function that returns the vectors which these documents need not have encoded."""

_Page = list[tuple[StoredPoint, Fingerprint]]

Vectors = Mapping[str, Sequence[VectorSpec]]
"""Collection → its vectors that a run may copy."""

ALL = "all"
"""Stands for every other collection, in place of a name."""


def reusable_vectors(store: Store, names: Sequence[str], wanted: Manifest, aliases: Mapping[str, str]) -> Vectors:
    """Return the vectors of other collections that the same models made as those of `wanted`.

    A collection without an index of its texts is left out. Reads only.

    Args:
        names: the collections in any spelling, or `ALL`.

    Raises `ConfigurationError` for a named collection of which no vector can be copied, `CollectionNotFoundError`.
    """
    if not names:
        return {}
    if ALL in names:
        others = [info.manifest for info in store.collections() if info.manifest is not None]
    else:
        others = [store.manifest(_normalize_collection_name(name, aliases)) for name in names]
    own = store.aliases().get(wanted.collection, wanted.collection)
    found: dict[str, Sequence[VectorSpec]] = {}
    for other in others:
        if other.collection == own:
            continue
        made = {(spec.name, spec.fingerprint, spec.distance) for spec in other.vectors}
        exact = kept_datatype(other.layout, wanted.layout)
        specs = tuple(
            spec
            for spec in wanted.vectors
            if (spec.name, spec.fingerprint, spec.distance) in made and (spec.kind == "sparse" or exact)
        )
        if specs and TEXT_FP_FIELD in store.indexes(other.collection):
            found[other.collection] = specs
        elif ALL not in names:
            reason = (
                "its texts have no index before its next ingest run"
                if specs
                else "it has no vector of the same model, distance and datatype"
            )
            raise ConfigurationError(f"no vectors of {other.collection} can be reused for {wanted.collection}: {reason}")
    return found


def vectors_to_copy(store: Store, collection: str, wanted: Manifest, reusable: Vectors) -> Vectors:
    """Return the vectors that a run may copy when it begins: those of its own collection, and the `reusable` ones of others.

    The own collection has none if it is empty, or without an index of its texts (an older one gets it when its next run begins).
    """
    if store.count(collection) == 0 or TEXT_FP_FIELD not in store.indexes(collection):
        return reusable
    return {collection: wanted.vectors, **reusable}


def stored_vectors(store: Store, own: str, vectors: Vectors, models: Sequence[Model]) -> StoredVectors:
    """Return the stored vectors that a run with these models looks up: none if each is cheaper than a request, as BM25 is."""
    cheap = all(model.runs_on == "anywhere" for model in models)
    return StoredVectors(store, own, {} if cheap else dict(vectors))


@dataclass(slots=True)
class StoredVectors:
    """The vectors that collections have stored, by text. Use it from one thread.

    Attributes:
        own: the collection to write to, whose vectors are stored as exactly as the copies will be.
        vectors: collection → the named vectors to copy from it. The collections are searched in this order. One that refuses is
            left out from then on, and its texts are encoded again.
    """

    store: Store
    own: str
    vectors: dict[str, Sequence[VectorSpec]]

    def find(self, documents: Sequence[PlannedDocument]) -> Copies:
        """Return the stored vectors of the texts that these documents need encoded, without damaged ones."""
        needed = _needed(documents)
        found: dict[str, dict[str, Vector]] = {}
        for collection, specs in tuple(self.vectors.items()):
            texts = [text for text, names in needed.items() if not names <= found.get(text, {}).keys()]
            try:
                for batch in batches(texts, lambda _: 1, BATCH_TEXTS, BATCH_TEXTS):
                    for page in self._pages(collection, specs, batch):
                        _add_sound(page, specs, found, exact=collection == self.own)
            except StoreUnavailableError:
                raise
            except StoreError as exc:
                del self.vectors[collection]
                logger.warning("texts that %s has already are encoded again: %s", collection, exc)
        return found

    def _pages(self, collection: str, specs: Sequence[VectorSpec], texts: Sequence[str]) -> Iterator[_Page]:
        """Yield pages of points with these texts, until each text that is stored had a point.

        Thousands of points may have the same text, so the texts of a full page are not asked for again.
        """
        pending = set(texts)
        while pending:
            points = list(
                islice(
                    self.store.scroll(
                        collection,
                        [Condition(TEXT_FP_FIELD, "any", tuple(sorted(pending)))],
                        payload=[INGEST_FIELD],
                        vectors=[spec.name for spec in specs],
                        page=PAGE_POINTS,
                    ),
                    PAGE_POINTS,
                )
            )
            signed = ((point, fingerprint_of(point.id, point.payload)) for point in points)
            page = [(point, found) for point, found in signed if found is not None and isinstance(found.text_fp, str)]
            yield page
            answered = {fingerprint.text_fp for _, fingerprint in page}
            if len(points) < PAGE_POINTS or not answered:
                return
            pending -= answered


def _add_sound(page: _Page, specs: Sequence[VectorSpec], found: dict[str, dict[str, Vector]], *, exact: bool) -> None:
    """Add the vectors of a page that the right model made and that have no fault. Unless `exact`, they may be rounded."""
    for spec in specs:
        vectors = [
            (fingerprint.text_fp, point.vectors[spec.name])
            for point, fingerprint in page
            if fingerprint.vectors.get(spec.name) == spec.fingerprint and spec.name in point.vectors
        ]
        numbered = [(number, vector) for number, (_, vector) in enumerate(vectors)]
        faulty = {number for number, _ in find_faults(numbered, spec)}
        for number, (text, vector) in enumerate(vectors):
            if number not in faulty and (exact or not _is_rounded(vector)):
                found.setdefault(text, {}).setdefault(spec.name, vector)


def _is_rounded(vector: Vector) -> bool:
    """Return whether a dense vector or multivector fits into float16, as after it was stored as that or as integers."""
    return isinstance(vector, np.ndarray) and bool((vector.astype(np.float16) == vector).all())


def _needed(documents: Sequence[PlannedDocument]) -> dict[str, set[str]]:
    """Return text → names of the vectors that are to be encoded from it."""
    needed: dict[str, set[str]] = {}
    for planned in documents:
        for action, fingerprint in zip(planned.plan.actions, planned.fingerprints, strict=True):
            if action.vectors:
                needed.setdefault(fingerprint.text_fp, set()).update(action.vectors)
    return needed
