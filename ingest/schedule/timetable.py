"""When jobs run: cron expressions and intervals, a timetable that decides, and the loop that obeys it.

Jobs of one process run one after another, on the calling thread: there is one accelerator. Times that pass meanwhile, or while
nobody was there, come to one run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

from ingest.errors import ConfigurationError, DeletionBrakeError, IngestError, JobRunningError
from ingest.schedule.cron import CronSchedule, local_zone
from ingest.schedule.status import EXIT_REJECTS, EXIT_STOPPED, Clock, JobRecord, JobStatus, Stop, recovered, wall_clock

logger = logging.getLogger(__name__)

LONGEST_WAIT = 60.0
"""Seconds after which the clock is looked at again, since somebody may have set it."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A fixed time from one start to the next, in seconds."""

    seconds: float


Trigger = CronSchedule | Interval
"""What says when a job runs."""


def cron_trigger(expression: str, zone: tzinfo | None = None) -> CronSchedule:
    """Return the trigger of a cron expression, in local time by default. Raises `ConfigurationError`."""
    return CronSchedule.parse(expression, local_zone() if zone is None else zone)


def interval_trigger(seconds: float) -> Interval:
    """Return a trigger that is due `seconds` after the last start."""
    return Interval(seconds)


def next_after(trigger: Trigger, moment: datetime) -> datetime:
    """Return the first time after `moment`, in UTC."""
    if isinstance(trigger, Interval):
        return (moment + timedelta(seconds=trigger.seconds)).astimezone(UTC)
    return trigger.next_after(moment)


def first_run(trigger: Trigger, status: JobStatus, now: datetime) -> datetime:
    """When a job is due first as a daemon starts. In the past, which means at once, if its time came while there was no daemon.

    What is looked at is the last success. A job that never had one waits for its time, or starts at once if it runs at intervals.
    """
    if status.last_success is not None:
        return next_after(trigger, min(status.last_success, now))
    return now if isinstance(trigger, Interval) else next_after(trigger, now)


class Timetable:
    """When each job is due. One thread changes it, any thread may read it."""

    def __init__(self, triggers: Mapping[str, Trigger], statuses: Mapping[str, JobStatus], now: datetime) -> None:
        self._triggers = dict(triggers)
        self._began = now
        self._next = {job: first_run(trigger, statuses[job], now) for job, trigger in triggers.items()}

    def next_run(self, job: str) -> datetime:
        return self._next[job]

    def due_by_wall_time(self, status: JobStatus) -> datetime:
        """Return when a job should have run, judged by when it last did, even if the timetable has moved on since."""
        last = max(moment for moment in (self._began, status.started, status.ended) if moment is not None)
        return min(self._next[status.job], next_after(self._triggers[status.job], last))

    def due(self, now: datetime) -> str | None:
        """Return the job that has been due for longest, if one is due."""
        for job, trigger in self._triggers.items():
            self._next[job] = min(self._next[job], next_after(trigger, now))  # later only if the clock was set back
        job = min(self._next, key=lambda name: self._next[name])
        return job if self._next[job] <= now else None

    def seconds_left(self, now: datetime) -> float:
        """Until the next job is due."""
        return max(0.0, (min(self._next.values()) - now).total_seconds())

    def start(self, job: str, now: datetime) -> None:
        """A run of it begins: all its times up to now have come to this one."""
        self._next[job] = next_after(self._triggers[job], now)


class StopSignal(Protocol):
    """Whether to stop, and a way to wait for it."""

    def __call__(self) -> bool: ...

    def wait(self, seconds: float) -> None:
        """Until told to stop, for so long at most."""
        ...


def announce(records: Mapping[str, JobRecord], timetable: Timetable) -> None:
    """Writes into each status when the job is due, and that its run died if it did. What another process runs is left alone."""
    for job, record in records.items():
        try:
            with record.hold():
                record.write(recovered(record.read(), timetable.next_run(job)))
        except JobRunningError as exc:
            logger.info("%s", exc)


def run_in_turn(records: Mapping[str, JobRecord], run: Callable[[str], JobStatus], *, stop: Stop) -> Iterator[JobStatus]:
    """Runs each job once, whatever came of those before it, and says how each went. Once told to stop, the rest is not begun."""
    for job in records:
        if stop():
            yield JobStatus(job, "stopped", exit_code=EXIT_STOPPED, error="not begun, since it was told to stop")
            continue
        try:
            yield run(job)
        except IngestError as exc:  # of the lock or the status file: the run's own are in its status
            yield JobStatus(job, "failed", exit_code=exc.exit_code, error=str(exc))


def worst_exit_code(statuses: Iterable[JobStatus]) -> int:
    """Of several jobs: interrupted before failed, before wrongly configured, before braked, before too many rejects."""
    return min((status.exit_code or 0 for status in statuses), key=_GRAVITY.index, default=0)


_GRAVITY = (
    EXIT_STOPPED,
    IngestError.exit_code,
    ConfigurationError.exit_code,
    DeletionBrakeError.exit_code,
    EXIT_REJECTS,
    0,
)


def run_on_schedule(
    timetable: Timetable, run: Callable[[str, datetime], None], *, stop: StopSignal, clock: Clock = wall_clock
) -> None:
    """Runs jobs as they fall due until told to stop. `run` is given a job and when it is due next.

    A job that another process runs has its turn there: it is due again at its next time.
    """
    while not stop():
        now = clock()
        job = timetable.due(now)
        if job is None:
            stop.wait(min(timetable.seconds_left(now), LONGEST_WAIT))
            continue
        timetable.start(job, now)
        try:
            run(job, timetable.next_run(job))
        except JobRunningError as exc:
            logger.warning("%s", exc)
