"""Searching a collection: filters, groups, neighbors, and a searcher on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ingest

BOOK = ingest.Document("book", "\n\n".join(f"Chapter {n} is about refunds. " + "It goes on. " * 20 for n in range(3)))


def test_filters(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    handbook.sync([{**rule, "text": f"A rule. {rule['text']}"} for rule in rules], name="rules")
    spelled: list[Any] = [{"metadata.year": {"gte": 2021}}, "metadata.year>=2021", ["metadata.year>=2021", {"source": "rules"}]]
    for where in spelled:
        assert {hit.doc_id for hit in handbook.search("rule", where=where)} == {"leave", "laptops"}
    answer = handbook.search("rule", where={"metadata.yaer": 2021})
    assert not answer
    assert any("metadata.yaer" in warning for warning in answer.warnings)


def test_hits_say_where_they_come_from(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    handbook.sync(rules, name="rules")
    (hit,) = handbook.search("refunds")
    assert (hit.doc_id, hit.source, hit.metadata, hit.ranks) == ("refunds", "rules", {"year": 2020}, {"bm25": 1})
    assert rules[0]["text"][hit.start : hit.end] == hit.text


def test_one_hit_for_each_document_with_its_neighbors(collection: str, tmp_path: Path) -> None:
    chunking = ingest.ChunkingOptions(tokens=80)
    with ingest.Collection(collection, store=tmp_path / "store", models=["bm25"], chunking=chunking) as books:
        books.sync([BOOK], name="books")
        assert len(books.search("refunds")) == 3
        (hit,) = books.search("chapter 1", group_by="doc_id", context=1)
        assert "Chapter 1" in hit.text
        assert ("Chapter 0" in hit.before[0], "Chapter 2" in hit.after[0]) == (True, True)


def test_a_searcher_on_its_own(rules: list[dict[str, Any]], tmp_path: Path) -> None:
    with ingest.Collection("rules", store=tmp_path / "other", models=["bm25"], state=tmp_path / "state") as made:
        made.sync(rules, name="rules")
    with ingest.Searcher.open("rules", store=tmp_path / "other") as searcher:
        answers = searcher.search_batch(["refunds", "leave"], limit=1)
    assert [answer[0].doc_id for answer in answers] == ["refunds", "leave"]


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"vectors": ["none"]}, {"weights": {"none": 1.0}}, {"fusion": "sum"}])
def test_an_argument_that_cannot_be_used_is_named(
    handbook: ingest.Collection, rules: list[dict[str, Any]], wrong: dict[str, Any]
) -> None:
    handbook.sync(rules, name="rules")
    with pytest.raises(ingest.ConfigurationError, match=next(iter(wrong))):
        handbook.search("refunds", **wrong)
