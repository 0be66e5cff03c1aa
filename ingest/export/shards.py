"""Shards: points as Parquet files.

A row is a point: `id` (string), `payload` (string: JSON), and a column for each vector, `dense.NAME` as
fixed_size_list<float32>[dim], `multivector.NAME` as list<fixed_size_list<float32>[dim]>, or `sparse.NAME` as
struct<indices: list<uint32>, values: list<float32>>. No data is pickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingest.atomic_files import NO_FOLLOW
from ingest.records import Payload, Point, SparseVector, Vector
from ingest.store.contract import VectorSpec
from ingest.store.request_sizes import batches

READ_ERRORS = (OSError, pa.ArrowException)
"""The errors of reading a damaged shard."""

ROW_GROUP_POINTS = 2048
"""Maximum number of points in a row group."""

ROW_GROUP_BYTES = 16 * 2**20
"""Maximum size of a row group, in bytes before compression: a reader has one in memory. A larger point has its own row group."""

_SPARSE = pa.struct([pa.field("indices", pa.list_(pa.uint32())), pa.field("values", pa.list_(pa.float32()))])


def shard_schema(vectors: Sequence[VectorSpec]) -> pa.Schema:
    """Return the columns of a shard with these vectors."""
    columns: dict[str, pa.DataType] = {"id": pa.string(), "payload": pa.string()}
    columns |= {_column(spec): _type(spec) for spec in vectors}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


def points_to_table(points: Sequence[Point], vectors: Sequence[VectorSpec]) -> pa.Table:
    """Return points as a table. Each point must have all of the vectors. Raises `ValueError` if JSON cannot express a payload."""
    columns: list[pa.Array[Any]] = [
        pa.array([point.id for point in points], pa.string()),
        pa.array([_json(point.payload) for point in points], pa.string()),
    ]
    for spec in vectors:
        column = [point.vectors[spec.name] for point in points]
        columns.append(_vector_column(column, spec))
    return pa.Table.from_arrays(columns, schema=shard_schema(vectors))


def table_to_points(table: pa.Table, vectors: Sequence[VectorSpec]) -> list[Point]:
    """Return the points of a table. Raises `ValueError` for a payload that is not a JSON object."""
    columns: dict[str, Sequence[Vector]] = {}
    for spec in vectors:
        column = cast("Any", table.column(_column(spec)).combine_chunks())
        columns[spec.name] = _rows(column, spec)
    ids = cast("list[str]", table.column("id").to_pylist())
    return [
        Point(point_id, {name: rows[at] for name, rows in columns.items()}, payload)
        for at, (point_id, payload) in enumerate(zip(ids, payloads_of(table), strict=True))
    ]


def payloads_of(table: pa.Table) -> list[Payload]:
    """Return the payloads of a table. Raises `ValueError` for a payload that is not a JSON object."""
    payloads = [json.loads(text) for text in cast("list[str]", table.column("payload").to_pylist())]
    if not all(isinstance(payload, dict) for payload in payloads):
        raise ValueError("a payload is not a JSON object")
    return payloads


class ShardFile:
    """A shard that is being written to a new file at `path`. Only the owner can read it. Use it from one thread.

    Attributes:
        rows: points written.
        size: bytes written.
    """

    def __init__(self, path: Path, vectors: Sequence[VectorSpec]) -> None:
        self.path = path
        self.rows = 0
        self._vectors = vectors
        self._stream = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW, 0o600), "wb")
        # Vectors and texts do not repeat, so a dictionary or statistics would only add bytes.
        self._writer = pq.ParquetWriter(
            self._stream,
            shard_schema(vectors),
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    @property
    def size(self) -> int:
        return self._stream.tell()

    def add(self, points: Sequence[Point]) -> None:
        """Append points, in row groups of bounded size."""
        for group in batches(points, _point_bytes, ROW_GROUP_POINTS, ROW_GROUP_BYTES):
            self.add_table(points_to_table(group, self._vectors))

    def add_rows(self, table: pa.Table, chosen: Sequence[bool]) -> None:
        """Append the chosen rows of a table."""
        self.add_table(table.filter(pa.array(chosen)))

    def add_table(self, table: pa.Table) -> None:
        """Append a table as a row group. An empty table is skipped."""
        if table.num_rows:
            self._writer.write_table(table)
            self.rows += table.num_rows

    def close(self) -> None:
        """Complete the shard and flush it to disk."""
        self._writer.close()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def discard(self) -> None:
        """Delete the unfinished shard. Works on a full disk, too, where the file cannot be completed."""
        with suppress(OSError):
            self._writer.close()
        self._writer.is_open = False  # otherwise it tries again when it is garbage-collected
        with suppress(OSError):
            self._stream.close()
        self.path.unlink(missing_ok=True)


def read_shape(path: Path) -> tuple[int, pa.Schema]:
    """Return the number of rows of a shard, and its columns. Raises `READ_ERRORS`."""
    with pq.ParquetFile(path) as file:
        return file.metadata.num_rows, file.schema_arrow


def read_tables(path: Path) -> Iterator[pa.Table]:
    """Yield the row groups of a shard. Raises `READ_ERRORS`."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number)


