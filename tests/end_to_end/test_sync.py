"""Jobs: once, on a schedule, and stopped in good order. The real command."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from command import DEADLINE, INGEST, environment, ingest, until, write_jsonl
from corpus import python_topics
from qdrant_server import free_ports


def start(*arguments: str, cwd: Path, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [INGEST, *arguments],
        cwd=cwd,
        env=environment(**settings),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_jobs_run_once_each_whatever_becomes_of_the_others(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "topics.jsonl", python_topics(3, characters=600))
    write_jsonl(tmp_path / "notes.jsonl", [{"sku": "n1", "body": "A note."}])
    (tmp_path / "ingest.toml").write_text(
        """
        [jobs.missing]
        source = "nowhere.jsonl"
        collection = "missing"
        dense = []

        [jobs.topics]
        source = "topics.jsonl"
        collection = "Topics"
        delete = "full"

        [jobs.notes]
        source = "notes.jsonl"
        collection = "notes"
        name = "notes"
        dense = "none"
        fields = { id = "sku", text = "body" }
        """
    )
    first = ingest("sync", "--json", cwd=tmp_path)
    assert first.code == 1, first.err
    jobs = first.json["jobs"]
    assert [(name, job["status"], job["exit_code"]) for name, job in jobs.items()] == [
        ("missing", "failed", 1),
        ("topics", "done", 0),
        ("notes", "done", 0),
    ]
    assert "nowhere.jsonl" in jobs["missing"]["error"]
    assert (jobs["topics"]["receipt"]["written"], jobs["notes"]["receipt"]["written"]) == (3, 1)
    assert [model["key"] for model in jobs["topics"]["receipt"]["models"]] == ["all-miniLM-l6", "bm25"]

    second = ingest("sync", "topics", "notes", cwd=tmp_path)
    assert second.code == 0, second.err
    for name, count in (("topics", 3), ("notes", 1)):
        status = json.loads((tmp_path / f".ingest/jobs/{name}.json").read_text())
        receipt = status["receipt"]
        assert (status["status"], status["failures"], receipt["read"], receipt["unchanged"]) == ("done", 0, count, count)
        assert receipt["models"] == []

    planned = ingest("plan", "topics.jsonl", "-c", "elsewhere", "--json", cwd=tmp_path).json
    assert planned["estimate_seconds"] > 0
    assert planned["unmeasured"] == []


def test_a_daemon_runs_jobs_on_their_schedules_says_how_they_are_and_ends_in_good_order(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"id": "a", "text": "First."}])
    (tmp_path / "ingest.toml").write_text(
        f"""
        dense = []
        daemon_port = {port}
        daemon_max_failures = 1

        [jobs.often]
        source = "corpus.jsonl"
        collection = "docs"
        every = "1s"

        [jobs.nightly]
        source = "corpus.jsonl"
        collection = "nightly"
        schedule = "15 3 * * *"

        [jobs.watched]
        source = "docs"
        collection = "watched"
        watch = true
        """
    )
    (tmp_path / "docs").mkdir()
    for name in ("a.md", "b.md"):
        (tmp_path / "docs" / name).write_text("First.")
    with start("sync", "--daemon", "--json", cwd=tmp_path) as daemon:
        try:

            def health() -> dict[str, Any]:
                try:
                    with urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
                        said: dict[str, Any] = json.load(answer)
                except HTTPError as refused:
                    with refused:
                        said = json.load(refused)
                except URLError:
                    return {}
                return said

            def figures() -> str:
                with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                    text: str = answer.read().decode()
                return text

            until(lambda: health().get("jobs", {}).get("often", {}).get("last_success"), daemon)
            said = health()
            assert said["healthy"]
            assert (said["jobs"]["nightly"]["status"], said["jobs"]["nightly"]["problems"]) == ("never", [])
            assert said["jobs"]["nightly"]["next_run"] is not None

            until(lambda: 'ingest_job_documents{job="watched",outcome="read"} 2.0' in figures(), daemon)
            (tmp_path / "docs/b.md").write_text("Second.")  # which is then read alone
            until(lambda: 'ingest_job_documents{job="watched",outcome="read"} 1.0' in figures(), daemon)
            until(lambda: 'ingest_freshness_seconds{job="watched"} 0.0' in figures(), daemon)
            assert health()["jobs"]["watched"]["watching"]

            write_jsonl(corpus, [{"id": "a", "text": "First."}, {"id": "b", "text": "Second."}])
            until(lambda: 'ingest_job_documents{job="often",outcome="read"} 2.0' in figures(), daemon)

            corpus.rename(tmp_path / "away.jsonl")
            broken = until(lambda: (found := health()) and not found["healthy"] and found, daemon)
            assert "failed" in broken["jobs"]["often"]["problems"][0]
            (tmp_path / "away.jsonl").rename(corpus)
            until(lambda: health()["healthy"], daemon)
        finally:
            daemon.send_signal(signal.SIGTERM)
            out, err = daemon.communicate(timeout=DEADLINE)
    assert daemon.returncode == 0, err
    assert "Traceback" not in err
    often = json.loads(out)["jobs"]["often"]
    assert (often["pid"], often["failures"]) == (None, 0)
    assert often["status"] in {"done", "stopped"}


def test_a_folder_is_watched_until_the_command_is_told_to_stop(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/a.md").write_text("First.")
    with start("run", "docs", "-c", "docs", "--dense", "none", "--watch", "--json", "--delete", "full", cwd=tmp_path) as process:
        assert process.stdout is not None
        receipts = map(json.loads, process.stdout)
        try:
            assert next(receipts)["written"] == 1
            (tmp_path / "docs/b.md").write_text("Second.")
            assert next(receipt for receipt in receipts if not receipt["unchanged"])["read"] == 1
            (tmp_path / "docs/a.md").unlink()
            assert next(receipt for receipt in receipts if receipt["read"] == receipt["unchanged"] == 1)["deleted"] == 1
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, "Traceback" in err) == (0, False), err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_told_to_stop_finishes_its_window_and_says_what_it_did(tmp_path: Path, number: signal.Signals) -> None:
    telemetry = tmp_path / "telemetry.jsonl"
    run = ["run", "-", "-c", "docs", "--dense", "none", "--json", "--telemetry", str(telemetry)]
    with start(*run, cwd=tmp_path, INGEST_WINDOW_CHUNKS="16") as process:
        assert process.stdin is not None
        for number_of_line in range(300):  # more than is looked up together, and no end: the producer is still there
            process.stdin.write(json.dumps({"id": f"d{number_of_line}", "text": f"Line {number_of_line}."}) + "\n")
        process.stdin.flush()
        until(lambda: telemetry.exists() and '"type": "pass"' in telemetry.read_text(), process)
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
        process.wait(DEADLINE)
        process.stdin.close()
    assert process.returncode == 130, err
    assert f"{number.name}: stopping after this window" in err
    assert not re.search("Traceback|Fatal", err)
    receipt = json.loads(out)
    assert (receipt["stopped"], receipt["balanced"], receipt["deleted"]) == (True, True, 0)
    assert receipt["read"] == receipt["written"] > 0
