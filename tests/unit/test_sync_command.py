"""`ingest sync`, in this process: mistakes show before anything runs, and exit codes say how it went."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import write_jsonl
from typer.testing import CliRunner

from ingest.cli import app
from ingest.errors import ConfigurationError
from ingest.schedule.status import JobRecord

JOB = """
[jobs.nightly]
source = "corpus.jsonl"
collection = "docs"
delete = "full"
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INGEST_DENSE", "none")
    write_jsonl(tmp_path / "corpus.jsonl", [{"id": f"d{n}", "text": f"Document {n}."} for n in range(8)])
    (tmp_path / "ingest.toml").write_text(JOB)
    return tmp_path


def sync(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["sync", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("toml", "arguments", "message"),
    [
        ("", [], "there are no jobs: add a table [jobs.NAME]"),
        (JOB, ["nigthly"], "there is no job nigthly: did you mean nightly?"),
        (JOB, ["--max-delete", "50%"], "--max-delete lifts the deletion limit once, for the jobs that you name"),
        (JOB, ["nightly", "--daemon", "--max-delete", "50%"], "--max-delete lifts the deletion limit once"),
        (JOB, ["nightly", "--max-delete", "half"], "job nightly: max_delete: 'half' is not a share"),
        (JOB, ["nightly", "--daemon"], "job nightly has neither a schedule nor every"),
        (
            f"{JOB}schedule = 'at night'",
            ["--daemon"],
            "jobs.nightly.schedule is wrong: 'at night' is not a valid cron expression",
        ),
        (f"{JOB}sparse = 'bm52'", [], "job nightly: "),
        (f"{JOB}watch = true", ["--daemon"], "job nightly: "),
        (f"{JOB}max_delete = '120%'", [], "the setting jobs.nightly.max_delete is wrong: '120%' is not a share from 0% to 100%"),
        (f"{JOB}format = 'punched cards'", [], "job nightly: "),
        (
            f"{JOB}[jobs.again]\nsource = 'corpus.jsonl'\ncollection = 'DOCS'",
            [],
            "the jobs nightly and again both write the source",
        ),
        (
            f"{JOB}name = 'n'\n[jobs.again]\nsource = 'x'\nname = 'n'\ncollection = 'docs'",
            ["nightly"],
            "the jobs nightly and again both write the source n of docs",
        ),
    ],
)
def test_a_mistake_shows_before_anything_runs(folder: Path, toml: str, arguments: list[str], message: str) -> None:
    (folder / "ingest.toml").write_text(toml)
    result = CliRunner().invoke(app, ["sync", *arguments])
    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)
    assert not (folder / ".ingest").exists()


def test_a_daemon_in_a_zone_it_cannot_use_says_so_before_anything_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "ingest.toml").write_text(f"{JOB}schedule = '15 3 * * *'")
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    result = CliRunner().invoke(app, ["sync", "--daemon"])
    assert isinstance(result.exception, ConfigurationError)
    assert "job nightly: the time zone 'CET-1CEST,M3.5.0,M10.5.0/3' cannot be used" in str(result.exception)


def test_several_sources_and_queries_of_one_database_are_different_targets(folder: Path) -> None:
    (folder / "ingest.toml").write_text(
        JOB + "[jobs.one]\nsource = 'sqlite:///x'\nquery = 'select 1'\ncollection = 'docs'\n"
        "[jobs.two]\nsource = 'sqlite:///x'\nquery = 'select 2'\ncollection = 'docs'\n"
    )
    assert sync("nightly")[0] == 0


def test_a_job_that_another_process_runs_is_not_run_twice(folder: Path) -> None:
    with JobRecord(folder / ".ingest/jobs", "nightly").hold():
        code, said = sync()
    assert code == 1
    assert "the job nightly is being run by" in said
    assert sync()[0] == 0


def test_the_brake_is_exit_4_with_the_list_and_the_job_goes_on_failing_until_it_is_looked_at(folder: Path) -> None:
    assert sync()[0] == 0
    write_jsonl(folder / "corpus.jsonl", [{"id": "d0", "text": "Document 0."}])
    for failures in (1, 2):
        code, said = sync()
        assert code == 4
        assert [line for line in said.splitlines() if "would delete" in line] == [f"  would delete d{n}" for n in range(1, 8)]
        status = JobRecord(folder / ".ingest/jobs", "nightly").read()
        assert (status.failures, status.doc_ids) == (failures, tuple(f"d{n}" for n in range(1, 8)))
        assert status.error is not None
        assert "'d1', 'd2', 'd3', 'd4', 'd5' and 2 more" in status.error
    (folder / "ingest.toml").write_text(f"{JOB}max_delete = '100%'")
    assert sync()[0] == 0
    assert JobRecord(folder / ".ingest/jobs", "nightly").read().failures == 0


def test_the_brake_can_be_lifted_once_for_the_named_job(folder: Path) -> None:
    assert sync()[0] == 0
    write_jsonl(folder / "corpus.jsonl", [{"id": "d0", "text": "Document 0."}])
    assert sync("nightly", "--max-delete", "80%")[0] == 4
    assert sync("nightly", "--max-delete", "90%")[0] == 0
    write_jsonl(folder / "corpus.jsonl", [{"id": f"e{n}", "text": f"Document {n}."} for n in range(8)])
    assert sync("nightly", "--max-delete", "100%")[0] == 0
    write_jsonl(folder / "corpus.jsonl", [{"id": "d0", "text": "Document 0."}])
    assert sync("nightly")[0] == 4


def test_too_many_rejects_are_exit_3_and_each_job_keeps_its_own(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text('{"id": "a", "text": "good"}\nbad\n')
    (folder / "ingest.toml").write_text(f"{JOB}[jobs.tolerant]\nsource = 'corpus.jsonl'\ncollection = 'other'\nmax_rejects = 1\n")
    assert sync()[0] == 3
    assert sync("tolerant")[0] == 0
    assert {path.name for path in (folder / ".ingest/jobs").glob("*.rejects.jsonl")} == {
        "nightly.rejects.jsonl",
        "tolerant.rejects.jsonl",
    }
