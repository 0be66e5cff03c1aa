"""`ingest serve --watch`: one process that searches a store and keeps it equal to its folders."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
from command import INGEST, environment, ingest, until
from serving import api, client_of, opened, stored_rules

from ingest.cli.daemon import Daemon, in_background
from ingest.cli.interruption import StopRequest
from ingest.errors import JobRunningError
from ingest.schedule.health import JobsHealth, Limits
from ingest.schedule.status import JobRecord, JobStatus, wall_clock
from ingest.schedule.timetable import Timetable, interval_trigger
from ingest.schedule.watching import Watches
from ingest.serve.app import create_app
from ingest.serve.options import ServeOptions
from ingest.serve.schemas import ServedJob
from ingest.serve.served import ServedCollections
from ingest.settings import Settings
from ingest.store.schema import _normalize_collection_name
from ingest.testing import FakeChanges, FakeClock, FlakyStore

JOB = """
dense = "none"
daemon_max_failures = 1
[jobs.rules]
source = "docs/"
collection = "Rules"
delete = "full"
max_delete = "100%"
watch = true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ingest.toml").write_text(JOB)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/leave.md").write_text("Every employee has thirty days of leave.")
    return tmp_path


def test_a_changed_file_is_found_by_the_same_process_and_errors_of_the_watch_are_told(folder: Path) -> None:
    command = [INGEST, "serve", "--watch", "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True) as server:
        try:
            follow(server, folder)
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()
    assert JobRecord(folder / ".ingest/jobs", "rules").read().status == "done"


def follow(server: subprocess.Popen[str], folder: Path) -> None:
    assert server.stdout is not None
    client = httpx.Client(base_url=json.loads(server.stdout.readline())["url"], timeout=60)

    def found(query: str) -> list[str]:
        answer = client.get("/v1/collections/rules/search", params={"q": query})
        return [hit["doc_id"] for hit in answer.json()["hits"]] if answer.status_code == 200 else []

    def health() -> int:
        return client.get("/healthz").status_code

    until(lambda: client.get("/readyz").status_code == 200, server)  # there was no such collection before
    assert found("days of leave") == ["leave.md"]
    (folder / "docs/canteen.md").write_text("The canteen opens at noon.")
    until(lambda: found("canteen") == ["canteen.md"], server)
    until(lambda: 'ingest_freshness_seconds{job="rules"} 0.0' in client.get("/metrics").text, server)
    assert health() == 200
    (folder / "docs").rename(folder / "elsewhere")
    until(lambda: health() == 503, server)
    [job] = client.get("/v1/jobs").json()["jobs"]
    assert (job["collection"], job["status"]["watching"]) == ("rules", True)
    assert "failed" in job["problems"][0]
    assert found("canteen") == ["canteen.md"]
    (folder / "elsewhere").rename(folder / "docs")
    until(lambda: health() == 200, server)


@pytest.mark.parametrize(
    ("toml", "arguments"),
    [("", []), (JOB.replace("watch = true", 'every = "1h"'), []), (JOB, ["another"])],
    ids=["no jobs", "none watched", "of another collection"],
)
def test_there_must_be_a_job_to_watch(tmp_path: Path, toml: str, arguments: list[str]) -> None:
    (tmp_path / "ingest.toml").write_text(toml)
    outcome = ingest("serve", *arguments, "--watch", cwd=tmp_path)
    assert (outcome.code, "add watch = true to the table of a job" in outcome.err) == (2, True)


def test_jobs_that_are_not_well_are_told_without_their_names_to_everybody(tmp_path: Path) -> None:
    job = ServedJob("rules", JobStatus("secret", "failed"), ("failed 3 times in a row: cannot open docs",))
    with stored_rules(tmp_path, "rules") as store, api(store, tmp_path, read_jobs=lambda: [job], is_well=lambda: False) as client:
        answer = client.get("/healthz")
        assert (answer.status_code, "secret" in answer.text) == (503, False)
        assert client.get("/v1/jobs").json()["jobs"][0]["problems"] == list(job.problems)
        assert client.get("/v1/collections/rules/search", params={"q": "leave"}).status_code == 200


def daemon(folder: Path, changes: FakeChanges, clock: FakeClock, **more: Any) -> Daemon:
    """The job of a folder, watched by a script."""
    now = wall_clock()
    records = {"rules": JobRecord(folder / "jobs", "rules")}
    timetable = Timetable({"rules": interval_trigger(3600)}, {"rules": JobStatus("rules", last_success=now)}, now)
    watches = Watches({"rules": ([], False)}, changes, clock=clock)
    settings = Settings(jobs={"rules": {"source": "docs", "collection": "rules", "watch": True}})
    health = JobsHealth(records, timetable, Limits(3, 600, {}))
    given = {"kept": dict, "turn": lambda _sources: nullcontext(lambda: None), **more}
    return Daemon(settings, records, timetable, watches, {"rules": frozenset({"docs"})}, health, changes, **given)


def test_a_watch_that_breaks_is_a_problem_of_its_jobs(tmp_path: Path) -> None:
    def script() -> Iterator[list[str]]:
        yield []
        raise RuntimeError("out of order")

    clock = FakeClock()
    broken = daemon(tmp_path, FakeChanges(script(), clock), clock)
    with in_background(broken, StopRequest()) as background:
        pass
    [problem] = background.problems()["rules"]
    assert "out of order" in problem


def test_a_run_and_a_client_write_in_turns(tmp_path: Path) -> None:
    turns: list[bool] = []

    def taken() -> bool:
        try:
            with served.turns.of_client("docs", 0.0):
                return False
        except JobRunningError:
            return True

    with stored_rules(tmp_path, "rules") as store:
        noted = FlakyStore(store, lambda _name, _call: turns.append(taken()), methods=frozenset({"upsert", "delete"}))
        served = ServedCollections(noted, lambda name: opened(noted, name, tmp_path), _normalize_collection_name)
        with client_of(create_app(served, ServeOptions(writable=True))) as client:
            documents = "/v1/collections/rules/documents"
            client.post(documents, json={"source": "intranet", "documents": [{"id": "x", "text": "Text."}]})
            client.request("DELETE", f"{documents}/x")
    assert turns == [True, True]

    def kept() -> dict[str, Any]:
        turns.append(taken())
        raise RuntimeError("seen enough")

    clock = FakeClock()
    daemon(tmp_path, FakeChanges([None], clock), clock, kept=kept, turn=served.turns.of_run).run()
    assert (turns[2:], taken()) == ([True], False)
