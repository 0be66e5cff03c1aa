"""docs/python.md does what it says: every block of it runs and prints what its comments promise."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import python, write_jsonl

from ingest.store import open_store

HERE = Path(__file__).parents[2] / "docs"
PAGE = (HERE / "python.md").read_text(encoding="utf-8")

FIRST, *OTHERS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)

PROMISED = re.compile(r"print\(.*\)  # (.+)$", re.MULTILINE)

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
    """A folder with everything the page speaks of."""
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


def check(code: str, folder: Path) -> None:
    """Run a block. It must print the comments behind its `print` lines, in order, where it has such."""
    outcome = python(code, cwd=folder)
    assert outcome.code == 0, f"{code}\n{outcome.err}"
    promised = PROMISED.findall(code)
    if promised:
        assert outcome.out.split() == " ".join(promised).split(), code


def test_the_first_script_runs_in_an_empty_folder(store: str, collection: str, tmp_path: Path) -> None:
    lines = [line for line in FIRST[FIRST.index("with ") :].splitlines() if line]
    assert len(lines) <= 10
    assert len(re.findall("^(?:import|from) ", FIRST, re.MULTILINE)) == 1
    check(FIRST.replace('"handbook"', repr(collection)).replace('".ingest/qdrant"', repr(store)), tmp_path)


def test_every_link_leads_to_a_heading() -> None:
    for file, anchor in re.findall(r"\]\(([\w./]+)#([\w-]+)\)", PAGE):
        headings = re.findall(r"^#+ (.+)$", (HERE / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_other_blocks_run_in_order(desk: Path) -> None:
    for code in OTHERS:
        check(code, desk)
