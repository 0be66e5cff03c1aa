"""`ingest collections info` and `forget`, and `--moved-from`, in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import write_jsonl
from typer.testing import CliRunner

from ingest.cli import app
from ingest.errors import CollectionNotFoundError, ConfigurationError

RECORDS = [{"id": f"d{number}", "text": f"Document {number}."} for number in range(4)]


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """With a corpus that is stored under the name `old`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INGEST_DENSE", "none")
    write_jsonl(tmp_path / "corpus.jsonl", RECORDS)
    run("run", "corpus.jsonl", "-c", "docs", "--name", "old")
    return tmp_path


def run(*arguments: str, answer: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments, input=answer)
    if isinstance(result.exception, Exception):
        raise result.exception
    return result.exit_code, result.stdout


def printed(*arguments: str) -> dict[str, Any]:
    code, out = run(*arguments, "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_info_lists_the_sources(folder: Path) -> None:
    (source,) = printed("collections", "info", "docs")["sources"]
    last_run = source.pop("last_run")
    location = str(folder / "corpus.jsonl")
    assert source == {"name": "old", "documents": 4, "points": 4, "soft_deleted": 0, "location": location, "types": {}}
    shown = run("collections", "info", "docs")[1]
    assert "old" in shown
    assert last_run[:10] in shown


def test_forget_deletes_a_source_after_a_question() -> None:
    with pytest.raises(ConfigurationError, match="old was not deleted: pass --yes"):
        run("collections", "forget", "docs", "--source", "old", "--json")
    with pytest.raises(ConfigurationError, match="old was not deleted"):
        run("collections", "forget", "docs", "--source", "old", answer="n\n")
    hidden = printed("collections", "forget", "docs", "--source", "old", "--delete-after", "7d")
    assert hidden == {"collection": "docs", "source": "old", "deleted": 0, "soft_deleted": 4, "in_grace_period": 0, "points": 0}
    assert run("collections", "forget", "docs", "--source", "old", answer="y\n")[0] == 0
    assert printed("collections", "info", "docs")["sources"] == []


def test_forget_refuses_what_is_not_there() -> None:
    with pytest.raises(ConfigurationError, match="the collection docs has no source odl"):
        run("collections", "forget", "docs", "--source", "odl", "--yes")
    with pytest.raises(ConfigurationError, match="'7' "):
        run("collections", "forget", "docs", "--source", "old", "--delete-after", "7")
    with pytest.raises(CollectionNotFoundError):
        run("collections", "forget", "other", "--source", "old", "--yes")
    assert printed("collections", "info", "docs")["points"] == 4


def test_a_run_warns_of_the_old_name_and_takes_its_points_along() -> None:
    moved = printed("run", "corpus.jsonl", "-c", "docs", "--moved-from", "old")
    assert (moved["moved"], moved["unchanged"], moved["models"], moved["errors"]) == (4, 4, [], [])
    again = printed("run", "corpus.jsonl", "-c", "docs", "--name", "new")
    assert "--moved-from" in again["errors"][0]


def test_a_job_takes_the_points_of_its_former_name_along(folder: Path) -> None:
    job = '[jobs.docs]\nsource = "corpus.jsonl"\ncollection = "docs"\nname = "new"\nmoved_from = "old"\n'
    (folder / "ingest.toml").write_text(job)
    for moved in (4, 0):
        receipt = printed("sync")["jobs"]["docs"]["receipt"]
        assert (receipt["moved"], receipt["unchanged"], receipt["errors"]) == (moved, 4, [])
    (folder / "ingest.toml").write_text(
        job.replace('"corpus.jsonl"', '["corpus.jsonl", "other.jsonl"]').replace('name = "new"\n', "")
    )
    write_jsonl(folder / "other.jsonl", RECORDS)
    with pytest.raises(ConfigurationError, match="job docs: the points of the source old can move to one source only"):
        run("sync")
