"""Watches of `ingest run --watch` and the daemon, and the runs that changes cause."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ingest.collection import Collection
from ingest.errors import ConfigurationError, DeletionBrakeError, IngestError
from ingest.receipt import Receipt
from ingest.records import Source
from ingest.schedule.status import JobStatus, wall_clock
from ingest.schedule.timetable import StopSignal, Timetable, interval_trigger, run_on_schedule
from ingest.schedule.watching import Watchable, Watches
from ingest.source.files import FolderSource
from ingest.source.notifications import Notifications, sends_notifications
from ingest.source.pieces import PiecesSource
from ingest.source.sql import SqlSource
from ingest.source.watching import AnyChanges, Changes, FolderChanges, NoChanges
from ingest.sync.plan import DeleteMode
from ingest.sync.versions import Check

logger = logging.getLogger(__name__)

JOB = "run"
"""The name of a command's only job."""


def open_watches(jobs: Mapping[str, tuple[Sequence[Source], str]], stop: StopSignal) -> Watches:
    """Begin to watch the sources of jobs. `jobs`: job → its sources, none if it is not watched, and what its runs delete.

    Raises what `watchable_sources`, `FolderChanges` and `Notifications` raise.
    """
    watched = {job: (watchable_sources(sources), delete == DeleteMode.FULL) for job, (sources, delete) in jobs.items()}
    every = [source for sources, _ in watched.values() for source in sources]
    paths = [source.place.path for source in every if isinstance(source, FolderSource)]
    streams: list[Changes] = [FolderChanges(paths, stop, pause=stop.wait)] if paths else []
    streams += [Notifications(source, pause=stop.wait) for source in every if isinstance(source, SqlSource)]
    return Watches(watched, AnyChanges(streams, stop) if streams else NoChanges(stop.wait))


def watchable_sources(sources: Iterable[Source]) -> list[Watchable]:
    """Return the sources if all of them tell of their changes. Raises `ConfigurationError` for one that does not."""
    watchable: list[Watchable] = []
    for source in sources:
        if (isinstance(source, FolderSource) and source.is_local) or (
            isinstance(source, SqlSource) and sends_notifications(source)
        ):
            watchable.append(source)
        else:
            raise ConfigurationError(
                f"{source.name} cannot be watched, because only local folders and PostgreSQL report their changes: read it again"
                " at intervals with --every 5m (in a job: every)"
            )
    return watchable


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
