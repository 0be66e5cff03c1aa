"""The README does what it says: its commands are run in order, its Python and its settings too."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shlex
import sqlite3
import subprocess
import tomllib
from pathlib import Path

import pytest
from command import INGEST, environment, ingest, python, write_jsonl

from ingest.encode.registry import known_models
from ingest.settings import load_settings

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

SHELL = re.compile(r"[|<>;&$]")

HANDBOOK = {
    "refunds.md": "# Refunds\n\nA refund above 100 euros must be approved by the head of support.",
    "leave.md": "# Leave\n\nEvery employee has thirty days of leave a year.",
    "security.md": "# Security\n\nLaptops are encrypted, and screens are locked when unattended.",
}


def blocks(language: str) -> list[tuple[str, str]]:
    """(heading, content) of every block of a language."""
    found: list[tuple[str, str]] = []
    for section in re.split(r"^## ", README, flags=re.MULTILINE):
        heading = section.splitlines()[0]
        found.extend((heading, block) for block in re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL))
    return found


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything the README speaks of."""
    folder = tmp_path_factory.mktemp("desk")
    for place in ("handbook", "notes"):
        (folder / place).mkdir()
        for name, text in HANDBOOK.items():
            (folder / place / name).write_text(text)
    records = [{"id": f"r{number}", "text": f"Record number {number}."} for number in range(3)]
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(write_jsonl(folder / "corpus.jsonl", records).read_bytes()))
    with (folder / "export.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [["sku", "description", "price"], ["a1", "A blue chair.", "20"], ["a2", "A red table.", "90"]]
        )
    with sqlite3.connect(folder / "shop.db") as database:
        database.execute("CREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT, body TEXT)")
        database.execute("INSERT INTO articles VALUES (1, 'Chairs', 'Chairs have four legs.')")
    return folder


def run(command: str, folder: Path, **settings: str) -> str:
    """Run a line of the README, in a shell where it takes one, and return what it prints."""
    if command.startswith("ingest ") and not SHELL.search(command):
        outcome = ingest(*shlex.split(command, comments=True)[1:], cwd=folder, **settings)
        assert outcome.code == 0, f"{command}\n{outcome.err}"
        return outcome.out
    bin_folder = str(Path(INGEST).parent)
    variables = environment(**settings)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder,
        env={**variables, "PATH": f"{bin_folder}:{variables['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def test_every_command_of_the_readme_works_in_order(desk: Path, converted_models: Path) -> None:
    seen: dict[str, str] = {}
    for heading, block in blocks("console"):
        # Where the dense model is not the point it is left out: loading it takes seconds each time.
        settings = {"INGEST_DENSE": "none"} if heading == "Sources" else {}
        for line in block.splitlines():
            assert line.startswith("$ "), f"a console block holds commands only, not {line!r}"
            cache = {"INGEST_CACHE_DIR": str(converted_models)} if "openvino" in line else {}
            seen[line[2:]] = run(line[2:], desk, **settings, **cache)

    first, asked, again = list(seen)[:3]
    assert "balanced" in seen[first]
    assert "refunds.md" in seen[asked].splitlines()[0] or "Refunds" in seen[asked].splitlines()[0]
    promised = json.loads(blocks("json")[0][1])
    receipt = json.loads(seen[again])
    assert {name: receipt[name] for name in promised} == promised


def test_the_python_of_the_readme_works_when_pasted(desk: Path) -> None:
    elsewhere = {"QDRANT_URL": ".ingest/qdrant", "INGEST_API_KEY": "not asked for by a directory"}
    for _, code in blocks("python"):
        outcome = python(code, cwd=desk, **elsewhere)
        assert outcome.code == 0, outcome.err
        assert "refunds.md" in outcome.out.splitlines()[0]


def test_the_weekly_verify_gives_soft_deleted_documents_the_time_that_the_job_does() -> None:
    jobs = [job for _, toml in blocks("toml") for job in tomllib.loads(toml).get("jobs", {}).values()]
    (delete_after,) = {job["delete_after"] for job in jobs if "delete_after" in job}
    (weekly,) = [line for _, text in blocks("text") for line in text.splitlines() if "&& ingest verify" in line]
    assert f"--delete-after {delete_after} " in weekly


def test_the_settings_of_the_readme_are_settings(tmp_path: Path) -> None:
    for _, toml in blocks("toml"):
        file = tmp_path / "ingest.toml"
        file.write_text(toml)
        settings = load_settings({}, file)
        written = tomllib.loads(toml)
        assert settings.models.keys() == written.get("models", {}).keys()
        assert settings.jobs.keys() == written.get("jobs", {}).keys()
        known_models(settings.models)
