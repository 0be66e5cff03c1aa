"""Files as sources: one file, standard input, or a folder of files."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from fsspec.utils import glob_translate  # type: ignore[import-untyped]

from ingest.errors import MissingExtraError, SourceError
from ingest.records import Document, FileFacts, Rejected
from ingest.source.column_types import guess_type, typed
from ingest.source.convert import check_format, document_from_file, is_converted_apart, is_text
from ingest.source.fields import NoRecordsError, Unusable, raw_of
from ingest.source.formats import FileFormat, as_records, format_of_path
from ingest.source.ignore_files import IgnoreFiles
from ingest.source.reading_report import ReadingReport
from ingest.source.streams import ByteStream, Entry, Place, first_line, printable, stdin_stream
from ingest.source.tables import FilePart, Table

_Item = Document | Rejected | Future[Document | Rejected]
"""A result, or one that a worker process is at."""

JUNK = ("node_modules", "__pycache__")
"""Folders that are left out, like every file and folder whose name begins with a dot."""

RECORD_SEPARATOR = "//"
"""The separator of file path and record id in the ids of a folder. No path contains it, so ids of two files never collide."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A single file: a table of records, or one document.

    Attributes:
        doc_id: the document's id, if it is one document.
        part: the records to read; None: all.
        origin: see `Source`.
    """

    name: str
    place: Place
    file_format: FileFormat
    table: Table
    doc_id: str
    part: FilePart | None = None
    origin: str | None = None

    @property
    def yields_files(self) -> bool:
        return not self.file_format.is_table

    @property
    def report(self) -> ReadingReport:
        return self.table.report

    def size(self) -> int | None:
        """Return the bytes of a table that is read record by record, else None. See `Source`."""
        return self.place.facts().size if self.file_format.has_lines and self.part is None else None

    @property
    def position(self) -> int:
        return self.report.position

    def read(self) -> Iterator[Document | Rejected]:
        self.report.clear()
        try:
            stream = _open(self.place, self.place.path, self.name, self.file_format, self.part)
        except (FileNotFoundError, PermissionError) as exc:
            raise SourceError(f"cannot open {self.name}: {first_line(exc)}; fix it and run again") from exc
        with stream:
            items = _read_alone(stream, self.file_format, self.table, self.doc_id, self.part)
            if self.file_format.is_table:
                yield from items
                return
            facts = self.place.facts()
            yield from (_with_facts(item, facts) for item in items)


@dataclass(slots=True)
class StdinSource:
    """Standard input. It can be read once, and the end of a crashed producer looks like the end of the data."""

    end_is_certain: ClassVar[bool] = False
    reads_once: ClassVar[bool] = True

    name: str
    file_format: FileFormat
    table: Table
    spent: bool = False

    @property
    def report(self) -> ReadingReport:
        return self.table.report

    def read(self) -> Iterator[Document | Rejected]:
        if self.spent:
            raise SourceError("stdin was read already: write it to a file to read it twice")
        self.spent = True
        with stdin_stream(self.file_format.compression) as stream:
            yield from _read_alone(stream, self.file_format, self.table, "stdin")


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a folder, or a part of its records (None: all)."""

    entry: Entry
    file_format: FileFormat
    part: FilePart | None = None


