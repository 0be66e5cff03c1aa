"""Private databases that end with the process, for what is too large for memory. SQLite writes them to a file beyond some MB."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from ingest.errors import IngestError

_CACHE_KIBIBYTES = 16_384
"""Memory of one database, in KiB: the keys of about 500,000 documents. Beyond that, each new key costs a page read."""


class _Database(sqlite3.Connection):
    """A connection that raises `IngestError` if SQLite cannot write its temporary file, usually for lack of space."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        with _translated():
            return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:
        with _translated():
            return super().executemany(*arguments)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as exc:
        raise IngestError(
            f"the state of the run cannot be written to the folder for temporary files ({exc}): free some space there, or set"
            " SQLITE_TMPDIR to another folder"
        ) from exc


class TemporaryDatabase:
    """A temporary SQLite database. Use it from one thread at a time. Raises `IngestError` if it cannot be written."""

    def __init__(self, schema: str) -> None:
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None, factory=_Database)
        self._database.executescript(
            f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{_CACHE_KIBIBYTES}; {schema} BEGIN;"
        )

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
