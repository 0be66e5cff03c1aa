"""When jobs run: cron as crontab means it, intervals, and a loop that loses no run and doubles none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ConfigurationError, IngestError, JobRunningError
from ingest.schedule.status import JobRecord, JobStatus, begun
from ingest.schedule.timetable import (
    MAX_WAIT,
    Timetable,
    announce,
    cron_trigger,
    first_run,
    interval_trigger,
    next_after,
    run_in_turn,
    run_on_schedule,
    worst_exit_code,
)
from ingest.testing import FakeClock

MONDAY = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


def after(expression: str, moment: datetime = MONDAY, zone: str = "UTC") -> datetime:
    return next_after(cron_trigger(expression, ZoneInfo(zone)), moment)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", datetime(2026, 6, 1, 12, 1, tzinfo=UTC)),
        ("15 3 * * *", datetime(2026, 6, 2, 3, 15, tzinfo=UTC)),
        ("0 12 * * *", datetime(2026, 6, 2, 12, 0, tzinfo=UTC)),  # strictly after
        ("*/20 * * * *", datetime(2026, 6, 1, 12, 20, tzinfo=UTC)),
        ("0 0 1 1 *", datetime(2027, 1, 1, tzinfo=UTC)),
        ("0 0 * * 0", datetime(2026, 6, 7, tzinfo=UTC)),
        ("0 0 * * 7", datetime(2026, 6, 7, tzinfo=UTC)),
        ("0 0 * * 1", datetime(2026, 6, 8, tzinfo=UTC)),
        ("0 0 * * sat-sun", datetime(2026, 6, 6, tzinfo=UTC)),
    ],
)
def test_cron_expressions_mean_what_crontab_means(expression: str, expected: datetime) -> None:
    assert after(expression) == expected


@given(st.integers(0, 7), st.integers(0, 7), st.integers(1, 7), st.booleans())
def test_days_of_the_week_are_counted_from_sunday(one: int, other: int, step: int, named: bool) -> None:
    first, last = sorted((one, other))
    if named and last == 7:
        return
    field = f"{DAYS[first]}-{DAYS[last]}/{step}" if named else f"{first}-{last}/{step}"
    expected = {day % 7 for day in range(first, last + 1, step)}
    trigger = cron_trigger(f"0 0 * * {field}", ZoneInfo("UTC"))
    moment, found = MONDAY, set()
    while (moment := next_after(trigger, moment)) < MONDAY + timedelta(days=8):
        found.add(moment.isoweekday() % 7)
    assert found == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("15 3 * *", "it has 4 fields instead of five (minute, hour, day of the month, month, day of the week)"),
        ("@daily", "it has 1 fields"),
        ("0 3 * * * 5", "it has 6 fields"),
        ("61 * * * *", "bad minute"),
        ("*/0 * * * *", "bad minute"),
        ("0 3 * * 8", "bad day-of-week"),
        ("0 3 * * mo", "bad day-of-week"),
        ("0 3 * * 3-3/0", "bad day-of-week"),
        ("0 0 31 2 *", "bad day-of-month"),
    ],
)
def test_what_is_no_schedule_is_one_clear_error(expression: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        cron_trigger(expression)
    assert str(raised.value).startswith(f"{expression!r} is not a valid cron expression: {message}")
    assert "\n" not in str(raised.value)


@given(st.integers(1, 10**6), st.integers(0, 10**8))
def test_an_interval_counts_from_the_last_start(seconds: int, offset: int) -> None:
    moment = MONDAY + timedelta(seconds=offset)
    assert next_after(interval_trigger(seconds), moment) == moment + timedelta(seconds=seconds)


def test_what_came_due_while_there_was_no_daemon_is_due_at_once() -> None:
    daily, hourly = cron_trigger("0 3 * * *", ZoneInfo("UTC")), interval_trigger(3600)
    yesterday, just_now = MONDAY - 24 * HOUR, MONDAY - HOUR / 2
    assert first_run(daily, JobStatus("j", last_success=yesterday), MONDAY) <= MONDAY
    assert first_run(daily, JobStatus("j", last_success=just_now), MONDAY) == datetime(2026, 6, 2, 3, tzinfo=UTC)
    assert first_run(hourly, JobStatus("j", last_success=yesterday), MONDAY) <= MONDAY
    assert first_run(hourly, JobStatus("j", last_success=just_now), MONDAY) == MONDAY + HOUR / 2


def test_what_failed_last_counts_from_its_last_success() -> None:
    daily = cron_trigger("0 3 * * *", ZoneInfo("UTC"))
    failed = JobStatus("j", "failed", started=MONDAY - HOUR, last_success=MONDAY - 48 * HOUR, failures=2)
    assert first_run(daily, failed, MONDAY) <= MONDAY


def test_a_job_that_never_ran_waits_for_its_time_or_starts_at_once_at_intervals() -> None:
    assert first_run(interval_trigger(3600), JobStatus("j"), MONDAY) == MONDAY
    assert first_run(cron_trigger("0 3 * * *", ZoneInfo("UTC")), JobStatus("j"), MONDAY) == datetime(2026, 6, 2, 3, tzinfo=UTC)


def test_a_clock_that_was_set_back_does_not_put_a_job_off_for_ever() -> None:
    future = JobStatus("j", last_success=MONDAY + timedelta(days=3650))
    assert first_run(interval_trigger(60), future, MONDAY) == MONDAY + timedelta(seconds=60)


def test_a_clock_that_is_set_back_does_not_put_off_what_was_due_meanwhile() -> None:
    table = Timetable({"j": cron_trigger("0 3 * * *", ZoneInfo("UTC"))}, {"j": JobStatus("j")}, MONDAY + timedelta(days=3650))
    assert table.due(MONDAY) is None
    assert table.next_run("j") == datetime(2026, 6, 2, 3, tzinfo=UTC)


class Rehearsal:
    """The loop on a clock that passes only while it waits or a job runs."""

    def __init__(self, *, until: float) -> None:
        self.clock = FakeClock(MONDAY.timestamp())
        self.end = MONDAY.timestamp() + until
        self.runs: list[tuple[str, float]] = []
        self.waits: list[float] = []

    def __call__(self) -> bool:
        return self.clock() >= self.end

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.clock.sleep(seconds)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    def play(self, timetable: Timetable, takes: Callable[[str], float]) -> None:
        def run(job: str, next_run: datetime) -> None:
            assert next_run > self.now()
            self.runs.append((job, self.clock() - MONDAY.timestamp()))
            self.clock.sleep(takes(job))

        run_on_schedule(timetable, run, stop=self, clock=self.now)


def timetable(now: datetime = MONDAY, **seconds: float) -> Timetable:
    return Timetable({job: interval_trigger(s) for job, s in seconds.items()}, {job: JobStatus(job) for job in seconds}, now)


def test_jobs_run_when_they_are_due_and_one_at_a_time() -> None:
    rehearsal = Rehearsal(until=60)
    rehearsal.play(timetable(a=20, b=30), lambda job: 1.0)
    assert rehearsal.runs == [("a", 0), ("b", 1), ("a", 20), ("b", 31), ("a", 40)]


def test_times_that_pass_during_a_run_come_to_one() -> None:
    rehearsal = Rehearsal(until=200)
    rehearsal.play(timetable(a=10, b=50), lambda job: {"a": 1.0, "b": 35.0}[job])
    starts = [at for job, at in rehearsal.runs if job == "a"]
    assert starts == [0, 36, 46, 86, 96, 136, 146, 186, 196]


def test_no_job_starves_behind_one_that_takes_longer_than_its_interval() -> None:
    rehearsal = Rehearsal(until=100)
    rehearsal.play(timetable(greedy=1, modest=10), lambda job: {"greedy": 8.0, "modest": 1.0}[job])
    assert len([job for job, _ in rehearsal.runs if job == "modest"]) >= 4


def test_the_clock_is_looked_at_again_before_long() -> None:
    rehearsal = Rehearsal(until=10_000)
    rehearsal.play(timetable(a=5000), lambda job: 1.0)
    assert max(rehearsal.waits) <= MAX_WAIT
    assert [at for _, at in rehearsal.runs] == [0, 5000]


def test_a_job_that_another_process_runs_waits_for_its_next_time() -> None:
    rehearsal = Rehearsal(until=25)
    attempts: list[float] = []

    def run(job: str, next_run: datetime) -> None:
        attempts.append(rehearsal.clock() - MONDAY.timestamp())
        raise JobRunningError("busy")

    run_on_schedule(timetable(a=10), run, stop=rehearsal, clock=rehearsal.now)
    assert attempts == [0, 10, 20]


def test_a_daemon_says_when_jobs_are_due_and_which_run_has_died(tmp_path: Path) -> None:
    records = {job: JobRecord(tmp_path, job) for job in ("well", "died", "busy")}
    with records["died"].hold():
        records["died"].write(begun(JobStatus("died"), MONDAY, pid=1))
    table = timetable(well=60, died=60, busy=60)
    with records["busy"].hold():
        announce(records, table)
    assert records["well"].read() == JobStatus("well", next_run=MONDAY)
    assert records["busy"].read() == JobStatus("busy")
    died = records["died"].read()
    assert (died.status, died.pid, died.failures, died.exit_code, died.next_run) == ("failed", None, 1, 1, MONDAY)
    assert died.error is not None
    assert "process 1 died" in died.error


def test_one_job_that_fails_does_not_keep_the_others_from_running(tmp_path: Path) -> None:
    records = {job: JobRecord(tmp_path, job) for job in "abc"}

    def run(job: str) -> JobStatus:
        if job == "b":
            raise IngestError("its lock cannot be taken")
        return JobStatus(job, "done", exit_code=0)

    statuses = list(run_in_turn(records, run, stop=lambda: False))
    assert [(status.job, status.status, status.exit_code) for status in statuses] == [
        ("a", "done", 0),
        ("b", "failed", 1),
        ("c", "done", 0),
    ]


def test_once_told_to_stop_the_rest_is_not_begun(tmp_path: Path) -> None:
    begun_jobs: list[str] = []

    def run(job: str) -> JobStatus:
        begun_jobs.append(job)
        return JobStatus(job, "stopped", exit_code=130)

    statuses = list(run_in_turn({job: JobRecord(tmp_path, job) for job in "ab"}, run, stop=lambda: bool(begun_jobs)))
    assert begun_jobs == ["a"]
    assert [status.status for status in statuses] == ["stopped", "stopped"]
    assert worst_exit_code(statuses) == 130


@pytest.mark.parametrize(
    ("codes", "worst"),
    [([], 0), ([0, 0], 0), ([0, 3], 3), ([3, 4, 0], 4), ([4, 2], 2), ([2, 1, 4, 3], 1), ([1, 130], 130), ([None], 0)],
)
def test_the_exit_code_is_the_worst(codes: list[int | None], worst: int) -> None:
    assert worst_exit_code(JobStatus("j", exit_code=code) for code in codes) == worst
