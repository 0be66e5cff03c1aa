"""Cron expressions in local time: as in a crontab, and right on every day on which the clocks change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice, pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from ingest.errors import ConfigurationError
from ingest.schedule.timetable import cron_trigger, interval_trigger, next_after

ZONES = (
    "America/Los_Angeles",
    "America/New_York",
    "Europe/Berlin",
    "Europe/London",
    "Australia/Sydney",
    "Australia/Lord_Howe",  # half an hour
    "Africa/Cairo",  # forward at midnight
    "America/Santiago",  # forward at midnight, and back into the day before
    "Asia/Kolkata",  # never
    "Pacific/Auckland",
)
DATES = [date(2026, 1, 1) + timedelta(days) for days in range(3 * 365 + 1)]
NAMED: dict[str, Callable[[date], bool]] = {
    "* * 1": lambda day: day.isoweekday() == 1,
    "1 * *": lambda day: day.day == 1,
    "8 * 0": lambda day: day.day == 8 or day.isoweekday() == 7,
}
NEW_YORK = ZoneInfo("America/New_York")
SANTIAGO = ZoneInfo("America/Santiago")


def plain(day: date, at: time, zone: tzinfo) -> datetime:
    """When somebody who looks at the clock on the wall every half hour first sees this time of this day, or a later one."""
    moment, wanted = datetime.combine(day, at, UTC) - timedelta(hours=14), datetime.combine(day, at)
    while moment.astimezone(zone).replace(tzinfo=None) < wanted:
        moment += timedelta(minutes=30)
    return moment


def times(expression: str, zone: tzinfo, after: datetime, count: int) -> list[str]:
    """The next `count` of them, in local time."""
    trigger, found = cron_trigger(expression, zone), []
    for _ in range(count):
        after = next_after(trigger, after)
        found.append(f"{after.astimezone(zone):%a %m-%d %H:%M %z}")
    return found


@pytest.mark.parametrize("name", ZONES)
def test_a_daily_job_runs_once_on_every_day_around_every_change_of_the_clocks(name: str) -> None:
    zone = ZoneInfo(name)
    offsets = [datetime.combine(day, time(), zone).utcoffset() for day in DATES]
    changes = [day for day, (before, after) in zip(DATES, pairwise(offsets), strict=False) if before != after]
    assert len(changes) == (0 if name == "Asia/Kolkata" else 6)
    for at in (time(hour, minute) for hour in (0, 1, 2, 3, 23) for minute in (0, 30)):
        trigger = cron_trigger(f"{at.minute} {at.hour} * * *", zone)
        for change in changes:
            for day in (change + timedelta(days) for days in (-1, 0, 1)):
                assert next_after(trigger, plain(day - timedelta(1), at, zone)) == plain(day, at, zone), (day, at)


@pytest.mark.parametrize("name", ZONES)
def test_weekly_and_monthly_jobs_run_once_on_each_day_they_name_for_three_years(name: str) -> None:
    zone = ZoneInfo(name)
    for at in (time(0, 0), time(2, 30)):
        for days, named in NAMED.items():
            trigger = cron_trigger(f"{at.minute} {at.hour} {days}", zone)
            expected = [plain(day, at, zone) for day in DATES if named(day)]
            moment, found = expected[0] - timedelta(minutes=1), []
            for _ in expected:
                moment = next_after(trigger, moment)
                found.append(moment)
            assert found == expected, (at, days)


def test_a_time_that_does_not_exist_runs_once_as_the_clocks_jump() -> None:
    evening = datetime(2026, 3, 7, 12, tzinfo=NEW_YORK)
    assert times("0,30 2 * * *", NEW_YORK, evening, 2) == ["Sun 03-08 03:00 -0400", "Mon 03-09 02:00 -0400"]
    assert times("30 2,3 * * *", NEW_YORK, evening, 2) == ["Sun 03-08 03:00 -0400", "Sun 03-08 03:30 -0400"]
    for expression in ("*/15 0 * * *", "0 */24 * * *"):
        [first, _] = times(expression, SANTIAGO, datetime(2026, 9, 5, 12, tzinfo=SANTIAGO), 2)
        assert first == "Sun 09-06 01:00 -0300"


def test_a_time_that_happens_twice_runs_the_first_time() -> None:
    noon = datetime(2026, 10, 31, 12, tzinfo=NEW_YORK)
    assert times("30 1 * * *", NEW_YORK, noon, 2) == ["Sun 11-01 01:30 -0400", "Mon 11-02 01:30 -0500"]
    in_the_second_hour = datetime(2026, 11, 1, 1, 10, tzinfo=NEW_YORK, fold=1)
    assert times("30 1 * * *", NEW_YORK, in_the_second_hour, 1) == ["Mon 11-02 01:30 -0500"]


@pytest.mark.parametrize(
    "evening", [datetime(2026, 3, 7, 23, 50, tzinfo=NEW_YORK), datetime(2026, 10, 31, 23, 50, tzinfo=NEW_YORK)]
)
def test_a_job_of_every_hour_goes_on_through_both(evening: datetime) -> None:
    moments = [evening]
    trigger = cron_trigger("*/10 * * * *", NEW_YORK)
    for _ in range(40):
        moments.append(next_after(trigger, moments[-1]))
    assert {after - before for before, after in islice(pairwise(moments), 1, None)} == {timedelta(minutes=10)}


def test_days_of_the_month_and_of_the_week_are_joined_as_crontab_joins_them() -> None:
    june = datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert times("0 0 13 * 3", UTC, june, 3) == ["Wed 06-03 00:00 +0000", "Wed 06-10 00:00 +0000", "Sat 06-13 00:00 +0000"]
    assert times("0 0 */2 * 1", UTC, june, 2) == ["Mon 06-15 00:00 +0000", "Mon 06-29 00:00 +0000"]


@pytest.mark.parametrize("value", ["Europe/Berlin", ":Europe/Berlin"])
def test_schedules_are_in_the_zone_that_tz_names(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TZ", value)
    trigger = cron_trigger("30 2 * * *")
    assert next_after(trigger, datetime(2026, 6, 1, 12, tzinfo=UTC)) == datetime(2026, 6, 2, 0, 30, tzinfo=UTC)


def test_an_empty_tz_is_utc_and_a_file_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    noon, at_half_past_two = datetime(2026, 6, 1, 12, tzinfo=UTC), datetime(2026, 6, 2, 2, 30, tzinfo=UTC)
    monkeypatch.setenv("TZ", "")
    assert next_after(cron_trigger("30 2 * * *"), noon) == at_half_past_two
    # A zone of UTC+3, as RFC 8536 writes it: no changes, one type, and a rule.
    body = b"TZif2" + bytes(15) + bytes(4 * 4) + (1).to_bytes(4, "big") + (4).to_bytes(4, "big")
    local = (3 * 3600).to_bytes(4, "big") + bytes(2) + b"+03\0"
    (tmp_path / "zone").write_bytes(body + local + body + local + b"\n<+03>-3\n")
    monkeypatch.setenv("TZ", str(tmp_path / "zone"))
    assert next_after(cron_trigger("30 2 * * *"), noon) == at_half_past_two - timedelta(hours=3)


@pytest.mark.parametrize(
    "value", ["CET-1CEST,M3.5.0,M10.5.0/3", "<-03>3", "UTC+2", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "Zö"]
)
def test_a_zone_that_schedules_cannot_use_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TZ", value)
    with pytest.raises(ConfigurationError) as raised:
        cron_trigger("0 3 * * *")
    assert str(raised.value).startswith(f"the time zone {value!r} cannot be used for schedules: set TZ to a name")
    assert "\n" not in str(raised.value)
    cron_trigger("0 3 * * *", UTC)
    interval_trigger(60)
