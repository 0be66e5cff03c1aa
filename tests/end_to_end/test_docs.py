"""README.md and the pages of docs/ do what they say: commands, Python and settings work in order, and links lead somewhere."""

from __future__ import annotations

import csv
import gzip
import re
import shlex
import shutil
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from agents import outputs
from command import INGEST, environment, ingest, python, write_jsonl
from starlette.testclient import TestClient

from ingest.collection import Collection
from ingest.encode.registry import known_models
from ingest.settings import load_settings
from ingest.store import open_store

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
APP = ROOT / "docs" / "app.md"
GENERATED = ROOT / "docs" / "SKILL.md"
PAGES = [README, *sorted({*(ROOT / "docs").glob("*.md")} - {GENERATED})]

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROMISED = re.compile(r"print\(.*\)  # (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
SHELL = re.compile(r"[|<>;&$]")

HANDBOOK = {
    "refunds.md": "# Refunds\n\nA refund above 100 euros must be approved by the head of support.",
    "leave.md": "# Leave\n\nEvery employee has thirty days of leave a year.",
    "security.md": "# Security\n\nLaptops are encrypted, and screens are locked when unattended.",
}
FIRST_RUN = "ingest run handbook/ -c handbook"
FIRST_OUTPUT = 'handbook: 3 new in 0.0 s\n  chunks: 3 encoded\nnext: ingest search handbook "your question"\n'
FIGURE = re.compile(r"\d+ min \d+ s|\d+\.\d+ s|(?<=score )[\d.]+")
"""A time or a score, which is another each time."""

# Pages on which the dense model is not the point do without it: loading it takes seconds for each command.
SPARSE_PAGES = {"sources.md"}


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    text: str


def blocks(page: Path, *languages: str) -> list[Block]:
    found = [Block(language, text) for language, text in BLOCK.findall(page.read_text(encoding="utf-8"))]
    return [block for block in found if block.language in languages]


def with_blocks(*languages: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, *languages)]


