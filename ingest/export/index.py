"""The index of an export: the shard with the latest version of each document."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from ingest.records import Fingerprint, Payload
from ingest.store.schema import fingerprint_of
from ingest.sync.run_state import SeenDocuments, pack_uuid, unpack_uuid
from ingest.temporary_database import TemporaryDatabase


class ExportIndex(TemporaryDatabase):
    """An index built from the existing shards when a run begins, and extended with each shard that the run adds. Thread-safe.

    Attributes:
        stale_shards: names of the shards with documents that are no longer current.
    """

    def __init__(self) -> None:
        super().__init__(
            "CREATE TABLE documents"
            " (doc_key BLOB PRIMARY KEY, source TEXT, doc_id TEXT, doc_fp TEXT, chunks INTEGER, shard TEXT) WITHOUT ROWID;"
        )
        self._lock = threading.Lock()
        self.stale_shards: set[str] = set()

    def add(self, payloads: Iterable[Payload], shard: str) -> None:
        """Record that a shard has the latest version of these points' documents. Their versions in earlier shards become stale.

        Raises `ValueError` for a payload without a fingerprint.
        """
        documents = {}
        for payload in payloads:
            fingerprint = fingerprint_of("", payload)
            if fingerprint is None:
                raise ValueError("a payload has no fingerprint that this version can read")
            row = (payload["source"], payload["doc_id"], fingerprint.doc_fp, fingerprint.doc_chunks, shard)
            documents[pack_uuid(fingerprint.doc_key)] = row
        with self._lock:
            for key, row in documents.items():
                before = self._database.execute("SELECT shard FROM documents WHERE doc_key = ?", (key,)).fetchone()
                if before is not None and before[0] != shard:
                    self.stale_shards.add(before[0])
                self._database.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?)", (key, *row))

    def look_up(self, doc_keys: Sequence[str], models: Mapping[str, str]) -> list[Fingerprint]:
        """Return fingerprints with the documents' versions but no chunks': a changed document is exported again as a whole."""
        fingerprints = []
        with self._lock:
            for doc_key in doc_keys:
                row = self._database.execute("SELECT doc_fp, chunks FROM documents WHERE doc_key = ?", (pack_uuid(doc_key),))
                for doc_fp, chunks in row:
                    fingerprints.extend([Fingerprint("", doc_key, doc_fp, chunks, "", "", models)] * chunks)
        return fingerprints

    def is_current(self, doc_key: str, shard: str) -> bool:
        """Return whether this shard has the latest version of the document."""
        with self._lock:
            row = self._database.execute("SELECT 1 FROM documents WHERE doc_key = ? AND shard = ?", (pack_uuid(doc_key), shard))
            return row.fetchone() is not None

    def count_documents(self, source: str) -> int:
        return self._sum("COUNT(*)", source)

    def count_chunks(self, source: str) -> int:
        return self._sum("SUM(chunks)", source)

    def missing(self, source: str, seen: SeenDocuments) -> list[tuple[str, str]]:
        """Return the (key, id) of the source's documents that were not seen."""
        with self._lock:
            rows = self._database.execute("SELECT doc_key, doc_id FROM documents WHERE source = ?", (source,)).fetchall()
        return [(key, doc_id) for packed, doc_id in rows if (key := unpack_uuid(packed)) not in seen]

    def remove(self, doc_keys: Iterable[str]) -> None:
        """Remove documents from the index. Their shards become stale."""
        with self._lock:
            for key in doc_keys:
                rows = self._database.execute("DELETE FROM documents WHERE doc_key = ? RETURNING shard", (pack_uuid(key),))
                self.stale_shards.update(shard for (shard,) in rows.fetchall())

    def _sum(self, expression: str, source: str) -> int:
        with self._lock:
            (total,) = self._database.execute(f"SELECT {expression} FROM documents WHERE source = ?", (source,)).fetchone()  # noqa: S608  one of two
        return int(total or 0)
