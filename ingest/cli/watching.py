"""Watches of `ingest run --watch` and the daemon, and the runs that changes cause."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ingest.collection import Collection
from ingest.errors import ConfigurationError, DeletionBrakeError, IngestError
from ingest.receipt import Receipt
from ingest.records import Source
from ingest.schedule.status import JobStatus, wall_clock
from ingest.schedule.timetable import StopSignal, Timetable, interval_trigger, run_on_schedule
from ingest.schedule.watching import Watches
from ingest.source.pieces import PiecesSource
from ingest.source.watching import Changes, FolderChanges, NoChanges, watchable_folders
from ingest.sync.plan import DeleteMode
from ingest.sync.versions import Check

logger = logging.getLogger(__name__)

JOB = "run"
"""The name of a command's only job."""


def open_watches(jobs: Mapping[str, tuple[Sequence[Source], str]], stop: StopSignal) -> Watches:
    """Begin to watch the folders of jobs. `jobs`: job → its sources, none if it is not watched, and what its runs delete.

    Raises `ConfigurationError` for a source that is no local folder, and what `FolderChanges` raises.
    """
    folders = {job: (watchable_folders(sources), delete == DeleteMode.FULL) for job, (sources, delete) in jobs.items()}
    paths = [folder.place.path for watched, _ in folders.values() for folder in watched]
    changes: Changes = FolderChanges(paths, stop, pause=stop.wait) if paths else NoChanges(stop.wait)
    return Watches(folders, changes)


def sync_parts(collection: Collection, parts: Sequence[PiecesSource], *, delete: str, rejects: Path, **options: Any) -> Receipt:
    """Write the changed files of folders as a run of the whole folders would, and return the account of it.

    Args:
        delete: what a run of the whole folders deletes. Documents missing from them are left to such a run.
        rejects: the rejects file of whole runs; these rejects are written beside it.
    """
    mode = DeleteMode.INCREMENTAL if delete == DeleteMode.FULL else DeleteMode(delete)
    return collection.sync(parts, delete=mode, check=Check.CONTENT, rejects=rejects.with_suffix(".changes.jsonl"), **options)


def run_again(
    sync: Callable[[Sequence[PiecesSource] | None], Receipt],
    *,
    every: float,
    watches: Watches,
    stop: StopSignal,
    tell: Callable[[Receipt | IngestError], None],
) -> None:
    """Run after changes, after failures, and every so many seconds, until `stop`.

    Args:
        sync: runs the changed files of folders; None: the whole sources.
        tell: receives the account or the error of each run.

    Raises `ConfigurationError` if `sync` does. Any other error is retried.
    """
    now = wall_clock()
    timetable = Timetable({JOB: interval_trigger(every)}, {JOB: JobStatus(JOB, last_success=now)}, now)

    def run(job: str, _next_run: object) -> None:
        with watches.batch(job) as batch:
            if batch.is_empty:
                return
            try:
                tell(sync(batch.parts))
            except ConfigurationError:
                raise
            except DeletionBrakeError as exc:  # reading again would not change it
                tell(exc)
            except IngestError as exc:
                batch.failed = True
                tell(exc)

    run_on_schedule(timetable, run, stop=stop, watches=watches)
