"""`ingest bench` says what is fastest here."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import ingest
from typer.testing import CliRunner

from ingest.cli import app
from ingest.errors import ConfigurationError


def test_bench_measures_a_model_and_says_what_to_set(tmp_path: Path) -> None:
    done = ingest("bench", "--model", "bm25", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.json["model"] == "bm25"
    assert done.json["best"] in done.json["trials"]
    assert done.json["settings"] == {}  # it has no batches of tokens, and one backend
    shown = ingest("bench", "--model", "bm25", cwd=tmp_path)
    assert "texts/s" in shown.out
    assert "nothing to set" in shown.out


def test_bench_names_an_unknown_model(tmp_path: Path) -> None:
    done = ingest("bench", "--model", "bm26", cwd=tmp_path)
    assert (done.code, "bm25" in done.err) == (2, True)


def test_without_a_model_commands_say_where_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ingest.toml").write_text("dense = []\nsparse = []\n")
    for arguments in (["bench"], ["plan", ".", "-c", "docs"], ["reindex", "docs"]):
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, ConfigurationError), result.exception
        assert "name one under --dense" in str(result.exception)
