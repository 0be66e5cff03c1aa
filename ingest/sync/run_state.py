"""The state of a run: facts about every document, kept on disk so that memory does not grow with the source.

The state is in private temporary databases, which end with the process and are never read again: Qdrant alone knows which points
are stored. SQLite writes them to a temporary file once they exceed some megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator
from itertools import islice

from ingest.sync.plan import MissingAction
from ingest.temporary_database import TemporaryDatabase

BATCH_POINTS = 1000
"""Number of points in a batch."""


def pack_uuid(uuid: str) -> bytes:
    return bytes.fromhex(uuid.replace("-", ""))


def unpack_uuid(packed: bytes | bytearray) -> str:
    """Return the UUID string of 16 bytes, in a quarter of the time that `uuid.UUID` takes: runs do it for every document."""
    text = packed.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class SeenDocuments(TemporaryDatabase):
    """The documents that the source has, by key."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE seen (doc_key BLOB PRIMARY KEY, call INTEGER) WITHOUT ROWID;"
            "CREATE TABLE protected (doc_key BLOB PRIMARY KEY) WITHOUT ROWID;"
        )
        self._calls = 0

    def see(self, doc_keys: Collection[str]) -> set[str]:
        """Mark documents as read, and return those that were read before. Pass some hundreds at a time."""
        packed = {pack_uuid(key): key for key in doc_keys}
        self._calls += 1
        if not packed:
            return set()
        # One statement for all: SQLite releases the GIL at each, and the writer's thread takes it.
        rows = ",".join(["(?)"] * len(packed))
        new = f"INSERT OR IGNORE INTO seen SELECT column1, ? FROM (VALUES {rows})"  # noqa: S608  placeholders only
        if self._database.execute(new, (self._calls, *packed)).rowcount == len(packed):
            return set()
        before = f"SELECT doc_key FROM seen WHERE call < ? AND doc_key IN ({placeholders(packed)})"  # noqa: S608  placeholders only
        return {packed[key] for (key,) in self._database.execute(before, (self._calls, *packed))}

    def protect(self, doc_key: str) -> None:
        """Mark a document that the source has but that cannot be used: its points are kept, and a usable record may follow."""
        self._database.execute("INSERT OR IGNORE INTO protected VALUES (?)", (pack_uuid(doc_key),))

    def __contains__(self, doc_key: object) -> bool:
        rows = self._database.execute(
            "SELECT 1 FROM seen WHERE doc_key = :key UNION ALL SELECT 1 FROM protected WHERE doc_key = :key LIMIT 1",
            {"key": pack_uuid(str(doc_key))},
        )
        return rows.fetchone() is not None


class ClaimedDocuments(TemporaryDatabase):
    """The documents of a source that several workers read in parts, by key. Each belongs to the first part that has it.

    Parts are numbered in the order of the source.
    """

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE claimed (doc_key BLOB PRIMARY KEY, part INTEGER, seen INTEGER) WITHOUT ROWID;"
            "CREATE TABLE protected (doc_key BLOB PRIMARY KEY) WITHOUT ROWID;"
        )

    def claim(self, doc_keys: Iterable[str], part: int) -> None:
        """Assign documents to a part, without marking them as read."""
        self._database.executemany(
            "INSERT INTO claimed VALUES (?, ?, 0) ON CONFLICT (doc_key) DO UPDATE SET part = MIN(part, excluded.part)",
            ((pack_uuid(key), part) for key in doc_keys),
        )

    def see(self, doc_keys: Collection[str], part: int) -> set[str]:
        """Mark documents as read, and return those that belong to another part. Pass some hundreds at a time. Idempotent."""
        packed = [pack_uuid(key) for key in doc_keys]
        self._database.executemany(
            "INSERT INTO claimed VALUES (?, ?, 1) ON CONFLICT (doc_key) DO UPDATE SET seen = 1", [(key, part) for key in packed]
        )
        others = f"SELECT doc_key FROM claimed WHERE part <> ? AND doc_key IN ({placeholders(packed)})"  # noqa: S608  placeholders only
        return {unpack_uuid(key) for (key,) in self._database.execute(others, (part, *packed))}

    def protect(self, doc_keys: Iterable[str]) -> None:
        """Mark documents that cannot be used; see `SeenDocuments.protect`."""
        self._database.executemany("INSERT OR IGNORE INTO protected VALUES (?)", ((pack_uuid(key),) for key in doc_keys))

    def __contains__(self, doc_key: object) -> bool:
        """Return whether a document was read or is protected."""
        rows = self._database.execute(
            "SELECT 1 FROM claimed WHERE doc_key = :key AND seen UNION ALL SELECT 1 FROM protected WHERE doc_key = :key LIMIT 1",
            {"key": pack_uuid(str(doc_key))},
        )
        return rows.fetchone() is not None


