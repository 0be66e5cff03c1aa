"""From JSON Lines, CSV, TSV and Parquet to documents, streaming. A bad record is a `Rejected`; reading goes on with the next."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic_core import from_json

from ingest.errors import SourceError
from ingest.records import RAW_LIMIT, Document, Rejected
from ingest.source.fields import FieldMap, document_from, raw_json, raw_of
from ingest.source.streams import BLOCK, ByteStream, first_line, source_errors

_BOM = b"\xef\xbb\xbf"
_PARQUET_ROWS = 256
_BESIDE_NO_QUOTE = re.compile(r'(?<!")[^"](?!")')


@dataclass(frozen=True, slots=True)
class FilePart:
    """A range of the records of one file.

    Attributes:
        start: a byte offset at a line start for JSON Lines, a row group for Parquet.
        end: the same, exclusive; None: the end of the file.
        version: the version of the file for which the range is valid, see `Place.version`.
    """

    start: int
    end: int | None
    version: str


@dataclass(frozen=True, slots=True)
class Table:
    """A reader of records.

    Attributes:
        fields: the fields of a record.
        max_bytes: the size above which a record is rejected, in bytes.
        prefix: put before every id; differs between the tables of a source.
    """

    fields: FieldMap
    max_bytes: int
    prefix: str = ""

    def read(
        self,
        stream: ByteStream,
        format: str,  # noqa: A002  as in `Document.format`
        part: FilePart | None = None,
    ) -> Iterator[Document | Rejected]:
        """Return an iterator over the records of a stream, or of a part of it.

        Raises `SourceError` if reading fails, `Unusable` if the columns cannot yield documents.
        """
        if format == "jsonl":
            if part is not None:
                stream.narrow(part.start, part.end)
            return self._jsonl(stream)
        if format == "parquet":
            return self._parquet(stream, part)
        return self._csv(stream, "\t" if format == "tsv" else ",")

    def _jsonl(self, stream: ByteStream) -> Iterator[Document | Rejected]:
        for line in read_lines(stream, self.max_bytes):
            if line.data.isspace() or not line.data:
                continue
            position = f"{stream.where}:{line.number}"
            if line.too_long:
                yield Rejected(position, _too_large(self.max_bytes), raw_of(line.data))
                continue
            try:
                record = from_json(line.data, cache_strings="keys")
            except ValueError:
                yield self._slowly(line.data, position)
            else:
                yield self._document(record, position, line.data)

    def _slowly(self, data: bytes, position: str) -> Document | Rejected:
        """Read a line the fast parser refused. The standard parser names the reason, and finds the id if only a string is bad."""
        try:
            record = json.loads(data.decode())
        except UnicodeDecodeError as exc:
            reason = f"the line is not UTF-8 (byte {exc.start + 1})"
        except RecursionError:
            reason = "the JSON is nested too deeply"
        except ValueError as exc:  # JSONDecodeError, and integers of thousands of digits
            reason = f"the line is not JSON: {first_line(exc)}"
        else:
            return self._document(record, position, data)
        return Rejected(position, reason, raw_of(data))

    def _csv(self, stream: ByteStream, delimiter: str) -> Iterator[Document | Rejected]:
        # The limit is global to the process and its default is below ours, so only ever raise it.
        csv.field_size_limit(max(csv.field_size_limit(), self.max_bytes))
        lines = _CsvLines(stream, self.max_bytes)
        header: list[str] | None = None
        for row in _csv_rows(lines, delimiter):
            if isinstance(row, str):
                if header is None:
                    raise SourceError(f"the header of {stream.where} cannot be read: {row}; fix it and run again")
                yield Rejected(lines.position, row, raw_of(lines.raw))
            elif header is None:
                header = [name.strip() for name in row]
                self.fields.check(header, stream.where)
            elif len(row) != len(header):
                reason = f"the row has {len(row)} fields and the header has {len(header)}"
                yield Rejected(lines.position, reason, raw_of(lines.raw))
            else:
                yield self._document(dict(zip(header, row, strict=True)), lines.position, lines.raw)

    def row_groups(self, stream: ByteStream) -> list[int]:
        """Return the bytes per row group of a Parquet file. Raise `SourceError`, or `Unusable` if it cannot yield documents."""
        with source_errors(f"read {stream.where} as Parquet"):
            file = pq.ParquetFile(stream.seekable())
            groups = [file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups)]
        self.fields.check(list(file.schema_arrow.names), stream.where)
        return groups

    def _parquet(self, stream: ByteStream, part: FilePart | None) -> Iterator[Document | Rejected]:
        with source_errors(f"read {stream.where} as Parquet"):
            # Pages are read on demand: a row group may be larger than memory.
            file = pq.ParquetFile(stream.seekable(), buffer_size=BLOCK, pre_buffer=False)
            names = list(file.schema_arrow.names)
            groups = range(file.metadata.num_row_groups)[part.start : part.end] if part else range(file.metadata.num_row_groups)
            number = sum(file.metadata.row_group(group).num_rows for group in range(groups.start))
        self.fields.check(names, stream.where)
        batches = file.iter_batches(_PARQUET_ROWS, row_groups=list(groups), columns=self.fields.columns(names), use_threads=False)
        while True:
            with source_errors(f"read {stream.where} after row {number}"):
                batch = next(batches, None)
            if batch is None:
                return
            for row in _rows(batch):
                number += 1
                position = f"{stream.where}: row {number}"
                if isinstance(row, str):
                    yield Rejected(position, row)
                else:
                    yield self.document(row, position)

    def document(self, record: Any, position: str) -> Document | Rejected:
        """Return a parsed record as a document, or as `Rejected`."""
        return document_from(
            record,
            fields=self.fields,
            position=position,
            max_bytes=self.max_bytes,
            raw=lambda: raw_json(record),
            prefix=self.prefix,
        )

    def _document(self, record: Any, position: str, data: bytes) -> Document | Rejected:
        return document_from(
            record,
            fields=self.fields,
            position=position,
            max_bytes=self.max_bytes,
            raw=lambda: raw_of(data),
            prefix=self.prefix,
        )


def _too_large(limit: int) -> str:
    return f"the record is larger than {limit:,} bytes: raise max_record_bytes to accept it"


class Line(NamedTuple):
    """A line without its line end, or the first `RAW_LIMIT` bytes of a line that is too long."""

    number: int
    data: bytes
    too_long: bool = False


def read_lines(stream: ByteStream, limit: int) -> Iterator[Line]:
    """Yield the lines of a stream, numbered from 1, without a byte order mark. Keeps little more than `limit` bytes of a line."""
    number = 1
    first = stream.start == 0
    parts: list[bytes] = []
    size = 0
    while block := stream.read(BLOCK):
        *ended, rest = block.split(b"\n")
        for piece in ended:
            data = b"".join([*parts, piece]) if parts else piece
            yield _line(number, data, size + len(piece), limit, first=first)
            number += 1
            parts, size = [], 0
        size += len(rest)
        parts = [*parts, rest] if size <= limit else [b"".join([*parts, rest])[:RAW_LIMIT]]
    if size:
        yield _line(number, b"".join(parts), size, limit, first=first)


def _line(number: int, data: bytes, size: int, limit: int, *, first: bool) -> Line:
    """Return a line. `size`: bytes of the whole line, of which `data` may be the start. `first`: line 1 starts the file."""
    if number == 1 and first:
        data = data.removeprefix(_BOM)
    return Line(number, data, too_long=False) if size <= limit else Line(number, data[:RAW_LIMIT], too_long=True)


class _TooLargeError(Exception):
    pass


def _csv_rows(lines: _CsvLines, delimiter: str) -> Iterator[list[str] | str]:
    """Yield the rows that are not empty, or the reason a row cannot be read. Raise `SourceError` if a quote is never closed."""
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        try:
            row = next(rows)
        except StopIteration:
            return
        except _TooLargeError:
            yield _too_large(lines.limit)
        except csv.Error as exc:
            if lines.ended:  # only an open quote reaches the end within a row
                raise SourceError(
                    f"cannot read {lines.position}: a quote opens in this row and is never closed, which hides all other rows; "
                    "close it, or double it within a quoted field, and run again"
                ) from exc
            yield _too_large(lines.limit) if lines.too_large else f"the row{lines.extent} is not well-formed: {exc}"
        else:
            if lines.too_large:
                yield _too_large(lines.limit)
            elif row:
                yield row


class _CsvLines:
    """The lines a CSV reader reads, with a bound for the size of a row; a quoted field may span several lines.

    An iterator rather than a generator: after an exception, it and the reader go on with the next line.

    Attributes:
        limit: most bytes of a row. Of a larger row, the reader gets only the characters it needs to find the row's end.
        ended: whether there are no more lines.
        too_large: whether the row is larger than `limit`.
        raw: the first bytes of the row.
    """

    def __init__(self, stream: ByteStream, limit: int) -> None:
        self._lines = read_lines(stream, limit)
        self._where = stream.where
        self._number = 0
        self._size = 0
        self._first = 0
        self.limit = limit
        self.ended = False
        self.too_large = False
        self.raw = b""

    def begin(self) -> None:
        """Start a new row at the next line."""
        self._first = self._number + 1
        self._size = 0
        self.too_large = False
        self.raw = b""

    @property
    def position(self) -> str:
        """Return the line at which the row begins."""
        return f"{self._where}:{self._first}"

    @property
    def extent(self) -> str:
        """Return the lines the row spans, or "" for one line: a stray quote may have merged other rows into it."""
        return f" (lines {self._first} to {self._number})" if self._number > self._first else ""

    def __iter__(self) -> _CsvLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.ended = True
            raise StopIteration
        self._number = line.number
        self._size += len(line.data) + 1
        if len(self.raw) < RAW_LIMIT:
            self.raw += line.data[:RAW_LIMIT] + b"\n"
        if line.too_long:
            raise _TooLargeError
        # Bytes that are not UTF-8 become lone surrogates, which the check of the record finds in their field.
        text = line.data.decode(errors="surrogateescape") + "\n"
        if self._size > self.limit:
            self.too_large = True
            return _skeleton(text)
        return text


def _skeleton(line: str) -> str:
    """Return the quotes of a line and their neighbors: all the reader needs to find the end of a field that is not kept."""
    single = line.replace('""', "")
    return _BESIDE_NO_QUOTE.sub("", single) if '"' in single else ""


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
