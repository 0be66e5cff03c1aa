"""The adapter for Haystack: its retriever in a pipeline that is written to YAML and read again, and documents of converters."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from framework_rules import synced_rules
from haystack import Document, Pipeline
from haystack.components.converters import TextFileToDocument
from haystack.utils import Secret

import ingest
from ingest.integrations.haystack import IngestRetriever, documents_source


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ingest.Collection]:
    with synced_rules(tmp_path_factory.mktemp("rules")) as opened:
        yield opened


def test_documents_are_the_hits(rules: ingest.Collection) -> None:
    hits = rules.search("who approves refunds or leave?", limit=2)
    retriever = IngestRetriever(rules, top_k=2)
    for found in (
        retriever.run("who approves refunds or leave?"),
        asyncio.run(retriever.run_async("who approves refunds or leave?")),
    ):
        assert [(each.id, each.content, each.score) for each in found["documents"]] == [
            (hit.id, hit.text, hit.score) for hit in hits
        ]
        assert found["documents"][0].meta["title"] == "Refunds"


def test_options_of_a_run_take_the_place_of_those_of_every_run(rules: ingest.Collection) -> None:
    retriever = IngestRetriever(rules.searcher, search_kwargs={"where": "metadata.lang=de"})
    assert [found.meta["doc_id"] for found in retriever.run("refunds or laptops")["documents"]] == ["laptops"]
    (english,) = retriever.run("refunds", where={"metadata.lang": "en"}, top_k=1)["documents"]
    assert english.meta["doc_id"] == "refunds"
    with pytest.raises(ingest.ConfigurationError, match="limit: 0 is out of range"):
        IngestRetriever(rules, top_k=0)


def test_a_pipeline_is_written_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "store"
    with ingest.Collection("notes", store=store, models=["bm25"], state=tmp_path) as notes:
        notes.sync([{"id": "a", "text": "A note about invoices."}], name="notes")
    monkeypatch.setenv("NOTES_KEY", "unused for a folder")
    pipeline = Pipeline()
    key = Secret.from_env_var("NOTES_KEY")
    pipeline.add_component("retriever", IngestRetriever("notes", str(store), key, 3, {"where": "doc_id=a"}))
    read = Pipeline.loads(pipeline.dumps(), allowed_modules=["ingest.integrations.haystack"])
    again = read.get_component("retriever")
    assert (again.collection, again.store, again.top_k, again.search_kwargs) == ("notes", str(store), 3, {"where": "doc_id=a"})
    assert again.api_key == key
    assert read.run({"retriever": {"query": "invoices"}})["retriever"]["documents"][0].meta["doc_id"] == "a"
    again.close()


def test_an_open_collection_cannot_be_written(rules: ingest.Collection) -> None:
    with pytest.raises(ingest.ConfigurationError, match="pass its name and its store"):
        IngestRetriever(rules).to_dict()


def test_a_converter_is_called_anew_by_each_sync(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    for file in files:
        file.write_text(f"This is the note {file.name}.")
    converter = TextFileToDocument(store_full_path=True)
    source = documents_source(lambda: converter.run(sources=files)["documents"], name="notes")
    with ingest.Collection("notes", store=tmp_path / "store", models=["bm25"], state=tmp_path) as notes:
        assert notes.sync(source).written == 3
        files[0].write_text("A changed note.")
        receipt = notes.sync(source, delete="full")
        assert (receipt.unchanged, receipt.updated, receipt.written) == (2, 1, 0)


def test_ids_are_the_place_of_a_document_or_its_own() -> None:
    documents = [
        Document(content="A page.", meta={"file_path": "a.pdf", "page_number": 4}),
        Document(content="A ticket.", id="T-1"),
    ]
    found = documents_source(documents, name="mixed").read()
    assert [document.id for document in found if isinstance(document, ingest.Document)] == ["a.pdf#page_number=4", "T-1"]


def test_without_the_framework_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ingest.integrations.haystack")
    monkeypatch.setitem(sys.modules, "haystack", None)
    with pytest.raises(ingest.MissingExtraError, match=r"qdrant-ingest\[haystack\]"):
        importlib.import_module("ingest.integrations.haystack")
