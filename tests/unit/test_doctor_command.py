"""`ingest doctor`: what there is on this machine, and what of the settings does not work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ingest.cli import app
from ingest.testing import FakeAccelerator, use_accelerator


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def doctor(*arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = CliRunner().invoke(app, ["doctor", "--json", *arguments])
    found = json.loads(result.stdout)
    assert found["ok"] == (result.exit_code == 0)
    return result.exit_code, {finding["topic"]: finding for finding in found["findings"]}


def test_a_machine_on_which_everything_works() -> None:
    with use_accelerator(FakeAccelerator(2)):
        code, findings = doctor()
    assert code == 0, findings
    assert findings["cuda:1"]["value"] == "Fake GPU, 80 GiB"
    assert findings["all-miniLM-l6"]["value"] == "installed"
    assert findings["store"]["value"].startswith("qdrant-edge-py 0.9")
    assert findings["torch"]["value"][0].isdigit()
    assert CliRunner().invoke(app, ["doctor"]).stdout.count("installed") >= 1


def test_what_does_not_work_is_said_and_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_DENSE", "bge-m3")
    with use_accelerator(FakeAccelerator()) as gpus:
        gpus.broken["cuda:0"] = "cuda:0 needs a newer driver: update it"
        code, findings = doctor("--store", "http://127.0.0.1:9")
    assert code == 1
    assert [topic for topic, finding in findings.items() if not finding["ok"]] == ["cuda:0", "bge-m3", "store"]
    assert "cannot be reached" in findings["store"]["value"]
    assert "ingest models pull bge-m3" in findings["bge-m3"]["value"]


def test_a_server_says_its_version(server_url: str) -> None:
    _, findings = doctor("--store", server_url)
    assert findings["store"]["value"].startswith("Qdrant 1.")
