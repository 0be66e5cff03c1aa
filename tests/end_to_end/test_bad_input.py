"""Wrong input: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from command import INGEST, environment, ingest, ingest_process, write_jsonl

from ingest.store import open_store


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", [{"id": "a", "text": "one short text"}])


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        pytest.param(["nowhere.jsonl", "-c", "x"], 1, "nowhere.jsonl", id="no such source"),
        pytest.param(["corpus.jsonl", "-c", "x", "--dense", "all-minilm"], 2, "all-miniLM-l6", id="unknown model"),
        pytest.param(["corpus.jsonl", "-c", "!!!"], 2, "!!!", id="a collection without a name"),
        pytest.param(["corpus.jsonl"], 2, "collection", id="no collection"),
        pytest.param(["corpus.jsonl", "-c", "x", "--delete", "some"], 2, "delete", id="unknown delete mode"),
        pytest.param(["corpus.jsonl", "-c", "x", "--max-delete", "lots"], 2, "lots", id="not a share"),
        pytest.param(["corpus.jsonl", "-c", "x", "--chunk-overlap", "0.9"], 2, "chunk_overlap", id="too much overlap"),
        pytest.param(["corpus.jsonl", "-c", "x", "--format", "docx7"], 2, "docx7", id="unknown format"),
        pytest.param(["corpus.jsonl", "-c", "x", "--dense", "none", "--sparse", "none"], 2, "model", id="no model at all"),
        pytest.param(["corpus.jsonl", "-c", "x", "--dense", "bm25"], 2, "--sparse", id="a sparse model among the dense"),
        pytest.param(
            ["corpus.jsonl", "-c", "x", "--rejects", "corpus.jsonl"], 2, "not a rejects file", id="rejects over a source"
        ),
        pytest.param(["-", "-c", "x", "--delete", "full"], 2, "standard input", id="full deletes from a pipe"),
        pytest.param(["corpus.jsonl", "-c", "x\udcff"], 2, "UTF-8", id="an argument that is not UTF-8"),
        pytest.param(["corpus.jsonl", "corpus.jsonl", "-c", "x"], 2, "twice", id="one source twice"),
        pytest.param(["sqlite:///nowhere.db", "-c", "x", "--query", "select 1"], 1, "nowhere.db", id="no such database"),
        pytest.param(["--no-such-option", "corpus.jsonl", "-c", "x"], 2, "no-such-option", id="unknown option"),
        pytest.param(["corpus.jsonl", "-c", "x", "--store", "http://127.0.0.1:9"], 1, "127.0.0.1:9", id="no server there"),
        pytest.param(
            ["corpus.jsonl", "-c", "x", "--dense", "bge-m3"], 1, "ingest models pull bge-m3", id="a model that is not here"
        ),
    ],
)
def test_a_wrong_request_is_one_clear_error(tmp_path: Path, corpus: Path, arguments: list[str], code: int, says: str) -> None:
    outcome = ingest("run", *arguments, cwd=tmp_path, INGEST_RETRY_SECONDS="1")
    assert outcome.code == code, outcome.err
    assert says in outcome.err
    assert "Traceback" not in outcome.err
    if not outcome.err.startswith("Usage"):
        *notes, error = outcome.err.splitlines()
        assert error.startswith("error: ")
        assert all("; attempt " in line or "INFO BM25 stems english words" in line for line in notes)
    assert not list((tmp_path / ".ingest").rglob("manifest.json")) or code == 1


def test_debug_shows_the_traceback_and_changes_nothing_else(tmp_path: Path, corpus: Path) -> None:
    outcome = ingest("--debug", "run", str(corpus), "-c", "!!!", cwd=tmp_path)
    assert outcome.code == 2
    assert "Traceback" in outcome.err


def test_a_full_standard_output_is_an_error_not_a_traceback(tmp_path: Path, corpus: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [INGEST, "run", str(corpus), "-c", "x", "--dense", "none", "--json"],
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_documents_cannot_steer_the_terminal(tmp_path: Path) -> None:
    corpus = write_jsonl(
        tmp_path / "corpus.jsonl", [{"id": "a\u001b[2J", "title": "t\u001b[31m", "text": "one \u001b]0;x\u0007 text"}]
    )
    assert ingest("run", str(corpus), "-c", "x", "--dense", "none", cwd=tmp_path).code == 0
    assert "\u001b" not in ingest("search", "x", "text", "--explain", cwd=tmp_path).out


def test_what_cannot_be_learned_for_the_next_run_does_not_fail_this_one(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / ".ingest").write_text("in the way")
    store = str(tmp_path / "elsewhere")
    run = ("run", str(corpus), "-c", "x", "--dense", "none", "--store", store, "--rejects", "r.jsonl", "--json")
    outcome = ingest(*run, cwd=tmp_path, INGEST_LEASE_DIR="leases")
    assert (outcome.code, outcome.json["balanced"]) == (0, True), outcome.err
    assert "batches.json" in outcome.err


def test_errors_are_json_too(tmp_path: Path) -> None:
    outcome = ingest("run", "nowhere.jsonl", "-c", "x", "--json", cwd=tmp_path)
    assert (outcome.json["type"], outcome.json["exit_code"]) == ("SourceError", 1)


def test_a_collection_made_with_other_models_is_refused_before_anything_is_read(tmp_path: Path, corpus: Path) -> None:
    assert ingest("run", str(corpus), "-c", "x", "--dense", "none", cwd=tmp_path).code == 0
    outcome = ingest("run", str(corpus), "-c", "x", cwd=tmp_path)
    assert outcome.code == 2
    assert "all-miniLM-l6" in outcome.err


def test_searching_what_is_not_there(tmp_path: Path) -> None:
    outcome = ingest("search", "nothing", "a question", cwd=tmp_path)
    assert outcome.code == 1
    assert "nothing" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize("question", ["", "   "])
def test_an_empty_question(tmp_path: Path, corpus: Path, question: str) -> None:
    ingest("run", str(corpus), "-c", "x", "--dense", "none", cwd=tmp_path)
    outcome = ingest("search", "x", question, cwd=tmp_path)
    assert outcome.code == 2
    assert "empty" in outcome.err


def test_two_processes_cannot_share_the_embedded_store(tmp_path: Path, corpus: Path) -> None:
    ingest("run", str(corpus), "-c", "x", "--dense", "none", cwd=tmp_path)
    with open_store(str(tmp_path / ".ingest/qdrant")) as store:
        store.count("x")
        outcome = ingest_process("search", "x", "text", cwd=tmp_path)
    assert outcome.code == 1
    assert "server" in outcome.err
