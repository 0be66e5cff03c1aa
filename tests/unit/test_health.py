"""What the daemon says of its jobs to whoever watches."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from ingest.metrics_server import serve_observations
from ingest.schedule.health import JobsHealth, Limits, problems
from ingest.schedule.status import JobOutcome, JobRecord, JobStatus, begun, ended
from ingest.schedule.timetable import Timetable, interval_trigger

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
LIMITS = Limits(failures=3, grace=600, time_limits={"limited": 60})


def ago(**time: float) -> datetime:
    return NOW - timedelta(**time)


@pytest.mark.parametrize(
    ("status", "due", "problem"),
    [
        (JobStatus("j"), NOW, None),
        (JobStatus("j", failures=2, error="x"), NOW, None),
        (JobStatus("j", failures=3, error="no such file"), NOW, "failed 3 times in a row: no such file"),
        (JobStatus("j"), ago(minutes=10), None),
        (JobStatus("j"), ago(minutes=11), "has not run"),
        (JobStatus("j", "running", pid=1, started=ago(hours=9)), ago(hours=8), None),
        (JobStatus("limited", "running", pid=1, started=ago(minutes=11)), NOW, None),
        (JobStatus("limited", "running", pid=1, started=ago(minutes=12)), NOW, "over its time limit"),
    ],
)
def test_what_is_wrong_with_a_job(status: JobStatus, due: datetime, problem: str | None) -> None:
    found = problems(status, due=due, now=NOW, limits=LIMITS)
    assert (problem in " ".join(found)) if problem else found == []


def test_a_job_is_late_by_the_clock_even_if_the_timetable_has_moved_on(tmp_path: Path) -> None:
    """As of a job whose turn comes again and again and finds it locked by another process, which never runs it."""
    records = {"nightly": JobRecord(tmp_path, "nightly")}
    timetable = Timetable({"nightly": interval_trigger(3600)}, {"nightly": JobStatus("nightly")}, ago(hours=5))
    health = JobsHealth(records, timetable, LIMITS, clock=lambda: NOW)
    for hours in range(5, 0, -1):
        timetable.start("nightly", ago(hours=hours))
    well, report = health.report()
    assert not well
    assert "has not run" in report["jobs"]["nightly"]["problems"][0]

    with records["nightly"].hold():  # run by hand, which ended just now
        status = begun(JobStatus("nightly"), ago(hours=2), 7)
        records["nightly"].write(ended(status, JobOutcome("done", 0), ago(minutes=5)))
    assert health.report()[0]


def test_a_watcher_reads_health_and_figures_as_they_are_now(tmp_path: Path) -> None:
    records = {"nightly": JobRecord(tmp_path, "nightly")}
    timetable = Timetable({"nightly": interval_trigger(60)}, {"nightly": JobStatus("nightly")}, NOW)
    health = JobsHealth(records, timetable, LIMITS, clock=lambda: NOW)
    with serve_observations(health, 0, "127.0.0.1", health=health.report) as port:
        address = f"http://127.0.0.1:{port}"
        with urlopen(f"{address}/healthz") as answer:
            said = json.load(answer)
        assert (answer.status, said["healthy"], said["jobs"]["nightly"]["status"]) == (200, True, "never")

        running = begun(JobStatus("nightly", failures=2), NOW, 7)
        receipt = {"read": 5, "written": 2, "updated": 0, "unchanged": 3, "deleted": 0, "soft_deleted": 0, "rejected": 0}
        with records["nightly"].hold():
            records["nightly"].write(ended(running, JobOutcome("failed", 1, "broken", receipt), NOW + timedelta(seconds=4)))
        with pytest.raises(HTTPError) as raised:
            urlopen(f"{address}/healthz")
        with raised.value as refused:
            said = json.load(refused)
        assert (refused.code, said["healthy"]) == (503, False)
        assert said["jobs"]["nightly"]["problems"] == ["failed 3 times in a row: broken"]
        assert "receipt" not in said["jobs"]["nightly"]

        with urlopen(f"{address}/metrics") as answer:
            figures = set(answer.read().decode().splitlines())
        assert {
            'ingest_job_running{job="nightly"} 0.0',
            'ingest_job_consecutive_failures{job="nightly"} 3.0',
            'ingest_job_exit_code{job="nightly"} 1.0',
            'ingest_job_duration_seconds{job="nightly"} 4.0',
            'ingest_job_documents{job="nightly",outcome="unchanged"} 3.0',
        } <= figures

        with pytest.raises(HTTPError) as raised, urlopen(f"{address}/secrets"):
            pass
        raised.value.close()
        assert raised.value.code == 404
