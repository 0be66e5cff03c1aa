"""Our records as the messages that gRPC carries, without the client's models in between, which cost more than that. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from qdrant_client import grpc
from qdrant_client.conversions.conversion import payload_to_grpc

from ingest.records import Point, SparseVector, Vector

_FLOATS_FIELD = b"\x0a"
"""Before the packed floats of a `DenseVector`, which is field 1 of wire type 2; their length in bytes comes next."""

_CONTINUED = 1 << 7


def point_messages(points: Sequence[Point]) -> list[grpc.PointStruct]:
    """Raises `ValueError` or `TypeError` for a payload that cannot travel."""
    return [
        grpc.PointStruct(id=grpc.PointId(uuid=point.id), vectors=_vectors(point.vectors), payload=payload_to_grpc(point.payload))
        for point in points
    ]


def vector_messages(vectors: Mapping[str, Mapping[str, Vector]]) -> list[grpc.PointVectors]:
    """Point id → vector name → vector."""
    return [grpc.PointVectors(id=grpc.PointId(uuid=point_id), vectors=_vectors(columns)) for point_id, columns in vectors.items()]


def _vectors(columns: Mapping[str, Vector]) -> grpc.Vectors:
    message = grpc.Vectors()
    message.vectors.SetInParent()  # also where there are none
    for name, value in columns.items():
        target = message.vectors.vectors[name]
        if isinstance(value, SparseVector):
            target.sparse.indices.extend(value.indices.tolist())
            target.sparse.values.extend(value.values.tolist())
        else:
            # The bytes of the array are what travels: to make Python floats of them on the way takes three times as long.
            target.dense.MergeFromString(_dense_header(len(value)) + _little_endian(value).tobytes())
    return message


def _little_endian(value: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(value, "<f4")


@lru_cache(maxsize=64)
def _dense_header(dim: int) -> bytes:
    """What comes before so many floats."""
    length, digits = dim * np.dtype(np.float32).itemsize, bytearray(_FLOATS_FIELD)
    while length >= _CONTINUED:  # a number goes seven bits at a time, and all but the last say that more come
        digits.append(length % _CONTINUED | _CONTINUED)
        length //= _CONTINUED
    digits.append(length)
    return bytes(digits)
