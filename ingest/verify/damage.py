"""The damage that a stored point can have: pure functions. Nothing here reads the source; planning finds changed documents."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ingest.identity import doc_key
from ingest.records import Fingerprint, SparseVector, StoredPoint, Vector
from ingest.store.schema import encoded_text, fingerprint_of
from ingest.store.vector_faults import Shaped, find_faults
from ingest.sync.fingerprints import digest_stored_payload

SPARSE_TOLERANCE = 1e-3
"""Allowed absolute or relative deviation of a term's weight. A neural model rounds differently on another CPU."""

PAYLOAD = "/payload"
"""The payload as the damaged part of a point. No name of a vector starts with a slash."""

WRONG_SOURCE = "/source"
"""The payload of a point whose `source` field names another source, so a scroll over the right source misses the point."""

NO_FINGERPRINT = "/fingerprint"
"""The payload of a point without a fingerprint: another tool's point, unless its id is the id of a wanted chunk."""


class FindingKind(StrEnum):
    """The kind of a finding. It counts documents (`changed_documents`), vectors (`…_vectors`) or points (the others).

    `changed_documents`: the source has another version, or the stored version differs for no reason that another kind names.
    `wrong_vectors`: valid vectors that differ from what the model returns for the text; only a sample finds them.
    `foreign_vectors`: vectors made by a model other than the manifest's, or by an unknown model.
    `orphans`: points of the source that belong to none of its documents or chunks.
    """

    MISSING_POINTS = "missing_points"
    CHANGED_DOCUMENTS = "changed_documents"
    MISSING_VECTORS = "missing_vectors"
    DAMAGED_VECTORS = "damaged_vectors"
    WRONG_VECTORS = "wrong_vectors"
    FOREIGN_VECTORS = "foreign_vectors"
    DAMAGED_PAYLOADS = "damaged_payloads"
    ORPHANS = "orphans"


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong with a point.

    Attributes:
        part: name of a vector, `PAYLOAD`, `WRONG_SOURCE` or `NO_FINGERPRINT`.
        fault: description for people, continuing "the point …" or "the vector …".
    """

    kind: FindingKind
    part: str
    fault: str


def inspect_payload(point: StoredPoint, source: str, models: Mapping[str, str]) -> Iterator[Damage]:
    """Yield what is wrong with the payload of a signed point. Fields that other tools added are ignored.

    Args:
        models: vector name → required model fingerprint.
    """
    fingerprint = fingerprint_of(point.id, point.payload)
    if fingerprint is None:
        yield Damage(FindingKind.DAMAGED_PAYLOADS, PAYLOAD, "its fingerprint is incomplete")
        return
    if fault := _payload_fault(point, source, fingerprint):
        yield Damage(FindingKind.DAMAGED_PAYLOADS, PAYLOAD, fault)
    for name, model in models.items():
        if name not in fingerprint.vectors:
            yield Damage(FindingKind.FOREIGN_VECTORS, name, "was made by an unknown model")
        elif fingerprint.vectors[name] != model:
            yield Damage(FindingKind.FOREIGN_VECTORS, name, "was made by another model")


def inspect_vectors(points: Sequence[StoredPoint], shapes: Mapping[str, Shaped]) -> Iterator[tuple[StoredPoint, Damage]]:
    """Yield what is wrong with the vectors of points.

    Args:
        shapes: vector name → kind and dimension.
    """
    for name, shape in shapes.items():
        present = [(point, vector) for point in points if (vector := point.vectors.get(name)) is not None]
        for point in points:
            if name not in point.vectors:
                yield point, Damage(FindingKind.MISSING_VECTORS, name, "is missing")
        for point, fault in find_faults(present, shape):
            yield point, Damage(FindingKind.DAMAGED_VECTORS, name, fault)


def vector_difference(stored: Vector, encoded: Vector, min_cosine: float) -> str | None:
    """Describe how a stored vector differs from the one its model returns now, or return None if they are equivalent.

    Dense vectors are equivalent if their cosine is at least `min_cosine`, whatever their length: Qdrant normalizes for the
    cosine. Multivectors are equivalent if they have as many rows and all of these are. Sparse vectors are equivalent if no term's
    weight differs by more than `SPARSE_TOLERANCE`.
    """
    if isinstance(stored, SparseVector) and isinstance(encoded, SparseVector):
        terms = np.union1d(stored.indices, encoded.indices)
        stored_weights, encoded_weights = (_weights(vector, terms) for vector in (stored, encoded))
        close = np.isclose(stored_weights, encoded_weights, rtol=SPARSE_TOLERANCE, atol=SPARSE_TOLERANCE)
        differing = int((~close).sum())
        return f"differs from its model's vector in {differing} of {len(terms)} terms" if differing else None
    if isinstance(stored, SparseVector) or isinstance(encoded, SparseVector) or stored.ndim != encoded.ndim:
        return "is not of the same type (dense, sparse or multivector) as its model's vector"
    if stored.shape != encoded.shape:
        return f"has shape {stored.shape}, its model's vector {encoded.shape}"
    lengths = np.linalg.norm(stored, axis=-1) * np.linalg.norm(encoded, axis=-1)
    cosine = float(np.min((stored * encoded).sum(axis=-1) / lengths))
    return None if cosine >= min_cosine else f"has cosine {cosine:.3f} to its model's vector (required: >= {min_cosine:g})"


def without_damage(stored: Fingerprint, parts: Collection[str]) -> Fingerprint:
    """Return the fingerprint without the damaged parts, so that planning writes those parts and nothing else.

    A point with `WRONG_SOURCE` was never inspected, so all of its vectors count as damaged.
    """
    recorded = stored.vectors if WRONG_SOURCE not in parts else {}
    sound = {name: model for name, model in recorded.items() if name not in parts}
    payload_damaged = not {PAYLOAD, WRONG_SOURCE, NO_FINGERPRINT}.isdisjoint(parts)
    return replace(stored, vectors=sound, doc_fp="" if payload_damaged else stored.doc_fp)


def _payload_fault(point: StoredPoint, source: str, fingerprint: Fingerprint) -> str | None:
    payload = point.payload
    if fingerprint.doc_key != doc_key(source, str(payload.get("doc_id"))):
        return "its document id and document key do not match"
    if fingerprint.payload_fp != digest_stored_payload(payload):
        return "its text, title, metadata or position were changed"
    if encoded_text(payload, fingerprint) is None:
        return "its text is not the text that was encoded"
    return None


def _weights(vector: SparseVector, terms: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Return the weight of each term, shape `(len(terms),)`: 0 for a term that the vector does not have."""
    weights = np.zeros(len(terms), np.float32)
    weights[np.searchsorted(terms, vector.indices)] = vector.values
    return weights
