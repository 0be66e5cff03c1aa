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
    find_missing,
    note_stored,
    nothing_read,
    payloads_to_restore,
    payloads_to_soft_delete,
)
from ingest.sync.plan import DeleteMode, MissingAction
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
        """After `find_missing`, for the brake."""
        return Ended(self.source, self.read, self.deletes)

    def note_stored(self, *, known_empty: bool) -> None:
        """Before the source is read."""
        if self.delete == DeleteMode.FULL and not known_empty:
            note_stored(self.store, self.collection, self.source, self.deletes)

    def find_missing(self, now: float, *, read: int, unidentified: int) -> None:
        """Find the stored documents that the source, which has ended without an error, no longer has.

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
                find_missing(self.deletes, self.seen, now=now, delete_after=self.delete_after)

    def settle_read(self, writer: Writer, tally: Tally) -> None:
        """Delete the stale chunks of the documents that the source has, and restore those that were soft-deleted.

        Runs before the brake, which guards only missing documents. Everything that was written is acknowledged by now,
        so no payload read here is older than one still on its way; the same holds in `delete_missing`.
        """
        store, collection, deletes = self.store, self.collection, self.deletes
        for ids in deletes.points_that_came_back(self.seen):
            restored = payloads_to_restore(store, collection, ids)
            writer.submit(Effects(payloads=restored))
        for ids in deletes.stale_points():
            writer.submit(Effects(deletes=ids))
            tally.chunks_deleted += len(ids)

    def delete_missing(self, writer: Writer, now: float, tally: Tally) -> None:
        """Soft-delete the newly missing documents and purge those whose grace period has passed. Runs after the brake."""
        store, collection, deletes = self.store, self.collection, self.deletes
        for ids in deletes.points_to_soft_delete():
            writer.submit(Effects(payloads=payloads_to_soft_delete(store, collection, ids, now=now)))
        for ids in deletes.points_of_missing(MissingAction.PURGE):
            writer.submit(Effects(deletes=ids))
            tally.chunks_deleted += len(ids)
        tally.soft_deleted += deletes.count_missing_documents(MissingAction.SOFT_DELETE)
        tally.deleted += deletes.count_missing_documents(MissingAction.PURGE)
