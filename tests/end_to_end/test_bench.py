"""`ingest bench` says what is fastest here."""

from __future__ import annotations

from pathlib import Path

from command import ingest


def test_bench_measures_a_model_and_says_what_to_set(tmp_path: Path) -> None:
    done = ingest("bench", "--model", "bm25", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.json["model"] == "bm25"
    assert done.json["best"] in done.json["trials"]
    assert done.json["settings"] == {}  # it has no batches of tokens, and one backend
    shown = ingest("bench", "--model", "bm25", cwd=tmp_path)
    assert "texts/s" in shown.out
    assert "nothing to set" in shown.out


def test_bench_names_an_unknown_model(tmp_path: Path) -> None:
    done = ingest("bench", "--model", "bm26", cwd=tmp_path)
    assert (done.code, "bm25" in done.err) == (2, True)
