"""Text files: encoding, line ends, front matter, partition folders, and files that concern themselves alone."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cli.output import print_json
from ingest.records import Document, Rejected
from ingest.schedule.status import JobOutcome, JobRecord, JobStatus, ended, wall_clock
from ingest.schedule.timetable import run_in_turn
from ingest.source import open_source
from ingest.source.convert.front_matter import split_front_matter
from ingest.source.read_options import ReadOptions


def read(path: Path, data: bytes = b"", **options: Any) -> list[Document | Rejected]:
    if data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return list(open_source(path, options=ReadOptions(**options)).read())


def test_a_guessed_encoding_is_in_the_metadata(tmp_path: Path) -> None:
    [found] = read(tmp_path / "a.txt", "Rückgabe binnen 14 Tagen – 7 €".encode("cp1252"))
    assert isinstance(found, Document)
    assert (found.text, found.metadata) == ("Rückgabe binnen 14 Tagen – 7 €", {"encoding": "cp1252", "path": "a.txt"})


@pytest.mark.parametrize(("name", "encoding"), [("a.txt", "cp437"), ("a.md", "koi8-r"), ("a.html", "euc_kr"), ("a.py", "cp1250")])
def test_an_encoding_that_is_given_is_taken(tmp_path: Path, name: str, encoding: str) -> None:
    text = {"cp437": "Größe", "koi8-r": "Возврат", "euc_kr": "환불", "cp1250": "Żółć"}[encoding]
    [found] = read(tmp_path / name, text.encode(encoding), encoding=encoding)
    assert isinstance(found, Document)
    assert (found.text, "encoding" in found.metadata) == (text, False)


def test_text_in_another_encoding_than_the_given_one_is_rejected(tmp_path: Path) -> None:
    [found] = read(tmp_path / "a.txt", "Größe".encode("cp1252"), encoding="utf-8")
    assert isinstance(found, Rejected)
    assert found.reason == "the file is not utf-8 (byte 3)"


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.py", "a.jsonl", "a.csv"])
def test_line_ends_are_no_part_of_the_identity(tmp_path: Path, name: str) -> None:
    lines = {"a.jsonl": '{"text": "one\\ntwo"}', "a.csv": 'text\n"one\ntwo"'}.get(name, "one\ntwo\n")
    [unix] = read(tmp_path / name, lines.encode())
    [windows] = read(tmp_path / name, lines.replace("\\n", "\\r\\n").replace("\n", "\r\n").encode())
    assert isinstance(unix, Document)
    assert isinstance(windows, Document)
    assert (unix.id, unix.text) == (windows.id, windows.text)


def test_front_matter_is_metadata_and_no_text(tmp_path: Path) -> None:
    front = "title: Returns\nversion: 1.10\nlang: no\ncode: 007\nn: 5\nx: 1.5\non: true\nday: 2024-01-15\ntags: [a, b]\nnone:\n"
    [found] = read(tmp_path / "a.md", f"---\n{front}---\n\n# Heading\n\nText.\n".encode())
    assert isinstance(found, Document)
    assert (found.title, found.text) == ("Returns", "# Heading\n\nText.\n")
    assert found.metadata == {
        "version": "1.10",
        "lang": "no",
        "code": "007",
        "n": 5,
        "x": 1.5,
        "on": True,
        "day": "2024-01-15",
        "tags": ["a", "b"],
        "none": None,
        "path": "a.md",
    }
    [found] = read(tmp_path / "b.md", b"+++\r\ndate = 2024-01-15\r\n[more]\r\nn = 1\r\n+++\r\n# Heading\r\n")
    assert isinstance(found, Document)
    assert (found.title, found.metadata) == ("Heading", {"date": "2024-01-15", "more": {"n": 1}, "path": "b.md"})


@pytest.mark.parametrize(
    "text",
    [
        "---\n\nA rule above.\n\n---\n\nBelow.\n",
        "---\na: [\n---\nText.\n",
        "---\nnever closed\n",
        "--- \ntitle\n---\n",
        "---\na: &a [x]\nb: [*a, *a]\n---\nText.\n",
        "---\na: !!python/object/apply:os.getcwd []\n---\nText.\n",
        "+++\nno toml\n+++\nText.\n",
        "# Heading\n---\na: 1\n---\n",
    ],
)
def test_what_is_no_front_matter_stays_text(text: str) -> None:
    assert split_front_matter(text) == ({}, text)


def test_partition_folders_are_metadata(tmp_path: Path) -> None:
    (tmp_path / "year=2024" / "shop=M%C3%BCnchen" / "plz=01067").mkdir(parents=True)
    within = tmp_path / "year=2024" / "shop=M%C3%BCnchen" / "plz=01067"
    (within / "a.jsonl").write_text('{"id": "1", "text": "t"}\n{"id": "2", "text": "t", "year": 1999}\n')
    (within / "b.txt").write_text("t")
    first, second, third = read(tmp_path)
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert isinstance(third, Document)
    facts = {"year": 2024, "shop": "München", "plz": "01067"}
    assert (first.metadata, second.metadata) == (facts, {**facts, "year": 1999})
    assert third.metadata == {**facts, "path": third.id}


def test_a_damaged_archive_concerns_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"x" * 10_000)[:-12])
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "c.txt").write_text("read")
    text, records, last = read(tmp_path)
    assert isinstance(text, Rejected)
    assert isinstance(records, Rejected)
    assert (text.doc_id, records.unidentified) == ("a.txt.gz", True)
    assert isinstance(last, Document)


def test_lock_files_and_backups_are_left_out(tmp_path: Path) -> None:
    for name in ("~$plan.docx", ".~lock.plan.odt#", "notes.md~", ".notes.md.swp", "old.bak", "notes.md"):
        (tmp_path / name).write_text("t")
    assert [item.id for item in read(tmp_path) if isinstance(item, Document)] == ["notes.md"]


def test_ignore_files_leave_files_out_by_the_rules_of_git(tmp_path: Path) -> None:
    for name in ("a.md", "b.md", "build/c.md", "sub/d.md", "sub/keep.md", "sub/build/e.md", "drafts/f.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("t")
    (tmp_path / ".gitignore").write_text("# none\n/b.md\nbuild/\nsub/*.md\n")
    (tmp_path / ".ingestignore").write_text("drafts\n")
    (tmp_path / "sub" / ".gitignore").write_text("!keep.md\n")
    assert [item.id for item in read(tmp_path) if isinstance(item, Document)] == ["a.md", "sub/keep.md"]


texts = st.text(st.characters(codec=None))


@given(st.dictionaries(texts, st.one_of(texts, st.floats(), st.lists(texts), st.dictionaries(texts, st.floats()))))
def test_json_on_standard_output_is_utf8_whatever_is_in_it(value: dict[str, Any]) -> None:
    saved, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    try:
        print_json(value)
        printed = sys.stdout.buffer.getvalue()
    finally:
        sys.stdout = saved

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert isinstance(json.loads(printed.decode("utf-8"), parse_constant=refuse), dict)


@given(error=texts, receipt=st.dictionaries(texts, texts))
def test_a_status_can_be_written_whatever_is_in_an_error(
    error: str, receipt: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    record = JobRecord(tmp_path_factory.getbasetemp() / "jobs", "a")
    with record.hold():
        record.write(ended(JobStatus("a", "running"), JobOutcome("failed", 1, error, receipt, (error,)), wall_clock()))
    assert record.read().status == "failed"


def test_a_job_that_breaks_in_an_unexpected_way_does_not_stop_the_next(tmp_path: Path) -> None:
    def run(job: str) -> JobStatus:
        if job == "a":
            raise KeyError("\udcff")
        return JobStatus(job, "done", exit_code=0)

    records = {name: JobRecord(tmp_path, name) for name in ("a", "b")}
    assert [status.status for status in run_in_turn(records, run, stop=lambda: False)] == ["failed", "done"]
