"""`ingest reindex`: the real command with real (if tiny) models."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import ingest, write_jsonl
from tiny_models import tiny_dense

BEASTS = ["badger", "otter", "heron", "beaver", "lynx", "marten"]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Documents, questions about them, and two models that differ in their weights alone."""
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    write_jsonl(tmp_path / "beasts.jsonl", [{"id": beast, "text": f"All about the {beast}."} for beast in BEASTS])
    write_jsonl(beir / "queries.jsonl", [{"_id": beast, "text": beast} for beast in BEASTS])
    (beir / "qrels" / "test.tsv").write_text("".join(f"{beast}\t{beast}\t1\n" for beast in BEASTS))
    return tmp_path


def configure(desk: Path, model: Path) -> None:
    (desk / "ingest.toml").write_text(
        f'dense = ["tiny"]\n[models.tiny]\npath = "{model}"\ndim = 32\nmax_tokens = 64\npooling = "mean"\n'
    )


def test_a_model_of_the_same_shape_is_swapped_and_swapped_back(desk: Path) -> None:
    first, second = tiny_dense(desk / "one"), tiny_dense(desk / "two", seed=2)
    configure(desk, first)
    assert ingest("run", "beasts.jsonl", "-c", "Beasts", cwd=desk).code == 0
    configure(desk, second)
    refused = ingest("run", "beasts.jsonl", "-c", "Beasts", cwd=desk)
    assert refused.code == 2
    assert "ingest reindex beasts" in refused.err
    assert "--accept-fingerprints" in refused.err

    swapped = ingest("reindex", "Beasts", "--json", cwd=desk).json
    assert (swapped["collection"], swapped["points"]) == ("beasts", 6)
    assert (swapped["encoded"], swapped["copied"]) == ({"tiny": 6}, {"bm25": 6})
    back = ingest("reindex", "Beasts", "--rollback", "--json", cwd=desk).json
    assert (back["stored_as"], back["previous"]) == (swapped["previous"], swapped["stored_as"])
    accepted = ingest("run", "beasts.jsonl", "-c", "Beasts", "--accept-fingerprints", "--json", cwd=desk)
    assert (accepted.json["unchanged"], accepted.json["models"]) == (6, [])


def test_in_place_a_model_with_a_name_of_its_own_takes_over_and_gives_back(desk: Path) -> None:
    configure(desk, tiny_dense(desk / "one"))
    (desk / "ingest.toml").open("a").write((desk / "ingest.toml").read_text().partition("\n")[2].replace("tiny]", "other]"))
    assert ingest("run", "beasts.jsonl", "-c", "beasts", cwd=desk).code == 0
    new = ("beasts", "--dense", "other", "--in-place")
    report = ingest("reindex", *new, "--golden", "beir", "--json", cwd=desk).json
    assert (report["encoded"], report["copied"], report["previous"]) == ({"other": 6}, {}, None)
    assert report["previous_vectors"] == ["tiny", "bm25"]
    assert len(ingest("collections", "list", "--json", cwd=desk).json["collections"]) == 1
    run = ingest("run", "beasts.jsonl", "-c", "beasts", "--dense", "other", "--json", cwd=desk).json
    assert (run["balanced"], run["chunks"]["written"], run["chunks"]["reused"]) == (True, 0, 6)
    back = ingest("reindex", "beasts", "--rollback", cwd=desk)
    assert "other, bm25" in back.out, "what is kept for another rollback"
    run = ingest("run", "beasts.jsonl", "-c", "beasts", "--json", cwd=desk).json
    assert (run["balanced"], run["chunks"]["written"]) == (True, 0)
    assert ingest("reindex", "beasts", "--drop-old", "--in-place", "--json", cwd=desk).json["dropped_vectors"] == ["other"]


def test_the_gate_swaps_only_what_answers_as_well(desk: Path) -> None:
    configure(desk, tiny_dense(desk / "one"))
    assert ingest("run", "beasts.jsonl", "-c", "beasts", "--dense", "none", cwd=desk).code == 0
    refused = ingest("reindex", "beasts", "--golden", "beir", "--min-ndcg-ratio", "1.5", cwd=desk)
    assert refused.code == 1
    assert "less than 1.5 of the 1.0000 it has now" in refused.err
    passed = ingest("reindex", "beasts", "--golden", "beir", "--min-ndcg-ratio", "0", "--drop-old", "--json", cwd=desk).json
    assert (passed["encoded"], passed["previous"]) == ({}, None)  # what was made of it before need not be made again
    assert len(passed["dropped"]) == 1
