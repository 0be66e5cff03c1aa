"""A collection in the reader's language: chosen once, kept, found again by whatever searches it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ingest

RULES = [
    {"id": "houses", "text": "Alle Häuser der Siedlung wurden im vergangenen Jahr renoviert."},
    {"id": "leave", "text": "Die Anträge auf Urlaub prüft die Personalabteilung."},
]
ENGLISH = [{"id": "refunds", "text": "Refunds must be approved by the team lead within four weeks."}]


@pytest.fixture
def place(tmp_path: Path) -> dict[str, Any]:
    return {"store": tmp_path / "store", "state": tmp_path / "state", "models": ["bm25"]}


def _ids(collection: ingest.Collection, query: str) -> list[str]:
    return [hit.doc_id for hit in collection.search(query)]


def test_the_first_documents_decide_and_the_collection_keeps_it(place: dict[str, Any]) -> None:
    with ingest.Collection("handbook", **place) as first:
        receipt = first.sync(iter(RULES), name="rules")
        assert (receipt.written, receipt.balanced) == (2, True), "what was read to decide is not lost, even if it is read once"
        assert first.info().manifest.options["bm25"]["language"] == "german"
        assert _ids(first, "Haus") == ["houses"]
    with ingest.Collection("handbook", **place) as second:
        assert second.sync([*RULES, *ENGLISH], name="rules").written == 1
        assert second.info().manifest.options["bm25"]["language"] == "german"


def test_a_search_uses_the_language_of_the_collection_whatever_is_configured(place: dict[str, Any]) -> None:
    with ingest.Collection("handbook", language="de", **place) as made:
        made.sync(RULES, name="rules")
    with ingest.Collection("handbook", language="french", **place) as other:
        assert _ids(other, "Haus") == ["houses"]
    with ingest.Searcher.open("handbook", place["store"]) as searcher:
        assert [hit.doc_id for hit in searcher.search("Haus")] == ["houses"]


def test_another_language_is_refused_until_the_collection_is_rebuilt(place: dict[str, Any]) -> None:
    with ingest.Collection("handbook", language="english", **place) as english:
        english.sync(RULES, name="rules")
        assert _ids(english, "Haus") == []
    with ingest.Collection("handbook", language="german", **place) as german:
        with pytest.raises(ingest.ManifestMismatchError, match=r"language of bm25 is english, the job's is german.*reindex"):
            german.sync(RULES, name="rules")
        german.reindex()
        assert _ids(german, "Haus") == ["houses"]
        assert german.sync(RULES, name="rules").unchanged == 2


def test_a_new_vector_of_an_old_collection_reads_the_language_of_its_chunks(place: dict[str, Any]) -> None:
    stems = {"stems": {"kind": "sparse", "backend": "qdrant", "idf": True, "language": "english"}}
    with ingest.Collection(
        "handbook", **place | {"models": ["stems"]}, encoding=ingest.EncodingOptions(custom_models=stems)
    ) as old:
        old.sync(RULES, name="rules")
        old.reindex(["stems", "bm25"])
        assert {name: own["language"] for name, own in old.info().manifest.options.items()} == {
            "stems": "english",
            "bm25": "german",
        }


def test_a_plan_and_an_export_decide_like_the_run(place: dict[str, Any], tmp_path: Path) -> None:
    with ingest.Collection("handbook", **place) as collection:
        assert collection.plan(iter(RULES), name="rules").chunks == {"bm25": 2}
        collection.export(iter(RULES), tmp_path / "vectors", name="rules")
        collection.load(tmp_path / "vectors")
        assert collection.plan(RULES, name="rules").unchanged == 2
        assert collection.verify(iter(RULES), name="rules").clean
        assert _ids(collection, "Haus") == ["houses"]


def test_an_unreadable_source_is_reported_by_the_run(place: dict[str, Any]) -> None:
    def broken() -> Any:
        yield RULES[0]
        raise ingest.SourceError("the feed ended early")

    with ingest.Collection("handbook", **place) as collection, pytest.raises(ingest.SourceError, match="the feed ended early"):
        collection.sync(broken(), name="rules")
