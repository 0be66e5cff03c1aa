"""Records in files and in the output of taps → documents. A bad one is a `Rejected`; the next one is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic_core import from_json

from ingest.identity import digest
from ingest.records import Document, Rejected
from ingest.source.csv_tables import read_csv
from ingest.source.encodings import find_encoding
from ingest.source.fields import FieldMap, document_from, raw_json, raw_of
from ingest.source.formats import TAPS, check_parquet
from ingest.source.lines import read_lines, too_large
from ingest.source.read_options import AS_FOUND, ReadOptions
from ingest.source.reading_report import ReadingReport
from ingest.source.record_files import read_values, unique_names
from ingest.source.streams import BLOCK, ByteStream, first_line
from ingest.source.tap_messages import ParsedLine, TapReader


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
        options: how to read files whose content does not tell.
        report: receives what reading finds out.
    """

    fields: FieldMap
    max_bytes: int
    prefix: str = ""
    options: ReadOptions = AS_FOUND
    report: ReadingReport = field(default_factory=ReadingReport, compare=False)

    @property
    def options_digest(self) -> str:
        """Return a digest of the options that may make another document of the same file."""
        return digest([asdict(self.options), self.max_bytes])

    @property
    def records_digest(self) -> str:
        """Return a digest of the options that may make other records of the same file."""
        return digest([asdict(self.options), self.max_bytes, asdict(self.fields)])

    def read(
        self,
        stream: ByteStream,
        format: str,  # noqa: A002  as in `Document.format`
        part: FilePart | None = None,
    ) -> Iterator[Document | Rejected]:
        """Return an iterator over the records of a stream, or of a part of it.

        Raises `SourceError` if reading fails, `Unusable` if the columns cannot yield documents, and `MissingExtraError` for
        Parquet without its extra.
        """
        if format == "parquet":
            check_parquet("reading .parquet")
            from ingest.source.parquet_tables import read_parquet  # noqa: PLC0415  an extra

            return read_parquet(stream, self, part)
        if part is not None:
            stream.narrow(part.start, part.end)
        if format == "xml-records":  # it declares its encoding
            stream.encoding = self.options.encoding or stream.encoding
            return self._values(stream, format)
        self._find_encoding(stream, guess=format in ("csv", "tsv"))
        if format == "jsonl":
            return self._jsonl(stream)
        if format in TAPS:
            reader = TapReader(self.fields, self.max_bytes, self.prefix, self.report)
            return reader.read(format, self._lines(stream), stream.where)
        if format in ("json", "yaml"):
            return self._values(stream, format)
        return read_csv(stream, self, "\t" if format == "tsv" else ",")

    def _find_encoding(self, stream: ByteStream, *, guess: bool) -> None:
        head = stream.peek(BLOCK, fill=guess)
        found = find_encoding(head, whole=len(head) < BLOCK)
        if self.options.encoding is not None:
            stream.encoding = self.options.encoding
        elif found is not None and (guess or not found.guessed):
            stream.encoding = found.name
            if found.guessed:
                self.report.note(f"{stream.where} is read as {found.name}, which was guessed: --encoding names another")

    def _jsonl(self, stream: ByteStream) -> Iterator[Document | Rejected]:
        for line in self._lines(stream):
            yield line if isinstance(line, Rejected) else self._document(*line)

    def _lines(self, stream: ByteStream) -> Iterator[ParsedLine | Rejected]:
        """Yield the lines of JSON that are not blank."""
        for line in read_lines(stream, self.max_bytes):
            self.report.position += stream.stored_bytes(len(line.data) + 1)
            if line.data.isspace() or not line.data:
                continue
            position = f"{stream.where}:{line.number}"
            if line.too_long:
                yield Rejected(position, too_large(self.max_bytes), raw_of(line.data))
                continue
            try:
                record = from_json(line.data, cache_strings="keys")
            except ValueError:
                yield self._slowly(line.data, position)
            else:
                certain = line.data.count(b'":') <= _count_names(record)  # otherwise a name may be there twice
                yield ParsedLine(record, position, line.data) if certain else self._slowly(line.data, position)

    def _values(self, stream: ByteStream, format: str) -> Iterator[Document | Rejected]:  # noqa: A002  as in `Document.format`
        values = read_values(stream, format, self.options.record_path, fields=self.fields, max_bytes=self.max_bytes)
        for number, record in enumerate(values, start=1):
            yield self.document(record, f"{stream.where}: record {number}")

    def _slowly(self, data: bytes, position: str) -> ParsedLine | Rejected:
        """Read a line the fast parser refused, or perhaps read only in part.

        The standard parser names the reason, and finds the id if only a string is bad.
        """
        try:
            record = json.loads(data.decode(), object_pairs_hook=unique_names)
        except UnicodeDecodeError as exc:
            reason = f"the line is not UTF-8 (byte {exc.start + 1})"
        except RecursionError:
            reason = "the JSON is nested too deeply"
        except ValueError as exc:  # JSONDecodeError, and integers of thousands of digits
            reason = f"the line is not JSON: {first_line(exc)}"
        else:
            return ParsedLine(record, position, data)
        return Rejected(position, reason, raw_of(data))

    def row_groups(self, stream: ByteStream) -> list[int]:
        """Return the bytes per row group of a Parquet file. Raise `SourceError`, or `Unusable` if it yields no documents."""
        check_parquet("reading .parquet")
        from ingest.source.parquet_tables import row_groups  # noqa: PLC0415  an extra

        return row_groups(stream, self.fields)

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

    def row(self, record: Mapping[str, Any], position: str, data: bytes) -> Document | Rejected:
        """Return a row of a text file as a document; `data` is the row as it is written."""
        return self._document(dict(record), position, data)


def _count_names(value: Any) -> int:
    """Return the number of names in the objects of a JSON value."""
    if isinstance(value, dict):
        return len(value) + sum(map(_count_names, value.values()))
    return sum(map(_count_names, value)) if isinstance(value, list) else 0
