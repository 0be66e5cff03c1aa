"""What gRPC carries is what the client itself would have made of the same points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from store_data import point, vectors

from ingest.errors import StoreError
from ingest.records import Point, SparseVector
from ingest.store.server.messages import point_messages, vector_messages
from ingest.store.server.wire import vector_to


def as_the_client_would(each: Point) -> models.PointStruct:
    return models.PointStruct(
        id=each.id, vector={name: vector_to(value) for name, value in each.vectors.items()}, payload=each.payload
    )


def test_points_are_as_the_client_makes_them() -> None:
    points = [point(number) for number in range(5)]
    points.append(Point(point(6).id, {}, {"nested": {"list": [1, 2.5, None, True, "ä", {"deep": []}]}, "large": 2**53 + 1}))
    for made, each in zip(point_messages(points), points, strict=True):
        assert GrpcToRest.convert_point_struct(made) == GrpcToRest.convert_point_struct(
            RestToGrpc.convert_point_struct(as_the_client_would(each))
        )


def test_vectors_are_as_the_client_makes_them() -> None:
    columns = {point(number).id: vectors(number) for number in range(3)}
    for made, (point_id, of_point) in zip(vector_messages(columns), columns.items(), strict=True):
        wanted = models.PointVectors(id=point_id, vector={name: vector_to(value) for name, value in of_point.items()})
        assert made == RestToGrpc.convert_point_vectors(wanted)


@given(st.integers(1, 70_000))
@settings(max_examples=40, deadline=None)
def test_every_dimension_arrives_to_the_bit(dim: int) -> None:
    vector = np.random.default_rng(dim).standard_normal(dim).astype(np.float32)
    [message] = point_messages([Point(point(1).id, {"v": vector}, {})])
    assert np.array_equal(np.array(message.vectors.vectors.vectors["v"].dense.data, np.float32), vector)


@pytest.mark.parametrize("vector", [np.arange(12, dtype=np.float64)[::3], np.arange(4, dtype=">f4")], ids=["strided", "big"])
def test_other_layouts_arrive_as_the_same_numbers(vector: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    [message] = point_messages([Point(point(1).id, {"v": vector}, {})])
    assert list(message.vectors.vectors.vectors["v"].dense.data) == vector.tolist()


def test_an_empty_sparse_vector_stays_one() -> None:
    empty = SparseVector(np.empty(0, np.uint32), np.empty(0, np.float32))
    [message] = point_messages([Point(point(1).id, {"s": empty}, {})])
    assert message.vectors.vectors.vectors["s"].WhichOneof("vector") == "sparse"


def test_a_payload_that_cannot_travel_is_an_error() -> None:
    with pytest.raises(StoreError, match="is not JSON"):
        point_messages([Point(point(1).id, {}, {"object": object()})])
