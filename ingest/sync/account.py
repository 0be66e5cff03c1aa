"""The account of a run, and its receipt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from ingest.receipt import ChunkCounts, Receipt
from ingest.records import Source
from ingest.source.reading_report import merged, report_of
from ingest.sync.effects import WindowResult
from ingest.telemetry import ThroughputMonitor


@dataclass(slots=True)
class Tally:
    """The counts of a run, in documents or, where the name says so, in chunks or points.

    Attributes:
        unread: unchanged documents that were not read.
        chunks_inserted: written chunks that were not stored in any form before.
        chunks_copied: written chunks with a vector that was copied from a stored point of the same text.
    """

    read: int = 0
    written: int = 0
    updated: int = 0
    unchanged: int = 0
    unread: int = 0
    deleted: int = 0
    soft_deleted: int = 0
    rejected: int = 0
    chunks_inserted: int = 0
    chunks_written: int = 0
    chunks_copied: int = 0
    chunks_reused: int = 0
    chunks_deleted: int = 0
    points_moved: int = 0

    @property
    def done(self) -> int:
        """Number of documents that are written, updated, unchanged or rejected."""
        return self.written + self.updated + self.unchanged + self.rejected

    def add(self, other: Tally) -> None:
        """Add the counts of another part of the run."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def add_result(self, result: WindowResult) -> None:
        """Add what a window wrote."""
        self.written += result.written
        self.updated += result.updated
        self.chunks_inserted += result.chunks_inserted
        self.chunks_written += result.chunks_written
        self.chunks_copied += result.chunks_copied
        self.chunks_reused += result.chunks_reused


def close_account(
    collection: str,
    tally: Tally,
    monitor: ThroughputMonitor,
    *,
    points_before: int,
    points_after: int,
    window: int = 0,
    stopped: bool,
    sources: Sequence[Source] = (),
) -> Receipt:
    """Return the receipt of a run that wrote to a collection. It balances if the points are as many as the plan says.

    Args:
        points_before, points_after: number of stored points of the sources, before the run and now.
        sources: sources, whose reading reports become part of the receipt.
    """
    expected = points_before + tally.chunks_inserted - tally.chunks_deleted
    if points_after != expected:
        monitor.log_error(
            collection,
            f"has {points_after} points of these sources, but the plan says {expected}: is another job writing the same source?",
        )
    receipt = make_receipt(collection, tally, monitor, complete=points_after == expected, window=window, stopped=stopped)
    found = merged(map(report_of, sources))
    return replace(receipt, skipped=dict(found.skipped), types=found.types, notes=tuple(found.notes))


def make_receipt(
    collection: str, tally: Tally, monitor: ThroughputMonitor, *, complete: bool, window: int = 0, stopped: bool
) -> Receipt:
    """Return the receipt of a run.

    Args:
        complete: whether the store has what the plan says; without it the receipt does not balance.
        window: maximum number of chunks of the last window.
        stopped: whether the run was stopped. Documents read ahead of the last window are then left to the next run.
    """
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
        chunks=ChunkCounts(tally.chunks_written, tally.chunks_reused, tally.chunks_deleted, tally.chunks_copied),
        balanced=read == tally.done and complete,
        seconds=round(seconds, 3),
        models=monitor.model_reports(),
        lease_events=monitor.lease_events,
        errors=monitor.errors,
        window=window,
        swap_share=round(monitor.swap_seconds / seconds, 4) if seconds else 0.0,
        stopped=stopped,
        moved=tally.points_moved,
        skipped_unread=tally.unread,
    )
