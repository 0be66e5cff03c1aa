"""What a run must remember about every document, kept on disk so that memory does not grow with the source.

Private temporary databases: they die with the process and are never read again, since the truth about what is stored is what
Qdrant holds. SQLite spills them to a temporary file beyond some megabytes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from ingest.errors import IngestError
from ingest.sync.plan import MissingAction

BATCH_POINTS = 1000
"""Points that are handed out at a time."""

_CACHE_KIBIBYTES = 16_384
"""Of a database that SQLite keeps in memory: the keys of some 500,000 documents. Beyond it, each new one costs a page read."""


def _packed(uuid: str) -> bytes:
    return bytes.fromhex(uuid.replace("-", ""))


class _Database(sqlite3.Connection):
    """Where SQLite cannot spill, mostly for want of space, an `IngestError` says so."""

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
            f"what a run must remember cannot be written to the folder for temporary files ({exc}): make room there, or name"
            " another as SQLITE_TMPDIR"
        ) from exc


class _Spool:
    """A temporary SQLite database. One thread at a time. Raises `IngestError` where it cannot be written."""

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


class SeenDocuments(_Spool):
    """Which documents the source has, by key."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE seen (doc_key BLOB PRIMARY KEY, call INTEGER) WITHOUT ROWID;"
            "CREATE TABLE protected (doc_key BLOB PRIMARY KEY) WITHOUT ROWID;"
        )
        self._calls = 0

    def see(self, doc_keys: Collection[str]) -> set[str]:
        """Marks documents as read, some hundreds at a time; gives those that were already."""
        packed = {_packed(key): key for key in doc_keys}
        self._calls += 1
        if not packed:
            return set()
        # One statement for all: with each, SQLite lets the interpreter's lock go, and whoever writes takes it.
        rows = ",".join(["(?)"] * len(packed))
        new = f"INSERT OR IGNORE INTO seen SELECT column1, ? FROM (VALUES {rows})"  # noqa: S608  holes only
        if self._database.execute(new, (self._calls, *packed)).rowcount == len(packed):
            return set()
        before = f"SELECT doc_key FROM seen WHERE call < ? AND doc_key IN ({_holes(packed)})"  # noqa: S608  holes only
        return {packed[key] for (key,) in self._database.execute(before, (self._calls, *packed))}

    def protect(self, doc_key: str) -> None:
        """The source has this document but it cannot be used: what is stored of it stays, and a good record may yet come."""
        self._database.execute("INSERT OR IGNORE INTO protected VALUES (?)", (_packed(doc_key),))

    def __contains__(self, doc_key: object) -> bool:
        found = self._database.execute(
            "SELECT 1 FROM seen WHERE doc_key = ?1 UNION ALL SELECT 1 FROM protected WHERE doc_key = ?1 LIMIT 1",
            (_packed(str(doc_key)),),
        )
        return found.fetchone() is not None


class ClaimedDocuments(_Spool):
    """Which documents a source has that several read in parts, by key: each belongs to the first part that has it.

    Parts are numbered in the order of the whole.
    """

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE claimed (doc_key BLOB PRIMARY KEY, part INTEGER, seen INTEGER) WITHOUT ROWID;"
            "CREATE TABLE protected (doc_key BLOB PRIMARY KEY) WITHOUT ROWID;"
        )

    def claim(self, doc_keys: Iterable[str], part: int) -> None:
        """A part has these documents; they are not seen yet."""
        self._database.executemany(
            "INSERT INTO claimed VALUES (?, ?, 0) ON CONFLICT (doc_key) DO UPDATE SET part = MIN(part, excluded.part)",
            ((_packed(key), part) for key in doc_keys),
        )

    def see(self, doc_keys: Collection[str], part: int) -> set[str]:
        """Marks documents as read, some hundreds at a time; gives those that belong to another part. Again, it does the same."""
        packed = [_packed(key) for key in doc_keys]
        self._database.executemany(
            "INSERT INTO claimed VALUES (?, ?, 1) ON CONFLICT (doc_key) DO UPDATE SET seen = 1", [(key, part) for key in packed]
        )
        others = f"SELECT doc_key FROM claimed WHERE part <> ? AND doc_key IN ({_holes(packed)})"  # noqa: S608  holes only
        return {str(UUID(bytes=key)) for (key,) in self._database.execute(others, (part, *packed))}

    def protect(self, doc_keys: Iterable[str]) -> None:
        """See `SeenDocuments.protect`."""
        self._database.executemany("INSERT OR IGNORE INTO protected VALUES (?)", ((_packed(key),) for key in doc_keys))

    def __contains__(self, doc_key: object) -> bool:
        """Whether it was seen, or is protected."""
        found = self._database.execute(
            "SELECT 1 FROM claimed WHERE doc_key = ?1 AND seen UNION ALL SELECT 1 FROM protected WHERE doc_key = ?1 LIMIT 1",
            (_packed(str(doc_key)),),
        )
        return found.fetchone() is not None


