"""Conversions to and from Qdrant that the server and the embedded engine share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ingest.records import ScoredPoint, SparseVector, StoredPoint

if TYPE_CHECKING:
    from ingest.records import Vector

UNNAMED = ""
"""The name of the only vector of a collection that has no names for them. This package makes none."""


def stored_point(record: Any, sparse: type[Any]) -> StoredPoint:
    """Convert a vendor record. `sparse`: the vendor's sparse vector."""
    return StoredPoint(str(record.id), record.payload or {}, named_vectors(record.vector, sparse))


def named_vectors(vectors: Any, sparse: type[Any]) -> dict[str, Vector]:
    """Convert the vectors of a vendor record. One that has no name is called `UNNAMED`."""
    import numpy as np  # noqa: PLC0415  see `ingest.records`

    converted: dict[str, Vector] = {}
    for name, value in (vectors if isinstance(vectors, dict) else {UNNAMED: vectors} if vectors else {}).items():
        if isinstance(value, sparse):
            converted[name] = SparseVector(np.asarray(value.indices, np.uint32), np.asarray(value.values, np.float32))
        else:
            converted[name] = np.asarray(value, np.float32)
    return converted


def scored_point(found: Any) -> ScoredPoint:
    """Convert a vendor record."""
    return ScoredPoint(str(found.id), found.score, found.payload or {})


def ties_by_id(found: list[ScoredPoint]) -> list[ScoredPoint]:
    """Return the results of a query, those of one score by id: every engine has another order for them."""
    if len({point.score for point in found}) == len(found):
        return found
    return [point for _, tied in groupby(found, attrgetter("score")) for point in sorted(tied, key=attrgetter("id"))]


def selection_to(wanted: Sequence[str] | bool) -> list[str] | bool:
    return wanted if isinstance(wanted, bool) else list(wanted)


def point_id_to(id_: str) -> int | str:
    """Return a point id as the vendor expects it: a number or a UUID."""
    return int(id_) if id_.isdecimal() else id_


def following(points: Iterable[StoredPoint], after: str | None) -> Iterator[StoredPoint]:
    """Yield the points of a page without the one whose id is `after`."""
    return (point for point in points if point.id != after)
