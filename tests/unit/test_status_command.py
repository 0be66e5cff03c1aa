"""`ingest status`: what there is, how the jobs went, and who computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import write_jsonl
from recording_models import RecordingModel
from typer.testing import CliRunner

from ingest.cli import app
from ingest.encode.holder import lease_holders
from ingest.encode.lease import lease_gpus
from ingest.schedule.status import JobRecord, begun, wall_clock

SETTINGS = """
lease_dir = "leases"
[jobs.nightly]
source = "corpus.jsonl"
collection = "docs"
[jobs.weekly]
source = "other.jsonl"
collection = "docs"
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INGEST_DENSE", "none")
    write_jsonl(tmp_path / "corpus.jsonl", [{"id": f"d{n}", "text": f"Document {n}."} for n in range(3)])
    (tmp_path / "ingest.toml").write_text(SETTINGS)
    return tmp_path


def ingest(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


def overview(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ingest("status", "--json", *arguments))
    return found


def process_that_is_gone() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_it_shows_collections_jobs_and_leases(folder: Path) -> None:
    ingest("sync", "nightly")
    with lease_gpus(RecordingModel("a"), ["cpu"], directory=folder / "leases"):
        screen, found = ingest("status"), overview()
    assert "docs" in screen
    assert "3 written" in screen
    assert f"({os.getpid()})" in screen
    assert [(each["name"], each["points"]) for each in found["collections"]] == [("docs", 3)]
    assert {name: job["status"] for name, job in found["jobs"].items()} == {"nightly": "done", "weekly": "never"}
    assert [(each["device"], each["model"], each["pid"]) for each in found["leases"]] == [("cpu", "a", os.getpid())]
    assert overview()["leases"] == []


def test_a_job_whose_process_is_gone_has_failed(folder: Path) -> None:
    record = JobRecord(folder / ".ingest" / "jobs", "nightly")
    with record.hold():
        record.write(begun(record.read(), wall_clock(), os.getpid()))
        assert overview()["jobs"]["nightly"]["status"] == "running"
        record.write(begun(record.read(), wall_clock(), process_that_is_gone()))
        job = overview()["jobs"]["nightly"]
    assert (job["status"], job["failures"]) == ("failed", 2)
    assert "died while it ran the job" in job["error"]


def test_a_store_that_cannot_be_read_hides_neither_jobs_nor_leases() -> None:
    found = overview("--store", "http://127.0.0.1:9")
    assert "cannot be reached" in found["problem"]
    assert found["collections"] == []
    assert list(found["jobs"]) == ["nightly", "weekly"]


def test_the_note_of_a_killed_process_is_no_holder(folder: Path) -> None:
    with lease_gpus(RecordingModel("a"), ["cpu"], directory=folder):
        (held,) = folder.glob("*.json")
        note = json.loads(held.read_text())
        assert [holder.pid for holder in lease_holders(folder)] == [os.getpid()]
        held.write_text(json.dumps({**note, "pid": process_that_is_gone()}))
        assert lease_holders(folder) == []
        held.write_text(json.dumps({**note, "pid": process_that_is_gone(), "host": "another"}))
        assert [holder.host for holder in lease_holders(folder)] == ["another"]
        held.write_text("{")
        assert lease_holders(folder) == []
