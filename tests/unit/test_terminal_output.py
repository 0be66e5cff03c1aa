"""What a person sees in the terminal: receipts, hits, progress, and what is told once."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import ingest, write_jsonl
from rich.console import Console
from rich.logging import RichHandler

from ingest.cli.answers import print_hits
from ingest.cli.notes import shown_note
from ingest.cli.progress import TerminalProgress
from ingest.cli.receipts import describe_seconds, summarize
from ingest.cli.terminal import output
from ingest.collection import Collection
from ingest.errors import ConfigurationError
from ingest.receipt import ChunkCounts, ModelReport, Receipt
from ingest.records import Hit
from ingest.search.answer import Answer
from ingest.settings import load_settings
from ingest.source import open_source
from ingest.sync.reading import WindowBounds
from ingest.sync.sources import count_bytes, count_documents
from ingest.telemetry import Progress
from ingest.testing import ListSource

SPARSE_ONLY = {"INGEST_DENSE": "none"}

QUIET = Receipt("docs", 158, 0, 0, 158, 0, 0, ChunkCounts(0, 300, 0), balanced=True, seconds=1.41)
BM25 = ModelReport("bm25", "sparse", "bm25", None, "float32", "cpu", "qdrant", chunks=4052, tokens=0, seconds=1.0, identical=235)

HIT = Hit(
    id="1",
    score=4.6376,
    text="",
    doc_id="sync.md",
    title="Sync",
    source="docs",
    chunk=0,
    start=0,
    end=9,
    metadata={},
    ranks={},
    fused_score=4.6376,
    section=("Sync", "Delete documents"),
    line=29,
    snippet="Documents are\n\ndeleted " + "now and then " * 20,
    highlights=((0, 9), (15, 22)),
)


def summary(receipt: Receipt) -> list[str]:
    return [line.plain for line in summarize(receipt, rejects="rejects.jsonl")]


def test_a_summary_has_no_zeros() -> None:
    assert summary(QUIET) == ["docs: 158 unchanged in 1.4 s"]
    some = replace(QUIET, read=162, written=3, updated=1, chunks=ChunkCounts(4052, 300, 12), models=(BM25,))
    assert summary(some) == [
        "docs: 3 new, 1 updated, 158 unchanged in 1.4 s",
        "  chunks: 3,817 encoded, 235 identical, 12 deleted",
    ]
    assert summary(replace(QUIET, read=0, unchanged=0)) == ["docs: no documents in 1.4 s"]


def test_a_summary_says_what_needs_attention() -> None:
    troubled = replace(QUIET, rejected=2, stopped=True, errors=("x\x1b[2J broke",), balanced=False)
    _, rejects, stopped, error, unbalanced = summary(troubled)
    assert "rejects.jsonl" in rejects
    assert "run it again" in stopped
    assert error == "x\N{REPLACEMENT CHARACTER}[2J broke"
    assert unbalanced.startswith("NOT balanced")


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (204.0, "3 min 24 s"), (7500.0, "2 h 5 min")])
def test_durations_are_those_people_say(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text


def test_a_run_says_what_is_new_what_is_not_read_and_what_comes_next(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for name, text in {"a.md": "A note about tea.", "b.md": "A note about tea.", "c.bin": "x"}.items():
        (tmp_path / "notes" / name).write_text(text)
    first = ingest("run", "notes", "-c", "My Notes", cwd=tmp_path, **SPARSE_ONLY)
    assert "'My Notes' is stored as my_notes" in first.err
    assert re.sub(r"\d\.\d s", "0.1 s", first.out).splitlines() == [
        "my_notes: 2 new in 0.1 s",
        "  chunks: 1 encoded, 1 identical",
        "not read, of unknown format: 1 .bin",
        'next: ingest search my_notes "your question"',
    ]
    again = ingest("run", "notes", "-c", "my_notes", cwd=tmp_path, **SPARSE_ONLY)
    assert "is stored as" not in again.err
    assert re.fullmatch(r"my_notes: 2 unchanged in \d\.\d s\nnot read, of unknown format: 1 \.bin\n", again.out)
    verbose = ingest("run", "notes", "-c", "my_notes", "--verbose", cwd=tmp_path, **SPARSE_ONLY)
    assert re.search(r"balanced +│ yes", verbose.out)


def test_a_run_names_the_most_frequent_reasons_of_its_rejects(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [{"text": ""}, {"text": ""}, {"text": "Tea."}, {"body": 1}, {"text": "x" * 2000}]
    write_jsonl(tmp_path / "tea.jsonl", [{"id": f"r{number}", **record} for number, record in enumerate(records)])
    settings = {**SPARSE_ONLY, "INGEST_MAX_RECORD_BYTES": "1024"}
    shown = ingest("run", "tea.jsonl", "-c", "tea", "--max-rejects", "4", cwd=tmp_path, **settings)
    assert shown.code == 0
    first, *_ = rejects = [line for line in shown.out.splitlines() if line.startswith("rejected: ")]
    assert re.fullmatch(r"rejected: .*text.* \(.*tea\.jsonl:1 and 1 more\)", first)
    assert len(rejects) == 3
    assert "rejected records are in .ingest/rejects/tea.jsonl" in shown.out.splitlines()


def test_hits_in_a_pipe_are_not_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    print_hits([HIT], explain=False)
    heading, place, snippet = capsys.readouterr().out.splitlines()
    assert heading == " 1. Sync › Delete documents"
    assert place == "    sync.md:29  score 4.64"
    assert snippet.startswith("    Documents are deleted now and then")
    assert len(snippet) > 250


def test_what_is_printed_is_what_is_stored(capsys: pytest.CaptureFixture[str]) -> None:
    output().print("C:books: [bold]")
    assert capsys.readouterr().out == "C:books: [bold]\n"


def test_hits_on_a_terminal_are_wrapped_and_their_matches_bold(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=60, color_system="standard", highlight=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("ingest.cli.terminal.output", lambda: console)
    print_hits([HIT], explain=False)
    assert "\x1b[1mDocuments\x1b[0m are \x1b[1mdeleted\x1b[0m now" in shown.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue())
    assert all(len(line) <= 60 for line in plain.splitlines())
    assert all(line.startswith("    ") for line in plain.splitlines()[1:])


def test_progress_shows_percent_and_leaves_nothing_behind() -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120, color_system=None)
    logger = logging.getLogger("ingest.test_progress")
    handler = RichHandler(console=console, show_path=False)
    logger.addHandler(handler)
    try:
        with TerminalProgress(console) as progress:
            progress(Progress(read=8, done=4, model="m", encoded=50, chunks=100, total=12))
            logger.warning("server not reachable; attempt 2 of 8")
    finally:
        logger.removeHandler(handler)
    written = shown.getvalue()
    assert " 50%" in written
    assert "4 of 12 documents, m at chunk 50 of 100" in written
    assert "server not reachable; attempt 2 of 8" in written
    assert "documents" not in written[written.rindex("\x1b[2K") :], "the last that is drawn is erased"


def test_the_share_of_a_run_counts_what_a_model_has_encoded_of_a_window() -> None:
    assert Progress(8, 4).share is None
    assert Progress(8, 4, total=16).share == 0.25
    assert Progress(8, 4, "m", 50, 100, total=16).share == 0.375
    assert Progress(9, 9, total=8).share == 1.0
    assert Progress(8, 4, "m", 50, 100, read_share=0.5).share == 0.375
    assert Progress(0, 0, read_share=0.0).share is None


def test_documents_are_counted_where_that_is_cheap(tmp_path: Path) -> None:
    for name in ("a.md", "b.txt", "c.bin"):
        (tmp_path / name).write_text("text")
    folder = open_source(str(tmp_path))
    assert count_documents([folder]) == 2
    assert count_documents([folder, ListSource([], "list")]) is None
    (tmp_path / "d.csv").write_text("id,text\n1,x\n")
    assert count_documents([open_source(str(tmp_path))]) is None, "a table has many"
    assert count_bytes([open_source(str(tmp_path))]) == 2 * len("text") + (tmp_path / "d.csv").stat().st_size
    assert count_bytes([open_source(str(tmp_path)), ListSource([], "list")]) is None
    assert count_bytes([open_source(str(tmp_path / "a.md"))]) is None, "a document is read at once"
    (tmp_path / "e.parquet").touch()
    assert count_bytes([open_source(str(tmp_path))]) is None, "rows of Parquet tell no bytes"


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.csv.gz", "rows.jsonl.gz"])
def test_the_records_of_a_table_tell_how_much_of_it_is_read(name: str, tmp_path: Path) -> None:
    lines = ["id,text", *(f"{n},Row {n} of many." for n in range(4000))]
    if "jsonl" in name:
        lines = [json.dumps({"id": n, "text": f"Row {n} of many."}) for n in range(4000)]
    content = "\n".join(lines).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for location in (tmp_path / name, tmp_path):
        source: Any = open_source(str(location))
        size = source.size()
        positions = [source.position for _ in source.read()]
        assert size == (tmp_path / name).stat().st_size
        assert positions[1999] == pytest.approx(size / 2, rel=0.1)
        assert positions[-1] == pytest.approx(size, rel=0.1)


def test_a_run_over_tables_shows_how_far_it_is(tmp_path: Path) -> None:
    for table in ("a", "b"):
        write_jsonl(tmp_path / f"{table}.jsonl", [{"id": f"{table}{n}", "text": f"Row {n}."} for n in range(600)])
    seen: list[Progress] = []
    window = WindowBounds(documents=256)
    with Collection("rows", store=tmp_path / "q", state=tmp_path / "s", models=["bm25"], window=window) as collection:
        collection.sync([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], on_progress=seen.append)
    shown = [each for each in seen if each.model is None]
    assert [each.share for each in shown] == pytest.approx([each.done / 1200 for each in shown], abs=0.02)
    assert shown[-1].share == 1.0


def test_a_missing_reranker_is_told_once_for_each_model(tmp_path: Path) -> None:
    missing = Answer((), reranked=False, note="not reranked: a long story", missing_reranker="a/b")
    line = shown_note(missing, tmp_path)
    assert line is not None
    assert "ingest models pull a/b" in line
    assert shown_note(missing, tmp_path) is None
    assert shown_note(replace(missing, missing_reranker="c"), tmp_path) is not None
    assert shown_note(replace(missing, missing_reranker=None), tmp_path) == "not reranked: a long story"


@pytest.mark.parametrize(
    ("job", "says"),
    [({"schedule": "0 9 * *"}, "not a valid cron expression"), ({"every": "9"}, "every"), ({"every": "0s"}, "every")],
)
def test_when_a_job_runs_is_checked_as_its_settings_are_read(job: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load_settings({"jobs": {"j": {"source": "notes", "collection": "notes", **job}}})
