"""One search, many doors: curl, MCP, LangChain, LlamaIndex, Haystack and OpenAI's client find what `Collection.search` finds."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import numpy as np
import openai
from corpus import python_topics
from mcp import Client
from serving import application, on_port, opened

import ingest
from ingest.encode.embedder import Embedder
from ingest.integrations import haystack, langchain, llamaindex
from ingest.search.rerank import RerankPipeline
from ingest.serve.mcp.server import create_mcp_server
from ingest.serve.mcp.tools import Tools
from ingest.serve.models_api import model_endpoints
from ingest.serve.served import ServedCollections
from ingest.store.contract import VectorQuery
from ingest.store.schema import _normalize_collection_name
from ingest.testing import HashEncoder

QUERY = "how are the attributes of a class looked up?"


def test_every_door_returns_the_same_ten_chunks(tmp_path: Path) -> None:
    with ingest.open_store(tmp_path / "store") as store:
        with opened(store, "topics", tmp_path) as topics:
            topics.sync(python_topics(40), name="topics")
            expected = [hit.id for hit in topics.search(QUERY)]
            nearest = [hit.id for hit in topics.search(QUERY, vectors=["hash"])]
            assert len(set(expected)) == len(set(nearest)) == 10
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
        leases = tmp_path / "leases"
        embedder = Embedder(lambda: [HashEncoder()], ["hash"], lease_directory=leases)
        more = model_endpoints(embedder, RerankPipeline(lease_directory=leases))
        with on_port(application(store, tmp_path, more=more)) as url:
            assert ask_by_curl(f"{url}/v1/collections/topics/search") == expected
            client = openai.OpenAI(api_key="none", base_url=f"{url}/v1")
            answer = client.embeddings.create(model="hash", input=QUERY, extra_body={"input_type": "query"})
        vector = np.array(answer.data[0].embedding, np.float32)
        [found] = store.query("topics", [VectorQuery("hash", vector, limit=10)])
        assert [point.id for point in found] == nearest


def ask_by_curl(url: str) -> list[str]:
    body = json.dumps({"query": QUERY})
    command = ["curl", "--silent", "--show-error", "--header", "Content-Type: application/json", "--data", body, url]
    answer = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    return [hit["id"] for hit in json.loads(answer)["hits"]]
