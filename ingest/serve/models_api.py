"""Embeddings and reranking for other programs, in the shapes that their clients send."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import ConfigDict, Field, WithJsonSchema
from starlette.exceptions import HTTPException

from ingest.encode.embedder import Embedder
from ingest.errors import ConfigurationError
from ingest.parameters import shown
from ingest.records import DenseMatrix, Hit
from ingest.search.rerank import RerankPipeline
from ingest.serve.constraints import NOT_BLANK, Body
from ingest.serve.endpoint import Call, Endpoint

MAX_INPUTS = 2048
"""Most texts of a request."""

_ONE_INPUT = {"type": "string", "minLength": 1, **NOT_BLANK}
_INPUT = {"anyOf": [_ONE_INPUT, {"type": "array", "minItems": 1, "maxItems": MAX_INPUTS, "items": _ONE_INPUT}]}

T = TypeVar("T")


class EmbeddingBody(Body):
    """What OpenAI's clients send. Fields that mean nothing here, such as `user`, are ignored."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(description="Registry key of a model that is served, see /v1/models.")
    input: Annotated[str | list[str], WithJsonSchema(_INPUT)] = Field(
        description="A text or several. Token numbers are not accepted."
    )
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: float32, little-endian.")
    dimensions: int | None = Field(None, ge=1, description="The dimension of the model; no other is possible.")
    input_type: Literal["document", "query"] = Field("document", description="query: with the model's prompt for queries.")


@dataclass(frozen=True, slots=True)
class Embedding:
    """One vector: numbers, or their bytes in base64."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of a request."""

    prompt_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class EmbeddingAnswer:
    """The vectors of the texts, in their order."""

    data: tuple[Embedding, ...]
    model: str
    usage: Usage
    object: Literal["list"] = "list"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "ingest"


@dataclass(frozen=True, slots=True)
class ModelEntries:
    """The models of /v1/embeddings."""

    data: tuple[ModelEntry, ...]
    object: Literal["list"] = "list"


class RerankText(Body):
    """A document as an object."""

    model_config = ConfigDict(extra="ignore")

    text: str


class RerankBody(Body):
    """What clients of Cohere and Jina send. Fields that mean nothing here are ignored."""

    model_config = ConfigDict(extra="ignore")

    query: str = Field(min_length=1)
    documents: list[str | RerankText] = Field(min_length=1, max_length=MAX_INPUTS)
    model: str | None = Field(None, description="Registry key of the reranker that is served. Default: that one.")
    top_n: int | None = Field(None, ge=1, description="Most results. Default: all.")
    return_documents: bool = Field(False, description="Return the texts, too.")


@dataclass(frozen=True, slots=True)
class RerankedText:
    """The text of a result."""

    text: str


@dataclass(frozen=True, slots=True)
class RerankEntry:
    """One result. `index`: its place in the request. `relevance_score`: the model's score, see `RerankResult.hits`."""

    index: int
    relevance_score: float
    document: RerankedText | None


@dataclass(frozen=True, slots=True)
class RerankAnswer:
    """The documents, the most relevant first."""

    model: str
    results: tuple[RerankEntry, ...]


def model_endpoints(embedder: Embedder, reranker: RerankPipeline) -> tuple[Endpoint, ...]:
    """Return the operations of models."""

    async def embeddings(call: Call) -> EmbeddingAnswer:
        return await call.service.workers.run(lambda: embed(embedder, call.body))

    async def rerank(call: Call) -> RerankAnswer:
        return await call.service.workers.run(lambda: rerank_texts(reranker, call.body))

    async def rerank_v2(call: Call) -> RerankAnswer:
        return await rerank(call)

    async def models(_call: Call) -> ModelEntries:
        return ModelEntries(tuple(map(ModelEntry, embedder.keys)))

    async def model(call: Call) -> ModelEntry:
        return ModelEntry(served_key(embedder, call.path["model"]))

    tags = ("models",)
    return (
        Endpoint("POST", "/v1/embeddings", "Encode texts", embeddings, EmbeddingAnswer, "token", EmbeddingBody, tags=tags),
        Endpoint("POST", "/v1/rerank", "Score documents for a query", rerank, RerankAnswer, "token", RerankBody, tags=tags),
        Endpoint("POST", "/v2/rerank", "The same at Cohere's path", rerank_v2, RerankAnswer, "token", RerankBody, tags=tags),
        Endpoint("GET", "/v1/models", "List the models of embeddings", models, ModelEntries, "token", tags=tags),
        Endpoint("GET", "/v1/models/{model:path}", "Describe a model of embeddings", model, ModelEntry, "token", tags=tags),
    )


def embed(embedder: Embedder, body: EmbeddingBody) -> EmbeddingAnswer:
    """Return the answer to a request for embeddings. Raises `ConfigurationError`, and `HTTPException` for an unknown model."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not 1 <= len(texts) <= MAX_INPUTS or not all(text.strip() for text in texts):
        raise ConfigurationError(f"input: pass 1 to {MAX_INPUTS:,} texts, none of them empty")
    found = embedder.embed(served_key(embedder, body.model), texts, as_query=body.input_type == "query")
    if body.dimensions not in {None, found.vectors.shape[1]}:
        raise ConfigurationError(f"dimensions: {body.model} has {found.vectors.shape[1]}: leave it out")
    data = tuple(Embedding(number, each) for number, each in enumerate(_written(found.vectors, body.encoding_format)))
    return EmbeddingAnswer(data, body.model, Usage(found.tokens, found.tokens))


def served_key(embedder: Embedder, model: str) -> str:
    """Return the key of a model that is served. Raises `HTTPException` for any other."""
    if model not in embedder.keys:
        raise HTTPException(404, f"model: {shown(model)} is not served: use {' or '.join(embedder.keys)}")
    return model


def rerank_texts(reranker: RerankPipeline, body: RerankBody) -> RerankAnswer:
    """Return the answer to a request for reranking. Raises `ModelError`, and `HTTPException` for an unknown model."""
    served = reranker.config.key
    if body.model not in {None, served}:
        raise HTTPException(404, f"model: {shown(body.model)} is not served: use {served}")
    texts = [each if isinstance(each, str) else each.text for each in body.documents]
    result = reranker.rerank(body.query, [_hit(number, text) for number, text in enumerate(texts)], body.top_n)
    entries = (
        RerankEntry(hit.chunk, hit.score, RerankedText(hit.text) if body.return_documents else None) for hit in result.hits
    )
    return RerankAnswer(served, tuple(entries))


def _written(vectors: DenseMatrix, encoding: Literal["float", "base64"]) -> Sequence[list[float] | str]:
    if encoding == "float":
        numbers: list[list[float] | str] = vectors.tolist()
        return numbers
    return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in np.asarray(vectors)]


def _hit(number: int, text: str) -> Hit:
    """Return a text as the reranker reads it."""
    return Hit(
        id=str(number),
        score=0.0,
        text=text,
        doc_id=str(number),
        title=None,
        source="",
        chunk=number,
        start=0,
        end=len(text),
        metadata={},
        ranks={},
        fused_score=0.0,
    )