def _column(spec: VectorSpec) -> str:
    return f"{spec.kind}.{spec.name}"


def _type(spec: VectorSpec) -> pa.DataType:
    if spec.dim is None:
        return _SPARSE
    row = pa.list_(pa.float32(), spec.dim)
    return pa.list_(row) if spec.multi else row


def _json(payload: Mapping[str, Any]) -> str:
    return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _vector_column(column: Sequence[Vector], spec: VectorSpec) -> pa.Array[Any]:
    if spec.dim is None:
        return _sparse_column(column)
    if not spec.multi:
        return _dense_column(column, spec.dim)
    matrices = cast("Sequence[NDArray[np.float32]]", column)
    offsets = pa.array(np.cumsum([0, *map(len, matrices)], dtype=np.int32), pa.int32())
    rows = _dense_column([matrix.reshape(-1) for matrix in matrices], spec.dim)
    return cast("pa.Array[Any]", pa.ListArray.from_arrays(offsets, rows))


def _dense_column(column: Sequence[Vector], dim: int) -> pa.Array[Any]:
    flat = np.concatenate(cast("Sequence[NDArray[np.float32]]", column), dtype=np.float32)
    return cast("pa.Array[Any]", pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float32()), dim))


def _sparse_column(column: Sequence[Vector]) -> pa.Array[Any]:
    vectors = cast("Sequence[SparseVector]", column)
    offsets = pa.array(np.cumsum([0, *(len(vector.indices) for vector in vectors)], dtype=np.int32), pa.int32())
    indices = pa.array(np.concatenate([vector.indices for vector in vectors], dtype=np.uint32), pa.uint32())
    values = pa.array(np.concatenate([vector.values for vector in vectors], dtype=np.float32), pa.float32())
    lists = [pa.ListArray.from_arrays(offsets, numbers) for numbers in (indices, values)]
    return cast("pa.Array[Any]", pa.StructArray.from_arrays(lists, fields=list(_SPARSE)))


def _rows(column: Any, spec: VectorSpec) -> Sequence[Vector]:
    if spec.dim is None:
        return _sparse_rows(column)
    if not spec.multi:
        return _dense_rows(column, spec.dim)
    rows = column.values.flatten().to_numpy(zero_copy_only=False).reshape(-1, spec.dim)
    return [rows[start:end] for start, end in pairwise(column.offsets.to_numpy())]


def _dense_rows(column: Any, dim: int) -> Sequence[Vector]:
    return cast("Sequence[Vector]", column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim))


def _sparse_rows(column: Any) -> Sequence[Vector]:
    indices, values = (_lists(lists) for lists in column.flatten())
    return [SparseVector(each, weights) for each, weights in zip(indices, values, strict=True)]


def _lists(column: Any) -> list[NDArray[Any]]:
    numbers = column.values.to_numpy()
    return [numbers[start:end] for start, end in pairwise(column.offsets.to_numpy())]


def _point_bytes(point: Point) -> int:
    """Estimate the size of a point: one byte per character of its text, and a flat rate for the rest of its payload."""
    vectors = sum(
        8 * len(vector.indices) if isinstance(vector, SparseVector) else 4 * vector.size for vector in point.vectors.values()
    )
    return vectors + len(point.payload.get("text", "")) + 1024
