"""From CSV and TSV to records: delimiter, header and column types are found; a bad row is a `Rejected`, and the next is read."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple, Protocol

from ingest.errors import SourceError
from ingest.records import RAW_LIMIT, Document, Rejected
from ingest.source.column_types import ColumnType, guess_type, typed
from ingest.source.fields import FieldMap, Unusable, raw_of
from ingest.source.lines import read_lines, too_large
from ingest.source.read_options import ReadOptions
from ingest.source.reading_report import ReadingReport
from ingest.source.streams import ByteStream

DELIMITERS = (",", ";", "\t", "|")

_BESIDE_NO_QUOTE = re.compile(r'(?<!")[^"](?!")')
_SEP = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)
"""The first line by which Excel is told the delimiter."""
_HEAD = 2**20
"""Bytes from which encoding and delimiter are found."""
_SAMPLE_ROWS = 10_000
_SAMPLE_BYTES = 2**22
_PROBED_ROWS = 100


class Records(Protocol):
    """The settings and functions that turn a row into a document: see `tables.Table`."""

    @property
    def fields(self) -> FieldMap: ...

    @property
    def max_bytes(self) -> int: ...

    @property
    def options(self) -> ReadOptions: ...

    @property
    def report(self) -> ReadingReport: ...

    def row(self, record: Mapping[str, Any], position: str, data: bytes) -> Document | Rejected: ...


class _Row(NamedTuple):
    cells: list[str]
    position: str
    raw: bytes
    size: int


@dataclass(slots=True)
class _Columns:
    """The columns of a file: their types, and how many values of each did not fit."""

    where: str
    names: list[str]
    types: Mapping[str, ColumnType]
    misfits: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def record(self, row: _Row) -> dict[str, Any]:
        record: dict[str, Any] = {}
        for name, value in zip(self.names, row.cells, strict=True):
            try:
                record[name] = typed(value, self.types.get(name, "text"))
            except ValueError:  # the text stays: it is what the file says
                record[name] = value
                self.misfits[name] += 1
                self.examples.setdefault(name, f"{value[:40]!r} at {row.position}")
        return record

    def report_to(self, report: ReadingReport) -> None:
        report.add_types(self.types)
        for name, count in self.misfits.items():
            report.note(
                f"{count:,} values of the column {name} in {self.where} are not of its type {self.types[name]} and stay text,"
                f" first {self.examples[name]}; --type {name}=text makes the whole column text"
            )


def read_csv(stream: ByteStream, records: Records, suffix_delimiter: str) -> Iterator[Document | Rejected]:
    """Yield the records of a CSV file.

    Args:
        suffix_delimiter: the delimiter that the suffix of the file stands for, taken if the header has usable columns with it.

    Raises `SourceError` if reading fails, `Unusable` if the columns cannot yield documents, the header is malformed, or a quote
    is never closed.
    """
    # The limit is global to the process and its default is below ours, so only ever raise it.
    csv.field_size_limit(max(csv.field_size_limit(), records.max_bytes))
    options = records.options
    head = stream.peek(_HEAD).decode(errors="surrogateescape").removeprefix("\ufeff")
    said = _SEP.match(head)
    if said is None and "\n" not in head and "\r" in head:
        stream.old_line_ends = True
        head = head.replace("\r", "\n")
    delimiter = options.delimiter or (said[1] if said else _find_delimiter(head, records.fields, options, suffix_delimiter))
    if delimiter != suffix_delimiter:
        records.report.note(f"{stream.where} is delimited by {delimiter!r}")
    lines = CsvLines(stream, records.max_bytes)
    if said:
        next(lines, None)
    first = next(iter(_probe(head, delimiter)), [])
    spaced = len(first) > 1 and all(cell.startswith(" ") for cell in first[1:])
    yield from _records(lines, csv_rows(lines, delimiter, spaced=spaced), records, stream)


def _records(
    lines: CsvLines, rows: Iterator[list[str] | str], records: Records, stream: ByteStream
) -> Iterator[Document | Rejected]:
    where = stream.where
    names = list(records.options.columns or ())
    if not names:
        header = next(rows, None)
        if header is None:
            return
        if isinstance(header, str):
            raise Unusable(f"the header of {where} cannot be read: {header}; fix it and run again")
        names = _names(header)
    records.fields.check(names, where)
    whole = _whole_rows(lines, rows, names, has_header=not records.options.columns)
    sample, failure = _sample(whole)
    cells = [each.cells for each in sample if isinstance(each, _Row)]
    columns = _Columns(where, names, _column_types(names, cells, records))
    for each in chain(sample, _failing(failure), whole):
        if isinstance(each, _Row):
            records.report.position += stream.stored_bytes(each.size)
            yield records.row(columns.record(each), each.position, each.raw)
        else:
            yield each
    columns.report_to(records.report)


def _failing(failure: SourceError | Unusable | None) -> Iterator[_Row]:
    if failure is not None:
        raise failure
    yield from ()


def _sample(rows: Iterator[_Row | Rejected]) -> tuple[list[_Row | Rejected], SourceError | Unusable | None]:
    """Return the first rows, and the error that ended them."""
    sample: list[_Row | Rejected] = []
    size = 0
    try:
        for row in islice(rows, _SAMPLE_ROWS):
            sample.append(row)
            size += sum(map(len, row.cells)) if isinstance(row, _Row) else 0
            if size >= _SAMPLE_BYTES:
                break
    except (SourceError, Unusable) as exc:
        return sample, exc
    return sample, None


def _whole_rows(
    lines: CsvLines, rows: Iterator[list[str] | str], names: Sequence[str], *, has_header: bool
) -> Iterator[_Row | Rejected]:
    """Yield the rows that have a cell for each column, and reject the others. Blank cells behind the last column are left out."""
    expected = f"the header has {len(names)}" if has_header else f"{len(names)} columns are named"
    for row in rows:
        if isinstance(row, str):
            yield Rejected(lines.position, row, raw_of(lines.raw))
        elif len(row) < len(names) or any(row[len(names) :]):
            yield Rejected(lines.position, f"the row has {len(row)} fields and {expected}", raw_of(lines.raw))
        else:
            yield _Row(row[: len(names)], lines.position, lines.raw, lines.size)


def _names(header: Sequence[str]) -> list[str]:
    """Return the names of the columns. One without a name, such as the index that pandas writes, is named by its number."""
    return [name.strip() or f"column_{number}" for number, name in enumerate(header, start=1)]


def _column_types(names: Sequence[str], cells: Sequence[Sequence[str]], records: Records) -> dict[str, ColumnType]:
    """Return the types of the metadata columns: as given, else guessed from the sample."""
    taken = records.fields.taken(names)
    given = records.options.types
    chosen = records.fields.metadata
    return {
        name: given.get(name) or guess_type(row[index] for row in cells)
        for index, name in enumerate(names)
        if name not in taken and (chosen is None or name in chosen)
    }


def _find_delimiter(head: str, fields: FieldMap, options: ReadOptions, by_suffix: str) -> str:
    """Return the first delimiter, the suffix's before the others, with which the columns of the file are usable.

    If none is, return the one with the most columns, for the message.
    """
    candidates = (by_suffix, *(each for each in DELIMITERS if each != by_suffix))
    rows = {delimiter: _probe(head, delimiter) for delimiter in candidates}
    if options.columns:
        width = len(options.columns)
        return max(candidates, key=lambda delimiter: sum(len(row) == width for row in rows[delimiter]))
    headers = {delimiter: _names(found[0]) if found else [] for delimiter, found in rows.items()}
    usable = (delimiter for delimiter in candidates if fields.fits(headers[delimiter]))
    return next(usable, None) or max(candidates, key=lambda delimiter: len(headers[delimiter]))


def _probe(head: str, delimiter: str) -> list[list[str]]:
    try:
        return [row for row in islice(csv.reader(head.splitlines(keepends=True), delimiter=delimiter), _PROBED_ROWS) if row]
    except csv.Error:
        try:
            return [next(csv.reader(head.splitlines(keepends=True)[:1], delimiter=delimiter))]
        except (csv.Error, StopIteration):
            return []


class _TooLargeError(Exception):
    pass


def csv_rows(lines: CsvLines, delimiter: str, *, spaced: bool = False) -> Iterator[list[str] | str]:
    """Yield the rows that are not empty, or the reason a row cannot be read. Raise `Unusable` if a quote is never closed.

    `spaced`: whether spaces behind a delimiter belong to it.
    """
    rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced, strict=True)
    while True:
        lines.begin()
        try:
            row = next(rows)
        except StopIteration:
            return
        except _TooLargeError:
            yield too_large(lines.limit)
        except csv.Error as exc:
            if lines.ended:  # only an open quote reaches the end within a row
                raise Unusable(
                    f"cannot read {lines.position}: a quote opens in this row and is never closed, which hides all other rows; "
                    "close it, or double it within a quoted field, and run again"
                ) from exc
            yield too_large(lines.limit) if lines.too_large else f"the row{lines.extent} is not well-formed: {exc}"
        else:
            if lines.too_large:
                yield too_large(lines.limit)
            elif row:
                yield row


class CsvLines:
    """The lines a CSV reader reads, with a bound for the size of a row; a quoted field may span several lines.

    An iterator rather than a generator: after an exception, it and the reader go on with the next line.

    Attributes:
        limit: most bytes of a row. Of a larger row, the reader gets only the characters it needs to find the row's end.
        ended: whether there are no more lines.
        too_large: whether the row is larger than `limit`.
        raw: the first bytes of the row.
        size: bytes of the row.
    """

    def __init__(self, stream: ByteStream, limit: int) -> None:
        self._lines = read_lines(stream, limit)
        self._where = stream.where
        self._number = 0
        self.size = 0
        self._first = 0
        self.limit = limit
        self.ended = False
        self.too_large = False
        self.raw = b""

    def begin(self) -> None:
        """Start a new row at the next line."""
        self._first = self._number + 1
        self.size = 0
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

    def __iter__(self) -> CsvLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.ended = True
            raise StopIteration
        self._number = line.number
        self.size += len(line.data) + 1
        if len(self.raw) < RAW_LIMIT:
            self.raw += line.data[:RAW_LIMIT] + b"\n"
        if line.too_long:
            raise _TooLargeError
        # Bytes that are not UTF-8 become lone surrogates, which the check of the record finds in their field.
        text = line.data.decode(errors="surrogateescape") + "\n"
        if self.size > self.limit:
            self.too_large = True
            return _skeleton(text)
        return text


def _skeleton(line: str) -> str:
    """Return the quotes of a line and their neighbors: all the reader needs to find the end of a field that is not kept."""
    single = line.replace('""', "")
    return _BESIDE_NO_QUOTE.sub("", single) if '"' in single else ""
