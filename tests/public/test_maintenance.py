"""Keeping a collection right: verify and repair, change its models, move its vectors, measure its quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ingest

STEMS = {"stems": {"kind": "sparse", "hub_id": "Qdrant/bm25", "idf": True, "backend": "qdrant"}}


def test_damage_is_found_and_repaired(rules: list[dict[str, Any]], tmp_path: Path) -> None:
    with ingest.open_store(tmp_path / "store") as store:
        handbook = ingest.Collection("handbook", store=store, models=["bm25"], state=tmp_path / "state")
        handbook.sync(rules, name="rules")
        lost, edited, _ = store.scroll("handbook")
        store.delete("handbook", [lost.id])
        store.set_payload("handbook", {edited.id: {**edited.payload, "text": "Somebody was here."}})

        report = handbook.verify(rules, name="rules")
        assert (report.clean, report.repaired) == (False, False)
        assert {str(kind): finding.count for kind, finding in report.findings.items()} == {
            "missing_points": 1,
            "damaged_payloads": 1,
        }
        repaired = handbook.verify(rules, name="rules", repair=True)
        assert (repaired.repaired, repaired.repairs.points, repaired.repairs.payloads) == (True, 1, 1)
        assert handbook.verify(rules, name="rules", sample="all").clean


def test_a_reindex_is_searched_at_once_and_rolled_back(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    handbook.sync(rules, name="rules")
    before = handbook.info()
    report = handbook.reindex(models=["bm25", "stems"])
    assert (report.copied, report.encoded) == ({"bm25": 3}, {"stems": 3})

    after = handbook.info()
    assert (after.stored_as, report.previous) == (report.stored_as, before.stored_as)
    assert [vector.name for vector in after.vectors] == ["bm25", "stems"]
    assert handbook.search("laptops")[0].ranks == {"bm25": 1, "stems": 1}
    assert handbook.sync(rules, name="rules").chunks.written == 0, "the next sync uses the new models"

    handbook.rollback()
    assert handbook.info() == before
    assert handbook.sync(rules, name="rules").chunks.written == 0, "and after a rollback the old ones"


def test_a_reindex_that_drops_the_old_collection_cannot_be_rolled_back(
    handbook: ingest.Collection, rules: list[dict[str, Any]]
) -> None:
    handbook.sync(rules, name="rules")
    before = handbook.info()
    assert handbook.reindex(models=["stems"], keep_old=False).dropped == (before.stored_as,)
    with pytest.raises(ingest.ConfigurationError, match="cannot be rolled back"):
        handbook.rollback()


def test_the_next_program_finds_the_options_of_a_collection(rules: list[dict[str, Any]], tmp_path: Path) -> None:
    place: dict[str, Any] = {"store": tmp_path / "store", "state": tmp_path / "state"}
    chunking = ingest.ChunkingOptions(tokens=32)
    with ingest.Collection("handbook", models=["bm25"], chunking=chunking, weights={"bm25": 2.0}, **place) as first:
        first.sync(rules, name="rules")
    with ingest.Collection("handbook", **place) as second:
        assert second.sync(rules, name="rules").chunks.written == 0
        assert second.info().weights == {"bm25": 2.0}
        assert second.info().chunking["tokens"] == 32
    with ingest.Collection("handbook", encoding=ingest.EncodingOptions(custom_models=STEMS), **place) as third:
        third.reindex(models=["stems"])
        assert third.info().weights == {}, "the weight of a dropped vector is dropped, too"
        assert third.search("laptops")


def test_vectors_are_exported_and_loaded(handbook: ingest.Collection, rules: list[dict[str, Any]], tmp_path: Path) -> None:
    assert handbook.export(rules, tmp_path / "vectors", name="rules").written == 3
    assert handbook.load(tmp_path / "vectors").written == 3
    assert handbook.sync(rules, name="rules").chunks.written == 0


def test_quality_is_measured_on_judged_queries(handbook: ingest.Collection, rules: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "who approves refunds?"}))
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\trefunds\t1\n")
    handbook.sync(rules, name="rules")
    evaluation = handbook.evaluate(tmp_path)
    assert {row.name: row.scores.ndcg_10 for row in evaluation.rows} == {"bm25": 1.0, "fused": 1.0}
