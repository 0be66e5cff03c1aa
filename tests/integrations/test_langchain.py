"""The adapter for LangChain: its retriever against LangChain's own standard tests, and documents of its loaders in a sync."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document
from langchain_tests.integration_tests import RetrieversIntegrationTests

import ingest
from ingest.integrations.langchain import IngestRetriever, documents_source
from ingest.testing import HashEncoder

PAGES = [
    Document(
        "The head of support approves refunds.", metadata={"source": "rules.pdf", "page": 0, "title": "Refunds", "lang": "en"}
    ),
    Document("Every employee has thirty days of leave.", metadata={"source": "rules.pdf", "page": 1, "lang": "en"}),
    Document("Laptops are encrypted.", id="laptops", metadata={"lang": "de"}),
    Document("Screens are locked when nobody is there."),
]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ingest.Collection]:
    """A collection of what a loader loaded."""
    folder = tmp_path_factory.mktemp("langchain")
    with ingest.Collection("rules", store=folder / "store", models=[HashEncoder(), "bm25"], state=folder) as opened:
        assert opened.sync(documents_source(PAGES, name="loaded")).written == len(PAGES)
        yield opened


class TestStandard(RetrieversIntegrationTests):  # type: ignore[misc]
    @pytest.fixture(autouse=True)
    def _opened(self, rules: ingest.Collection) -> None:
        self.rules = rules

    @property
    def retriever_constructor(self) -> type[IngestRetriever]:
        return IngestRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"collection": self.rules}

    @property
    def retriever_query_example(self) -> str:
        return "who approves refunds?"


TestStandard.test_ainvoke_returns_documents = pytest.mark.asyncio(TestStandard.test_ainvoke_returns_documents)


def test_documents_are_the_hits_with_their_metadata_and_scores(rules: ingest.Collection) -> None:
    hits = rules.search("approves refunds", limit=2)
    first, second = IngestRetriever(collection=rules, k=2).invoke("approves refunds")
    assert [first.id, second.id] == [hit.id for hit in hits]
    assert first.page_content == hits[0].text
    assert first.metadata == {
        "doc_id": "rules.pdf#page=0",
        "source": "rules.pdf",
        "title": "Refunds",
        "lang": "en",
        "page": 0,
        "chunk": 0,
        "start": 0,
        "end": len(hits[0].text),
        "ranks": hits[0].ranks,
        "relevance_score": hits[0].score,
    }


def test_options_are_those_of_every_query_or_of_one(rules: ingest.Collection) -> None:
    retriever = IngestRetriever(collection=rules.searcher, search_kwargs={"where": "metadata.lang=en"})
    assert {found.metadata["lang"] for found in retriever.invoke("laptops")} == {"en"}
    (german,) = retriever.invoke("laptops", where={"metadata.lang": "de"})
    assert german.id == rules.search("laptops")[0].id
    assert len(asyncio.run(retriever.ainvoke("laptops", k=1))) == 1


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"k": 0}, ingest.ConfigurationError, "limit: 0 is out of range"),
        ({"search_kwargs": {"fusion": "best"}}, ingest.ConfigurationError, "fusion: 'best'"),
        ({"search_kwargs": {"filter": "x=1"}}, TypeError, "unexpected keyword argument 'filter'"),
    ],
)
def test_options_are_checked_when_the_retriever_is_made(
    rules: ingest.Collection, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        IngestRetriever(collection=rules, **options)


class Pages(BaseLoader):  # type: ignore[misc]
    """A loader whose documents can change between runs, and that can fail."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    def lazy_load(self) -> Iterator[Document]:
        for number, text in enumerate(self.texts):
            if text == "unreadable":
                raise ValueError("broken page")
            yield Document(text, metadata={"source": "book.pdf", "page": number})


def test_a_loader_is_loaded_anew_by_each_sync(tmp_path: Path) -> None:
    loader = Pages("A first page.", "A second page.")
    source = documents_source(loader, name="book")
    with ingest.Collection("book", store=tmp_path / "store", models=["bm25"], state=tmp_path) as book:
        assert book.sync(source).written == 2
        loader.texts[1:] = ["A changed page.", "A third page."]
        receipt = book.sync(source, delete="full")
        assert (receipt.unchanged, receipt.updated, receipt.written) == (1, 1, 1)
        loader.texts[1] = "unreadable"
        with pytest.raises(ingest.SourceError, match="the documents of book could not be loaded: ValueError: broken page"):
            book.sync(source, delete="full")
        assert book.info().points == 3


def test_ids_are_the_documents_own_or_their_place_or_their_text() -> None:
    documents = [document for document in documents_source(PAGES, name="loaded").read() if isinstance(document, ingest.Document)]
    assert [document.id for document in documents][:3] == ["rules.pdf#page=0", "rules.pdf#page=1", "laptops"]
    assert documents[3].id == next(iter(documents_source(PAGES[3:], name="other").read())).id  # type: ignore[union-attr]


def test_documents_that_are_loaded_already_can_be_read_as_often_as_their_iterable() -> None:
    listed, streamed = documents_source(PAGES, name="listed"), documents_source(iter(PAGES), name="streamed")
    assert [len(list(source.read())) for source in (listed, listed, streamed)] == [4, 4, 4]
    with pytest.raises(ingest.SourceError, match="already"):
        list(streamed.read())


@pytest.mark.parametrize("documents", [[{"text": "no document"}], ["text"]])
def test_items_that_are_no_documents_are_an_error(documents: Any) -> None:
    with pytest.raises(ingest.ConfigurationError, match=r"is not a langchain_core\.documents\.base\.Document"):
        list(documents_source(documents, name="wrong").read())


def test_what_is_neither_a_loader_nor_documents_is_an_error() -> None:
    with pytest.raises(ingest.ConfigurationError, match="3 is neither a loader nor a list of Document objects"):
        documents_source(3, name="wrong")


def test_without_the_framework_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ingest.integrations.langchain")
    monkeypatch.setitem(sys.modules, "langchain_core.retrievers", None)
    with pytest.raises(ingest.MissingExtraError, match=r"qdrant-ingest\[langchain\]"):
        importlib.import_module("ingest.integrations.langchain")
