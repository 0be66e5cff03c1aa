"""The estimated size of requests, and how to fill them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ingest.records import Payload, Point, SparseVector
from ingest.store.contract import VectorQuery

if TYPE_CHECKING:
    from ingest.records import Vector

_FLOAT_BYTES = 21
"""A float32 in JSON, written as the equal float64, with its comma."""

_SPARSE_BYTES = _FLOAT_BYTES + 11
"""An index and its value."""

_ID_BYTES = 40

_SMALL_FIELDS_BYTES = 640
"""About the size of the fingerprint of a point with three models, all field names and numbers included."""

_Item = TypeVar("_Item")


def batches(items: Iterable[_Item], size: Callable[[_Item], int], max_items: int, max_size: int) -> Iterator[list[_Item]]:
    """Yield the items in order, in batches of at most `max_items` and `max_size`; an item larger than that is alone."""
    batch: list[_Item] = []
    total = 0
    for item in items:
        item_size = size(item)
        if batch and (len(batch) == max_items or total + item_size > max_size):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += item_size
    if batch:
        yield batch


def id_bytes(_: str) -> int:
    return _ID_BYTES


def query_bytes(query: VectorQuery) -> int:
    return _vectors_bytes({query.vector: query.value})


def point_bytes(point: Point) -> int:
    return _ID_BYTES + _vectors_bytes(point.vectors) + _stored_bytes(point.payload)


def vectors_bytes(item: tuple[str, Mapping[str, Vector]]) -> int:
    return _ID_BYTES + _vectors_bytes(item[1])


def payload_bytes(item: tuple[str, Payload]) -> int:
    return _ID_BYTES + _stored_bytes(item[1])


def version_bytes(item: tuple[str, str | None]) -> int:
    return _ID_BYTES + len(item[1] or "")


def _vectors_bytes(vectors: Mapping[str, Vector]) -> int:
    total = 0
    for vector in vectors.values():
        total += len(vector.indices) * _SPARSE_BYTES if isinstance(vector, SparseVector) else vector.size * _FLOAT_BYTES
    return total


def _stored_bytes(payload: Payload) -> int:
    """Return the size of a whole payload, with a flat rate for the fields that are always short."""
    total = _SMALL_FIELDS_BYTES
    for name, item in payload.items():
        if isinstance(item, str):
            total += len(item)
        elif name == "metadata":
            total += _json_bytes(item)
    return total


def _json_bytes(value: Any) -> int:
    """Return the size of a JSON value. Counts characters: much faster than bytes, within the margin of `MAX_BYTES`."""
    if isinstance(value, str):
        return len(value) + 3
    if isinstance(value, dict):
        total = 2
        for name, item in value.items():
            total += len(name) + 4 + (len(item) + 3 if isinstance(item, str) else _json_bytes(item))
        return total
    if isinstance(value, (list, tuple)):
        return 2 + sum(map(_json_bytes, value))
    return 10
