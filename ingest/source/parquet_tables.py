"""Records in Parquet files, which require the extra `parquet`: everything else here does without Arrow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.errors import SourceError
from ingest.records import Document, Rejected
from ingest.source.fields import FieldMap, Unusable
from ingest.source.streams import BLOCK, ByteStream, first_line, source_errors

if TYPE_CHECKING:
    from ingest.source.tables import FilePart, Table

_PARQUET_ROWS = 256


def row_groups(stream: ByteStream, fields: FieldMap) -> list[int]:
    """Return the bytes per row group of a Parquet file. Raise `SourceError`, or `Unusable` if it yields no documents."""
    reads = _Reads(stream.seekable())
    with _parquet_errors(f"read {stream.where} as Parquet", reads):
        file = pq.ParquetFile(cast("BinaryIO", reads))
        groups = [file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups)]
    fields.check(list(file.schema_arrow.names), stream.where)
    return groups


def read_parquet(stream: ByteStream, table: Table, part: FilePart | None) -> Iterator[Document | Rejected]:
    """Yield the records of a Parquet file, or of some of its row groups. Raises as `Table.read`."""
    reads = _Reads(stream.seekable())
    with _parquet_errors(f"read {stream.where} as Parquet", reads):
        # Pages are read on demand: a row group may be larger than memory.
        file = pq.ParquetFile(cast("BinaryIO", reads), buffer_size=BLOCK, pre_buffer=False, page_checksum_verification=True)
        names = list(file.schema_arrow.names)
        groups = range(file.metadata.num_row_groups)[part.start : part.end] if part else range(file.metadata.num_row_groups)
        number = sum(file.metadata.row_group(group).num_rows for group in range(groups.start))
    table.fields.check(names, stream.where)
    chosen = _without_binary(file.schema_arrow, stream.where, table)
    for group in groups:  # one at a time: the rows before a damaged group are read
        batches = file.iter_batches(_PARQUET_ROWS, row_groups=[group], columns=chosen, use_threads=False)
        while True:
            with _parquet_errors(f"read {stream.where} after row {number}", reads):
                batch = next(batches, None)
            if batch is None:
                break
            for row in _rows(batch):
                number += 1
                position = f"{stream.where}: row {number}"
                yield Rejected(position, row) if isinstance(row, str) else table.document(row, position)


def _without_binary(schema: pa.Schema, where: str, table: Table) -> list[str]:
    """Return the columns to read: those of a document, without binary ones among the metadata."""
    names = list(schema.names)
    taken, chosen = table.fields.taken(names), table.fields.columns(names)
    binary = [name for name in chosen if name not in taken and _is_binary(schema.field(name).type)]
    if binary:
        table.report.note(f"{where}: the binary columns {', '.join(binary)} are left out")
    return [name for name in chosen if name not in binary]


class _Reads(io.RawIOBase):
    """A file that remembers whether reading from it failed: Arrow raises `OSError` for that and for damaged content alike."""

    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened
        self.failed = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._opened.seek(offset, whence)

    def tell(self) -> int:
        return self._opened.tell()

    def read(self, size: int = -1) -> bytes:
        try:
            return self._opened.read(size)
        except Exception:
            self.failed = True
            raise


@contextmanager
def _parquet_errors(doing: str, reads: _Reads) -> Iterator[None]:
    """Raise `SourceError` if reading failed, and `Unusable` for damaged content, which concerns one file."""
    try:
        with source_errors(doing):
            yield
    except SourceError as exc:
        if reads.failed:
            raise
        raise Unusable(str(exc)) from exc


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    """Yield the rows of a batch, or the reason a row cannot be read, such as text that is not UTF-8."""
    columns = [_plain_times(column) for column in batch.columns]
    names = batch.schema.names
    try:
        values = [column.to_pylist() for column in columns]
    except (ValueError, OverflowError, pa.ArrowException):
        for index in range(batch.num_rows):
            try:
                yield {name: column[index].as_py() for name, column in zip(names, columns, strict=True)}
            except (ValueError, OverflowError, pa.ArrowException) as exc:
                yield f"the row cannot be read: {first_line(exc)}"
        return
    for row in zip(*values, strict=True):
        yield dict(zip(names, row, strict=True))


def _plain_times(column: pa.Array[Any]) -> pa.Array[Any]:
    """Return the column with nanoseconds as microseconds, the precision of Python's types."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return column.cast(pa.duration("us"), safe=False)
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return column.cast(pa.time64("us"), safe=False)
    return column


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_binary(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_is_binary(kind.field(index).type) for index in range(kind.num_fields))
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
