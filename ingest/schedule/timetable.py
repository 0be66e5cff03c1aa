"""When jobs run: cron expressions and intervals, the timetable, and the loop that follows it.

Jobs of one process run one after another on the calling thread, because there is one accelerator. All times of a job that pass
meanwhile, or while no daemon runs, are one run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

from ingest.errors import ConfigurationError, DeletionBrakeError, IngestError, JobRunningError
from ingest.schedule.cron import CronSchedule, local_zone
from ingest.schedule.status import EXIT_REJECTS, EXIT_STOPPED, Clock, JobRecord, JobStatus, Stop, recovered, wall_clock
from ingest.schedule.watching import Watches

logger = logging.getLogger(__name__)

MAX_WAIT = 60.0
"""Seconds after which the clock is read again, because it may have been set."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A fixed time from one start to the next, in seconds."""

    seconds: float


Trigger = CronSchedule | Interval
"""The rule that says when a job runs."""


def cron_trigger(expression: str, zone: tzinfo | None = None) -> CronSchedule:
    """Return the trigger of a cron expression, in local time by default. Raises `ConfigurationError`."""
    return CronSchedule.parse(expression, local_zone() if zone is None else zone)


def interval_trigger(seconds: float) -> Interval:
    """Return a trigger that is due `seconds` after the last start."""
    return Interval(seconds)


def job_trigger(job: str, *, every: float | None, schedule: str | None) -> Trigger:
    """Return the trigger of a job that runs every so many seconds, or on a cron schedule.

    Raises `ConfigurationError` if it has neither, or if the schedule is not a valid cron expression.
    """
    if every is not None:
        return interval_trigger(every)
    if schedule is None:
        raise ConfigurationError(
            f"job {job} has neither a schedule nor every, so the daemon would never run it: give it one, or name the jobs to run"
        )
    try:
        return cron_trigger(schedule)
    except ConfigurationError as exc:
        raise ConfigurationError(f"job {job}: {exc}") from exc


def next_after(trigger: Trigger, moment: datetime) -> datetime:
    """Return the first time after `moment`, in UTC."""
    if isinstance(trigger, Interval):
        return (moment + timedelta(seconds=trigger.seconds)).astimezone(UTC)
    return trigger.next_after(moment)


def first_run(trigger: Trigger, status: JobStatus, now: datetime) -> datetime:
    """Return the first time that a job is due after a daemon starts; a time in the past means at once.

    It follows from the last success. A job without one waits for its time, or starts at once if it runs at intervals.
    """
    if status.last_success is not None:
        return next_after(trigger, min(status.last_success, now))
    return now if isinstance(trigger, Interval) else next_after(trigger, now)


class Timetable:
    """The time that each job is due. One thread changes it, any thread may read it."""

    def __init__(self, triggers: Mapping[str, Trigger], statuses: Mapping[str, JobStatus], now: datetime) -> None:
        self._triggers = dict(triggers)
        self._began = now
        self._next = {job: first_run(trigger, statuses[job], now) for job, trigger in triggers.items()}

    def next_run(self, job: str) -> datetime:
        return self._next[job]

    def due_by_wall_time(self, status: JobStatus) -> datetime:
        """Return when a job should have run after its last run, even if the timetable has moved on since."""
        last = max(moment for moment in (self._began, status.started, status.ended) if moment is not None)
        return min(self._next[status.job], next_after(self._triggers[status.job], last))

    def due(self, now: datetime) -> str | None:
        """Return the job that has been due for longest, if one is due."""
        for job, trigger in self._triggers.items():
            self._next[job] = min(self._next[job], next_after(trigger, now))  # later only if the clock was set back
        job = min(self._next, key=lambda name: self._next[name])
        return job if self._next[job] <= now else None

    def seconds_left(self, now: datetime) -> float:
        """Return the seconds until the next job is due."""
        return max(0.0, (min(self._next.values()) - now).total_seconds())

    def start(self, job: str, now: datetime) -> None:
        """Note the start of a run of the job, which stands for all its times up to now."""
        self._next[job] = next_after(self._triggers[job], now)


class StopSignal(Protocol):
    """A request to stop that can be waited for."""

    def __call__(self) -> bool: ...

    def wait(self, seconds: float) -> object:
        """Wait for the request, at most this many seconds."""
        ...


def announce(records: Mapping[str, JobRecord], timetable: Timetable, watched: Collection[str] = ()) -> None:
    """Write into each status when the job is due, whether it is watched, and whether its run died.

    Skips jobs that another process runs.
    """
    for job, record in records.items():
        try:
            with record.hold():
                record.write(replace(recovered(record.read(), timetable.next_run(job)), watching=job in watched))
        except JobRunningError as exc:
            logger.info("%s", exc)


def run_in_turn(records: Mapping[str, JobRecord], run: Callable[[str], JobStatus], *, stop: Stop) -> Iterator[JobStatus]:
    """Run each job once, even after failures, and yield its status. After a request to stop, no further job starts."""
    for job in records:
        if stop():
            yield JobStatus(job, "stopped", exit_code=EXIT_STOPPED, error="not started, because the command was stopped")
            continue
        try:
            yield run(job)
        except IngestError as exc:  # of the lock or the status file; the errors of the run are in its status
            yield JobStatus(job, "failed", exit_code=exc.exit_code, error=str(exc))
        except Exception as exc:  # a bug in one job must not keep the others from running
            logger.exception("the job %s failed unexpectedly", job)
            yield JobStatus(job, "failed", exit_code=IngestError.exit_code, error=f"{type(exc).__name__}: {exc}")


def worst_exit_code(statuses: Iterable[JobStatus]) -> int:
    """Return the exit code of several jobs: stopped, else failed, misconfigured, braked, too many rejects, or 0."""
    return min((status.exit_code or 0 for status in statuses), key=_BY_SEVERITY.index, default=0)


_BY_SEVERITY = (
    EXIT_STOPPED,
    IngestError.exit_code,
    ConfigurationError.exit_code,
    DeletionBrakeError.exit_code,
    EXIT_REJECTS,
    0,
)


def run_on_schedule(
    timetable: Timetable,
    run: Callable[[str, datetime], None],
    *,
    stop: StopSignal,
    watches: Watches | None = None,
    clock: Clock = wall_clock,
) -> None:
    """Run jobs when they are due or their folders have changed, until `stop`. `run` receives a job and when it is due next.

    A job that another process runs is skipped until its next time. Raises `ConfigurationError` if `run` does.
    """
    while not stop():
        now = clock()
        job = timetable.due(now)
        if job is not None:
            timetable.start(job, now)
            if watches is not None:
                watches.expect_all(job)
        elif watches is None or (job := watches.due()) is None:
            (stop if watches is None else watches).wait(min(timetable.seconds_left(now), MAX_WAIT))
            continue
        try:
            run(job, timetable.next_run(job))
        except ConfigurationError:
            raise
        except JobRunningError as exc:
            logger.warning("%s", exc)
        except Exception:  # neither a bug in one job nor a status file that cannot be written ends the others
            logger.exception("the job %s failed unexpectedly", job)
