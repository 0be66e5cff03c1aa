"""The adapter for LlamaIndex: its retriever in a real query engine, and documents of its readers in a sync."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from framework_rules import synced_rules
from llama_index.core import SimpleDirectoryReader
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from llama_index.core.schema import Document, MetadataMode

import ingest
from ingest.integrations.llamaindex import IngestRetriever, documents_source


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ingest.Collection]:
    with synced_rules(tmp_path_factory.mktemp("rules")) as opened:
        yield opened


def test_nodes_are_the_hits(rules: ingest.Collection) -> None:
    hits = rules.search("who approves refunds or leave?", limit=2)
    found = IngestRetriever(rules, 2).retrieve("who approves refunds or leave?")
    assert [(each.node.node_id, each.text, each.score) for each in found] == [(hit.id, hit.text, hit.score) for hit in hits]
    first = found[0].node
    assert first.ref_doc_id == first.metadata["doc_id"] == "refunds"
    assert first.metadata["ranks"] == hits[0].ranks
    assert first.get_content(MetadataMode.LLM).splitlines()[:2] == ["title: Refunds", "lang: en"]
    assert "ranks" not in first.get_content(MetadataMode.LLM)


def test_a_query_engine_reads_what_was_found(rules: ingest.Collection) -> None:
    retriever = IngestRetriever(rules.searcher, 1, search_kwargs={"where": "metadata.lang=de"})
    engine = RetrieverQueryEngine(retriever, get_response_synthesizer(llm=MockLLM()))
    for response in (engine.query("laptops or refunds?"), asyncio.run(engine.aquery("laptops or refunds?"))):
        assert "Laptops are encrypted." in str(response)  # MockLLM repeats its prompt
        assert [node.node.ref_doc_id for node in response.source_nodes] == ["laptops"]


def test_options_are_checked_when_the_retriever_is_made(rules: ingest.Collection) -> None:
    with pytest.raises(ingest.ConfigurationError, match="limit: 0 is out of range"):
        IngestRetriever(rules, 0)


def test_a_reader_is_loaded_anew_by_each_sync(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name in ("a.txt", "b.txt", "c.txt"):
        (folder / name).write_text(f"This is the note {name}.")
    source = documents_source(lambda: SimpleDirectoryReader(folder).load_data(), name="notes")
    with ingest.Collection("notes", store=tmp_path / "store", models=["bm25"], state=tmp_path) as notes:
        assert notes.sync(source).written == 3
        (folder / "a.txt").write_text("A changed note.")
        receipt = notes.sync(documents_source(SimpleDirectoryReader(folder), name="notes"), delete="full")
        assert (receipt.unchanged, receipt.updated, receipt.written) == (2, 1, 0)


def test_ids_are_the_place_of_a_document_or_its_own() -> None:
    documents = [
        Document(text="A page.", metadata={"file_path": "a.pdf", "page_label": "iv"}),
        Document(text="A file.", metadata={"file_path": "b.txt"}),
        Document(text="A ticket.", id_="T-1"),
    ]
    found = documents_source(documents, name="mixed").read()
    assert [document.id for document in found if isinstance(document, ingest.Document)] == ["a.pdf#page_label=iv", "b.txt", "T-1"]


def test_without_the_framework_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ingest.integrations.llamaindex")
    monkeypatch.setitem(sys.modules, "llama_index.core.retrievers", None)
    with pytest.raises(ingest.MissingExtraError, match=r"qdrant-ingest\[llamaindex\]"):
        importlib.import_module("ingest.integrations.llamaindex")
