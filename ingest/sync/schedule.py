"""When jobs run: cron expressions and intervals, a timetable that decides, and the loop that obeys it.

Jobs of one process run one after another, on the calling thread: there is one accelerator. Times that pass meanwhile, or while
nobody was there, come to one run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from ingest.errors import ConfigurationError, DeletionBrakeError, IngestError, JobRunningError
from ingest.sync.status import EXIT_REJECTS, EXIT_STOPPED, Clock, JobRecord, JobStatus, Stop, recovered, wall_clock

logger = logging.getLogger(__name__)

LONGEST_WAIT = 60.0
"""Seconds after which the clock is looked at again, since somebody may have set it."""

_MOMENT = timedelta(microseconds=1)
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WEEKDAY_RANGE = re.compile(r"(?:(\*)|([0-7]|{0})(?:-([0-7]|{0}))?)(?:/([1-7]))?".replace("{0}", "|".join(_WEEKDAYS)))
_CRON_FIELDS = 5


def cron_trigger(expression: str, zone: tzinfo | None = None) -> BaseTrigger:
    """What `crontab` means by five fields, in local time unless a zone is given. Raises `ConfigurationError`.

    Days of the month and of the week cannot both be given: crontab would join them by OR, other schedulers by AND.
    """
    fields = expression.split()
    if len(fields) != _CRON_FIELDS:
        raise ConfigurationError(
            f"the schedule {expression!r} has {len(fields)} fields: a cron expression has five, minute, hour, day of the month,"
            " month, day of the week, such as 15 3 * * *"
        )
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        raise ConfigurationError(
            f"the schedule {expression!r} gives days of the month and of the week: give one of them, and * for the other"
        )
    try:
        trigger = CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=_weekdays(weekday), timezone=zone)
    except ValueError as exc:
        raise ConfigurationError(f"the schedule {expression!r} is no cron expression: {exc}") from exc
    if trigger.get_next_fire_time(None, wall_clock()) is None:
        raise ConfigurationError(f"the schedule {expression!r} names a day that never comes")
    return trigger


def interval_trigger(seconds: float) -> BaseTrigger:
    """So long after the last start."""
    return IntervalTrigger(seconds=seconds, timezone=UTC)


def _weekdays(field: str) -> str:
    """Weekdays by name. Cron counts from Sunday, 0 or 7, and APScheduler from Monday. Raises `ValueError`."""
    if field == "*":
        return field
    days: list[int] = []
    for part in field.lower().split(","):
        found = _WEEKDAY_RANGE.fullmatch(part)
        if found is None:
            raise ValueError(f"{part!r} is no day of the week")
        every, first, last, step = found.groups()
        start = 0 if every else _weekday(first)
        end = 6 if every or (step and not last) else _weekday(last or first)
        days.extend(range(start, end + 7 * (end < start) + 1, int(step or 1)))
    return ",".join(dict.fromkeys(_WEEKDAYS[day % 7] for day in days))


def _weekday(name: str) -> int:
    return int(name) if name.isdecimal() else _WEEKDAYS.index(name)


def next_after(trigger: BaseTrigger, moment: datetime) -> datetime:
    """The first time after `moment`, UTC."""
    following: datetime | None = trigger.get_next_fire_time(moment, moment + _MOMENT)
    return datetime.max.replace(tzinfo=UTC) if following is None else following.astimezone(UTC)


def first_run(trigger: BaseTrigger, status: JobStatus, now: datetime) -> datetime:
    """When a job is due first as a daemon starts. In the past, which means at once, if its time came while there was no daemon.

    What is looked at is the last success. A job that never had one waits for its time, or starts at once if it runs at intervals.
    """
    if status.last_success is not None:
        return next_after(trigger, min(status.last_success, now))
    return now if isinstance(trigger, IntervalTrigger) else next_after(trigger, now)


class Timetable:
    """When each job is due. One thread changes it, any thread may read it."""

    def __init__(self, triggers: Mapping[str, BaseTrigger], statuses: Mapping[str, JobStatus], now: datetime) -> None:
        self._triggers = dict(triggers)
        self._next = {job: first_run(trigger, statuses[job], now) for job, trigger in triggers.items()}

    def next_run(self, job: str) -> datetime:
        return self._next[job]

    def due(self, now: datetime) -> str | None:
        """The job that has been due for longest."""
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
