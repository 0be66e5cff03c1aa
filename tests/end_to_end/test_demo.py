"""The questions of scripts/demo are answered by the pages that it says. The script itself checks them on all of its pages."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from ingest.collection import Collection

DEMO = (Path(__file__).parents[2] / "scripts" / "demo").read_text(encoding="utf-8")
ANSWERS = {question: page for _, question, page in map(shlex.split, re.findall(r"^ask .+$", DEMO, re.MULTILINE))}


def test_the_demo_asks_what_its_pages_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"<<'PYTHON'\n(.*?)^PYTHON$", DEMO, re.MULTILINE | re.DOTALL)
    monkeypatch.setattr("sys.argv", ["-", str(tmp_path / "pages.jsonl")])
    exec(code, {})
    pages = [json.loads(line) for line in (tmp_path / "pages.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(pages) > 50
    few = [page for page in pages if page["id"] in ANSWERS.values() or len(page["text"]) < 500]
    with Collection("python", store=tmp_path / "qdrant", state=tmp_path) as collection:
        collection.sync(few, name="pages")
        found = {question: collection.search(question, limit=1, rerank="off")[0].doc_id for question in ANSWERS}
    assert found == ANSWERS
