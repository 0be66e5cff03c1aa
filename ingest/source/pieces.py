"""Reading the files of a folder, in order: converted in worker processes while the next ones are read."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import unquote

from ingest.errors import MissingExtraError, SourceError
from ingest.records import Document, FileBegin, FileEnd, Rejected, Unread, Versioned, VersionedFile
from ingest.source.column_types import guess_type, typed
from ingest.source.convert import check_format, document_from_file, is_converted_apart, is_text
from ingest.source.fields import NoRecordsError, Unusable, raw_of
from ingest.source.formats import FileFormat
from ingest.source.places import Entry, Place, printable
from ingest.source.reading_report import ReadingReport
from ingest.source.streams import ByteStream, first_line
from ingest.source.tables import FilePart, Table
from ingest.source.versions import document_version, records_version

ReadItem = Document | Rejected | Unread | FileBegin | FileEnd
"""An item that `read_files` of a source yields."""

UnchangedFiles = Callable[[Sequence[Versioned | VersionedFile]], Collection[str]]
"""Return the ids of the documents and of the files of records that are stored with the given version."""

_Item = ReadItem | Future[Document | Rejected]
"""A result, or one that a worker process is at."""

COMPARED_FILES = 256
"""Number of files whose versions are compared together."""

RECORD_SEPARATOR = "//"
"""The separator of file path and record id in the ids of a folder. No path contains it, so ids of two files never collide."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a folder, or a part of its records (None: all)."""

    entry: Entry
    file_format: FileFormat
    part: FilePart | None = None

    @property
    def doc_id(self) -> str:
        """The id of the document, if it is one."""
        return printable(self.entry.relative)

    @property
    def record_prefix(self) -> str:
        """The text with which the ids of its records begin, and no other ids of the folder."""
        return self.entry.relative + RECORD_SEPARATOR

    def version(self, table: Table) -> str | None:
        """Return the version of the document, see `document_version`."""
        return document_version(self.entry.version, self.file_format, table.options_digest)

    def records_version(self, table: Table) -> str | None:
        """Return the version of its records, see `records_version`; None if it is a part of them, or its path is not UTF-8."""
        if self.part is not None or printable(self.entry.relative) != self.entry.relative:
            return None
        return records_version(self.entry.version, self.file_format, table.records_digest)

    def versioned(self, table: Table) -> Versioned | VersionedFile | None:
        """Return its id and version, or None if it has none and must be read."""
        if self.file_format.is_table:
            version = self.records_version(table)
            return None if version is None else VersionedFile(self.record_prefix, version)
        version = self.version(table)
        return None if version is None else Versioned(self.doc_id, version)


@dataclass(frozen=True, slots=True)
class PiecesSource:
    """Some files of a `FolderSource`, or parts of them."""

    is_part: ClassVar[bool] = True
    yields_files: ClassVar[bool] = True

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

    def read_files(self, unchanged: UnchangedFiles) -> Iterator[ReadItem]:
        """Read the files but for the documents that have not changed. See `FolderSource.read_files`.

        All files of records are read: to know whether one is stored takes longer than to read some.
        """

        def among_documents(files: Sequence[Versioned | VersionedFile]) -> Collection[str]:
            documents = [each for each in files if isinstance(each, Versioned)]
            return unchanged(documents) if documents else ()

        self.report.clear()
        return read_changed_pieces(self.place, self.table, self.pieces, among_documents)


def read_pieces(place: Place, table: Table, pieces: Iterable[Piece]) -> Iterator[Document | Rejected]:
    """Yield the documents of files in a folder. See `FolderSource`. Converts files in worker processes while it reads on."""
    return (item for item in read_changed_pieces(place, table, pieces) if isinstance(item, Document | Rejected))


def read_changed_pieces(
    place: Place, table: Table, pieces: Iterable[Piece], unchanged: UnchangedFiles | None = None
) -> Iterator[ReadItem]:
    """Yield the documents of files in a folder, without opening those that `unchanged` names. None: opens all.

    See `FolderSource.read_files`.
    """
    cores = os.cpu_count() or 1
    executor = ThreadPoolExecutor(cores, thread_name_prefix="convert")
    left = pieces if unchanged is None else _without_unchanged(place, table, pieces, unchanged)
    items = (
        each for piece in left for each in ([piece] if isinstance(piece, Unread) else _read_piece(place, table, piece, executor))
    )
    try:
        yield from _in_order(items, 2 * cores)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _without_unchanged(
    place: Place, table: Table, pieces: Iterable[Piece], unchanged: UnchangedFiles
) -> Iterator[Piece | Unread]:
    """Yield the files in order, as `Unread` if they have not changed."""
    for group in _groups(pieces):
        versions = [piece.versioned(table) for piece in group]
        known = [version for version in versions if version is not None]
        same = unchanged(known) if known else ()
        for piece, version in zip(group, versions, strict=True):
            if version is None or version.id not in same:
                yield piece
                continue
            table.report.position += piece.entry.size or 0
            yield Unread(version.id, f"{place.name}/{piece.doc_id}")


