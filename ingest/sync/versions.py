"""The stored versions of documents: a document whose version has not changed is skipped without being read.

A wrong skip would be a lost update. These are the reasons why a skip is right:

- A source determines the version of a document before it reads the text. If the document changes in between, the version that is
  stored is older than the text, and the next run reads it again.
- The version contains what else decides the stored points: the options and the code that read the document (added by its source),
  its format, the chunking options and the schema (`versioned`). The models are compared with the points themselves.
- A document is skipped only if every stored point of it has that version and vectors of these models, if none is soft-deleted,
  and if they are as many as each of them records. Points of an older version, and a crash between two writes, make it read.
- A file of records is skipped only if its documents are stored completely and exactly, see `record_files`.
- A point gets a version together with its text and fingerprints, in one write. Writes that know no version remove it.
- Whatever cannot be read, is missing or damaged here makes a document read, never skipped.

A version can still be wrong: a program can write a file and reset all its times, or through a memory map. Only a run that reads
everything finds such a change (`Check.CONTENT`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from ingest.identity import digest, is_uuid
from ingest.records import Fingerprint
from ingest.store.contract import SCHEMA_VERSION, Condition, Store
from ingest.store.schema import INGEST_FIELD, with_fingerprint
from ingest.sync.record_files import MARK, Contents, Mark
from ingest.sync.run_state import pack_uuid, placeholders, unpack_uuid
from ingest.temporary_database import TemporaryDatabase

SCROLL_FROM = 16
"""All versions of a source are read at once when the documents looked up so far and their points, this many times, are as many as
its points. A point of a scroll costs a fifth of a document that is looked up."""

_MOST_CHUNKS = 2**31

_FIELDS = [
    "doc_id",
    *(f"_ingest.{name}" for name in ("doc_key", "doc_fp", "doc_chunks", "vectors", "schema", "soft_deleted_at", "version")),
]

_SCHEMA = """
    CREATE TABLE versions (doc_key BLOB PRIMARY KEY, version TEXT, chunks INTEGER, points INTEGER, doc_id TEXT, mark TEXT)
    WITHOUT ROWID;
    CREATE VIEW complete AS SELECT * FROM versions WHERE points = chunks AND version IS NOT NULL;