class PendingDeletes(_Spool):
    """What to do with the points of one source once it has ended without an error."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE stale (point BLOB PRIMARY KEY) WITHOUT ROWID;"
            "CREATE TABLE stored (doc_key BLOB, point BLOB, doc_id TEXT, soft_deleted_at REAL,"
            " PRIMARY KEY (doc_key, point)) WITHOUT ROWID;"
            "CREATE TABLE missing (doc_key BLOB PRIMARY KEY, newly INTEGER, action TEXT) WITHOUT ROWID;"
        )

    def add_stale(self, points: Iterable[str]) -> None:
        """Points that their own document no longer has."""
        self._database.executemany("INSERT OR IGNORE INTO stale VALUES (?)", ((_packed(point),) for point in points))

    def add_stored(self, point: str, doc_key: str, doc_id: str, soft_deleted_at: float | None = None) -> None:
        """Add a point that was stored when the run began; `soft_deleted_at` is in seconds since 1970."""
        row = (_packed(doc_key), _packed(point), doc_id, soft_deleted_at)
        self._database.execute("INSERT OR IGNORE INTO stored VALUES (?, ?, ?, ?)", row)

    def add_missing(self, seen: Container[str], decide: Callable[[float | None], MissingAction]) -> None:
        """Add the stored documents that the source, which has ended, does not have, with the action that `decide` returns.

        `decide` receives the time of the soft delete, or None for a live document: one with any point that is not soft-deleted.
        """
        documents = self._database.execute(
            "SELECT doc_key, CASE WHEN COUNT(*) = COUNT(soft_deleted_at) THEN MAX(soft_deleted_at) END"
            " FROM stored GROUP BY doc_key"
        )
        missing = ((key, since is None, decide(since)) for key, since in documents if str(UUID(bytes=key)) not in seen)
        self._database.executemany("INSERT OR IGNORE INTO missing VALUES (?, ?, ?)", missing)

    def count_live_documents(self) -> int:
        """Return the number of stored documents that are not soft-deleted."""
        return self._count("SELECT COUNT(DISTINCT doc_key) FROM stored WHERE soft_deleted_at IS NULL")

    def count_newly_missing_documents(self) -> int:
        """Return the number of live documents that are missing."""
        return self._count("SELECT COUNT(*) FROM missing WHERE newly")

    def count_missing_documents(self, action: MissingAction) -> int:
        return self._count("SELECT COUNT(*) FROM missing WHERE action = ?", action)

    def newly_missing_documents(self, limit: int) -> list[str]:
        """The first `limit` of their ids, sorted."""
        rows = self._database.execute(
            "SELECT DISTINCT doc_id FROM stored WHERE doc_key IN (SELECT doc_key FROM missing WHERE newly)"
            " ORDER BY doc_id LIMIT ?",
            (limit,),
        )
        return [doc_id for (doc_id,) in rows]

    def stale_points(self) -> Iterator[list[str]]:
        """Yield the points that their own document no longer has, each once."""
        return _unpacked(point for (point,) in self._database.execute("SELECT point FROM stale"))

    def points_to_soft_delete(self) -> Iterator[list[str]]:
        """Yield the points to soft-delete."""
        rows = self._database.execute(
            "SELECT point FROM stored WHERE soft_deleted_at IS NULL"
            " AND doc_key IN (SELECT doc_key FROM missing WHERE action = ?)",
            (MissingAction.SOFT_DELETE,),
        )
        return _unpacked(point for (point,) in rows)

    def points_that_came_back(self, seen: Container[str]) -> Iterator[list[str]]:
        """Yield the soft-deleted points whose document the source has again, the stale ones left out."""
        rows = self._database.execute(
            "SELECT doc_key, point FROM stored WHERE soft_deleted_at IS NOT NULL AND point NOT IN (SELECT point FROM stale)"
        )
        return _unpacked(point for key, point in rows if str(UUID(bytes=key)) in seen)

    def points_of_missing(self, action: MissingAction) -> Iterator[list[str]]:
        """Those of documents with this action, the stale ones left out."""
        rows = self._database.execute(
            "SELECT point FROM stored WHERE doc_key IN (SELECT doc_key FROM missing WHERE action = ?)"
            " AND point NOT IN (SELECT point FROM stale)",
            (action,),
        )
        return _unpacked(point for (point,) in rows)

    def was_stored(self, doc_key: str, point: str) -> bool:
        """Whether the point was there, as one of this document, when the run began."""
        query = "SELECT 1 FROM stored WHERE doc_key = ? AND point = ?"
        return self._database.execute(query, (_packed(doc_key), _packed(point))).fetchone() is not None

    def _count(self, query: str, *parameters: str) -> int:
        (count,) = self._database.execute(query, parameters).fetchone()
        return int(count)


class DamagedPoints(_Spool):
    """Which parts of which stored points are damaged, and which points are wanted all the same."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE damaged (point BLOB, part TEXT, PRIMARY KEY (point, part)) WITHOUT ROWID;"
            "CREATE TABLE wanted (point BLOB PRIMARY KEY) WITHOUT ROWID;"
        )

    def add(self, point: str, part: str) -> None:
        """A part of a point (a column's name, or any other name) is damaged."""
        self._database.execute("INSERT OR IGNORE INTO damaged VALUES (?, ?)", (_packed(point), part))

    def parts_of(self, points: Iterable[str]) -> dict[str, set[str]]:
        """Point → its damaged parts, of those that have any."""
        parts: dict[str, set[str]] = {}
        for packed in _in_groups(points):
            found = self._database.execute(f"SELECT point, part FROM damaged WHERE point IN ({_holes(packed)})", packed)  # noqa: S608
            for point, part in found:
                parts.setdefault(str(UUID(bytes=point)), set()).add(part)
        return parts

    def want(self, points: Iterable[str]) -> None:
        """The source has these points, whatever document their damaged payloads name: they must not be deleted as another's."""
        self._database.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((_packed(point),) for point in points))

    def unwanted(self, points: Iterable[str]) -> list[str]:
        """Those that are not wanted, in their order."""
        unwanted: list[str] = []
        for packed in _in_groups(points):
            found = self._database.execute(f"SELECT point FROM wanted WHERE point IN ({_holes(packed)})", packed)  # noqa: S608
            wanted = {point for (point,) in found}
            unwanted.extend(str(UUID(bytes=point)) for point in packed if point not in wanted)
        return unwanted


def _holes(values: Collection[bytes]) -> str:
    return ",".join("?" * len(values))


def _in_groups(points: Iterable[str]) -> Iterator[tuple[bytes, ...]]:
    """Packed, `BATCH_POINTS` at a time."""
    packed = map(_packed, points)
    while group := tuple(islice(packed, BATCH_POINTS)):
        yield group


def _unpacked(points: Iterator[bytes]) -> Iterator[list[str]]:
    """Their ids, `BATCH_POINTS` at a time."""
    while ids := [str(UUID(bytes=point)) for point in islice(points, BATCH_POINTS)]:
        yield ids