def _groups(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yield the files `COMPARED_FILES` at a time; also those before one that cannot be listed, which raises."""
    group: list[Piece] = []
    try:
        for piece in pieces:
            group.append(piece)
            if len(group) == COMPARED_FILES:
                yield group
                group = []
    except SourceError:
        yield group
        raise
    yield group


def _in_order(items: Iterable[_Item], ahead: int) -> Iterator[ReadItem]:
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


def _result(item: _Item) -> ReadItem:
    return item.result() if isinstance(item, Future) else item


def _read_piece(place: Place, table: Table, piece: Piece, executor: Executor) -> Iterator[_Item]:
    entry, file_format = piece.entry, piece.file_format
    where = printable(f"{place.name}/{entry.relative}")
    doc_id = None if file_format.is_table else piece.doc_id
    own = replace(table, prefix=piece.record_prefix)
    folders = partition_facts(entry.relative)
    if not file_format.has_lines:
        table.report.position += entry.size or 0
    try:
        if file_format.is_table:
            with open_file(place, entry.path, where, file_format, piece.part) as stream, _damage_alone(file_format):
                items = own.read(stream, file_format.name, piece.part)
                in_folders = (_in_folder(item, folders, own.prefix) for item in items)
                yield from within_file(in_folders, place, entry, own, piece.records_version(own))
            return
        check_format(file_format.name)
        with _damage_alone(file_format):
            data, piece = _current_data(place, piece, where, own.max_bytes)

        def document() -> Document | Rejected:
            item = _document(data, own, file_format, entry.relative, where)
            return _in_folder(of_file(item, piece.entry, piece.version(table)), folders)

        yield executor.submit(document) if is_converted_apart(file_format.name) else document()
    except NoRecordsError:
        table.report.skip(entry.relative)
    except (MissingExtraError, Unusable) as exc:  # concerns this file only
        yield Rejected(where, str(exc), doc_id=doc_id, id_prefix=own.prefix)
    except (FileNotFoundError, PermissionError) as exc:
        if doc_id is None:  # the missing records are unknown, so nothing may be deleted
            raise SourceError(f"cannot open {where}: {first_line(exc)}; fix it and run again") from exc
        yield Rejected(where, f"the file cannot be opened: {first_line(exc)}", doc_id=doc_id)


def within_file(
    items: Iterable[Document | Rejected], place: Place, entry: Entry, table: Table, version: str | None
) -> Iterator[Document | Rejected | FileBegin | FileEnd]:
    """Yield the records of a file between its begin and its end, if its version is known and is still the same at the end."""
    if version is None:
        yield from items
        return
    yield FileBegin(table.prefix, version)
    found = table.report.of_file = ReadingReport()
    try:
        yield from items
    finally:
        table.report.of_file = None
    if place.is_unchanged(entry):
        yield FileEnd(table.prefix, found.types, tuple(found.notes))


def _current_data(place: Place, piece: Piece, where: str, limit: int) -> tuple[bytes | None, Piece]:
    """Return the bytes of a document, or None if there are more than `limit`, and the file as it was when they were read.

    An object store refuses to read an object that was replaced or deleted since it was listed. It is then looked up again.
    """
    try:
        return _all_data(place, piece, where, limit), piece
    except SourceError as exc:
        if not isinstance(exc.__cause__, FileNotFoundError) and getattr(exc.__cause__, "errno", None) != errno.EBUSY:
            raise
    place.system.invalidate_cache(piece.entry.path)
    current = replace(piece, entry=place.entry_below(piece.entry.relative))
    return _all_data(place, current, where, limit), current


def _all_data(place: Place, piece: Piece, where: str, limit: int) -> bytes | None:
    with place.open(piece.entry.path, where, piece.file_format.compression) as stream:
        return stream.read_all(limit)


def partition_facts(path: str) -> dict[str, Any]:
    """Return the facts in the folders of a path: `year=2024/lang=de/a.csv` has a year and a language."""
    facts: dict[str, Any] = {}
    for folder in path.split("/")[:-1]:
        name, separator, value = folder.partition("=")
        if separator and name and "%00" not in folder:
            text = unquote(printable(value))
            facts[unquote(printable(name))] = None if text == "__HIVE_DEFAULT_PARTITION__" else typed(text, guess_type([text]))
    return facts


def _in_folder(item: Document | Rejected, facts: Mapping[str, Any], prefix: str = "") -> Document | Rejected:
    """Add the facts of the folders of a document to its metadata; its own take precedence. Note the `id_prefix` of a reject."""
    if isinstance(item, Rejected):
        return replace(item, id_prefix=prefix)
    return replace(item, metadata={**facts, **item.metadata}) if facts else item


def of_file(item: Document | Rejected, entry: Entry, version: str | None) -> Document | Rejected:
    """Return the document in a file with its version, and what the file system says about the file."""
    return replace(item, file=entry.facts, version=version) if isinstance(item, Document) else item


def open_file(place: Place, path: str, where: str, file_format: FileFormat, part: FilePart | None) -> ByteStream:
    """Open a file. Raise `SourceError` if it changed since it was divided into parts, whose bounds are then wrong."""
    if part is not None and place.version(path) != part.version:
        raise SourceError(f"{where} changed while it was read in parts: run again when nothing writes to it")
    return place.open(path, where, file_format.compression)


def read_alone(
    stream: ByteStream, file_format: FileFormat, table: Table, doc_id: str, part: FilePart | None = None
) -> Iterator[Document | Rejected]:
    """Read the only file of a source: a table without usable columns is then an unreadable source."""
    try:
        yield from read_file(stream, file_format, table, doc_id, part)
    except Unusable as exc:
        raise SourceError(str(exc)) from exc


def read_file(
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


@contextmanager
def _damage_alone(file_format: FileFormat) -> Iterator[None]:
    """Let a compressed file that breaks concern itself alone. Its records may be missing, so it holds deletes back."""
    try:
        yield
    except SourceError as exc:
        if file_format.compression is None:
            raise
        raise Unusable(str(exc)) from exc
