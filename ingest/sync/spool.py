"""What a run must remember about every document, kept on disk so that memory does not grow with the source.

Private temporary databases: they die with the process and are never read again, since the truth about what is stored is what
Qdrant holds. SQLite spills them to a temporary file beyond a few megabytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
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

    def see(self, doc_keys: Collection[str]) -> set[str]:
        """Marks documents as read, some hundreds at a time; gives those that were already."""
        packed = {_packed(key): key for key in doc_keys}
        holes = ",".join("?" * len(packed))
        known = self._database.execute(f"SELECT doc_key FROM seen WHERE doc_key IN ({holes})", tuple(packed))  # noqa: S608  holes only
        before = {packed[key] for (key,) in known}
        self._database.executemany("INSERT OR IGNORE INTO seen VALUES (?)", ((key,) for key in packed))
        return before

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
    """Points of one source to delete once it has ended without an error."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE stale (point BLOB PRIMARY KEY) WITHOUT ROWID;"
            "CREATE TABLE stored (doc_key BLOB, point BLOB, doc_id TEXT, PRIMARY KEY (doc_key, point)) WITHOUT ROWID;"
            "CREATE TABLE gone (doc_key BLOB PRIMARY KEY) WITHOUT ROWID;"
        )

    def add_stale(self, points: Iterable[str]) -> None:
        """Points that their own document no longer has."""
        self._database.executemany("INSERT OR IGNORE INTO stale VALUES (?)", ((_packed(point),) for point in points))

    def add_stored(self, point: str, doc_key: str, doc_id: str) -> None:
        """A point that was there when the run began."""
        self._database.execute("INSERT OR IGNORE INTO stored VALUES (?, ?, ?)", (_packed(doc_key), _packed(point), doc_id))

    def mark_gone(self, seen: SeenDocuments) -> None:
        """The source has ended: of what was stored, the documents that it does not have are gone."""
        keys = self._database.execute("SELECT DISTINCT doc_key FROM stored")
        gone = ((key,) for (key,) in keys.fetchall() if str(UUID(bytes=key)) not in seen)
        self._database.executemany("INSERT OR IGNORE INTO gone VALUES (?)", gone)

    def count_stored_documents(self) -> int:
        return self._count("SELECT COUNT(DISTINCT doc_key) FROM stored")

    def count_gone_documents(self) -> int:
        return self._count("SELECT COUNT(*) FROM gone")

    def gone_documents(self, limit: int) -> list[str]:
        """The first `limit` of their ids, sorted."""
        rows = self._database.execute(
            "SELECT DISTINCT doc_id FROM stored WHERE doc_key IN (SELECT doc_key FROM gone) ORDER BY doc_id LIMIT ?", (limit,)
        )
        return [doc_id for (doc_id,) in rows]

    def batches(self, size: int = 1000) -> Iterator[list[str]]:
        """Every stale point and every point of a gone document once, `size` ids at a time."""
        rows = self._database.execute(
            "SELECT point FROM stale UNION SELECT point FROM stored WHERE doc_key IN (SELECT doc_key FROM gone)"
        )
        while points := [str(UUID(bytes=point)) for (point,) in rows.fetchmany(size)]:
            yield points

    def _count(self, query: str) -> int:
        (count,) = self._database.execute(query).fetchone()
        return int(count)
