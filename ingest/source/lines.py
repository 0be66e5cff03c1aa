"""The lines of a byte stream, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ingest.records import RAW_LIMIT
from ingest.source.streams import BLOCK, ByteStream

_BOM = b"\xef\xbb\xbf"


def too_large(limit: int) -> str:
    """Return the reason for which a record above the limit is rejected."""
    return f"the record is larger than {limit:,} bytes: raise max_record_bytes to accept it"


class Line(NamedTuple):
    """A line without its line end, or the first `RAW_LIMIT` bytes of a line that is too long."""

    number: int
    data: bytes
    too_long: bool = False


def read_lines(stream: ByteStream, limit: int) -> Iterator[Line]:
    """Yield the lines of a stream, numbered from 1, without a byte order mark. Keeps little more than `limit` bytes of a line."""
    number = 1
    first = stream.start == 0
    parts: list[bytes] = []
    size = 0
    while block := stream.read(BLOCK):
        *ended, rest = block.split(b"\n")
        for piece in ended:
            data = b"".join([*parts, piece]) if parts else piece
            yield _line(number, data, size + len(piece), limit, first=first)
            number += 1
            parts, size = [], 0
        size += len(rest)
        parts = [*parts, rest] if size <= limit else [b"".join([*parts, rest])[:RAW_LIMIT]]
    if size:
        yield _line(number, b"".join(parts), size, limit, first=first)


def _line(number: int, data: bytes, size: int, limit: int, *, first: bool) -> Line:
    """Return a line. `size`: bytes of the whole line, of which `data` may be the start. `first`: line 1 starts the file."""
    if number == 1 and first:
        data = data.removeprefix(_BOM)
    return Line(number, data, too_long=False) if size <= limit else Line(number, data[:RAW_LIMIT], too_long=True)