class PendingDeletes(TemporaryDatabase):
    """The deletes of one source, to be carried out once it has ended without an error."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE stale (point BLOB PRIMARY KEY) WITHOUT ROWID;"
            "CREATE TABLE stored (doc_key BLOB, point BLOB, doc_id TEXT, soft_deleted_at REAL,"
            " PRIMARY KEY (doc_key, point)) WITHOUT ROWID;"
            "CREATE TABLE missing (doc_key BLOB PRIMARY KEY, newly INTEGER, action TEXT) WITHOUT ROWID;"
        )

    def add_stale(self, points: Iterable[str]) -> None:
        """Add points that are no longer part of their document."""
        self._database.executemany("INSERT OR IGNORE INTO stale VALUES (?)", ((pack_uuid(point),) for point in points))

    def add_stored(self, point: str, doc_key: str, doc_id: str, soft_deleted_at: float | None = None) -> None:
        """Add a point that was stored when the run began; `soft_deleted_at` is in seconds since 1970."""
        row = (pack_uuid(doc_key), pack_uuid(point), doc_id, soft_deleted_at)
        self._database.execute("INSERT OR IGNORE INTO stored VALUES (?, ?, ?, ?)", row)

    def add_missing(self, seen: Container[str], kept: Collection[str], decide: Callable[[float | None], MissingAction]) -> None:
        """Add the stored documents that are missing from the source, each with the action that `decide` returns.

        Leaves out those whose id begins with one of the texts `kept`.
        `decide` receives the time of the soft delete, or None for a live document: one with any point that is not soft-deleted.
        """
        documents = self._database.execute(
            "SELECT doc_key, CASE WHEN COUNT(*) = COUNT(soft_deleted_at) THEN MAX(soft_deleted_at) END"
            " FROM stored GROUP BY doc_key"
        )
        missing = ((key, since is None, decide(since)) for key, since in documents if unpack_uuid(key) not in seen)
        self._database.executemany("INSERT OR IGNORE INTO missing VALUES (?, ?, ?)", missing)
        if kept:
            ids = self._database.execute("SELECT doc_key, doc_id FROM stored WHERE doc_key IN (SELECT doc_key FROM missing)")
            found = [(key,) for key, doc_id in ids if doc_id.startswith(tuple(kept))]
            self._database.executemany("DELETE FROM missing WHERE doc_key = ?", found)

    def count_live_documents(self) -> int:
        """Return the number of stored documents that are not soft-deleted."""
        return self._count("SELECT COUNT(DISTINCT doc_key) FROM stored WHERE soft_deleted_at IS NULL")

    def count_newly_missing_documents(self) -> int:
        """Return the number of live documents that are missing."""
        return self._count("SELECT COUNT(*) FROM missing WHERE newly")

    def count_missing_documents(self, action: MissingAction) -> int:
        return self._count("SELECT COUNT(*) FROM missing WHERE action = ?", action)

    def newly_missing_documents(self, limit: int) -> list[str]:
        """Return the first `limit` ids of live documents that are missing, sorted."""
        rows = self._database.execute(
            "SELECT DISTINCT doc_id FROM stored WHERE doc_key IN (SELECT doc_key FROM missing WHERE newly)"
            " ORDER BY doc_id LIMIT ?",
            (limit,),
        )
        return [doc_id for (doc_id,) in rows]

    def stale_points(self) -> Iterator[list[str]]:
        """Yield the points that are no longer part of their document, each once."""
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
        """Yield the soft-deleted points whose document the source has again, except stale points."""
        rows = self._database.execute(
            "SELECT doc_key, point FROM stored WHERE soft_deleted_at IS NOT NULL AND point NOT IN (SELECT point FROM stale)"
        )
        return _unpacked(point for key, point in rows if unpack_uuid(key) in seen)

    def points_of_missing(self, action: MissingAction) -> Iterator[list[str]]:
        """Yield the points of the missing documents with this action, except stale points."""
        rows = self._database.execute(
            "SELECT point FROM stored WHERE doc_key IN (SELECT doc_key FROM missing WHERE action = ?)"
            " AND point NOT IN (SELECT point FROM stale)",
            (action,),
        )
        return _unpacked(point for (point,) in rows)

    def was_stored(self, doc_key: str, point: str) -> bool:
        """Return whether the point was stored as part of this document when the run began."""
        query = "SELECT 1 FROM stored WHERE doc_key = ? AND point = ?"
        return self._database.execute(query, (pack_uuid(doc_key), pack_uuid(point))).fetchone() is not None

    def _count(self, query: str, *parameters: str) -> int:
        (count,) = self._database.execute(query, parameters).fetchone()
        return int(count)


class DamagedPoints(TemporaryDatabase):
    """The damaged parts of stored points, and the points that the source has regardless of the damage."""

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE damaged (point BLOB, part TEXT, PRIMARY KEY (point, part)) WITHOUT ROWID;"
            "CREATE TABLE wanted (point BLOB PRIMARY KEY) WITHOUT ROWID;"
        )

    def add(self, point: str, part: str) -> None:
        """Add a damaged part of a point: the name of a vector, or any other name."""
        self._database.execute("INSERT OR IGNORE INTO damaged VALUES (?, ?)", (pack_uuid(point), part))

    def parts_of(self, points: Iterable[str]) -> dict[str, set[str]]:
        """Return point → its damaged parts, for the points that have any."""
        parts: dict[str, set[str]] = {}
        for packed in _in_groups(points):
            rows = self._database.execute(f"SELECT point, part FROM damaged WHERE point IN ({placeholders(packed)})", packed)  # noqa: S608
            for point, part in rows:
                parts.setdefault(unpack_uuid(point), set()).add(part)
        return parts

    def want(self, points: Iterable[str]) -> None:
        """Mark points that the source has, so that they are not deleted as points of the document in their damaged payload."""
        self._database.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((pack_uuid(point),) for point in points))

    def unwanted(self, points: Iterable[str]) -> list[str]:
        """Return the points that are not wanted, in the given order."""
        unwanted: list[str] = []
        for packed in _in_groups(points):
            rows = self._database.execute(f"SELECT point FROM wanted WHERE point IN ({placeholders(packed)})", packed)  # noqa: S608
            wanted = {point for (point,) in rows}
            unwanted.extend(unpack_uuid(point) for point in packed if point not in wanted)
        return unwanted


def placeholders(values: Collection[bytes]) -> str:
    """Return a placeholder for each value, for an SQL list."""
    return ",".join("?" * len(values))


def _in_groups(points: Iterable[str]) -> Iterator[tuple[bytes, ...]]:
    """Yield the packed ids of points, `BATCH_POINTS` at a time."""
    packed = map(pack_uuid, points)
    while group := tuple(islice(packed, BATCH_POINTS)):
        yield group


def _unpacked(points: Iterator[bytes]) -> Iterator[list[str]]:
    """Yield the ids of packed points, `BATCH_POINTS` at a time."""
    while ids := [unpack_uuid(point) for point in islice(points, BATCH_POINTS)]:
        yield ids
