"""The language of BM25 on the command line: options, settings, jobs, and what the user is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import ingest

SPARSE_ONLY = {"INGEST_DENSE": "none"}


@pytest.fixture
def handbuch(tmp_path: Path) -> Path:
    folder = tmp_path / "handbuch"
    folder.mkdir()
    (folder / "umbau.md").write_text("# Umbau\n\nAlle Häuser der Siedlung wurden im vergangenen Jahr renoviert.")
    (folder / "urlaub.md").write_text("# Urlaub\n\nDie Anträge auf Urlaub prüft die Personalabteilung.")
    return folder


def test_a_german_folder_is_read_in_german_and_the_user_is_told(handbuch: Path) -> None:
    place = handbuch.parent
    planned = ingest("plan", "handbuch", "-c", "h", "--json", cwd=place, **SPARSE_ONLY)
    assert planned.json["chunks"] == {"bm25": 2}
    ran = ingest("run", "handbuch", "-c", "h", "--json", cwd=place, **SPARSE_ONLY)
    assert ran.json["balanced"]
    for outcome in (planned, ran):
        assert "BM25 stems german words (languages of the first documents: de 2); --language sets another" in outcome.err
    again = ingest("run", "handbuch", "-c", "h", "--json", cwd=place, **SPARSE_ONLY)
    assert (again.json["unchanged"], "BM25" in again.err) == (2, False), "it decides once"
    assert [hit["doc_id"] for hit in ingest("search", "h", "Haus", "--json", cwd=place).json["hits"]] == ["umbau.md"]
    assert "sparse, german" in ingest("collections", "info", "h", cwd=place).out


def test_the_command_line_precedes_the_settings_and_both_the_documents(handbuch: Path) -> None:
    place = handbuch.parent
    (place / "ingest.toml").write_text('[models.bm25]\nlanguage = "french"\nascii_folding = true\n')
    for name, options, settings, expected in (
        ("a", [], {}, "french"),
        ("b", [], {"INGEST_LANGUAGE": "ru"}, "russian"),
        ("c", ["--language", "Danish"], {"INGEST_LANGUAGE": "ru"}, "danish"),
        ("d", ["--language", "auto"], {}, "german"),
    ):
        assert ingest("run", "handbuch", "-c", name, *options, cwd=place, **SPARSE_ONLY, **settings).code == 0
        [vector] = ingest("collections", "info", name, "--json", cwd=place).json["vectors"]
        assert vector["model"]["options"] == {"language": expected, "tokenizer": "word", "ascii_folding": True}


def test_each_job_has_its_own_language(handbuch: Path) -> None:
    place = handbuch.parent
    job = '[jobs.{0}]\nsource = "handbuch"\ncollection = "{0}"\nlanguage = "{0}"\n'
    (place / "ingest.toml").write_text(job.format("dutch") + job.format("german"))
    assert ingest("sync", cwd=place, **SPARSE_ONLY).code == 0
    for name in ("dutch", "german"):
        assert f"sparse, {name}" in ingest("collections", "info", name, cwd=place).out


def test_another_language_is_told_apart_from_a_typing_error(handbuch: Path) -> None:
    place = handbuch.parent
    unknown = ingest("run", "handbuch", "-c", "h", "--language", "klingon", cwd=place, **SPARSE_ONLY)
    assert (unknown.code, "BM25 has no stems for 'klingon'; use auto, arabic" in unknown.err) == (2, True)
    assert ingest("run", "handbuch", "-c", "h", "--language", "en", cwd=place, **SPARSE_ONLY).code == 0
    other = ingest("run", "handbuch", "-c", "h", "--language", "de", cwd=place, **SPARSE_ONLY)
    assert (other.code, "the language of bm25 is english, the job's is german" in other.err) == (2, True)
    assert ingest("reindex", "h", "--language", "de", cwd=place, **SPARSE_ONLY).code == 0
    assert ingest("run", "handbuch", "-c", "h", "--language", "de", "--json", cwd=place, **SPARSE_ONLY).json["unchanged"] == 2
