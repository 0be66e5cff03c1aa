"""One search, many doors: HTTP, MCP, LangChain, LlamaIndex and Haystack return the chunks that `Collection.search` returns."""

from __future__ import annotations

import asyncio
from pathlib import Path

from corpus import python_topics
from mcp import Client
from serving import api, opened

import ingest
from ingest.integrations import haystack, langchain, llamaindex
from ingest.serve.mcp.server import create_mcp_server
from ingest.serve.mcp.tools import Tools
from ingest.serve.served import ServedCollections
from ingest.store.schema import _normalize_collection_name

QUERY = "how are the attributes of a class looked up?"


def test_every_door_returns_the_same_ten_chunks(tmp_path: Path) -> None:
    with ingest.open_store(tmp_path / "store") as store:
        with opened(store, "topics", tmp_path) as topics:
            topics.sync(python_topics(40), name="topics")
            expected = [hit.id for hit in topics.search(QUERY)]
            assert len(set(expected)) == 10
            assert [found.id for found in langchain.IngestRetriever(collection=topics).invoke(QUERY)] == expected
            assert [found.node.node_id for found in llamaindex.IngestRetriever(topics).retrieve(QUERY)] == expected
            assert [found.id for found in haystack.IngestRetriever(topics).run(QUERY)["documents"]] == expected

        served = ServedCollections(store, lambda name: opened(store, name, tmp_path), _normalize_collection_name)

        async def ask_by_mcp() -> list[str]:
            async with Client(create_mcp_server(Tools(lambda: served))) as client:
                answer = await client.call_tool("search", {"query": QUERY})
            return [hit["id"] for hit in answer.structured_content["hits"]]

        assert asyncio.run(ask_by_mcp()) == expected
        served.close()
        with api(store, tmp_path) as client:
            answer = client.post("/v1/collections/topics/search", json={"query": QUERY}).json()
        assert [hit["id"] for hit in answer["hits"]] == expected
