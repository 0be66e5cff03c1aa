"""What travels to and from Qdrant, as far as it is alike whether a server or the embedded engine is at the other end. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ingest.records import ScoredPoint, SparseVector, StoredPoint, Vector

EXACT_INTEGER = 2**53
"""Up to this, a number is best compared as a float: 2020 finds 2020.0. Beyond it, floats skip integers."""


def stored_point(record: Any, sparse: type[Any]) -> StoredPoint:
    """From the vendor's record; `sparse` is the vendor's type for such vectors. A vector without a name is not ours: left out."""
    vectors: dict[str, Vector] = {
        name: SparseVector(np.asarray(value.indices, np.uint32), np.asarray(value.values, np.float32))
        if isinstance(value, sparse)
        else np.asarray(value, np.float32)
        for name, value in (record.vector.items() if isinstance(record.vector, dict) else ())
    }
    return StoredPoint(str(record.id), record.payload or {}, vectors)


def scored_point(found: Any) -> ScoredPoint:
    """From the vendor's."""
    return ScoredPoint(str(found.id), found.score, found.payload or {})


def selection_to(wanted: Sequence[str] | bool) -> list[str] | bool:
    return wanted if isinstance(wanted, bool) else list(wanted)


def point_id_to(id_: str) -> int | str:
    """Return the vendor's form of a point id: a number or a UUID."""
    return int(id_) if id_.isdecimal() else id_


def following(points: Iterable[StoredPoint], after: str | None) -> Iterator[StoredPoint]:
    """Yield the points of a page without the one whose id is `after`."""
    return (point for point in points if point.id != after)
