"""Files as sources: one file, standard input, or a folder of files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from fsspec.utils import glob_translate  # type: ignore[import-untyped]

from ingest.errors import MissingExtraError, SourceError
from ingest.records import Document, Rejected
from ingest.source.conversion import document_from_file
from ingest.source.fields import Unusable, raw_of
from ingest.source.kinds import Kind, kind_of
from ingest.source.streams import ByteStream, Entry, Place, first_line, printable, stdin_stream
from ingest.source.tables import Part, Table

JUNK = ("node_modules", "__pycache__")
"""Folders that are never entered; nor is anything entered whose name begins with a dot."""

RECORD_SEPARATOR = "//"
"""Between a file's path and a record's id in a folder's ids. No path contains it, so ids of two files cannot meet."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """One file, or a part of its records: the records, or the one document it is, whose id is `doc_id`.

    Attributes:
        origin: see `Source`.
    """

    name: str
    place: Place
    kind: Kind
    table: Table
    doc_id: str
    part: Part | None = None
    origin: str | None = None

    def read(self) -> Iterator[Document | Rejected]:
        try:
            stream = _open(self.place, self.place.path, self.name, self.kind, self.part)
        except (FileNotFoundError, PermissionError) as exc:
            raise SourceError(f"cannot open {self.name}: {first_line(exc)}; mend it and run again") from exc
        with stream:
            yield from _read_alone(stream, self.kind, self.table, self.doc_id, self.part)


@dataclass(slots=True)
class StdinSource:
    """What is piped in. It can be read once, and a producer that died looks like its end."""

    end_is_certain: ClassVar[bool] = False
    reads_once: ClassVar[bool] = True

    name: str
    kind: Kind
    table: Table
    spent: bool = False

    def read(self) -> Iterator[Document | Rejected]:
        if self.spent:
            raise SourceError("stdin was read already: write it to a file to read it twice")
        self.spent = True
        with stdin_stream(self.kind.compression) as stream:
            yield from _read_alone(stream, self.kind, self.table, "stdin")


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of a folder, or a part of its records."""

    entry: Entry
    kind: Kind
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class FolderSource:
    """The files of a folder and all below, in sorted order.

    A document's id is its path from the folder; a record's is the path of its file, `//`, and its own id. Left out: links,
    pipes, devices, hidden files, `JUNK`, and files of no known kind. What cannot be used of the rest is `Rejected`.

    Attributes:
        kind: what every file is taken for; None: what its suffix says.
        wanted: of paths from the folder.
        origin: see `Source`.
    """

    name: str
    place: Place
    kind: Kind | None
    table: Table
    wanted: Callable[[str], bool]
    origin: str | None = None

    def files(self) -> Iterator[tuple[Entry, Kind]]:
        """Yield those that are read, with their kinds; none of an empty folder, as no record of an empty table."""
        for entry in self.place.files(_is_junk):
            kind = self.kind or kind_of(entry.relative)
            if kind is not None and self.wanted(entry.relative):
                yield entry, kind

    def read(self) -> Iterator[Document | Rejected]:
        return read_pieces(self.place, self.table, (Piece(entry, kind) for entry, kind in self.files()))


@dataclass(frozen=True, slots=True)
class PiecesSource:
    """Some files of a `FolderSource`, or parts of them, read as it reads them."""

    name: str
    place: Place
    table: Table
    pieces: tuple[Piece, ...]

    def read(self) -> Iterator[Document | Rejected]:
        return read_pieces(self.place, self.table, self.pieces)


def read_pieces(place: Place, table: Table, pieces: Iterable[Piece]) -> Iterator[Document | Rejected]:
    """See `FolderSource`."""
    for piece in pieces:
        entry, kind = piece.entry, piece.kind
        where = printable(f"{place.name}/{entry.relative}")
        doc_id = None if kind.is_table else printable(entry.relative)
        own = replace(table, prefix=entry.relative + RECORD_SEPARATOR)
        try:
            with _open(place, entry.path, where, kind, piece.part) as stream:
                yield from _read(stream, kind, own, entry.relative, piece.part)
        except (MissingExtraError, Unusable) as exc:  # wrong for this file, which is no reason to give up the others
            yield Rejected(where, str(exc), doc_id=doc_id)
        except (FileNotFoundError, PermissionError) as exc:
            if doc_id is None:  # which records are missing now is not known, so nothing may be deleted
                raise SourceError(f"cannot open {where}: {first_line(exc)}; mend it and run again") from exc
            yield Rejected(where, f"the file cannot be opened: {first_line(exc)}", doc_id=doc_id)


def matcher(glob: str | None, include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """Whether a path from the folder is wanted: it matches `glob`, one of `include` if there are any, and none of `exclude`.

    These are shell patterns, `**` for any folders. In `include` and `exclude` one without a slash is of the name alone.
    """
    whole = re.compile(glob_translate(glob or "**"))
    included, excluded = (
        [(re.compile(glob_translate(each)), "/" in each) for each in patterns] for patterns in (include, exclude)
    )

    def matches(patterns: list[tuple[re.Pattern[str], bool]], path: str) -> bool:
        name = path.rpartition("/")[2]
        return any(pattern.match(path if of_path else name) for pattern, of_path in patterns)

    return lambda path: bool(whole.match(path)) and (not included or matches(included, path)) and not matches(excluded, path)


def _open(place: Place, path: str, where: str, kind: Kind, part: Part | None) -> ByteStream:
    """Raises `SourceError` where a part was found in another version of the file, for its bounds are not the parts' now."""
    if part is not None and place.version(path) != part.version:
        raise SourceError(f"{where} changed while it was read in parts: run again once it holds still")
    return place.open(path, where, kind.compression)


def _read_alone(
    stream: ByteStream, kind: Kind, table: Table, doc_id: str, part: Part | None = None
) -> Iterator[Document | Rejected]:
    """Where the file is all there is, a table that can be no documents is a source that cannot be read."""
    try:
        yield from _read(stream, kind, table, doc_id, part)
    except Unusable as exc:
        raise SourceError(str(exc)) from exc


def _read(stream: ByteStream, kind: Kind, table: Table, doc_id: str, part: Part | None) -> Iterator[Document | Rejected]:
    if kind.is_table:
        yield from table.read(stream, kind.format, part)
        return
    data = stream.read_all(table.max_bytes)
    try:
        if data is None:
            raise Unusable(f"the file is larger than {table.max_bytes:,} bytes: raise max_record_bytes to take it")  # noqa: TRY301
        yield document_from_file(data, kind.format, doc_id=doc_id, position=stream.where)
    except Unusable as exc:
        yield Rejected(stream.where, str(exc), raw_of(data or b""), printable(doc_id))


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name in JUNK
