"""Files as sources: one file, standard input, or a folder of files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from fsspec.utils import glob_translate  # type: ignore[import-untyped]

from ingest.errors import SourceError
from ingest.records import Document, Rejected, Unread, Versioned, VersionedFile
from ingest.source.formats import FileFormat, as_records, format_of_path
from ingest.source.ignore_files import IgnoreFiles
from ingest.source.pieces import (
    Piece,
    PiecesSource,
    ReadItem,
    UnchangedFiles,
    of_file,
    open_file,
    read_alone,
    read_changed_pieces,
    read_pieces,
    within_file,
)
from ingest.source.places import Entry, Place
from ingest.source.reading_report import ReadingReport
from ingest.source.streams import ByteStream, first_line, stdin_stream
from ingest.source.tables import FilePart, Table
from ingest.source.versions import document_version, records_version

JUNK = ("node_modules", "__pycache__")
"""Folders that are left out, like every file and folder whose name begins with a dot."""


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
        return self.place.entry().size if self.file_format.has_lines and self.part is None else None

    @property
    def position(self) -> int:
        return self.report.position

    def read(self) -> Iterator[Document | Rejected]:
        return (item for item in self.read_files(lambda _: ()) if isinstance(item, Document | Rejected))

    def read_files(self, unchanged: UnchangedFiles) -> Iterator[ReadItem]:
        """Read the file unless it has not changed. See `FolderSource.read_files`."""
        self.report.clear()
        if self.part is not None:
            with self._open() as stream:
                yield from read_alone(stream, self.file_format, self.table, self.doc_id, self.part)
            return
        with self._openable():
            entry = self.place.entry()
        if self.file_format.is_table:
            yield from self._read_table(entry, unchanged)
            return
        version = document_version(entry.version, self.file_format, self.table.options_digest)
        if version is not None and unchanged([Versioned(self.doc_id, version)]):
            yield Unread(self.doc_id, self.name)
            return
        with self._open() as stream:
            for item in read_alone(stream, self.file_format, self.table, self.doc_id):
                yield of_file(item, entry, version)

    def _read_table(self, entry: Entry, unchanged: UnchangedFiles) -> Iterator[ReadItem]:
        version = records_version(entry.version, self.file_format, self.table.records_digest)
        if version is not None and unchanged([VersionedFile(self.table.prefix, version)]):
            self.report.position += entry.size or 0
            yield Unread(self.table.prefix, self.name)
            return
        with self._open() as stream:
            items = read_alone(stream, self.file_format, self.table, self.doc_id)
            yield from within_file(items, self.place, entry, self.table, version)

    def _open(self) -> ByteStream:
        with self._openable():
            return open_file(self.place, self.place.path, self.name, self.file_format, self.part)

    @contextmanager
    def _openable(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, PermissionError) as exc:
            raise SourceError(f"cannot open {self.name}: {first_line(exc)}; fix it and run again") from exc


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
            yield from read_alone(stream, self.file_format, self.table, "stdin")


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
        if not self.is_local:
            return None
        files = 0
        for _, file_format in self._chosen():
            if file_format is not None and file_format.is_table:
                return None
            files += file_format is not None
        return files

    def size(self) -> int | None:
        """Return the bytes of the files of a local folder, or None if one of them is Parquet. See `Source`."""
        if not self.is_local:
            return None
        total = 0
        for entry, file_format in self._chosen():
            if file_format is not None and file_format.name == "parquet":  # its rows tell no bytes
                return None
            total += (entry.size or 0) if file_format is not None else 0
        return total

    @property
    def position(self) -> int:
        return self.report.position

    @property
    def is_local(self) -> bool:
        """Whether the folder is on a file system of this machine."""
        return isinstance(self.place.system, LocalFileSystem)

    def part(self, entries: Iterable[Entry]) -> PiecesSource:
        """Return the files of these entries as a source, without those that `read` leaves out."""
        files = ((entry, file_format) for entry, file_format in self._chosen(entries) if file_format is not None)
        return PiecesSource(self.name, self.place, self.table, tuple(self._pieces(files)))

    def _chosen(self, entries: Iterable[Entry] | None = None) -> Iterator[tuple[Entry, FileFormat | None]]:
        """Yield the files that are neither ignored nor left out by patterns, with their formats; None if it is unknown.

        `entries`: the files to choose from. None: all.
        """
        ignored = IgnoreFiles(Path(self.place.path)) if self.is_local else None
        for entry in self.place.files(is_junk) if entries is None else entries:
            if (ignored is not None and ignored.ignores(entry.relative)) or not self.matches(entry.relative):
                continue
            file_format = self.file_format or format_of_path(entry.relative)
            if file_format is not None and self.table.options.records is not None:
                file_format = as_records(file_format)
            yield entry, file_format

    def read(self) -> Iterator[Document | Rejected]:
        return read_pieces(self.place, self.table, self._pieces(self.files()))

    def read_files(self, unchanged: UnchangedFiles) -> Iterator[ReadItem]:
        """Read the files but for those that have not changed.

        Passes ids and versions to `unchanged`, like `Source.read_changed`, also those of files of records. `Unread` for a file of
        records stands for all of its documents. One that is read is between `FileBegin` and `FileEnd`, if its version is known;
        without its end, it was not read as a whole.
        """
        return read_changed_pieces(self.place, self.table, self._pieces(self.files()), unchanged)

    def _pieces(self, files: Iterable[tuple[Entry, FileFormat]]) -> Iterator[Piece]:
        return (Piece(entry, file_format) for entry, file_format in files)


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


def is_junk(name: str) -> bool:
    """Return whether files and folders of this name are left out."""
    return name.startswith((".", "~$", ".~lock.")) or name.endswith(("~", ".swp", ".bak", ".tmp")) or name in JUNK