"""
"""A document without a version may be a record: then its id and its fingerprint, as its version, are in its row."""


class Check(StrEnum):
    """How a run finds out whether a document has changed.

    `version`: by its version, where the source has one; such a document is not read. `content`: by reading it.
    """

    VERSION = "version"
    CONTENT = "content"


def versioned(version: str | None, document_format: str, chunker: Callable[[str], str]) -> str | None:
    """Return the version to store with a document, or None if its source gives none.

    It ends with the format, so that `has_version` knows that of a document that was not read.

    Args:
        version: the version that the source gives.
        chunker: document format → fingerprint of the chunking options.
    """
    if version is None:
        return None
    return f"{digest([SCHEMA_VERSION, chunker(document_format), version])} {document_format}"


def has_version(stored: str, version: str, chunker: Callable[[str], str]) -> bool:
    """Return whether `stored` is what `versioned` returns today for this version of a document."""
    return stored == versioned(version, stored.partition(" ")[2], chunker)


class StoredVersions(TemporaryDatabase):
    """The versions of the stored documents of one source. Use it from one thread.

    The first documents are looked up; then all versions are read at once, which takes a fraction of the time. For files of
    records, they are read at once in any case.

    Args:
        points: number of stored points of the source. None: the versions are never read at once, so no file of records is found.
        models: vector name → fingerprint of its model.
    """

    def __init__(self, store: Store, collection: str, source: str, points: int | None, models: Mapping[str, str]) -> None:
        super().__init__(_SCHEMA)
        self._store = store
        self._collection = collection
        self._source = source
        self._points = points
        self._models = models
        self._looked_up = 0
        self._has_all = False

    def find(self, doc_keys: Collection[str]) -> dict[str, tuple[str, int]]:
        """Return document key → version and number of chunks, of the documents that may be skipped if they have that version.

        Pass some hundreds at a time.
        """
        if not self._has_all:
            self._looked_up += len(doc_keys)
            if self._points is not None and self._looked_up * SCROLL_FROM >= self._points:
                self._read_all()
            else:
                found = self._store.fingerprints(self._collection, list(doc_keys))
                self._looked_up += len(found)
                self._replace((_record_of(point), None) for point in found)
        packed = {pack_uuid(key): key for key in doc_keys}
        query = "SELECT doc_key, version, chunks FROM complete WHERE doc_id IS NULL AND doc_key IN "
        rows = self._database.execute(f"{query} ({placeholders(packed)})", tuple(packed))
        return {packed[key]: (version, chunks) for key, version, chunks in rows}

    def find_file(self, prefix: str, version: str, chunker: Callable[[str], str]) -> Mark | None:
        """Return the mark of this version of a file of records if exactly its documents are stored, and completely; else None.

        Stored documents that are not complete, or soft-deleted, are none of the file's if all of its documents are found without
        them.

        Args:
            prefix: what the ids of its documents begin with.
            chunker: see `versioned`.
        """
        if self._points is None:
            return None
        if not self._has_all:
            self._read_all()
        stored = [Mark.parse(mark) for (mark,) in self._complete_in(prefix, "DISTINCT mark") if mark is not None]
        marks = [mark for mark in stored if mark is not None and mark.is_of(version, chunker)]
        if not marks:
            return None
        contents = Contents()
        for key, doc_fp in self._complete_in(prefix, "doc_key, version"):
            contents = contents.plus(unpack_uuid(key), doc_fp)
        return next((mark for mark in marks if mark.contents == contents), None)

    def documents_of(self, prefix: str) -> Iterator[tuple[str, str, int]]:
        """Yield id, key and number of chunks of each document of a file of records that was found."""
        for doc_id, key, chunks in self._complete_in(prefix, "doc_id, doc_key, chunks"):
            yield doc_id, unpack_uuid(key), chunks

    def _complete_in(self, prefix: str, columns: str) -> Iterator[tuple[Any, ...]]:
        """Query the complete documents whose ids begin with a prefix. Ids of characters that no script has are left out."""
        query = f"SELECT {columns} FROM complete WHERE doc_id >= ? AND doc_id < ?"  # noqa: S608  columns are constants
        return self._database.execute(query, (prefix, f"{prefix}\U0010ffff"))

    def _read_all(self) -> None:
        of_source = [Condition("source", "eq", self._source)]
        stored = self._store.scroll(self._collection, of_source, payload=_FIELDS)
        self._replace((point.payload.get(INGEST_FIELD), point.payload.get("doc_id")) for point in stored)
        self._database.execute("CREATE INDEX by_id ON versions (doc_id) WHERE doc_id IS NOT NULL")
        self._has_all = True

    def _replace(self, points: Iterable[tuple[object, object]]) -> None:
        """Replace all rows with those of these points: what each has in `_ingest`, and its document id.

        If points of a document differ, it has no version.
        """
        self._database.execute("DELETE FROM versions")
        self._database.executemany(
            "INSERT INTO versions VALUES (?, ?, ?, 1, ?, ?) ON CONFLICT (doc_key) DO UPDATE SET points = points + 1,"
            " version = CASE WHEN version = excluded.version AND chunks = excluded.chunks AND doc_id IS excluded.doc_id"
            " THEN version END, mark = coalesce(mark, excluded.mark)",
            (row for record, doc_id in points if (row := self._row(record, doc_id)) is not None),
        )

    def _row(self, record: object, doc_id: object) -> tuple[bytes, str | None, int, object, str | None] | None:
        """Return the row of a point, without a version if its document must be read; None for a point of an unknown document."""
        if not isinstance(record, Mapping) or not isinstance(key := record.get("doc_key"), str) or not is_uuid(key):
            return None
        version, chunks = record.get("version"), record.get("doc_chunks")
        id_ = mark = None
        if version is None or (isinstance(version, str) and version.startswith(MARK)):
            mark, version = version, record.get("doc_fp") if isinstance(doc_id, str) else None
            id_ = doc_id
        if (
            isinstance(version, str)
            and isinstance(chunks, int)
            and 0 < chunks < _MOST_CHUNKS
            and record.get("schema") == SCHEMA_VERSION
            and isinstance(vectors := record.get("vectors"), Mapping)
            and self._models.items() <= vectors.items()
            and record.get("soft_deleted_at") is None
        ):
            return pack_uuid(key), version, chunks, id_, mark
        return pack_uuid(key), None, 0, None, None


def _record_of(point: Fingerprint) -> object:
    """Return what the payload of a stored point has in `_ingest`."""
    return with_fingerprint({}, point)[INGEST_FIELD]
