"""Embeddings and reranking for other programs, asked by the clients that they use."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from serving import LOCAL, ApiClient, api, stored_rules
from tiny_reranker import tiny_reranker

from ingest.encode.embedder import Embedder
from ingest.search.rerank import RerankPipeline
from ingest.serve.models_api import model_endpoints
from ingest.testing import HashEncoder

TEXTS = ["a chair", "a table", "a lamp"]


class PromptedEncoder(HashEncoder):
    """Encodes queries otherwise than documents, as models with prompts do."""

    def encode_queries(self, texts: Any) -> Any:
        return super().encode_documents([f"query: {text}" for text in texts])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiClient]:
    folder = tmp_path_factory.mktemp("models")
    reranker = RerankPipeline(tiny_reranker(folder / "reranker"), lease_directory=folder / "leases")
    embedder = Embedder(lambda: [PromptedEncoder(dim=8)], ["hash"], lease_directory=folder / "leases")
    with stored_rules(folder) as store, api(store, folder, more=model_endpoints(embedder, reranker)) as running:
        yield running


def assert_rows(vectors: Any, texts: list[str]) -> None:
    np.testing.assert_allclose(np.array(vectors), HashEncoder(dim=8).encode_documents(texts), rtol=1e-6)


def test_the_official_client_gets_vectors(client: ApiClient) -> None:
    transport = httpx2.ASGITransport(client.app)
    official = openai.AsyncOpenAI(api_key="none", base_url=f"{LOCAL}/v1", http_client=httpx2.AsyncClient(transport=transport))
    found = client.wait(official.embeddings.create(model="hash", input=TEXTS))  # asks for base64 by itself
    assert_rows([each.embedding for each in found.data], TEXTS)
    assert ([each.index for each in found.data], found.model, found.object) == ([0, 1, 2], "hash", "list")
    one = client.wait(official.embeddings.create(model="hash", input="a chair", encoding_format="float", dimensions=8, user="me"))
    assert_rows([one.data[0].embedding], ["a chair"])
    assert [each.id for each in client.wait(official.models.list()).data] == ["hash"]
    assert client.wait(official.models.retrieve("hash")).id == "hash"
    with pytest.raises(openai.NotFoundError, match="is not served: use hash"):
        client.wait(official.models.retrieve("owner/gpt"))
    with pytest.raises(openai.NotFoundError, match="is not served: use hash"):
        client.wait(official.embeddings.create(model="gpt", input="a chair"))


def test_base64_is_little_endian_float32(client: ApiClient) -> None:
    body = {"model": "hash", "input": TEXTS, "encoding_format": "base64"}
    rows = [each["embedding"] for each in client.post("/v1/embeddings", json=body).json()["data"]]
    assert_rows([np.frombuffer(base64.b64decode(row), "<f4") for row in rows], TEXTS)


def test_a_query_is_encoded_as_one(client: ApiClient) -> None:
    body = {"model": "hash", "input": "a chair", "input_type": "query"}
    [row] = client.post("/v1/embeddings", json=body).json()["data"]
    assert_rows([row["embedding"]], ["query: a chair"])


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"input": []}, "1 to 2,048 texts"),
        ({"input": ["x"] * 2049}, "1 to 2,048 texts"),
        ({"input": ["a", " "]}, "none of them empty"),
        ({"input": [1, 2]}, "input"),
        ({"dimensions": 4}, "has 8"),
        ({"encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_what_cannot_be_encoded_is_refused(client: ApiClient, change: dict[str, Any], detail: str) -> None:
    refused = client.post("/v1/embeddings", json={"model": "hash", "input": "a chair", **change})
    assert refused.status_code == 422
    assert detail in refused.json()["detail"]


def test_documents_are_reranked_as_cohere_and_jina_clients_send_them(client: ApiClient) -> None:
    body = {"model": None, "query": "lamp", "documents": TEXTS, "top_n": 2, "return_documents": True, "truncate": "END"}
    answer = client.post("/v1/rerank", json=body).json()
    assert len(answer["results"]) == 2
    best, second = answer["results"]
    assert (best["index"], best["document"]) == (2, {"text": "a lamp"})
    assert best["relevance_score"] > second["relevance_score"]
    objects = client.post("/v1/rerank", json={"query": "table", "documents": [{"text": text} for text in TEXTS]}).json()
    assert [len(objects["results"]), objects["results"][0]["index"], objects["results"][0]["document"]] == [3, 1, None]
    assert client.post("/v2/rerank", json=body).json() == answer
    assert client.post("/v1/rerank", json={**body, "model": "rerank-v3.5"}).status_code == 404
    assert client.post("/v1/rerank", json={**body, "documents": []}).status_code == 422


def test_a_reranker_that_is_not_on_this_machine_is_unavailable(tmp_path: Path) -> None:
    reranker = RerankPipeline("owner/missing", lease_directory=tmp_path)
    embedder = Embedder(lambda: [HashEncoder(dim=8)], ["hash"], lease_directory=tmp_path)
    with stored_rules(tmp_path) as store, api(store, tmp_path, more=model_endpoints(embedder, reranker)) as running:
        refused = running.post("/v1/rerank", json={"query": "lamp", "documents": TEXTS})
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "ModelError")
    assert "not on this machine" in refused.json()["detail"]
    assert refused.headers["Retry-After"]
