"""Jobs on their schedules and when their files change, of `ingest sync --daemon` and `ingest serve --watch`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from threading import Thread
from typing import Any

from ingest.cli.interruption import StopRequest
from ingest.cli.jobs import job_sources, run_one
from ingest.cli.watching import open_watches
from ingest.records import Source
from ingest.run_settings import JobSettings
from ingest.schedule.health import JobsHealth, Limits
from ingest.schedule.status import JobRecord, wall_clock
from ingest.schedule.timetable import StopSignal, Timetable, Trigger, announce, job_trigger, run_on_schedule
from ingest.schedule.watching import EVERY, Watches
from ingest.settings import Settings, job_settings

logger = logging.getLogger(__name__)

Turn = Callable[[Iterable[str]], AbstractContextManager[Callable[[], object]]]
"""Return the context of a run that writes these sources, with a function to call between its windows."""

FindProblems = Callable[[], Mapping[str, tuple[str, ...]]]
"""Return job → its problems as sentences; none for a healthy one."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """Jobs that run one after another, when they are due and when their files change.

    Attributes:
        sources: watched job → the names of the sources that its runs write.
        health: tells how the jobs are; a Prometheus collector.
    """

    settings: Settings
    records: Mapping[str, JobRecord]
    timetable: Timetable
    watches: Watches
    sources: Mapping[str, frozenset[str]]
    health: JobsHealth
    stop: StopSignal
    kept: Callable[[], dict[str, Any]]
    turn: Turn

    @property
    def watched(self) -> list[str]:
        """The jobs that also run when their files change."""
        return [name for name in self.records if self.settings.jobs[name].watch]

    def run(self) -> None:
        """Note in each status when the job is due, and run the jobs until told to stop."""
        announce(self.records, self.timetable, self.watched)
        run_on_schedule(self.timetable, self._run, stop=self.stop, watches=self.watches)

    def _run(self, name: str, next_run: datetime) -> None:
        with self.watches.batch(name) as batch:
            if batch.is_empty:
                return
            logger.info("%s: started%s", name, "" if batch.parts is None else " with what has changed")
            record = self.records[name]
            with self.turn(self.sources.get(name, ())) as give_way:

                def stop() -> bool:
                    give_way()
                    return self.stop()

                status = run_one(self.settings, record, stop, next_run, parts=batch.parts, kept=self.kept)
            batch.failed = status.status == "failed"
        level = logging.INFO if status.exit_code == 0 or self.stop() else logging.ERROR
        logger.log(level, "%s: %s%s", name, status.status, f": {status.error}" if status.error else "")


def open_daemon(
    settings: Settings,
    names: Sequence[str],
    stop: StopSignal,
    *,
    kept: Callable[[], dict[str, Any]] = dict,
    turn: Turn = lambda _sources: nullcontext(lambda: None),
) -> Daemon:
    """Return the jobs of these names. From now on, changes in the folders of those that are watched are collected.

    Args:
        kept: see `run_one`.
        turn: returns a context that each run is in, see `Turn`.

    Raises what `open_watches` and `job_trigger` raise.
    """
    jobs = {name: settings.jobs[name] for name in names}
    records = {name: JobRecord(settings.jobs_dir, name) for name in names}
    triggers = {name: _trigger(name, job) for name, job in jobs.items()}
    timetable = Timetable(triggers, {name: record.read() for name, record in records.items()}, wall_clock())
    watched = [name for name, job in jobs.items() if job.watch]
    opened = {name: job_sources(settings, name) for name in watched}
    watches = open_watches({name: (opened[name], job_settings(settings, name).delete) for name in watched}, stop)
    for name in watched:  # what changed while no daemon ran
        watches.expect_all(name)
    time_limits = {name: job.time_limit for name, job in jobs.items() if job.time_limit is not None}
    limits = Limits(settings.daemon_max_failures, settings.daemon_grace, time_limits, settings.daemon_freshness)
    health = JobsHealth(records, timetable, limits, freshness=watches.freshness)
    written = {name: frozenset(_written(opened[name], jobs[name])) for name in watched}
    return Daemon(settings, records, timetable, watches, written, health, stop, kept, turn)


def _written(sources: Iterable[Source], job: JobSettings) -> Iterator[str]:
    yield from (source.name for source in sources)
    if job.moved_from is not None:
        yield job.moved_from


def _trigger(name: str, job: JobSettings) -> Trigger:
    every = EVERY if job.watch and job.schedule is None and job.every is None else job.every
    return job_trigger(name, every=every, schedule=job.schedule)


class Background:
    """A daemon in a thread of its own. Whatever happens to it is told by `problems` and ends nothing else."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._error: str | None = None

    def problems(self) -> dict[str, tuple[str, ...]]:
        """Return job → its problems as sentences; none for a healthy one."""
        _, report = self._daemon.health.report()
        ended = [] if self._error is None else [f"does not run any more, because its thread has failed ({self._error}): restart"]
        return {name: (*ended, *job["problems"]) for name, job in report["jobs"].items()}

    def run(self) -> None:
        try:
            self._daemon.run()
        except Exception as exc:  # a bug here must not end the server beside it
            logger.exception("the jobs do not run any more")
            self._error = f"{type(exc).__name__}: {exc}"


@contextmanager
def in_background(daemon: Daemon, stop: StopRequest) -> Iterator[Background]:
    """Run a daemon in a thread during the context. At its end, a run stops after its window."""
    background = Background(daemon)
    thread = Thread(target=background.run, name="ingest-jobs", daemon=True)  # a second signal does not wait for it
    thread.start()
    try:
        yield background
    finally:
        stop.set()
        thread.join()
