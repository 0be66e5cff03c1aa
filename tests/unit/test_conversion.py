"""Every file of `tests/documents` is stored as `stored.jsonl` says: one line a file, with title, metadata and text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.records import Document, Rejected
from ingest.source import open_source

DOCUMENTS = Path(__file__).parent.parent / "documents"
STORED = [json.loads(line) for line in (DOCUMENTS / "stored.jsonl").read_text("utf-8").splitlines()]


def test_every_file_has_its_line() -> None:
    files = sorted(path.name for path in DOCUMENTS.iterdir() if path.name != "stored.jsonl")
    assert [line["file"] for line in STORED] == files


@pytest.mark.parametrize("line", STORED, ids=[line["file"] for line in STORED])
def test_a_file_is_stored_as_it_says(line: dict[str, Any]) -> None:
    [document] = open_source(DOCUMENTS / line["file"]).read()
    assert isinstance(document, Document), document
    assert document.text == line["text"]
    assert document.title == line["title"]
    assert document.metadata == {**line["metadata"], "path": line["file"]}


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.html", b"<meta charset=gbk><p>\xff\xff</p>", "the file is not gb18030 (byte 22)"),
        ("a.html", b"<meta charset=unicode_escape><p>\\xff\xff</p>", "the file is not UTF-8"),
        ("a.txt", b"\xff\xfea", "the file is not utf-16"),
        ("a.txt", b"a\0b\0\0c", "the file is binary"),
        ("a.txt", "a\0b".encode("utf-16"), "the file is binary"),
        ("a.html", b"<div>" * 1_100 + b"x", "the HTML is nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_decoded_or_parsed_whole_is_rejected(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    [rejected] = open_source(tmp_path / name).read()
    assert isinstance(rejected, Rejected)
    assert rejected.reason.startswith(reason)


def test_a_page_has_its_canonical_address(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<link rel="canonical" href="https://example.org/a"><p>Text</p>', encoding="utf-8")
    [document] = open_source(tmp_path / "a.html").read()
    assert isinstance(document, Document)
    assert document.url == "https://example.org/a"
