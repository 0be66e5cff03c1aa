"""A source divided into parts for several processes. Each part is a source with the name of the whole, so that ids are equal.

Parts keep the order of the source. Small files of a folder are grouped; JSON Lines are cut at line starts, Parquet between row
groups, rows of a database by ranges of their id. A source that cannot be divided is one part.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from ingest.errors import ConfigurationError, SourceError
from ingest.parameters import normalize, parse_integer
from ingest.records import Source
from ingest.source.fields import Unusable
from ingest.source.files import FileSource, FolderSource, StdinSource
from ingest.source.formats import FileFormat
from ingest.source.pieces import Piece, PiecesSource
from ingest.source.places import Place
from ingest.source.sql import SqlSource, absolute_location
from ingest.source.streams import source_errors
from ingest.source.tables import FilePart, Table

logger = logging.getLogger(__name__)

_NEAR = 2**16
"""Bytes per read in the search for a line start."""


@dataclass(frozen=True, slots=True)
class PartSize:
    """The size of a part: a source is divided into `parts`, within these bounds.

    Attributes:
        parts: the number of parts to aim for.
        least_bytes, most_bytes: bounds in bytes for files. The points of a part are kept in memory, so it must not be too large.
        least_rows: least rows per part of a database.
    """

    parts: int
    least_bytes: int = 2**18
    most_bytes: int = 2**26
    least_rows: int = 1000

    def __post_init__(self) -> None:
        for name, least in (("parts", 1), ("least_bytes", 0), ("most_bytes", 1), ("least_rows", 0)):
            normalize(self, name, parse_integer, least=least)

    def of(self, total: int) -> int:
        """Return the bytes per part for `total` bytes."""
        return max(1, self.least_bytes, min(self.most_bytes, -(-total // self.parts)))


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of a source: `source` reads it, `extent` describes it in messages."""

    source: Source
    extent: str


@dataclass(frozen=True, slots=True)
class Split:
    """The parts of a source, in its order. `ids_may_meet`: records of two parts may have the same id."""

    partitions: tuple[Partition, ...]
    ids_may_meet: bool = False


def split(source: Source, size: PartSize) -> Split:
    """Divide a source into parts. Together they yield every record of the source exactly once.

    Raises `ConfigurationError` for standard input, which only one process can read, and `SourceError`.
    """
    if isinstance(source, StdinSource):
        raise ConfigurationError(
            "standard input cannot be split, and other machines cannot read it: write it to a file that they can read, or run"
            " without --engine ray"
        )
    if isinstance(source, FolderSource):
        return _split_folder(source, size)
    if isinstance(source, FileSource):
        return _split_file(source, size)
    if isinstance(source, SqlSource):
        return _split_rows(source, size)
    return _whole(source)


def line_starts(file: BinaryIO, size: int, step: int) -> list[int]:
    """Return offsets that divide the first `size` bytes of a file into about `step` each: 0, ascending line starts, `size`."""
    starts = [0]
    at = step
    while at < size:
        file.seek(at - 1)
        start = at - 1
        while block := file.read(_NEAR):
            newline = block.find(b"\n")
            if newline >= 0:
                start += newline + 1
                break
            start += len(block)
        if start >= size:
            break
        starts.append(start)
        at = start + step
    return [*starts, size]


def _whole(source: Source) -> Split:
    logger.info("%s cannot be split: one worker reads it", source.name)
    return Split((Partition(source, f"all of {source.name}"),))


def _split_file(source: FileSource, size: PartSize) -> Split:
    parts = _parts(source.place, source.place.path, source.file_format, source.table, size)
    if len(parts) == 1:
        return Split((Partition(source, f"all of {source.name}"),)) if _is_cuttable(source.file_format) else _whole(source)
    return Split(
        tuple(Partition(replace(source, part=part), f"{_extent(part, source.file_format)} of {source.name}") for part in parts),
        ids_may_meet=True,
    )


