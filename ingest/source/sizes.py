"""How much there is to read, as far as that shows without reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from ingest.errors import SourceError
from ingest.records import Source
from ingest.source.files import FileSource, FolderSource
from ingest.source.streams import Place, source_errors


def hold_bytes(sources: Iterable[Source], wanted: int) -> bool:
    """Whether files of these sources hold that many bytes together. False where it does not show: a pipe, a database."""
    left = wanted
    for size in _sizes(sources):
        left -= size
        if left <= 0:
            return True
    return False


def _sizes(sources: Iterable[Source]) -> Iterator[int]:
    """Of files, in bytes. What cannot be looked at now fails when it is read, if it still cannot."""
    for source in sources:
        with suppress(SourceError):
            if isinstance(source, FileSource):
                yield _size(source.place, source.place.path)
            elif isinstance(source, FolderSource):
                for entry, _ in source.files():
                    yield _size(source.place, entry.path)


def _size(place: Place, path: str) -> int:
    with source_errors(f"look at {place.name}"):
        return int(place.system.size(path) or 0)
