"""What becomes of what is stored of a source once every source of the run has ended without an error."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from ingest.store.contract import Store
from ingest.store.writer import Effects, Writer
from ingest.sync.account import Tally
from ingest.sync.deletion import deletes_held_back, find_gone, note_stored, payloads_to_mark, payloads_to_restore
from ingest.sync.plan import DeleteMode, Fate
from ingest.sync.spool import PendingDeletes
from ingest.telemetry import ThroughputMonitor


@dataclass(slots=True)
class Settlement:
    """The deletes of one source: noted before it is read, decided and done at the end.

    Attributes:
        source: its name.
        seen: keys of the documents it has.
    """

    source: str
    collection: str
    delete: DeleteMode
    delete_after: float | None
    store: Store
    monitor: ThroughputMonitor
    seen: Container[str]
    deletes: PendingDeletes

    def note_stored(self, *, known_empty: bool) -> None:
        """Before the source is read."""
        if self.delete == DeleteMode.FULL and not known_empty:
            note_stored(self.store, self.collection, self.source, self.deletes)

    def find_gone(self, now: float, *, unidentified: int) -> None:
        """The source has ended without an error: what was stored of it and was not seen is gone.

        `unidentified`: rejected records whose id could not be read.
        """
        if self.delete == DeleteMode.FULL:
            if unidentified:
                self.monitor.log_error(self.source, deletes_held_back(unidentified))
            else:
                find_gone(self.deletes, self.seen, now=now, delete_after=self.delete_after)

    def settle(self, writer: Writer, now: float, tally: Tally) -> None:
        """Tombstones where documents are newly gone or came back unusable; then stale chunks and documents whose time has come.

        Everything that was written is acknowledged, so that no payload read here is older than one on its way.
        """
        store, collection, deletes = self.store, self.collection, self.deletes
        for ids in deletes.points_that_came_back(self.seen):
            restored = payloads_to_restore(store, collection, ids)
            writer.submit(Effects(payloads=restored))
        for ids in deletes.points_to_mark():
            marked = payloads_to_mark(store, collection, ids, now=now)
            writer.submit(Effects(payloads=marked))
        for ids in deletes.points_to_delete():
            writer.submit(Effects(deletes=ids))
            tally.chunks_deleted += len(ids)
        tally.tombstoned += deletes.count_gone_documents(Fate.TOMBSTONE)
        tally.deleted += deletes.count_gone_documents(Fate.DELETE)
