"""Conversions to and from Qdrant that the server and the embedded engine share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ingest.records import ScoredPoint, SparseVector, StoredPoint

if TYPE_CHECKING:
    from ingest.records import Vector


def stored_point(record: Any, sparse: type[Any]) -> StoredPoint:
    """Convert a vendor record. `sparse`: the vendor's sparse vector."""
    return StoredPoint(str(record.id), record.payload or {}, named_vectors(record.vector, sparse))


def named_vectors(vectors: Any, sparse: type[Any]) -> dict[str, Vector]:
    """Convert the vectors of a vendor record. Unnamed ones are left out: this package never writes any."""
    import numpy as np  # noqa: PLC0415  see `ingest.records`

    return {
        name: SparseVector(np.asarray(value.indices, np.uint32), np.asarray(value.values, np.float32))
        if isinstance(value, sparse)
        else np.asarray(value, np.float32)
        for name, value in (vectors.items() if isinstance(vectors, dict) else ())
    }


def scored_point(found: Any) -> ScoredPoint:
    """Convert a vendor record."""
    return ScoredPoint(str(found.id), found.score, found.payload or {})


def selection_to(wanted: Sequence[str] | bool) -> list[str] | bool:
    return wanted if isinstance(wanted, bool) else list(wanted)


def point_id_to(id_: str) -> int | str:
    """Return a point id as the vendor expects it: a number or a UUID."""
    return int(id_) if id_.isdecimal() else id_


def following(points: Iterable[StoredPoint], after: str | None) -> Iterator[StoredPoint]:
    """Yield the points of a page without the one whose id is `after`."""
    return (point for point in points if point.id != after)
