"""What can be wrong with a stored point: pure. Nothing here knows the source; that a document changed is found by planning."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from ingest.records import Fingerprint, SparseVector, StoredPoint, Vector, doc_key, title_line
from ingest.store.schema import encoded_text, fingerprint_of
from ingest.sync.fingerprints import digest_stored_payload

LENGTH_TOLERANCE = 0.01
"""By which a dense vector's length may differ from 1: encoders make them of unit length, and float32 loses a millionth."""

SPARSE_TOLERANCE = 1e-3
"""By which the weight of a term may differ, absolutely or relatively: another processor rounds a neural model's elsewhere."""

PAYLOAD = "/payload"
"""The part of a point that is not a column; no model's key has a slash in front."""

ELSEWHERE = "/source"
"""The payload, where its `source` hides the point from whoever asks for that source's points."""

UNSIGNED = "/fingerprint"
"""The payload, where nothing says that this package wrote it: another tool's point, unless its id is that of a wanted chunk."""


class Kind(StrEnum):
    """What verifying finds: documents for `changed_documents`, else vectors, or points where it is not about a vector.

    `changed_documents`: the source has another version, or what is stored differs from it for no reason above the others.
    `foreign_vectors`: made by another model than the manifest says, or by one that is not recorded.
    `wrong_vectors`: sound, and yet not what the model makes of the text; found by sampling alone.
    `orphans`: stored under the source, and of no document or chunk it has.
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
    """One thing wrong with a point. `part`: the name of a column, `PAYLOAD`, `ELSEWHERE` or `UNSIGNED`; `fault`: for people."""

    kind: Kind
    part: str
    fault: str


def inspect_payload(point: StoredPoint, source: str, models: Mapping[str, str]) -> Iterator[Damage]:
    """What is wrong with a signed point's payload. `models`: vector name → fingerprint of the model that must have made it.

    Fields that other tools added are nobody's business.
    """
    made = fingerprint_of(point.id, point.payload)
    if made is None:
        yield Damage(Kind.DAMAGED_PAYLOADS, PAYLOAD, "its fingerprint is incomplete")
        return
    if fault := _payload_fault(point, source, made):
        yield Damage(Kind.DAMAGED_PAYLOADS, PAYLOAD, fault)
    for name, model in models.items():
        if name not in made.vectors:
            yield Damage(Kind.FOREIGN_VECTORS, name, "was made by nobody knows what")
        elif made.vectors[name] != model:
            yield Damage(Kind.FOREIGN_VECTORS, name, "was made by another model")


def inspect_vectors(points: Sequence[StoredPoint], columns: Mapping[str, int | None]) -> Iterator[tuple[StoredPoint, Damage]]:
    """What is wrong with the vectors of points. `columns`: vector name → dimension, None for a sparse one."""
    for name, dim in columns.items():
        there = [(point, vector) for point in points if (vector := point.vectors.get(name)) is not None]
        for point in points:
            if name not in point.vectors:
                yield point, Damage(Kind.MISSING_VECTORS, name, "is missing")
        for point, fault in _sparse_faults(there) if dim is None else _dense_faults(there, dim):
            yield point, Damage(Kind.DAMAGED_VECTORS, name, fault)


def difference(stored: Vector, made: Vector, min_cosine: float) -> str | None:
    """How a stored vector differs from what its model makes now, or None if it is the same for all purposes.

    Dense vectors are the same from `min_cosine` on, whatever their length: Qdrant normalizes for the cosine. Sparse ones are the
    same if no term's weight differs by more than `SPARSE_TOLERANCE`.
    """
    if isinstance(stored, SparseVector) and isinstance(made, SparseVector):
        terms = np.union1d(stored.indices, made.indices)
        ours, theirs = (_weights(vector, terms) for vector in (stored, made))
        differing = int((~np.isclose(ours, theirs, rtol=SPARSE_TOLERANCE, atol=SPARSE_TOLERANCE)).sum())
        return f"differs in {differing} of {len(terms)} terms from what its model makes" if differing else None
    if isinstance(stored, SparseVector) or isinstance(made, SparseVector):
        return "is of another kind than its model makes"
    cosine = float(stored @ made / (np.linalg.norm(stored) * np.linalg.norm(made)))
    return None if cosine >= min_cosine else f"has cosine {cosine:.3f} to what its model makes"


def apparent(stored: Fingerprint, parts: Collection[str]) -> Fingerprint:
    """The fingerprint as if the damaged parts were not there, so that planning asks for them and for nothing else.

    Of a point that hid `ELSEWHERE` nothing was inspected, so nothing counts as there.
    """
    recorded = stored.vectors if ELSEWHERE not in parts else {}
    sound = {name: model for name, model in recorded.items() if name not in parts}
    payload_damaged = not {PAYLOAD, ELSEWHERE, UNSIGNED}.isdisjoint(parts)
    return replace(stored, vectors=sound, doc_fp="" if payload_damaged else stored.doc_fp)


def _payload_fault(point: StoredPoint, source: str, made: Fingerprint) -> str | None:
    payload = point.payload
    if made.doc_key != doc_key(source, str(payload.get("doc_id"))):
        return "its document's id or key is another's"
    if made.payload_fp != digest_stored_payload(payload):
        return "its text, title, metadata or offsets were changed"
    if encoded_text(payload, made) is None:
        return "its text is not the one that was encoded"
    if made.context is not None and made.context >= len(title_line(payload.get("title"))):
        return "more of its title is recorded as encoded than there is"
    return None


def _dense_faults(vectors: Sequence[tuple[StoredPoint, Vector]], dim: int) -> Iterator[tuple[StoredPoint, str]]:
    fitting: list[tuple[StoredPoint, NDArray[np.float32]]] = []
    for point, vector in vectors:
        if isinstance(vector, np.ndarray) and vector.shape == (dim,):
            fitting.append((point, vector))
        else:
            yield point, f"has not {dim} dimensions"
    if not fitting:
        return
    rows = np.stack([vector for _, vector in fitting])
    finite = np.logical_and.reduce(np.isfinite(rows), axis=1)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    for (point, _), is_finite, length in zip(fitting, finite, lengths, strict=True):
        if not is_finite:
            yield point, "is not finite"
        elif length == 0:
            yield point, "is all zeros"
        elif abs(length - 1) > LENGTH_TOLERANCE:
            yield point, f"has length {length:.3g} instead of 1"


def _sparse_faults(vectors: Sequence[tuple[StoredPoint, Vector]]) -> Iterator[tuple[StoredPoint, str]]:
    for point, vector in vectors:
        if not isinstance(vector, SparseVector):
            yield point, "is dense and should be sparse"
        elif len(vector.indices) != len(vector.values):
            yield point, f"has {len(vector.indices)} indices for {len(vector.values)} values"
        elif not np.isfinite(vector.values).all():
            yield point, "is not finite"
        elif (np.diff(vector.indices.astype(np.int64)) <= 0).any():
            yield point, "has indices out of order or twice"


def _weights(vector: SparseVector, terms: NDArray[np.uint32]) -> NDArray[np.float32]:
    """`(len(terms),)`: of each term, 0 where the vector has it not."""
    weights = np.zeros(len(terms), np.float32)
    weights[np.searchsorted(terms, vector.indices)] = vector.values
    return weights
