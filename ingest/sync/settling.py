"""What becomes of what is stored of a source once every source of the run has ended without an error."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from ingest.store.contract import Store
from ingest.store.writer import Effects, Writer
from ingest.sync.account import Tally
from ingest.sync.deletion import (
    Ended,
    deletes_held_back,
    find_gone,
    note_stored,
    nothing_read,
    payloads_to_mark,
    payloads_to_restore,
)
from ingest.sync.plan import DeleteMode, Fate
from ingest.sync.run_state import PendingDeletes
from ingest.telemetry import ThroughputMonitor


@dataclass(slots=True)
class Settlement:
    """The deletes of one source: noted before it is read, decided and done at the end.

    Attributes:
        source: its name.
        seen: keys of the documents it has.
        read: records it yielded; known once it has ended.
    """

    source: str
    collection: str
    delete: DeleteMode
    delete_after: float | None
    store: Store
    monitor: ThroughputMonitor
    seen: Container[str]
    deletes: PendingDeletes
    read: int = 0

    @property
    def ended(self) -> Ended:
        """After `find_gone`, for the brake."""
        return Ended(self.source, self.read, self.deletes)

    def note_stored(self, *, known_empty: bool) -> None:
        """Before the source is read."""
        if self.delete == DeleteMode.FULL and not known_empty:
            note_stored(self.store, self.collection, self.source, self.deletes)

    def find_gone(self, now: float, *, read: int, unidentified: int) -> None:
        """Find the documents that are gone, now that the source has ended without an error: those stored and not seen.

        Args:
            read: records that the source yielded.
            unidentified: rejected records whose id could not be read.
        """
        self.read = read
        if read == 0:
            self.monitor.log_error(self.source, nothing_read())
        if self.delete == DeleteMode.FULL:
            if unidentified:
                self.monitor.log_error(self.source, deletes_held_back(unidentified))
            else:
                find_gone(self.deletes, self.seen, now=now, delete_after=self.delete_after)

    def settle_read(self, writer: Writer, tally: Tally) -> None:
        """Delete the stale chunks of the documents that the source has, and restore those that were soft-deleted.

        Runs before the brake, which guards only the documents that are gone. Everything that was written is acknowledged by now,
        so no payload read here is older than one still on its way; the same holds in `settle_gone`.
        """
        store, collection, deletes = self.store, self.collection, self.deletes
        for ids in deletes.points_that_came_back(self.seen):
            restored = payloads_to_restore(store, collection, ids)
            writer.submit(Effects(payloads=restored))
        for ids in deletes.stale_points():
            writer.submit(Effects(deletes=ids))
            tally.chunks_deleted += len(ids)

    def settle_gone(self, writer: Writer, now: float, tally: Tally) -> None:
        """Soft-delete the documents that are newly gone, and delete those whose time has come. The brake has let them go."""
        store, collection, deletes = self.store, self.collection, self.deletes
        for ids in deletes.points_to_mark():
            marked = payloads_to_mark(store, collection, ids, now=now)
            writer.submit(Effects(payloads=marked))
        for ids in deletes.points_of_gone(Fate.DELETE):
            writer.submit(Effects(deletes=ids))
            tally.chunks_deleted += len(ids)
        tally.tombstoned += deletes.count_gone_documents(Fate.TOMBSTONE)
        tally.deleted += deletes.count_gone_documents(Fate.DELETE)
