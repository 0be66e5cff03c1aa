"""The size of sources, as far as it is known before reading."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from ingest.errors import SourceError
from ingest.records import Source
from ingest.source.files import FileSource, FolderSource
from ingest.source.places import Place
from ingest.source.streams import source_errors


def hold_bytes(sources: Iterable[Source], least: int) -> bool:
    """Return whether the files of these sources have at least `least` bytes in total; pipes and databases count as empty."""
    left = least
    for size in _sizes(sources):
        left -= size
        if left <= 0:
            return True
    return False


def _sizes(sources: Iterable[Source]) -> Iterator[int]:
    """Yield the size of each file in bytes. Skips files that cannot be opened: reading them reports the error."""
    for source in sources:
        with suppress(SourceError):
            if isinstance(source, FileSource):
                yield _size(source.place, source.place.path)
            elif isinstance(source, FolderSource):
                for entry, _ in source.files():
                    yield entry.size or 0


def _size(place: Place, path: str) -> int:
    with source_errors(f"access {place.name}"):
        return int(place.system.size(path) or 0)
