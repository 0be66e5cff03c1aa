"""What a run must remember about every document, kept on disk so that memory does not grow with the source.

Private temporary databases: they die with the process and are never read again, since the truth about what is stored is what
Qdrant holds. SQLite spills them to a temporary file beyond a few megabytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self
from uuid import UUID


def _packed(uuid: str) -> bytes:
    return bytes.fromhex(uuid.replace("-", ""))


class _Spool:
    """A temporary SQLite database. One thread at a time."""

    def __init__(self, schema: str) -> None:
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {schema} BEGIN;")

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class SeenDocuments(_Spool):
    """Which documents the source has, by key."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE seen (doc_key BLOB PRIMARY KEY) WITHOUT ROWID;"
            "CREATE TABLE protected (doc_key BLOB PRIMARY KEY) WITHOUT ROWID;"
        )

    def see(self, doc_key: str) -> bool:
        """Marks a document as read. False if it was already."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (_packed(doc_key),)).rowcount == 1

    def protect(self, doc_key: str) -> None:
        """The source has this document but it cannot be used: what is stored of it stays, and a good record may yet come."""
        self._database.execute("INSERT OR IGNORE INTO protected VALUES (?)", (_packed(doc_key),))

    def __contains__(self, doc_key: str) -> bool:
        found = self._database.execute(
            "SELECT 1 FROM seen WHERE doc_key = ?1 UNION ALL SELECT 1 FROM protected WHERE doc_key = ?1 LIMIT 1",
            (_packed(doc_key),),
        )
        return found.fetchone() is not None


class PendingDeletes(_Spool):
    """Points to delete once the source has ended without an error."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE stale (point BLOB PRIMARY KEY) WITHOUT ROWID;"
            "CREATE TABLE gone (point BLOB PRIMARY KEY, doc_id TEXT NOT NULL) WITHOUT ROWID;"
        )

    def add_stale(self, points: Iterable[str]) -> None:
        """Points that their own document no longer has."""
        self._database.executemany("INSERT OR IGNORE INTO stale VALUES (?)", ((_packed(point),) for point in points))

    def add_gone(self, point: str, doc_id: str) -> None:
        """A point whose whole document the source no longer has."""
        self._database.execute("INSERT OR IGNORE INTO gone VALUES (?, ?)", (_packed(point), doc_id))

    def count_gone_documents(self) -> int:
        (count,) = self._database.execute("SELECT COUNT(DISTINCT doc_id) FROM gone").fetchone()
        return int(count)

    def gone_documents(self, limit: int) -> list[str]:
        """The first `limit` of their ids, sorted."""
        rows = self._database.execute("SELECT DISTINCT doc_id FROM gone ORDER BY doc_id LIMIT ?", (limit,))
        return [doc_id for (doc_id,) in rows]

    def batches(self, size: int = 1000) -> Iterator[list[str]]:
        """Every stale and gone point once, `size` ids at a time."""
        rows = self._database.execute("SELECT point FROM stale UNION SELECT point FROM gone")
        while points := [str(UUID(bytes=point)) for (point,) in rows.fetchmany(size)]:
            yield points