def _split_folder(source: FolderSource, size: PartSize) -> Split:
    files = [(Piece(entry, file_format), _length(source.place, entry.path)) for entry, file_format in source.files()]
    step = size.of(sum(each for _, each in files))
    cut = replace(size, least_bytes=step, most_bytes=step)
    partitions: list[Partition] = []
    gathered: list[Piece] = []
    gathered_bytes = 0

    def close() -> Iterator[Partition]:
        if gathered:
            pieces = PiecesSource(source.name, source.place, source.table, tuple(gathered))
            yield Partition(pieces, f"{_first_and_last(gathered)} of {source.name}")
            gathered.clear()

    ids_may_meet = False
    for piece, length in files:
        parts = _parts(source.place, piece.entry.path, piece.file_format, source.table, cut) if length > step else [None]
        ids_may_meet |= len(parts) > 1
        for part in parts:
            gathered.append(replace(piece, part=part))
            gathered_bytes += length // len(parts)
            if gathered_bytes >= step:
                partitions.extend(close())
                gathered_bytes = 0
    partitions.extend(close())
    if not partitions:
        partitions.append(Partition(PiecesSource(source.name, source.place, source.table, ()), f"all of {source.name}"))
    return Split(tuple(partitions), ids_may_meet)


def _split_rows(source: SqlSource, size: PartSize) -> Split:
    source = replace(source, location=absolute_location(source.location))
    try:
        ranges = source.ranges(size.parts, size.least_rows)
    except SourceError as exc:
        logger.warning("one worker reads all rows: %s", exc)
        ranges = []
    if not ranges:
        return _whole(source)
    return Split(tuple(Partition(replace(source, keys=keys), f"{keys} of {source.name}") for keys in ranges))


def _is_cuttable(file_format: FileFormat) -> bool:
    return file_format.compression is None and file_format.name in {"jsonl", "parquet"}


def _parts(place: Place, path: str, file_format: FileFormat, table: Table, size: PartSize) -> list[FilePart | None]:
    """Return the parts of one file in order. [None] is the whole file, also if it is damaged: reading it reports the error."""
    if not _is_cuttable(file_format):
        return [None]
    try:
        version = place.version(path)
        with place.open(path, place.name, None) as stream:
            if file_format.name == "parquet":
                bounds: list[int] = _group_bounds(table.row_groups(stream), size)
            else:
                length = _length(place, path)
                with source_errors(f"access {place.name}"):
                    bounds = line_starts(stream.seekable(), length, size.of(length))
    except (SourceError, Unusable, FileNotFoundError, PermissionError):
        return [None]
    if len(bounds) <= 2:  # noqa: PLR2004  the start and the end
        return [None]
    ends = [*bounds[1:-1], None]
    return [FilePart(start, end, version) for start, end in zip(bounds, ends, strict=False)]


def _length(place: Place, path: str) -> int:
    """Return a file's size in bytes, or 0 if the file system does not know it."""
    with source_errors(f"access {place.name}"):
        return int(place.system.size(path) or 0)


def _group_bounds(groups: list[int], size: PartSize) -> list[int]:
    step = size.of(sum(groups))
    bounds = [0]
    size_of_part = 0
    for number, length in enumerate(groups):
        size_of_part += length
        if size_of_part >= step and number + 1 < len(groups):
            bounds.append(number + 1)
            size_of_part = 0
    return [*bounds, len(groups)]


def _extent(part: FilePart | None, file_format: FileFormat) -> str:
    if part is None:
        return "all"
    unit = "bytes" if file_format.name == "jsonl" else "row groups"
    return f"{unit} {part.start:,} to {'the end' if part.end is None else f'{part.end:,}'}"


def _first_and_last(pieces: list[Piece]) -> str:
    names = [
        piece.entry.relative if piece.part is None else f"{_extent(piece.part, piece.file_format)} of {piece.entry.relative}"
        for piece in (pieces[0], pieces[-1])
    ]
    return names[0] if len(pieces) == 1 else f"{len(pieces)} files, {names[0]} to {names[1]},"
