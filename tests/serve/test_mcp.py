"""The MCP server, through the SDK's own client: in memory with both protocol revisions, and as a process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command import INGEST, environment
from mcp import Client, StdioServerParameters
from mcp.server import MCPServer
from mcp.shared.exceptions import MCPError
from serving import opened, stored_rules

import ingest
from ingest.records import Hit
from ingest.search.answer import Answer
from ingest.search.document import StoredChunk
from ingest.serve.mcp.results import MAX_ANSWER, MAX_HIT, Found, TextChunk, freshness
from ingest.serve.mcp.server import create_mcp_server
from ingest.serve.mcp.tools import Tools
from ingest.serve.served import ServedCollections
from ingest.store.contract import Store
from ingest.store.schema import _normalize_collection_name
from ingest.sync.stored_sources import StoredSource

TOOLS = {"search", "expand", "read_document", "find_similar", "facets", "list_collections", "status"}
BOOK = "\n\n".join(f"## Chapter {number}\n\n{'A sentence about invoices. ' * 40}" for number in range(60))


@contextmanager
def serving(store: Store, folder: Path, *names: str) -> Iterator[MCPServer]:
    served = ServedCollections(store, lambda name: opened(store, name, folder), _normalize_collection_name, names)
    try:
        yield create_mcp_server(Tools(lambda: served))
    finally:
        served.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MCPServer]:
    """A server of two collections; the second has a document that is longer than an answer may be."""
    folder = tmp_path_factory.mktemp("mcp")
    with stored_rules(folder, "rules") as store:
        with ingest.Collection("books", store=store, models=["bm25"], state=folder) as books:
            books.sync([ingest.Document("book", BOOK, title="The book", format="markdown")], name="books")
        with serving(store, folder) as made:
            yield made


def asked(server: MCPServer | StdioServerParameters, ask: Callable[[Client], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        async with Client(server, **options) as client:
            return await ask(client)

    return asyncio.run(run())


def called(server: MCPServer, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool and return its result."""
    answer = asked(server, lambda client: client.call_tool(tool, arguments))
    assert not answer.is_error, answer.content
    found: dict[str, Any] = answer.structured_content
    return found


def refused(server: MCPServer, tool: str, **arguments: Any) -> str:
    """Call a tool that fails and return what it tells the model."""
    answer = asked(server, lambda client: client.call_tool(tool, arguments))
    assert answer.is_error
    return str(answer.content[0].text)


