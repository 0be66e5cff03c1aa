"""The pages of docs/ do what they say: their Python blocks print what the comments promise, and their links lead somewhere."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import python, write_jsonl

from ingest.store import open_store

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
PYTHON = ROOT / "docs" / "python.md"

PROMISED = re.compile(r"print\(.*\)  # (.+)$", re.MULTILINE)

LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")

FILES = {
    "handbook/refunds.md": "# Refunds\n\nA refund above 100 euros must be approved by the head of support.",
    "handbook/leave.md": "# Leave\n\nEvery employee has thirty days of leave a year.",
    "handbook/security.md": "# Security\n\nLaptops are encrypted, and screens are locked when unattended.",
    "questions/qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\trefunds.md\t1\n",
}


@pytest.fixture(params=["embedded", "server"])
def store(request: pytest.FixtureRequest, tmp_path: Path, collection: str) -> Iterator[str]:
    """A folder for the embedded engine, and the URL of a server on which only `collection` is used."""
    if request.param == "embedded":
        yield ".ingest/qdrant"
        return
    url = request.getfixturevalue("server_url")
    yield url
    with open_store(url) as opened:
        for made in opened.collections():
            if made.name.startswith(collection):
                opened.drop(made.name)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with everything the pages speak of."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    parts = [("a1", "A blue chair.", 20), ("a2", "A red table.", 90)]
    write_jsonl(tmp_path / "parts.jsonl", [{"sku": sku, "description": text, "price": price} for sku, text, price in parts])
    write_jsonl(tmp_path / "questions" / "queries.jsonl", [{"_id": "q1", "text": "who may approve a refund?"}])
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
        database.executemany("INSERT INTO orders VALUES (?, ?)", [(1, "Deliver to the porter."), (2, "Ring twice.")])
    return tmp_path


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def check(code: str, folder: Path) -> None:
    """Run a block. It must print the comments behind its `print` lines, in order, where it has such."""
    outcome = python(code, cwd=folder)
    assert outcome.code == 0, f"{code}\n{outcome.err}"
    promised = PROMISED.findall(code)
    if promised:
        assert outcome.out.split() == " ".join(promised).split(), code


def test_the_first_script_runs_in_an_empty_folder(store: str, collection: str, tmp_path: Path) -> None:
    script = blocks(PYTHON)[0]
    assert len(script[script.index("with ") :].splitlines()) <= 10
    assert re.findall("^(?:import|from) .*", script, re.MULTILINE) == ["import ingest"]
    check(script.replace('"handbook"', repr(collection)).replace('".ingest/qdrant"', repr(store)), tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_order(page: Path, desk: Path) -> None:
    for code in blocks(page)[1 if page == PYTHON else 0 :]:
        check(code, desk)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_every_link_leads_to_a_file_or_a_heading(page: Path) -> None:
    for file, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / file if file else page
        assert target.exists(), file
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, anchor
