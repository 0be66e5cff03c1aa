"""Records as gRPC messages. Pure. The models of the client in between would take more time than the messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from qdrant_client import grpc
from qdrant_client.conversions.conversion import payload_to_grpc

from ingest.errors import StoreError
from ingest.records import Payload, Point, SparseVector, Vector
from ingest.store.wire import point_id_to

_FLOATS_FIELD = b"\x0a"
"""The tag of the packed floats of a `DenseVector`: field 1, wire type 2. Their length in bytes follows."""

_CONTINUED = 1 << 7


def point_messages(points: Sequence[Point]) -> list[grpc.PointStruct]:
    """Return points as messages. Raises `StoreError` for a payload that is not JSON."""
    return [
        grpc.PointStruct(id=id_message(point.id), vectors=_vectors(point.vectors), payload=_payload(point.id, point.payload))
        for point in points
    ]


def vector_messages(vectors: Mapping[str, Mapping[str, Vector]]) -> list[grpc.PointVectors]:
    """Return the vectors of points (point id → vector name → vector) as messages."""
    return [grpc.PointVectors(id=id_message(point_id), vectors=_vectors(named)) for point_id, named in vectors.items()]


def payload_messages(payloads: Mapping[str, Payload]) -> list[grpc.PointsUpdateOperation]:
    """Return operations that replace payloads (point id → payload). Raises `StoreError` for a payload that is not JSON."""
    return [
        grpc.PointsUpdateOperation(
            overwrite_payload=grpc.PointsUpdateOperation.OverwritePayload(
                payload=_payload(point_id, payload),
                points_selector=grpc.PointsSelector(points=grpc.PointsIdsList(ids=[id_message(point_id)])),
            )
        )
        for point_id, payload in payloads.items()
    ]


def id_message(id_: str) -> grpc.PointId:
    """Return the id of a point, a UUID or a number."""
    vendor_id = point_id_to(id_)
    return grpc.PointId(num=vendor_id) if isinstance(vendor_id, int) else grpc.PointId(uuid=vendor_id)


def _payload(point_id: str, payload: Payload) -> dict[str, grpc.Value]:
    try:
        return payload_to_grpc(payload)
    except (ValueError, TypeError) as exc:
        raise StoreError(f"the payload of point {point_id} is not JSON ({exc}): change its metadata") from exc


def _vectors(named: Mapping[str, Vector]) -> grpc.Vectors:
    message = grpc.Vectors()
    message.vectors.SetInParent()  # also without any vector
    for name, value in named.items():
        _fill(message.vectors.vectors[name], value)
    return message


def _fill(target: grpc.Vector | grpc.VectorInput, value: Vector) -> None:
    """Put a vector into an empty message."""
    if isinstance(value, SparseVector):
        target.sparse.indices.extend(value.indices.tolist())
        target.sparse.values.extend(value.values.tolist())
        return
    rows = value if value.ndim > 1 else value[np.newaxis]
    targets = (target.multi_dense.vectors.add() for _ in rows) if value.ndim > 1 else [target.dense]
    for dense, row in zip(targets, rows, strict=True):
        # The bytes of the array are sent as they are: converting them to Python floats takes three times as long.
        dense.MergeFromString(_dense_header(len(row)) + _little_endian(row).tobytes())


def _little_endian(value: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(value, "<f4")


@lru_cache(maxsize=64)
def _dense_header(dim: int) -> bytes:
    """Return the bytes in front of this many floats."""
    length, digits = dim * np.dtype(np.float32).itemsize, bytearray(_FLOATS_FIELD)
    while length >= _CONTINUED:  # a varint: seven bits at a time, all but the last with the continuation bit
        digits.append(length % _CONTINUED | _CONTINUED)
        length //= _CONTINUED
    digits.append(length)
    return bytes(digits)
