"""A job's lock, which one run holds across processes, and its status file, which tells the truth about the last one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.atomic_files import replace_private
from ingest.errors import ConfigurationError, DeletionBrakeError, IngestError, JobRunningError, SourceError
from ingest.parameters import parse_share_or_number
from ingest.receipt import ChunkCounts, LeaseEvent, Receipt
from ingest.schedule.status import (
    JobOutcome,
    JobRecord,
    JobStatus,
    Stop,
    begun,
    ended,
    judge,
    recovered,
    run_recorded,
    status_json,
)
from ingest.testing import FakeClock

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
ALL = Fraction(1)
RECEIPT = Receipt("docs", 10, 10, 0, 0, 0, 0, ChunkCounts(10, 0, 0), balanced=True, seconds=1.0)


def never() -> bool:
    return False


@pytest.mark.parametrize(
    ("receipt", "allowed", "status", "code"),
    [
        (RECEIPT, Fraction(1, 10), "done", 0),
        (replace(RECEIPT, rejected=1), Fraction(1, 10), "done", 0),
        (replace(RECEIPT, rejected=2), Fraction(1, 10), "rejects", 3),
        (replace(RECEIPT, rejected=1), 1, "done", 0),
        (replace(RECEIPT, rejected=2), 1, "rejects", 3),
        (replace(RECEIPT, rejected=10), ALL, "done", 0),
        (replace(RECEIPT, read=100, rejected=29), parse_share_or_number("29%"), "done", 0),
        (replace(RECEIPT, read=100, rejected=30), parse_share_or_number("29%"), "rejects", 3),
        (replace(RECEIPT, balanced=False), ALL, "failed", 1),
        (replace(RECEIPT, stopped=True), ALL, "stopped", 130),
        (replace(RECEIPT, stopped=True, balanced=False), ALL, "failed", 1),
    ],
)
def test_what_a_receipt_means(receipt: Receipt, allowed: Fraction | int, status: str, code: int) -> None:
    outcome = judge(receipt, allowed)
    assert (outcome.status, outcome.exit_code) == (status, code)
    assert (outcome.error is None) == (status in {"done", "stopped"})


def test_the_account_that_is_kept_is_small() -> None:
    many = replace(RECEIPT, lease_events=(LeaseEvent("acquire", "m", (), 0.0),) * 1000)
    assert judge(many, ALL) == judge(RECEIPT, ALL)


@given(st.lists(st.sampled_from(["done", "rejects", "braked", "stopped", "failed", "died"])))
def test_failures_are_counted_since_the_last_success_and_a_stop_is_neither(outcomes: list[str]) -> None:
    status, expected, last_success = JobStatus("j"), 0, None
    for number, outcome in enumerate(outcomes):
        now = NOW + timedelta(hours=number)
        status = begun(status, now, pid=7)
        assert (status.status, status.pid, status.started) == ("running", 7, now)
        if outcome == "died":
            status = recovered(status)
        else:
            status = ended(status, JobOutcome(outcome, 0), now + timedelta(seconds=3))  # type: ignore[arg-type]  # sampled
            assert status.seconds == 3.0
        expected = {"done": 0, "stopped": expected}.get(outcome, expected + 1)
        last_success = now if outcome == "done" else last_success
        assert (status.pid, status.failures, status.last_success) == (None, expected, last_success)


def test_a_status_file_gives_back_what_was_written_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    record = JobRecord(tmp_path / "jobs", "nightly")
    assert record.read() == JobStatus("nightly")
    status = ended(begun(JobStatus("nightly"), NOW, 7), JobOutcome("done", 0, receipt={"read": 3}), NOW + timedelta(seconds=2))
    with record.hold():
        record.write(status)
    assert record.read() == status
    assert json.loads((tmp_path / "jobs/nightly.json").read_text()) == status_json(status)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "jobs").iterdir()}
    assert modes == {"nightly.json": 0o600, "nightly.lock": 0o600}
    assert stat.S_IMODE((tmp_path / "jobs").stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [b"", b"{", b'{"job": "j", "status": "splendid"}', b"\xff\xfe", b"[]"])
def test_a_damaged_status_file_stops_nothing(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "j.json").write_bytes(content)
    assert JobRecord(tmp_path, "j").read() == JobStatus("j")
    assert "cannot be read" in caplog.text
    assert run_recorded(JobRecord(tmp_path, "j"), lambda stop: RECEIPT, stop=never, rejects_allowed=ALL).status == "done"


def test_a_file_that_cannot_be_replaced_stays_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_private(tmp_path / "taken", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


HOLD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from ingest.schedule.status import JobRecord, JobStatus, begun
record = JobRecord(Path(sys.argv[1]), "j")
with record.hold():
    record.write(begun(JobStatus("j"), datetime(2026, 6, 1, 12, 0, tzinfo=UTC), 4242))
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_run_of_a_job_at_a_time_across_processes_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    record = JobRecord(tmp_path, "j")
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(JobRunningError, match="job j is being run by process 4242 since 2026-06-01"):
            run_recorded(record, lambda stop: RECEIPT, stop=never, rejects_allowed=ALL)
        assert record.read().pid == 4242, "who does not hold the lock does not write"
        with JobRecord(tmp_path, "other").hold():
            pass
        holder.kill()
    status = run_recorded(record, lambda stop: RECEIPT, stop=never, rejects_allowed=ALL)
    assert (status.status, status.failures) == ("done", 0)


def test_two_threads_of_a_process_are_kept_apart_as_well(tmp_path: Path) -> None:
    record = JobRecord(tmp_path, "j")
    with record.hold(), pytest.raises(JobRunningError, match="only just started"), record.hold():
        pass
    with record.hold():
        pass


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IngestError, match="see jobs_dir"), JobRecord(tmp_path / "file", "j").hold():
        pass


def raising(error: BaseException) -> Callable[[Stop], Receipt]:
    def run(stop: Stop) -> Receipt:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "code", "said"),
    [
        (SourceError("there is no x"), "failed", 1, "there is no x"),
        (ConfigurationError("not like this"), "failed", 2, "not like this"),
        (DeletionBrakeError("too many", doc_ids=["a", "b"]), "braked", 4, "too many"),
        (ZeroDivisionError("a mistake of ours"), "failed", 1, "ZeroDivisionError: a mistake of ours"),
    ],
)
def test_a_run_that_fails_is_a_status(tmp_path: Path, error: BaseException, status: str, code: int, said: str) -> None:
    record = JobRecord(tmp_path, "j")
    result = run_recorded(record, raising(error), stop=never, rejects_allowed=ALL)
    assert result == record.read()
    assert (result.status, result.exit_code, result.error, result.failures, result.receipt) == (status, code, said, 1, None)
    assert result.doc_ids == (("a", "b") if status == "braked" else ())


def test_a_run_that_is_interrupted_at_once_says_so_before_it_goes(tmp_path: Path) -> None:
    record = JobRecord(tmp_path, "j")
    with pytest.raises(KeyboardInterrupt):
        run_recorded(record, raising(KeyboardInterrupt()), stop=never, rejects_allowed=ALL)
    assert (record.read().status, record.read().pid, record.read().failures) == ("stopped", None, 0)


def test_while_it_runs_the_status_says_so_and_still_tells_of_the_last_run(tmp_path: Path) -> None:
    record = JobRecord(tmp_path, "j")
    run_recorded(record, lambda stop: RECEIPT, stop=never, rejects_allowed=ALL)
    seen: list[JobStatus] = []

    def run(stop: Stop) -> Receipt:
        seen.append(record.read())
        return RECEIPT

    run_recorded(record, run, stop=never, rejects_allowed=ALL, next_run=NOW)
    (status,) = seen
    assert (status.status, status.pid, status.next_run, status.exit_code) == ("running", os.getpid(), NOW, 0)
    assert status.receipt is not None
    assert status.receipt["read"] == 10


def test_a_run_over_its_time_limit_is_told_to_stop_and_has_failed(tmp_path: Path) -> None:
    clock = FakeClock(NOW.timestamp())

    def run(stop: Stop) -> Receipt:
        while not stop():
            clock.sleep(10)
        return replace(RECEIPT, stopped=True)

    status = run_recorded(
        JobRecord(tmp_path, "j"),
        run,
        stop=never,
        rejects_allowed=ALL,
        time_limit=60,
        clock=lambda: datetime.fromtimestamp(clock(), UTC),
    )
    assert (status.status, status.exit_code, status.failures, status.seconds) == ("failed", 1, 1, 60.0)
    assert status.error is not None
    assert "time limit of 60 s" in status.error


def test_a_run_that_was_told_to_stop_has_not_failed(tmp_path: Path) -> None:
    status = run_recorded(
        JobRecord(tmp_path, "j"),
        lambda stop: replace(RECEIPT, stopped=True),
        stop=lambda: True,
        rejects_allowed=ALL,
        time_limit=9,
    )
    assert (status.status, status.exit_code, status.failures, status.last_success) == ("stopped", 130, 0, None)