def make_desk(folder: Path) -> None:
    """Write everything the pages speak of into a folder."""
    for place in ("handbook", "notes", "questions/qrels"):
        (folder / place).mkdir(parents=True)
    for place in ("handbook", "notes"):
        for name, text in HANDBOOK.items():
            (folder / place / name).write_text(text)
    write_jsonl(folder / "questions" / "queries.jsonl", [{"_id": "q1", "text": "who may approve a refund?"}])
    (folder / "questions/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\trefunds.md\t1\n")
    records = [{"id": f"r{number}", "text": f"Record number {number}."} for number in range(3)]
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress(write_jsonl(folder / "corpus.jsonl", records).read_bytes()))
    parts = [("a1", "A blue chair.", 20), ("a2", "A red table.", 90)]
    write_jsonl(folder / "parts.jsonl", [{"sku": sku, "description": text, "price": price} for sku, text, price in parts])
    with (folder / "export.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("sku", "description", "price"), *parts])
    (folder / "faq.csv").write_text("sku,question,answer,lang,year\nf1,May I return it?,Within 14 days.,en,2024\n")
    (folder / "no-header.csv").write_text("n1;A note.;2024\nn2;Another note.;2025\n")
    (folder / "articles.json").write_text('{"data": {"items": [{"id": "a1", "body": "An article."}]}}')
    item = "<item id='n1'><title>News</title><description>A piece of news.</description></item>"
    (folder / "feed.xml").write_text(f"<rss><channel>{item}</channel></rss>")
    schema = {"type": "SCHEMA", "stream": "pages", "schema": {}, "key_properties": ["id"]}
    row = {"id": 1, "body": "A page of another system."}
    write_jsonl(
        folder / "pages.singer",
        [schema, {"type": "RECORD", "stream": "pages", "record": row}, {"type": "STATE", "value": {}}],
    )
    write_jsonl(
        folder / "pages.airbyte",
        [{"type": "RECORD", "record": {"stream": "pages", "data": row}}, {"type": "STATE", "state": {}}],
    )
    write_jsonl(folder / "export.jsonl", [{"id": "e1", "doc": {"text": "An exported document."}}])
    with sqlite3.connect(folder / "shop.db") as database:
        database.execute("CREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT, body TEXT, changed INTEGER)")
        database.execute("INSERT INTO articles VALUES (1, 'Chairs', 'Chairs have four legs.', 1)")
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
        database.executemany("INSERT INTO orders VALUES (?, ?)", [(1, "Deliver to the porter."), (2, "Ring twice.")])


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first command of the README leaves behind, beside the folder `desk` in which it ran."""
    folder = tmp_path_factory.mktemp("first")
    make_desk(folder / "desk")
    outcome = ingest(*shlex.split(FIRST_RUN)[1:], cwd=folder / "desk")
    assert outcome.code == 0, outcome.err
    assert FIGURE.sub("0.0 s", outcome.out) == FIRST_OUTPUT
    return (folder / "desk" / ".ingest").rename(folder / "stored")


@pytest.fixture
def desk(stored: Path) -> Path:
    """A folder with everything the pages speak of, always at the same place: it is part of the names of its sources."""
    folder = stored.parent / "desk"
    shutil.rmtree(folder, ignore_errors=True)
    make_desk(folder)
    return folder


@pytest.fixture(params=["embedded", "server"])
def store(request: pytest.FixtureRequest, collection: str) -> Iterator[str]:
    """A folder for the embedded engine, and the URL of a server on which only `collection` is used."""
    if request.param == "embedded":
        yield ".ingest/qdrant"
        return
    url = request.getfixturevalue("server_url")
    yield url
    with open_store(url) as opened:
        for stored in opened.collections():
            if stored.name.startswith(collection):
                opened.drop(stored.name)


def run_command(command: str, folder: Path, **settings: str) -> str:
    """Run a line of a console block, in a shell where it needs one, and return its output."""
    if command.startswith("ingest ") and not SHELL.search(command):
        outcome = ingest(*shlex.split(command, comments=True)[1:], cwd=folder, **settings)
        assert outcome.code == 0, f"{command}\n{outcome.err}"
        return outcome.out
    variables = environment(**settings)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder,
        env={**variables, "PATH": f"{Path(INGEST).parent}:{variables['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def run_python(code: str, folder: Path) -> None:
    """Run a block. It must print the comments behind its `print` lines, in order, where it has such."""
    outcome = python(code, cwd=folder, QDRANT_URL=".ingest/qdrant", INGEST_API_KEY="ignored for a folder")
    assert outcome.code == 0, f"{code}\n{outcome.err}"
    if promised := PROMISED.findall(code):
        assert outcome.out.split() == " ".join(promised).split(), code


@pytest.mark.parametrize("page", with_blocks("console", "python"), ids=lambda page: page.name)
def test_the_commands_and_the_python_of_a_page_work_in_order(
    page: Path, desk: Path, stored: Path, converted_models: Path
) -> None:
    settings = {"INGEST_DENSE": "none"} if page.name in SPARSE_PAGES else {}
    for block in blocks(page, "console", "python")[1 if page == APP else 0 :]:
        if block.language == "python":
            run_python(block.text, desk)
            continue
        for line in block.text.splitlines():
            assert line.startswith("$ "), f"a console block contains only commands, not {line!r}"
            cache = {"INGEST_CACHE_DIR": str(converted_models)} if "openvino" in line else {}
            if line[2:] == FIRST_RUN and not (desk / ".ingest").exists():
                shutil.copytree(stored, desk / ".ingest")
            else:
                run_command(line[2:], desk, **settings, **cache)


def test_the_session_of_the_readme_is_what_one_sees(desk: Path, stored: Path) -> None:
    shutil.copytree(stored, desk / ".ingest")
    session = blocks(README, "text")[0].text
    seen: list[str] = []
    for command in re.findall(r"^\$ (.+)$", session, re.MULTILINE):
        printed = FIRST_OUTPUT if command == FIRST_RUN and not seen else run_command(command, desk)
        seen.append(f"$ {command}\n{printed}")
    assert FIGURE.sub("0", "".join(seen)) == FIGURE.sub("0", session)


def test_the_web_app_of_the_readme_answers(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    with Collection("rules", store=".ingest/qdrant", models=["bm25"]) as rules:
        rules.sync([{"id": "leave", "text": "Every employee has thirty days of leave."}], name="rules")
    [block] = [each.text for each in blocks(README, "python") if "Starlette" in each.text]
    defined: dict[str, Any] = {}
    exec(block, defined)
    with TestClient(defined["app"]) as client:
        [hit] = client.get("/search", params={"q": "days of leave"}).json()
    assert hit == {"place": "leave", "snippet": "Every employee has thirty days of leave."}


def test_what_agents_read_is_made_from_the_pages() -> None:
    for path, content in outputs().items():
        assert path.read_text(encoding="utf-8") == content, "run python scripts/agents.py"


def test_the_first_script_runs_in_an_empty_folder(store: str, collection: str, tmp_path: Path) -> None:
    script = blocks(APP, "python")[0].text
    assert len(script[script.index("with ") :].splitlines()) <= 10
    assert re.findall("^(?:import|from) .*", script, re.MULTILINE) == ["import ingest"]
    run_python(script.replace('"handbook"', repr(collection)).replace('".ingest/qdrant"', repr(store)), tmp_path)


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize("page", [*PAGES, GENERATED, ROOT / "docs" / "llms.txt"], ids=lambda page: page.name)
def test_every_link_leads_to_a_file_or_a_heading(page: Path) -> None:
    for file, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / file if file else page
        assert target.exists(), file
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, anchor


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {file for file, _ in LINK.findall(README.read_text(encoding="utf-8"))}
    assert {f"docs/{page.name}" for page in PAGES[1:]} <= linked


@pytest.mark.parametrize("page", with_blocks("toml"), ids=lambda page: page.name)
def test_the_settings_of_a_page_are_settings(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "toml"):
        file = tmp_path / "ingest.toml"
        file.write_text(block.text)
        settings = load_settings({}, file)
        written = tomllib.loads(block.text)
        assert settings.models.keys() == written.get("models", {}).keys()
        assert settings.jobs.keys() == written.get("jobs", {}).keys()
        known_models(settings.models)


def test_the_weekly_verify_gives_soft_deleted_documents_the_grace_period_of_the_job() -> None:
    sync, verify = ROOT / "docs" / "sync.md", ROOT / "docs" / "verify-and-reindex.md"
    jobs = [job for block in blocks(sync, "toml") for job in tomllib.loads(block.text).get("jobs", {}).values()]
    (delete_after,) = {job["delete_after"] for job in jobs if "delete_after" in job}
    (weekly,) = [line for block in blocks(verify, "text") for line in block.text.splitlines() if "&& ingest verify" in line]
    assert f"--delete-after {delete_after} " in weekly
