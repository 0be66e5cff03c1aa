"""Multivectors, one row per token: what is wrong with one, how far two differ, and their columns in Parquet."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from store_data import sparse

from ingest.export.shards import points_to_table, table_to_points
from ingest.records import Point, Vector
from ingest.store.contract import VectorSpec
from ingest.store.request_sizes import point_bytes
from ingest.store.vector_faults import find_faults
from ingest.verify.damage import vector_difference

DIM = 4
SPEC = VectorSpec("late", DIM, "late-1", distance="dot", multi=True)
ROWS: NDArray[np.float32] = np.eye(DIM, dtype=np.float32)[[0, 2, 3]]


def _with(value: float, *, row: int) -> NDArray[np.float32]:
    changed = ROWS.copy()
    changed[row] = value
    return changed


@pytest.mark.parametrize(
    ("vector", "fault"),
    [
        (ROWS, None),
        (ROWS[0], "is no multivector"),
        (sparse({1: 1.0}), "is no multivector"),
        (ROWS[:0], "has no rows"),
        (ROWS[:, :3], "does not have 4 dimensions in row 0"),
        (_with(np.nan, row=1), "is not finite in row 1"),
        (_with(0.0, row=2), "is all zeros in row 2"),
        (_with(1.0, row=2), "has length 2 instead of 1 in row 2"),
    ],
)
def test_each_fault_is_named_with_its_row(vector: Vector, fault: str | None) -> None:
    assert list(find_faults([("a", ROWS), ("b", vector)], SPEC)) == ([] if fault is None else [("b", fault)])


@pytest.mark.parametrize(
    ("stored", "says"),
    [
        (ROWS, None),
        (ROWS[::-1], "has cosine 0.000 to its model's vector (required: >= 0.99)"),
        (ROWS[:2], "has shape (2, 4), its model's vector (3, 4)"),
        (ROWS[0], "is not of the same type (dense, sparse or multivector) as its model's vector"),
    ],
)
def test_the_worst_row_tells_how_far_two_differ(stored: Vector, says: str | None) -> None:
    assert vector_difference(stored, ROWS, 0.99) == says


def test_parquet_keeps_rows_of_any_number() -> None:
    points = [Point(str(number), {"late": np.tile(ROWS, (number, 1))}, {"n": number}) for number in (1, 4, 2)]
    table = points_to_table(points, [SPEC])
    assert table.schema.names == ["id", "payload", "multivector.late"]
    for found, wanted in zip(table_to_points(table.slice(1), [SPEC]), points[1:], strict=True):
        assert (found.id, found.payload) == (wanted.id, wanted.payload)
        assert np.array_equal(np.asarray(found.vectors["late"]), np.asarray(wanted.vectors["late"]))


def test_a_request_counts_every_row() -> None:
    sizes = [point_bytes(Point("1", {"late": np.tile(ROWS, (count, 1))}, {})) for count in (1, 2, 3)]
    assert sizes[1] - sizes[0] == sizes[2] - sizes[1] > ROWS.size * ROWS.itemsize
