"""The MCP server under `/mcp` of the HTTP API: the same tools, the same tokens, the same limits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from command import INGEST, environment
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from serving import LOCAL, ApiClient, Blocking, api, on_port, stored_rules

import ingest
from ingest.serve.access import Grant, Tokens
from ingest.serve.app import create_app
from ingest.serve.mcp.http import McpApplication
from ingest.serve.options import ServeOptions
from ingest.serve.served import ServedCollections
from ingest.store.contract import Store
from ingest.store.schema import _normalize_collection_name

RULES_TOKEN, OTHER_TOKEN = "r" * 20, "o" * 20


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with stored_rules(tmp_path_factory.mktemp("mcp"), "rules", "secret") as opened_store:
        yield opened_store


def asked(api_client: ApiClient, ask: Callable[[Client], Awaitable[Any]], token: str | None = None, mode: str = "auto") -> Any:
    """Return what a function returns for a client of the application."""

    async def run() -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(api_client.app)
        async with (
            httpx.AsyncClient(transport=transport, headers=headers) as http,
            Client(streamable_http_client(f"{LOCAL}/mcp", http_client=http), mode=mode) as client,
        ):
            return await ask(client)

    return api_client.wait(run())


@pytest.mark.parametrize(("mode", "revision"), [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
def test_both_revisions_find_what_the_api_finds(store: Store, tmp_path: Path, mode: str, revision: str) -> None:
    async def ask(client: Client) -> Any:
        assert client.protocol_version == revision
        assert "search" in {tool.name for tool in (await client.list_tools()).tools}
        return await client.call_tool("search", {"query": "who approves refunds?", "collection": "rules"})

    with api(store, tmp_path, mcp=McpApplication) as client:
        found = asked(client, ask, mode=mode).structured_content
        hits = client.get("/v1/collections/rules/search", params={"q": "who approves refunds?"}).json()["hits"]
        assert [hit["id"] for hit in found["hits"]] == [hit["id"] for hit in hits]
        assert 'path="/mcp",status="200"' in client.get("/metrics").text


def test_a_token_shows_its_collections_alone(store: Store, tmp_path: Path) -> None:
    tokens = Tokens({RULES_TOKEN: Grant("r", frozenset({"rules"})), OTHER_TOKEN: Grant("o", frozenset({"other"}))})

    async def ask(client: Client) -> Any:
        listed = await client.call_tool("list_collections", {})
        return listed.structured_content["collections"], await client.call_tool("search", {"query": "refunds"})

    async def ask_for_secret(client: Client) -> Any:
        return await client.call_tool("search", {"query": "refunds", "collection": "SECRET"})

    with api(store, tmp_path, ServeOptions(tokens), mcp=McpApplication) as client:
        listed, answer = asked(client, ask, RULES_TOKEN)
        assert [each["name"] for each in listed] == ["rules"]
        assert answer.structured_content["collection"] == "rules"
        assert asked(client, ask, OTHER_TOKEN)[0] == []
        refusal = asked(client, ask_for_secret, RULES_TOKEN)
        assert refusal.is_error
        assert "does not allow to read the collection secret" in refusal.content[0].text
        response = client.post("/mcp", json={})
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Host": "elsewhere.example"}, 421),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "https://known.example"}, 200),
    ],
)
def test_pages_of_other_sites_are_refused(store: Store, tmp_path: Path, headers: dict[str, str], status: int) -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"Accept": "application/json, text/event-stream", **headers}
    with api(store, tmp_path, ServeOptions(cors_origins=("https://known.example",)), mcp=McpApplication) as client:
        assert client.post("/mcp", json=call, headers=headers).status_code == status


def test_a_request_is_limited_as_those_of_the_api(store: Store, tmp_path: Path) -> None:
    with api(store, tmp_path, ServeOptions(max_body=1000), mcp=McpApplication) as client:
        assert client.post("/mcp", content=b"x" * 1001).status_code == 413
        assert client.get("/mcp").status_code == 405
    with api(store, tmp_path) as without:
        assert without.post("/mcp", json={}).status_code == 404


def test_a_full_queue_is_told_to_the_model(store: Store, tmp_path: Path) -> None:
    async def ask(client: Client) -> Any:
        return await client.call_tool("search", {"query": "refunds", "collection": "rules"})

    blocking = Blocking(store)
    with api(blocking.store, tmp_path, ServeOptions(threads=1, queue=0), mcp=McpApplication) as client:
        first = threading.Thread(target=client.get, args=("/v1/collections/rules/search?q=leave",))
        first.start()
        assert blocking.begun.acquire(timeout=60)
        refusal = asked(client, ask)
        blocking.released.set()
        first.join()
    assert refusal.is_error
    assert "too many requests are waiting" in refusal.content[0].text


def test_the_client_of_fastmcp_finds_the_same_by_both_transports(tmp_path: Path) -> None:
    import fastmcp  # noqa: PLC0415  two seconds, which each process of tests would take to collect this one
    from fastmcp.client.transports import StdioTransport  # noqa: PLC0415

    async def found(transport: Any) -> Any:
        async with fastmcp.Client(transport) as client:
            assert "search" in {tool.name for tool in await client.list_tools()}
            return (await client.call_tool("search", {"query": "invoices"})).structured_content["hits"]

    with ingest.Collection("notes", store=tmp_path / "store", models=["bm25"], state=tmp_path) as notes:
        notes.sync([{"id": "a", "text": "A note about invoices."}, {"id": "b", "text": "A note about cats."}], name="notes")
    arguments = ["mcp", "--store", str(tmp_path / "store")]
    by_streams = asyncio.run(found(StdioTransport(INGEST, arguments, env=environment(), cwd=str(tmp_path))))
    with ingest.open_store(tmp_path / "store") as opened:
        served = ServedCollections(opened, lambda name: ingest.Collection(name, store=opened), _normalize_collection_name)
        with on_port(create_app(served, mcp=McpApplication)) as url:  # at its end it closes the collections
            by_http = asyncio.run(found(f"{url}/mcp"))
    assert [hit["doc_id"] for hit in by_http] == ["a"]
    assert by_http == by_streams
