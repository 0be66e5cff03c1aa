"""What a run did, counted, and the receipt that says so."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ingest.records import ChunkCounts, Receipt
from ingest.telemetry import ThroughputMonitor


@dataclass(slots=True)
class Tally:
    """Documents, unless it says chunks. `chunks_inserted` are those of the chunks written that were not stored in any form."""

    read: int = 0
    written: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    soft_deleted: int = 0
    rejected: int = 0
    chunks_inserted: int = 0
    chunks_written: int = 0
    chunks_reused: int = 0
    chunks_deleted: int = 0
    points_moved: int = 0

    @property
    def done(self) -> int:
        return self.written + self.updated + self.unchanged + self.rejected

    def add(self, other: Tally) -> None:
        """What another part of the run did."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


def close_account(
    collection: str, tally: Tally, monitor: ThroughputMonitor, *, held: int, holds: int, window: int, stopped: bool
) -> Receipt:
    """The receipt of a run, and whether it balances.

    Args:
        held, holds: points that the store held of the sources before the run and holds now.
        window: chunks that the last window was allowed to hold.
        stopped: what was read ahead of the last window is then the next run's.
    """
    expected = held + tally.chunks_inserted - tally.chunks_deleted
    if holds != expected:
        monitor.log_error(
            collection,
            f"holds {holds} points of these sources where the plan says {expected}: is another job writing the same source?",
        )
    seconds = monitor.elapsed()
    read = tally.done if stopped else tally.read
    return Receipt(
        collection=collection,
        read=read,
        written=tally.written,
        updated=tally.updated,
        unchanged=tally.unchanged,
        deleted=tally.deleted,
        soft_deleted=tally.soft_deleted,
        rejected=tally.rejected,
        chunks=ChunkCounts(tally.chunks_written, tally.chunks_reused, tally.chunks_deleted),
        balanced=read == tally.done and holds == expected,
        seconds=round(seconds, 3),
        models=monitor.model_reports(),
        lease_events=monitor.lease_events,
        errors=monitor.errors,
        window=window,
        swap_share=round(monitor.swap_seconds / seconds, 4) if seconds else 0.0,
        stopped=stopped,
        moved=tally.points_moved,
    )