@pytest.mark.parametrize(("mode", "revision"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
def test_both_revisions_list_and_call_the_tools(server: MCPServer, mode: str, revision: str) -> None:
    async def ask(client: Client) -> Any:
        assert client.protocol_version == revision
        listed = (await client.list_tools()).tools
        return listed, await client.call_tool("search", {"query": "approves refunds", "collection": "rules"})

    listed, answer = asked(server, ask, mode=mode)
    assert {tool.name for tool in listed} == TOOLS
    assert all(tool.annotations.read_only_hint and tool.output_schema and tool.description for tool in listed)
    assert {hit["doc_id"] for hit in answer.structured_content["hits"]} == {"refunds", "rules/leave", "laptops"}


def test_search_returns_the_hits_of_the_collection_with_a_reading_aid(server: MCPServer, tmp_path: Path) -> None:
    with stored_rules(tmp_path, "rules") as store:
        with serving(store, tmp_path) as alone:
            found = called(alone, "search", query="who approves refunds?")
        with opened(store, "rules", tmp_path) as collection:
            hits = collection.search("who approves refunds?")
    assert [(each["doc_id"], each["score"], each["ranks"]) for each in found["hits"]] == [
        (hit.doc_id, hit.score, hit.ranks) for hit in hits
    ]
    assert found["collection"] == "rules"
    assert found["freshness"] == "last successful sync less than a minute ago"
    (first,) = [each for each in found["hits"] if each["doc_id"] == "refunds"]
    assert (first["text"], first["title"], first["metadata"]["lang"]) == (
        "The head of support approves refunds.",
        "Refunds",
        "en",
    )
    assert {each["agreement"] for each in found["hits"] if "bm25" not in each["ranks"]} == {"weak"}
    assert first["agreement"] == "strong"


def test_filters_and_limits_are_those_of_the_collection(server: MCPServer) -> None:
    found = called(server, "search", query="refunds", collection="rules", where="metadata.lang=de", limit=1)
    assert [each["doc_id"] for each in found["hits"]] == ["laptops"]
    assert called(server, "search", query="refunds", collection="rules", where="metadata.tone=kind")["warnings"]


def test_similar_documents_are_others(server: MCPServer) -> None:
    found = called(server, "find_similar", like="refunds", collection="rules")
    assert {each["doc_id"] for each in found["hits"]} == {"rules/leave", "laptops"}


def test_a_long_document_is_read_in_several_calls(server: MCPServer) -> None:
    chunks: list[dict[str, Any]] = []
    first: int | None = 0
    calls = 0
    while first is not None:
        page = called(server, "read_document", doc_id="book", collection="books", first_chunk=first)
        assert sum(len(chunk["text"]) for chunk in page["chunks"]) <= MAX_ANSWER
        chunks += page["chunks"]
        first, calls = page["next_chunk"], calls + 1
    assert calls == -(-sum(len(chunk["text"]) for chunk in chunks) // MAX_ANSWER)
    assert [chunk["chunk"] for chunk in chunks] == list(range(page["total_chunks"]))
    assert page["title"] == "The book"


def test_a_chunk_has_the_fields_of_a_stored_one() -> None:
    assert TextChunk.__slots__ == StoredChunk.__slots__


def test_the_neighbors_of_a_chunk(server: MCPServer) -> None:
    around = called(server, "expand", doc_id="book", chunk=7, collection="books", before=2)
    assert [chunk["chunk"] for chunk in around["chunks"]] == [5, 6, 7, 8]


def test_what_there_is_to_search_and_to_filter_by(server: MCPServer) -> None:
    listed = called(server, "list_collections")["collections"]
    assert [(each["name"], each["vectors"]) for each in listed] == [("books", ["bm25"]), ("rules", ["hash", "bm25"])]
    status = called(server, "status", collection="rules")
    assert (status["chunks"], status["filterable"]) == (3, ["metadata.lang"])
    assert [(each["name"], each["documents"]) for each in status["sources"]] == [("rules", 3)]
    assert called(server, "facets", collection="rules")["facets"] == {"metadata.lang": {"en": 2, "de": 1}}
    assert called(server, "facets", fields=["source"], collection="rules")["facets"] == {"source": {"rules": 3}}


def test_mistakes_are_told_to_the_model(server: MCPServer) -> None:
    assert "collection: name one of books, rules" in refused(server, "search", query="refunds")
    assert "nothing" in refused(server, "search", query="refunds", collection="nothing")
    assert "rules has no document 'none'" in refused(server, "read_document", doc_id="none", collection="rules")
    assert "query: ' ' is empty" in refused(server, "search", query=" ", collection="rules")
    assert "less than or equal to 50" in refused(server, "search", query="refunds", collection="rules", limit=51)


def test_documents_are_resources(server: MCPServer) -> None:
    hits = called(server, "search", query="days of leave", collection="rules")["hits"]
    (found,) = [each for each in hits if each["doc_id"] == "rules/leave"]
    read = asked(server, lambda client: client.read_resource(found["uri"]))
    assert read.contents[0].text == "Leave\n\nEvery employee has thirty days of leave."
    book = asked(server, lambda client: client.read_resource("ingest://books/book")).contents[0].text
    assert len(book) < MAX_ANSWER + 100
    assert book.endswith("[cut: read_document returns the rest]")

    async def ask(client: Client) -> None:
        with pytest.raises(MCPError, match="rules has no document 'none'"):
            await client.read_resource("ingest://rules/none")

    asked(server, ask)


def test_long_hits_are_cut_and_those_that_do_not_fit_are_counted() -> None:
    hit = {"score": 1.0, "title": None, "source": "s", "chunk": 0, "start": 0, "end": 9, "ranks": {"bm25": 1}, "fused_score": 1.0}
    long = [Hit(id=str(n), text="x" * 5000, doc_id="d", metadata={"note": "y" * MAX_HIT}, **hit) for n in range(20)]  # type: ignore[arg-type]
    found = Found.of("c", ["bm25"], Answer(tuple(long), reranked=False), "unknown")
    assert [(len(each.text), each.truncated, each.metadata, each.agreement) for each in found.hits] == [
        (MAX_HIT, True, None, None)
    ] * (MAX_ANSWER // MAX_HIT)
    assert found.omitted == 20 - MAX_ANSWER // MAX_HIT


NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ages", "says"),
    [
        ([None], "unknown: no sync has finished yet"),
        ([timedelta(seconds=59)], "last successful sync less than a minute ago"),
        ([timedelta(hours=2, minutes=59)], "last successful sync 2 hours ago"),
        ([timedelta(days=1), timedelta(days=1, hours=3)], "last successful sync 1 day ago"),
        (
            [timedelta(days=3), timedelta(minutes=5), None],
            "last successful sync 5 minutes ago; the source that waits longest was synced 3 days ago",
        ),
    ],
)
def test_freshness_is_a_sentence(ages: list[timedelta | None], says: str) -> None:
    sources = [StoredSource("s", 1, 1, 0, None if age is None else (NOW - age).isoformat(), None) for age in ages]
    assert freshness(sources, NOW) == says


def test_the_command_serves_on_its_standard_streams(tmp_path: Path) -> None:
    with ingest.Collection("notes", store=tmp_path / "store", models=["bm25"], state=tmp_path) as notes:
        notes.sync([{"id": "a", "text": "A note about invoices."}], name="notes")
    process = StdioServerParameters(
        command=str(INGEST), args=["mcp", "--store", str(tmp_path / "store")], env=environment(), cwd=tmp_path
    )

    async def ask(client: Client) -> Any:
        return (await client.list_tools()).tools, await client.call_tool("search", {"query": "invoices"})

    listed, answer = asked(process, ask)
    assert {tool.name for tool in listed} == TOOLS
    assert [each["doc_id"] for each in answer.structured_content["hits"]] == ["a"]