@dataclass(frozen=True, slots=True)
class FolderSource:
    """The files of a folder and its subfolders, in sorted order.

    A document's id is its path from the folder; a record's id is the path of its file, `//`, and its own id. Left out: links,
    pipes, devices, hidden files, `JUNK`, and files of unknown format. A file that cannot be used is `Rejected`.

    Attributes:
        file_format: the format of every file; None: the one its suffix stands for.
        matches: returns whether to read the file at a path from the folder.
        origin: see `Source`.
    """

    yields_files: ClassVar[bool] = True

    name: str
    place: Place
    file_format: FileFormat | None
    table: Table
    matches: Callable[[str], bool]
    origin: str | None = None

    @property
    def report(self) -> ReadingReport:
        return self.table.report

    def files(self) -> Iterator[tuple[Entry, FileFormat]]:
        """Yield the files to read, with their formats. Count those of unknown formats in the report."""
        self.report.clear()
        for entry, file_format in self._chosen():
            if file_format is not None:
                yield entry, file_format
            else:
                self.report.skip(entry.relative)

    def count(self) -> int | None:
        """Return the number of documents of a local folder, or None if one of its files is a table. See `Source`."""
        if not self._is_local:
            return None
        files = 0
        for _, file_format in self._chosen():
            if file_format is not None and file_format.is_table:
                return None
            files += file_format is not None
        return files

    def size(self) -> int | None:
        """Return the bytes of the files of a local folder, or None if one of them is Parquet. See `Source`."""
        if not self._is_local:
            return None
        total = 0
        for entry, file_format in self._chosen():
            if file_format is not None and file_format.name == "parquet":  # its rows tell no bytes
                return None
            total += (entry.facts.size or 0) if file_format is not None else 0
        return total

    @property
    def position(self) -> int:
        return self.report.position

    @property
    def _is_local(self) -> bool:
        return isinstance(self.place.system, LocalFileSystem)

    def _chosen(self) -> Iterator[tuple[Entry, FileFormat | None]]:
        """Yield the files that are neither ignored nor left out by patterns, with their formats; None if it is unknown."""
        ignored = IgnoreFiles(Path(self.place.path)) if self._is_local else None
        for entry in self.place.files(_is_junk):
            if (ignored is not None and ignored.ignores(entry.relative)) or not self.matches(entry.relative):
                continue
            file_format = self.file_format or format_of_path(entry.relative)
            if file_format is not None and self.table.options.records is not None:
                file_format = as_records(file_format)
            yield entry, file_format

    def read(self) -> Iterator[Document | Rejected]:
        return read_pieces(self.place, self.table, (Piece(entry, file_format) for entry, file_format in self.files()))


@dataclass(frozen=True, slots=True)
class PiecesSource:
    """Some files of a `FolderSource`, or parts of them."""

    name: str
    place: Place
    table: Table
    pieces: tuple[Piece, ...]

    @property
    def report(self) -> ReadingReport:
        return self.table.report

    def read(self) -> Iterator[Document | Rejected]:
        self.report.clear()
        return read_pieces(self.place, self.table, self.pieces)


def read_pieces(place: Place, table: Table, pieces: Iterable[Piece]) -> Iterator[Document | Rejected]:
    """Yield the documents of files in a folder. See `FolderSource`. Converts files in worker processes while it reads on."""
    cores = os.cpu_count() or 1
    executor = ThreadPoolExecutor(cores, thread_name_prefix="convert")
    try:
        yield from _in_order((each for piece in pieces for each in _read_piece(place, table, piece, executor)), 2 * cores)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _in_order(items: Iterable[_Item], ahead: int) -> Iterator[Document | Rejected]:
    """Yield results in order, while up to `ahead` items behind an unfinished one are read."""
    waiting: deque[_Item] = deque()
    try:
        for item in items:
            waiting.append(item)
            while waiting and (len(waiting) > ahead or not isinstance(waiting[0], Future) or waiting[0].done()):
                yield _result(waiting.popleft())
    except Exception:
        yield from map(_result, waiting)
        raise
    yield from map(_result, waiting)


def _result(item: _Item) -> Document | Rejected:
    return item.result() if isinstance(item, Future) else item


def _read_piece(place: Place, table: Table, piece: Piece, executor: Executor) -> Iterator[_Item]:
    entry, file_format = piece.entry, piece.file_format
    where = printable(f"{place.name}/{entry.relative}")
    doc_id = None if file_format.is_table else printable(entry.relative)
    own = replace(table, prefix=entry.relative + RECORD_SEPARATOR)
    folders = partition_facts(entry.relative)
    if not file_format.has_lines:
        table.report.position += entry.facts.size or 0
    try:
        with _open(place, entry.path, where, file_format, piece.part) as stream, _damage_alone(file_format):
            if not is_converted_apart(file_format.name):
                items = _read(stream, file_format, own, entry.relative, piece.part)
                if not file_format.is_table:
                    items = (_with_facts(item, entry.facts) for item in items)
                yield from (_in_folders(item, folders) for item in items) if folders else items
                return
            check_format(file_format.name)
            data = stream.read_all(own.max_bytes)
        yield executor.submit(
            lambda: _in_folders(_with_facts(_document(data, own, file_format, entry.relative, where), entry.facts), folders)
        )
    except NoRecordsError:
        table.report.skip(entry.relative)
    except (MissingExtraError, Unusable) as exc:  # concerns this file only
        yield Rejected(where, str(exc), doc_id=doc_id)
    except (FileNotFoundError, PermissionError) as exc:
        if doc_id is None:  # the missing records are unknown, so nothing may be deleted
            raise SourceError(f"cannot open {where}: {first_line(exc)}; fix it and run again") from exc
        yield Rejected(where, f"the file cannot be opened: {first_line(exc)}", doc_id=doc_id)


