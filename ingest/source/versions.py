"""The versions of files: tokens that change with a file, known from a listing without opening it.

A local file's version has its size, its inode, and the times of its last change (of content, and of anything). Two kinds of files
have none. One that was changed within `SETTLED_SECONDS` may be changed again within the same tick of its file system's clock. One
whose times are whole seconds may be part of an image that is built anew with the same times and inodes.

The version of an object is its size and the identifier that its store gives to its content; over HTTP, the time of its last
change takes the place of an identifier.

The version of a row is the value of a column that its database changes with every change of the row. A time in whole seconds, or
what may be one, counts only once it is `ROW_SETTLED`: until then, the row may be changed again within the same second.

A version also has what else decides the document in a file: the options, and the code that reads it.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from ingest.source.formats import FileFormat

SETTLED_SECONDS = 2.0
"""The coarsest tick of a file system in use, FAT: files last changed less than this ago have no version."""

READING = (
    "charset-normalizer",
    "fsspec",
    "html-to-markdown",
    "numpy",
    "olefile",
    "openpyxl",
    "psycopg",
    "pyarrow",
    "pydantic-core",
    "pypdfium2",
    "pyromark",
    "pyyaml",
    "regex",
    "selectolax",
    "sqlalchemy",
)
"""The distributions that `ingest.source` imports. A new version of one may read the same file as another text."""

REMOTE_SETTLED_SECONDS = 60.0
"""The same for a server, whose clock is another."""

ROW_SETTLED = timedelta(days=2)
"""The same for a row: its time may be in any zone, or without a time of the day."""

_IDENTIFIERS = ("VersionId", "generation", "ETag", "etag")
"""The identifiers of content that object stores and HTTP servers give, best first."""


def local_version(info: Mapping[str, Any], now: float) -> str | None:
    """Return the version of a local file, or None if it was changed too recently. `now`: before the listing, in seconds."""
    size, modified, changed, inode = (info.get(name) for name in ("size", "mtime", "created", "ino"))
    if not isinstance(modified, float) or None in (size, changed, inode) or modified > now - SETTLED_SECONDS:
        return None
    if info.get("islink") or (modified == changed and modified.is_integer()):  # of a link, the times may be its own
        return None
    return f"{size} {modified!r} {changed!r} {inode}"


def remote_version(info: Mapping[str, Any], now: float) -> str | None:
    """Return the version of a file elsewhere, or None if its file system tells too little. `now`: as in `local_version`.

    A weak ETag is no identifier: a server may give it to other bytes with the same meaning. Of the times of change, only the one
    that an HTTP server gives counts: the members of an archive may all have the same.
    """
    size = info.get("size")
    for name in _IDENTIFIERS:
        value = info.get(name)
        if isinstance(value, str | int) and value and not str(value).startswith("W/"):
            return f"{size} {name} {value}"
    modified = modified_at(info) if "Last-Modified" in info else None
    if modified is None or not isinstance(size, int) or modified.timestamp() > now - REMOTE_SETTLED_SECONDS:
        return None
    return f"{size} {modified.isoformat()}"


def modified_at(info: Mapping[str, Any]) -> datetime | None:
    """Return when a file was changed last: file systems say `mtime`, object stores `LastModified`, HTTP servers a text."""
    modified = info.get("mtime", info.get("LastModified", info.get("Last-Modified")))
    if isinstance(modified, int | float):
        return datetime.fromtimestamp(modified, UTC)
    if isinstance(modified, str):
        try:
            modified = parsedate_to_datetime(modified)
        except ValueError:
            return None
    return modified.astimezone(UTC) if isinstance(modified, datetime) else None


def document_version(version: str | None, file_format: FileFormat, options: str) -> str | None:
    """Return the version of the document in a file, or None if it is not known.

    Records have none of their own, see `records_version`. Nor have the documents of a plugin, whose code may depend on anything.

    Args:
        version: the version of the file.
        options: a text that differs for options that make another document of the file.
    """
    return None if file_format.is_table else _reading_version(version, file_format, options)


def records_version(version: str | None, file_format: FileFormat, options: str) -> str | None:
    """Return the version of all records of a file together, or None if it is not known. Like `document_version`."""
    return _reading_version(version, file_format, options) if file_format.is_table else None


def _reading_version(version: str | None, file_format: FileFormat, options: str) -> str | None:
    if version is None or _READING_CODE is None or not file_format.is_own:
        return None
    return f"{_READING_CODE} {options} {file_format.name} {file_format.compression} {version}"


def row_version(value: Any, reading: str, now: datetime) -> str | None:
    """Return the version of a row, or None if it has none: it is null, of an unknown type, or too recent a time.

    Args:
        value: of the column that changes with the row.
        reading: a text that differs for what makes another document of the same row.
        now: before the row was read, in UTC.
    """
    if _READING_CODE is None or not isinstance(value, str | int | float | bytes | Decimal | UUID | date) or value == "":
        return None
    seconds = _whole_seconds(value)
    if seconds is not None and seconds > now - ROW_SETTLED and (isinstance(value, str | date) or seconds < now + ROW_SETTLED):
        return None
    return f"{_READING_CODE} {reading} {value!r}"


def _whole_seconds(value: Any) -> datetime | None:
    """Return the time that a value is or may be, if it has no fractions of a second; in UTC, or in an unknown zone."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if isinstance(value, date):
        whole = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)
        return None if whole.microsecond else whole.astimezone(UTC) if whole.tzinfo else whole.replace(tzinfo=UTC)
    if isinstance(value, int | float | Decimal) and 0 < value < _LAST_SECOND and value == int(value):
        return datetime.fromtimestamp(int(value), UTC)
    return None


_LAST_SECOND = datetime.max.replace(tzinfo=UTC).timestamp()


def _reading_code() -> str | None:
    """Return a digest of the code that reads files: this package's, its dependencies' and Python's versions.

    The code itself is part of it, because it can change without a new version of the package. None if that is not known.
    """
    code = sha256(platform.python_version().encode())
    files = sorted(Path(__file__).parent.rglob("*.py"))
    try:
        code.update(version("qdrant-ingest").encode())
        for path in files:
            code.update(path.read_bytes())
    except (OSError, PackageNotFoundError):
        return None
    for name in READING:
        try:
            code.update(f"\0{name} {version(name)}".encode())
        except PackageNotFoundError:
            code.update(f"\0{name}".encode())
    return code.hexdigest()[:32]


_READING_CODE = _reading_code()
"""The digest of the code that this process has loaded: an upgrade while it runs must not change it."""
