"""Byte streams from any file system fsspec knows, decompressed, read in bounded pieces.

Every failure to list, open or read raises `SourceError`: the source may then be incomplete, so nothing may be deleted because
the source did not yield it.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self, cast

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.cached import CachingFileSystem  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from ingest.errors import ConfigurationError, IngestError, MissingExtraError, SourceError
from ingest.records import FileFacts
from ingest.redaction import without_secrets
from ingest.source.versions import local_version, modified_at, remote_version

Compression = Literal["gzip", "zstd"]
COMPRESSIONS: Mapping[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
"""Suffix → compression."""

BLOCK = 2**20
"""Bytes per read."""
_SPOOLED = 2**24
HTTP = ("http", "https")
_LOCAL = ("file", "local")
_NO_USER = ("abfs", "abfss", "az", "git", "github", "zip", "tar", "libarchive", "memory")  # text before @ is part of the path
_LINK = re.compile(r"::(?=[\w+.-]+://)")  # between the URLs of a chain
_QUERY = re.compile(r"\?(?P<query>[\w.%-]+=.*)", re.DOTALL)  # any other ? belongs to a glob
_HTTP_QUERY = re.compile(r"[?#](?P<query>.*)", re.DOTALL)


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
        self._spool = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=_SPOOLED))  # noqa: SIM115  closed in __exit__
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


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file below a place, or at it.

    Attributes:
        path: the path as its file system writes it.
        relative: the POSIX path from the place, or the name of the file.
        size: bytes; None if the file system does not tell.
        modified: when it was changed last, in UTC; None if the file system does not tell.
        version: see `ingest.source.versions`; None if unknown.
    """

    path: str
    relative: str
    size: int | None = None
    modified: datetime | None = None
    version: str | None = None

    @property
    def facts(self) -> FileFacts:
        """Return the facts that a document keeps about the file."""
        modified = None if self.modified is None else self.modified.strftime("%Y-%m-%dT%H:%M:%SZ")
        return FileFacts(printable(self.relative), self.size, modified)


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder in some file system.

    Attributes:
        path: the path as its file system writes it, without a trailing slash.
        name: a stable name without secrets: the resolved absolute path, or the URL.
    """

    path: str = field(repr=False)
    name: str
    system: fsspec.AbstractFileSystem = field(repr=False)

    @property
    def file_name(self) -> str:
        """Return the last part of the path, without a query."""
        if isinstance(self.system, LocalFileSystem):
            return PurePosixPath(self.path).name
        url = self.path if "://" in self.path else f"any:///{self.path}"  # over HTTP it is the whole URL
        return PurePosixPath(public_url(url)).name

    def kind(self) -> Literal["file", "directory", "other"] | None:
        """Return the type of the entry at this path, or None if it does not exist."""
        with source_errors(f"access {self.name}"):
            self.system.invalidate_cache()
            try:
                info = self.system.info(self.path)
            except FileNotFoundError:
                return None
        # A link that the user named is followed; links inside a folder are not.
        if info["type"] == "other" and isinstance(self.system, LocalFileSystem) and Path(self.path).is_file():
            return "file"
        return cast("Literal['file', 'directory', 'other']", info["type"])

    def open(self, path: str, where: str, compression: Compression | None) -> ByteStream:
        """Open a file. Does not translate `FileNotFoundError` and `PermissionError`: the caller decides what follows."""
        with source_errors(f"open {where}", passing=(FileNotFoundError, PermissionError)):
            return ByteStream(cast("BinaryIO", self.system.open(path, "rb")), where, compression)

    def version(self, path: str) -> str:
        """Return a token that changes with the file, as far as the file system can tell."""
        with source_errors(f"access {path}", passing=(FileNotFoundError, PermissionError)):
            self.system.invalidate_cache()
            return str(self.system.ukey(path))

    def entry(self) -> Entry:
        """Return the file at this path. Does not translate `FileNotFoundError` and `PermissionError`, see `open`."""
        now = time.time()
        with source_errors(f"access {self.name}", passing=(FileNotFoundError, PermissionError)):
            self.system.invalidate_cache()
            return self._entry(self.path, self.file_name, self.system.info(self.path), now)

    def entry_below(self, relative: str) -> Entry:
        """Return a regular file below this path, like `entry`."""
        path, now = f"{self.path.rstrip('/')}/{relative}", time.time()
        with source_errors(f"access {printable(path)}", passing=(FileNotFoundError, PermissionError)):
            return self._entry(path, relative, self.system.info(path), now)

    def files(self, skip: Callable[[str], bool]) -> Iterator[Entry]:
        """Yield all regular files below, folder by folder in sorted order; links, pipes, devices and skipped names are left out.

        Args:
            skip: returns whether to leave out a file or folder of this name.
        """
        with source_errors(f"list {self.name}"):
            self.system.invalidate_cache()  # a long-lived process must not see an old listing
        yield from self._files(self.path, "", skip)

    def _files(self, folder: str, relative: str, skip: Callable[[str], bool]) -> Iterator[Entry]:
        now = time.time()
        with source_errors(f"list {printable(f'{self.name}/{relative}').rstrip('/')}"):
            entries = [(str(info["name"]).rstrip("/"), info) for info in self.system.ls(folder, detail=True)]
        for path, info in sorted(entries, key=lambda entry: entry[0]):
            name = path.rpartition("/")[2]
            if path == folder or skip(name):
                continue
            if info["type"] == "directory":
                yield from self._files(path, f"{relative}{name}/", skip)
            elif info["type"] == "file":
                yield self._entry(path, relative + name, info, now)

    def _entry(self, path: str, relative: str, info: Mapping[str, Any], now: float) -> Entry:
        """Return an entry. `now`: a time before the file system was asked, in seconds since 1970."""
        version = None
        if isinstance(self.system, LocalFileSystem):
            version = local_version(info, now)
        elif not isinstance(self.system, CachingFileSystem):  # it may list another version than it has
            version = remote_version(info, now)
        size = info.get("size")
        return Entry(path, relative, size if isinstance(size, int) else None, modified_at(info), version)


def place_of(location: str, storage_options: Mapping[str, Any] | None = None) -> Place:
    """Return the place of a path or URL, whether or not it exists.

    Raises `ConfigurationError` for an unknown protocol, `MissingExtraError` if the protocol's library is not installed.
    """
    if "://" not in location:
        path = Path(location).absolute()
        return Place(str(path), printable(Path(os.path.realpath(path)).as_posix()), LocalFileSystem())
    with source_errors(f"reach {public_url(location)}", passing=(ImportError, ValueError)):
        try:
            system, path = fsspec.core.url_to_fs(location, **(storage_options or {}))
        except ImportError as exc:
            raise MissingExtraError(f"{public_url(location)} needs a library that is not installed: {first_line(exc)}") from exc
        except ValueError as exc:
            raise ConfigurationError(f"{public_url(location)} cannot be opened: {first_line(exc)}") from exc
    if isinstance(system, LocalFileSystem):
        return place_of(path)
    return Place(path.rstrip("/") if path != "/" else path, public_url(location), system)


def printable(path: str) -> str:
    """Return the path with its lone surrogates escaped: a path that is not UTF-8 has them, and neither ids nor JSON can."""
    return path.encode(errors="backslashreplace").decode()


def public_url(url: str) -> str:
    """Return the URL without user, password and query in any link of its chain (`zip://a.txt::https://…`); a path unchanged."""
    return "::".join(_public(link)[0] for link in _LINK.split(url))


def has_query(url: str) -> bool:
    """Return whether `public_url` removes a query, so that two different URLs may look the same."""
    return any(_public(link)[1] for link in _LINK.split(url))


def _public(link: str) -> tuple[str, str]:
    """Return one link of a chain without secrets, and its query."""
    scheme, separator, rest = link.partition("://")
    if not separator or scheme in _LOCAL:
        return link, ""
    query = (_HTTP_QUERY if scheme.lower() in HTTP else _QUERY).search(rest)
    if query:
        rest = rest[: query.start()]
    host, slash, path = rest.partition("/")
    if scheme not in _NO_USER:
        host = host.rpartition("@")[2]
    return f"{scheme}://{host}{slash}{path}".rstrip("/"), query["query"] if query else ""


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
