"""Records of JSON Lines, CSV, TSV and Parquet into documents, streaming. A bad record is a `Rejected`, and the next is read."""

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
class Part:
    """Some of the records of one file: those from `start` up to `end`, None for the last.

    Bytes of JSON Lines, both at the start of a line, or row groups of Parquet. `version`: of the file they were found in.
    """

    start: int
    end: int | None
    version: str


@dataclass(frozen=True, slots=True)
class Table:
    """How the records of one stream are read.

    Attributes:
        fields: which field is what.
        max_bytes: of a record.
        prefix: put before every id; "" or something no other table of the source has.
    """

    fields: FieldMap
    max_bytes: int
    prefix: str = ""

    def read(
        self,
        stream: ByteStream,
        format: str,  # noqa: A002  the users' word
        part: Part | None = None,
    ) -> Iterator[Document | Rejected]:
        """The records, or those in a part. Raises `SourceError` where the stream breaks, `Unusable` where its columns can be no
        documents.
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
        """What the quick parser refuses. The standard one says why, and lets a record's id be read where only a string is bad."""
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
        # The module has one limit for the whole process and it is far below ours, so it is only ever raised.
        csv.field_size_limit(max(csv.field_size_limit(), self.max_bytes))
        lines = _CsvLines(stream, self.max_bytes)
        header: list[str] | None = None
        for row in _csv_rows(lines, delimiter):
            if isinstance(row, str):
                if header is None:
                    raise SourceError(f"the header of {stream.where} cannot be read: {row}; mend it and run again")
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
        """Bytes of each row group of a Parquet file. Raises `SourceError`, `Unusable` where its columns can be no documents."""
        with source_errors(f"read {stream.where} as Parquet"):
            file = pq.ParquetFile(stream.seekable())
            groups = [file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups)]
        self.fields.check(list(file.schema_arrow.names), stream.where)
        return groups

    def _parquet(self, stream: ByteStream, part: Part | None) -> Iterator[Document | Rejected]:
        with source_errors(f"read {stream.where} as Parquet"):
            # Pages are read as they are needed: a row group may be larger than memory.
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
        """A record that did not come as bytes."""
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
    return f"the record is larger than {limit:,} bytes: raise max_record_bytes to take it"


class Line(NamedTuple):
    """One line without its end; of one that is too long, the first `RAW_LIMIT` bytes."""

    number: int
    data: bytes
    too_long: bool = False


def read_lines(stream: ByteStream, limit: int) -> Iterator[Line]:
    """The lines of a stream from 1, little more than `limit` bytes of one held; a byte order mark at the start is left out."""
    number = 1
    first = stream.start == 0
    parts: list[bytes] = []
    held = 0
    while block := stream.read(BLOCK):
        *ended, rest = block.split(b"\n")
        for piece in ended:
            data = b"".join([*parts, piece]) if parts else piece
            yield _line(number, data, held + len(piece), limit, first=first)
            number += 1
            parts, held = [], 0
        held += len(rest)
        parts = [*parts, rest] if held <= limit else [b"".join([*parts, rest])[:RAW_LIMIT]]
    if held:
        yield _line(number, b"".join(parts), held, limit, first=first)


def _line(number: int, data: bytes, size: int, limit: int, *, first: bool) -> Line:
    """`size`: of the whole line, of which `data` may be the start. `first`: line 1 is the first of its file."""
    if number == 1 and first:
        data = data.removeprefix(_BOM)
    return Line(number, data, too_long=False) if size <= limit else Line(number, data[:RAW_LIMIT], too_long=True)


class _TooLargeError(Exception):
    pass


def _csv_rows(lines: _CsvLines, delimiter: str) -> Iterator[list[str] | str]:
    """The rows that are not empty; of one that cannot be read, the reason. Raises `SourceError` where a quote is never closed."""
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
            if lines.ended:  # every line has its end, so nothing but an open quote can be short of one
                raise SourceError(
                    f"cannot read {lines.position}: a quote opens in this row and is never closed, which hides all that follows; "
                    "close it, or double it within a quoted field, and run again"
                ) from exc
            yield _too_large(lines.limit) if lines.too_large else f"the row{lines.extent} is not well-formed: {exc}"
        else:
            if lines.too_large:
                yield _too_large(lines.limit)
            elif row:
                yield row


class _CsvLines:
    """Feeds the CSV reader, which asks for as many lines as a quoted field spans, and bounds what one row may take.

    An iterator and no generator: after it has raised it goes on with the next line, and so does the reader.

    Attributes:
        limit: bytes of a row. Of a larger one the reader gets no more than it takes to find its end.
        ended: whether there are no more lines.
        too_large: whether the row is.
        raw: the row's first bytes.
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
        """A new row begins with the next line."""
        self._first = self._number + 1
        self._size = 0
        self.too_large = False
        self.raw = b""

    @property
    def position(self) -> str:
        """Where the row begins."""
        return f"{self._where}:{self._first}"

    @property
    def extent(self) -> str:
        """To which line it has come, where it is not one line: a stray quote may have drawn others into it."""
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
        # What is not UTF-8 becomes lone surrogates, which the record's own check finds in the very field.
        text = line.data.decode(errors="surrogateescape") + "\n"
        if self._size > self.limit:
            self.too_large = True
            return _skeleton(text)
        return text


def _skeleton(line: str) -> str:
    """What shows where a quoted field that spans this line ends, for it is not held: quotes, and what stands beside them."""
    single = line.replace('""', "")
    return _BESIDE_NO_QUOTE.sub("", single) if '"' in single else ""


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    """A batch's rows; a row that Arrow cannot give to Python (text that is not UTF-8, say) as the reason."""
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
    """Nanoseconds as microseconds: Python's own types hold no more."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return column.cast(pa.duration("us"), safe=False)
    if pa.types.is_time64(kind) and kind.unit == "ns":
        return column.cast(pa.time64("us"), safe=False)
    return column
