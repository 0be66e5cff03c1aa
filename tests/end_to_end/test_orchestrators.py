"""The Airflow and Dagster examples of docs/sync.md, with the real command in this process, without the two packages."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from command import ingest

PAGE = Path(__file__).parents[2] / "docs" / "sync.md"
AIRFLOW, DAGSTER = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)

JOB = """
dense = "none"
[jobs.handbook]
source = "handbook/"
collection = "handbook"
delete = "full"
"""


class FinalError(Exception):
    """An error after which nothing is tried again."""


class Failure(Exception):  # noqa: N818  Dagster's name
    def __init__(self, description: str, allow_retries: bool) -> None:
        super().__init__(description)
        self.allow_retries = allow_retries


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a job of eight documents. The examples find a `subprocess` that runs the command in this process."""
    (tmp_path / "ingest.toml").write_text(JOB)
    (tmp_path / "handbook").mkdir()
    for number in range(8):
        (tmp_path / f"handbook/{number}.md").write_text(f"Rule number {number}.")

    def run(command: list[str], *, cwd: str, stdout: int) -> SimpleNamespace:
        assert (command[0], stdout) == ("ingest", subprocess.PIPE)
        outcome = ingest(*command[1:], cwd=Path(cwd))
        return SimpleNamespace(returncode=outcome.code, stdout=outcome.out)

    monkeypatch.setitem(sys.modules, "subprocess", _module("subprocess", SimpleNamespace(run=run, PIPE=subprocess.PIPE)))
    return tmp_path


def run_dag(desk: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, bool | None]:
    """Run the Airflow example. Returns its result, and after an error whether it is tried again."""
    results: list[Any] = []

    def task(**_options: object) -> Callable[[Callable[[], Any]], Callable[[], None]]:
        return lambda work: lambda: results.append(work())

    packages: dict[str, Any] = {
        "airflow.sdk": SimpleNamespace(dag=lambda **_: lambda work: work, task=task),
        "airflow.sdk.exceptions": SimpleNamespace(AirflowFailException=FinalError),
    }
    for name, content in packages.items():
        monkeypatch.setitem(sys.modules, name, _module(name, content))
    try:
        exec(AIRFLOW.replace("/srv/docs", str(desk)), {})
    except (RuntimeError, FinalError) as exc:
        return str(exc), isinstance(exc, RuntimeError)
    return results[0], None


def materialize(desk: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, bool | None]:
    """Run the Dagster example. Returns as `run_dag`."""
    content = SimpleNamespace(
        asset=lambda **_: lambda work: work,
        RetryPolicy=SimpleNamespace,
        Failure=Failure,
        MaterializeResult=SimpleNamespace,
    )
    monkeypatch.setitem(sys.modules, "dagster", _module("dagster", content))
    names: dict[str, Any] = {}
    exec(DAGSTER.replace("/srv/docs", str(desk)), names)
    try:
        return names["handbook"]().metadata, None
    except Failure as exc:
        return str(exc), exc.allow_retries


def _module(name: str, content: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(vars(content))
    return module


def test_a_dag_and_an_asset_tell_what_was_done_and_retry_what_may_go_away(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_dag(desk, monkeypatch) == ({"read": 8, "written": 8, "updated": 0, "deleted": 0, "rejected": 0}, None)
    for number in range(6):
        (desk / f"handbook/{number}.md").unlink()
    braked, again = materialize(desk, monkeypatch)
    assert ("6 of the 8" in braked, again) == (True, False)
    (desk / "handbook").rename(desk / "elsewhere")
    gone, again = run_dag(desk, monkeypatch)
    assert ("handbook" in gone, again) == (True, True)
    (desk / "ingest.toml").write_text(f"{JOB}wrong = 1")
    wrong, again = materialize(desk, monkeypatch)
    assert ("wrong" in wrong, again) == (True, False)