def partition_facts(path: str) -> dict[str, Any]:
    """Return the facts in the folders of a path: `year=2024/lang=de/a.csv` has a year and a language."""
    facts: dict[str, Any] = {}
    for folder in path.split("/")[:-1]:
        name, separator, value = folder.partition("=")
        if separator and name and "%00" not in folder:
            text = unquote(printable(value))
            facts[unquote(printable(name))] = None if text == "__HIVE_DEFAULT_PARTITION__" else typed(text, guess_type([text]))
    return facts


def _in_folders(item: Document | Rejected, facts: Mapping[str, Any]) -> Document | Rejected:
    """Add the facts of the folders of a document to its metadata. Its own take precedence."""
    return replace(item, metadata={**facts, **item.metadata}) if facts and isinstance(item, Document) else item


def _with_facts(item: Document | Rejected, facts: FileFacts) -> Document | Rejected:
    return replace(item, file=facts) if isinstance(item, Document) else item


def matcher(glob: str | None, include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """Return a predicate: the path matches `glob`, one of `include` if there are any, and none of `exclude`.

    Patterns are shell patterns with `**` for any folders. A pattern of `include` or `exclude` without a slash is matched with
    the file name alone.
    """
    whole = re.compile(glob_translate(glob or "**"))
    included, excluded = (
        [(re.compile(glob_translate(each)), "/" in each) for each in patterns] for patterns in (include, exclude)
    )

    def matches(patterns: list[tuple[re.Pattern[str], bool]], path: str) -> bool:
        name = path.rpartition("/")[2]
        return any(pattern.match(path if of_path else name) for pattern, of_path in patterns)

    return lambda path: bool(whole.match(path)) and (not included or matches(included, path)) and not matches(excluded, path)


def _open(place: Place, path: str, where: str, file_format: FileFormat, part: FilePart | None) -> ByteStream:
    """Open a file. Raise `SourceError` if it changed since it was divided into parts, whose bounds are then wrong."""
    if part is not None and place.version(path) != part.version:
        raise SourceError(f"{where} changed while it was read in parts: run again when nothing writes to it")
    return place.open(path, where, file_format.compression)


def _read_alone(
    stream: ByteStream, file_format: FileFormat, table: Table, doc_id: str, part: FilePart | None = None
) -> Iterator[Document | Rejected]:
    """Read the only file of a source: a table without usable columns is then an unreadable source."""
    try:
        yield from _read(stream, file_format, table, doc_id, part)
    except Unusable as exc:
        raise SourceError(str(exc)) from exc


def _read(
    stream: ByteStream, file_format: FileFormat, table: Table, doc_id: str, part: FilePart | None
) -> Iterator[Document | Rejected]:
    if file_format.is_table:
        yield from table.read(stream, file_format.name, part)
        return
    yield _document(stream.read_all(table.max_bytes), table, file_format, doc_id, stream.where)


def _document(data: bytes | None, table: Table, file_format: FileFormat, doc_id: str, where: str) -> Document | Rejected:
    """Return the document in a file; `data` is None if the file is too large."""
    try:
        if data is None:
            raise Unusable(f"the file is larger than {table.max_bytes:,} bytes: raise max_record_bytes to accept it")  # noqa: TRY301
        data = _as_utf8(data, table.options.encoding, file_format)
        return document_from_file(data, file_format.name, doc_id=doc_id, position=where, options=table.options)
    except Unusable as exc:
        return Rejected(where, str(exc), raw_of(data or b""), printable(doc_id))


def _as_utf8(data: bytes, encoding: str | None, file_format: FileFormat) -> bytes:
    """Return a text in UTF-8 with a mark, which every converter obeys, if its encoding is given."""
    if encoding is None or not is_text(file_format.name):
        return data
    try:
        return data.decode(encoding).removeprefix("\ufeff").encode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Unusable(f"the file is not {encoding} (byte {exc.start + 1})") from None


def _is_junk(name: str) -> bool:
    return name.startswith((".", "~$", ".~lock.")) or name.endswith(("~", ".swp", ".bak", ".tmp")) or name in JUNK


@contextmanager
def _damage_alone(file_format: FileFormat) -> Iterator[None]:
    """Let a compressed file that breaks concern itself alone. Its records may be missing, so it holds deletes back."""
    try:
        yield
    except SourceError as exc:
        if file_format.compression is None:
            raise
        raise Unusable(str(exc)) from exc
