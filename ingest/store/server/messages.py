"""Records as gRPC messages, and back. Pure. The models of the client in between would take more time than the messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc, grpc_to_payload, payload_to_grpc

from ingest.errors import StoreError
from ingest.records import Payload, Point, ScoredPoint, SparseVector, StoredPoint, Vector
from ingest.store.server.wire import ServerQuery
from ingest.store.wire import named_vectors, point_id_to, ties_by_id

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


def query_messages(collection: str, queries: Sequence[ServerQuery], payload: list[str] | bool) -> list[grpc.QueryPoints]:
    """Return queries as messages."""
    selected = RestToGrpc.convert_with_payload_interface(payload)
    messages = []
    for each in queries:
        query = each.query
        message = grpc.QueryPoints(collection_name=collection, using=query.vector, limit=query.limit, with_payload=selected)
        _fill(message.query.nearest, query.value)
        if query.offset:
            message.offset = query.offset
        if each.filter is not None:
            message.filter.CopyFrom(RestToGrpc.convert_filter(each.filter))
        if each.params is not None:
            message.params.CopyFrom(RestToGrpc.convert_search_params(each.params))
        messages.append(message)
    return messages


def scored_points(found: Sequence[grpc.ScoredPoint]) -> list[ScoredPoint]:
    """Return the results of a query."""
    return ties_by_id(
        [ScoredPoint(_id(each.id), each.score, grpc_to_payload(payload) if (payload := each.payload) else {}) for each in found]
    )


def stored_points(found: Sequence[grpc.RetrievedPoint]) -> list[StoredPoint]:
    """Return points with their named vectors."""
    return [StoredPoint(_id(each.id), grpc_to_payload(each.payload), _stored_vectors(each)) for each in found]


def id_message(id_: str) -> grpc.PointId:
    """Return the id of a point, a UUID or a number."""
    vendor_id = point_id_to(id_)
    return grpc.PointId(num=vendor_id) if isinstance(vendor_id, int) else grpc.PointId(uuid=vendor_id)


def _id(point_id: grpc.PointId) -> str:
    return point_id.uuid or str(point_id.num)


def _stored_vectors(point: grpc.RetrievedPoint) -> dict[str, Vector]:
    match point.vectors.WhichOneof("vectors_options"):
        case None:
            return {}
        case "vectors":
            stored = point.vectors.vectors.vectors
            return named_vectors({name: _value(stored[name]) for name in stored}, models.SparseVector)
    return named_vectors(GrpcToRest.convert_vectors_output(point.vectors), models.SparseVector)


def _value(vector: grpc.VectorOutput) -> Any:
    """Return a vector; the floats of a dense one as they are, which numpy reads in a third of the time of a list."""
    if vector.WhichOneof("vector") == "dense":
        return vector.dense.data
    if vector.data and not vector.HasField("indices") and not vector.HasField("vectors_count"):  # a dense one of older servers
        return vector.data
    return GrpcToRest.convert_vector_output(vector)


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
