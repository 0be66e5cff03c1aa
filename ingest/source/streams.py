"""Byte streams, decompressed, read in bounded pieces.

Every failure to open or read raises `SourceError`: the source may then be incomplete, so nothing may be deleted because the
source did not yield it.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, cast

from ingest.errors import IngestError, SourceError
from ingest.redaction import without_secrets

Compression = Literal["gzip", "zstd"]
COMPRESSIONS: Mapping[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
"""Suffix → compression."""

BLOCK = 2**20
"""Bytes per read."""
SPOOLED = 2**24
"""Bytes of a temporary copy that are held in memory."""


class ByteStream:
    """A forward-only reader that decompresses. A context manager for one thread.

    Args:
        opened: a binary file; closed with the stream.
        where: the name of the file in errors.

    Attributes:
        start: offset of the first byte it reads, in bytes of the file.
        encoding: the encoding of the file, which `read` turns into UTF-8. Bytes that it does not allow become bytes that
            UTF-8 does not allow either.
        old_line_ends: whether lines end with a carriage return alone, which `read` replaces.
    """

    def __init__(self, opened: BinaryIO, where: str, compression: Compression | None = None) -> None:
        self._opened = opened
        self._packed = _Counted(opened) if compression else None
        self._stream: Any = opened if self._packed is None else _unpacked(self._packed, compression)
        self._spool: BinaryIO | None = None
        self._bytes = 0
        self._left: int | None = None
        self._ahead = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self.where = where
        self.start = 0
        self.encoding = "utf-8"
        self.old_line_ends = False

    def narrow(self, start: int, end: int | None) -> None:
        """Restrict the stream to the bytes from `start` up to `end` (None: the end) of an uncompressed file."""
        with source_errors(f"find byte {start:,} of {self.where}"):
            self._opened.seek(start)
        self._left = None if end is None else end - start
        self.start = start
        if start:
            self.where = f"{self.where} from byte {start}"

    def peek(self, size: int, *, fill: bool = True) -> bytes:
        """Return up to `size` bytes without taking them, decoded if `encoding` is set.

        With `fill`, they are fewer only at the end; otherwise they are those of one read, which does not wait for a slow pipe.
        """
        while len(self._ahead) < size and (data := self._read(size - len(self._ahead))):
            self._ahead += data
            if not fill:
                break
        return self._decoded(self._ahead[:size], keep=True)

    def read(self, size: int) -> bytes:
        """Return about `size` bytes at most, none only at the end. Raise `SourceError` if reading fails."""
        while data := self._read_ahead(size):
            if decoded := self._decoded(data):
                return decoded
        return self._decoded(b"", final=True)

    def _read_ahead(self, size: int) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._read(size)

    def _decoded(self, data: bytes, *, final: bool = False, keep: bool = False) -> bytes:
        if self.encoding in ("utf-8", "utf-8-sig"):
            return data.replace(b"\r", b"\n") if self.old_line_ends else data
        decoder = self._decoder
        if decoder is None or keep:
            decoder = codecs.getincrementaldecoder(self.encoding)(errors=_UNDECODABLE)
        if not keep:
            self._decoder = decoder
        text = decoder.decode(data, final)
        return (text.replace("\r", "\n") if self.old_line_ends else text).encode(errors="surrogateescape")

    def _read(self, size: int) -> bytes:
        with source_errors(f"read {self.where} after {self._bytes:,} bytes"):
            data = cast("bytes", self._stream.read(size if self._left is None else min(size, self._left)))
            if self._left is not None:
                self._left -= len(data)
        self._bytes += len(data)
        return data

    def stored_bytes(self, size: int) -> int:
        """Return about how many bytes of the file `size` bytes of its content take, by what was read so far."""
        return size if self._packed is None else round(size * self._packed.bytes / max(1, self._bytes))

    def read_all(self, limit: int) -> bytes | None:
        """Return the remaining bytes, or None if there are more than `limit`. Uses little more memory than `limit`."""
        parts: list[bytes] = []
        left = limit + 1
        while left and (data := self.read(min(left, BLOCK))):
            parts.append(data)
            left -= len(data)
        return b"".join(parts) if left else None

    def seekable(self) -> BinaryIO:
        """Return the content as a seekable file: the file itself, or a copy on disk of a compressed file or a pipe."""
        if self._packed is None and self._opened.seekable():
            return self._opened
        self._spool = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=SPOOLED))  # noqa: SIM115  closed in __exit__
        shutil.copyfileobj(cast("BinaryIO", self), self._spool, BLOCK)
        self._spool.seek(0)
        return self._spool

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.close()
        if self._spool is not None:
            self._spool.close()


_UNDECODABLE = "ingest.undecodable"


def _mark_undecodable(error: UnicodeError) -> tuple[str, int]:
    """Replace bytes that cannot be decoded by a lone surrogate, which no UTF-8 text has."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


codecs.register_error(_UNDECODABLE, _mark_undecodable)


def stdin_stream(compression: Compression | None) -> ByteStream:
    """Return standard input, which stays open when the stream is closed. Raise `SourceError` if it is closed already.

    It bypasses `sys.stdin`: a thread that waits in its buffer when the interpreter ends would abort the process.
    """
    closed = SourceError("standard input is closed: pipe the documents in, or name a file")
    if sys.__stdin__ is None:  # it was never open, and its descriptor may now belong to any file
        raise closed
    try:
        opened = open(os.dup(0), "rb", buffering=0)  # noqa: PTH123, SIM115  a descriptor, which the stream closes
    except OSError as exc:
        raise closed from exc
    return ByteStream(cast("BinaryIO", opened), "stdin", compression)


def _unpacked(packed: io.RawIOBase, compression: Compression | None) -> BinaryIO:
    """Return a reader of what a file was compressed from, with all its members."""
    if compression == "gzip":
        return cast("BinaryIO", gzip.GzipFile(fileobj=packed))
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415  few files are compressed with it
    else:
        from backports import zstd  # noqa: PLC0415
    return cast("BinaryIO", zstd.ZstdFile(packed))


class _Counted(io.RawIOBase):
    """A reader of a compressed file that counts the bytes read through it. Raises `EOFError` if there are none."""

    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened
        self.bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._opened.read(size)
        self.bytes += len(data)
        if size and not self.bytes:
            raise EOFError("the file is empty, which no compressed file is: it was truncated")
        return data


@contextmanager
def source_errors(doing: str, passing: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Translate the exceptions of file systems, decompressors and Arrow into `SourceError`, except the types in `passing`."""
    try:
        yield
    except IngestError:
        raise
    except passing:
        raise
    except Exception as exc:  # file systems raise exceptions of their own; only calls into one belong in here
        raise SourceError(f"cannot {doing}: {first_line(exc)}; fix it and run again") from exc


def first_line(exc: BaseException) -> str:
    """Return the first line of an exception's message, or its type if it has none, without logins and queries in URLs."""
    lines = str(exc).strip().splitlines()
    return without_secrets(lines[0].strip().rstrip(".") if lines else type(exc).__name__)
