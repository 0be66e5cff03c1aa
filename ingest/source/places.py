"""Files and folders of any file system that fsspec knows.

Every failure to list or open raises `SourceError`, as of `streams`.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast

import fsspec  # type: ignore[import-untyped]
import fsspec.asyn  # type: ignore[import-untyped]
from fsspec.implementations.cached import CachingFileSystem  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from ingest.errors import ConfigurationError, MissingExtraError, SourceError
from ingest.records import FileFacts
from ingest.source.streams import BLOCK, SPOOLED, ByteStream, Compression, first_line, source_errors
from ingest.source.versions import local_version, modified_at, remote_version

HTTP = ("http", "https")
_LOCAL = ("file", "local")
_NO_USER = ("abfs", "abfss", "az", "git", "github", "zip", "tar", "libarchive", "memory")  # text before @ is part of the path
_LINK = re.compile(r"::(?=[\w+.-]+://)")  # between the URLs of a chain
_QUERY = re.compile(r"\?(?P<query>[\w.%-]+=.*)", re.DOTALL)  # any other ? belongs to a glob
_HTTP_QUERY = re.compile(r"[?#](?P<query>.*)", re.DOTALL)


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
            opened = self._opened_over_http(path) if "https" in self.system.protocol else self.system.open(path, "rb")
            return ByteStream(cast("BinaryIO", opened), where, compression)

    def _opened_over_http(self, path: str) -> Any:
        """Open a file that can be read from any byte: in pieces if the server sends pieces, else as a copy on disk."""
        size = self.system.info(path).get("size")
        if size is not None and size > BLOCK and fsspec.asyn.sync(self.system.loop, _sends_pieces, self.system, path):
            return self.system.open(path, "rb", size=size)
        copy = tempfile.SpooledTemporaryFile(max_size=SPOOLED)  # noqa: SIM115  closed with the stream
        try:
            self.system.get_file(path, copy)
            copy.seek(0)
        except BaseException:
            copy.close()
            raise
        return copy

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

    def is_unchanged(self, entry: Entry) -> bool:
        """Return whether a file still has the version that it had when it was listed."""
        now, options = time.time(), {}
        try:
            with source_errors(f"access {printable(entry.path)}", passing=(FileNotFoundError, PermissionError)):
                if "s3" in self.system.protocol:  # its listing is kept, so that the next file can be opened without a request
                    options["refresh"] = True
                else:
                    self.system.invalidate_cache(entry.path)
                info = self.system.info(entry.path, **options)
        except (FileNotFoundError, PermissionError, SourceError):  # opening the file reports it
            return False
        return entry.version is not None and self._entry(entry.path, entry.relative, info, now).version == entry.version

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


async def _sends_pieces(system: Any, path: str) -> bool:
    """Ask a server for the first byte of a file, and return whether it sends that alone."""
    session = await system.set_session()
    options = {**system.kwargs, "headers": {**system.kwargs.get("headers", {}), "Range": "bytes=0-0"}}
    async with session.get(system.encode_url(path), **options) as response:
        return bool(response.status == HTTPStatus.PARTIAL_CONTENT)


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
