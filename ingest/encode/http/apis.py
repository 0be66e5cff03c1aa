"""The wire formats of the APIs: what an operation sends, and how its answer is read. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ingest.encode.contract import ModelKind, Vectors
from ingest.encode.http.endpoint import ApiName
from ingest.encode.model_config import ModelConfig
from ingest.records import DenseMatrix, SparseVector

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation that encodes texts.

    Attributes:
        path: path below the endpoint's URL.
        body: returns the request for texts, as documents or as queries. Documents that are too long must be refused, queries may
            be truncated.
        read: returns the vectors of an answer, in the order of the texts, not of unit norm. Raises `LookupError`, `TypeError` or
            `ValueError` for any other answer.
        tokens: returns the tokens that the answer counts; raises as `read`.
        truncates: whether the API can truncate a query.
        optional: field of a request that only makes its answer smaller, and that some servers of this API refuse; "" if none.
    """

    path: str
    body: Callable[[ModelConfig, Sequence[str], bool], Body]
    read: Callable[[Any], Vectors]
    tokens: Callable[[Any], int]
    truncates: bool = True
    optional: str = ""


@dataclass(frozen=True, slots=True)
class RerankOperation:
    """An operation that scores documents for a query.

    Attributes:
        body: returns the request for a query and documents.
        read: returns the index of a document → its score; raises as `Operation.read`.
    """

    path: str
    body: Callable[[ModelConfig, str, Sequence[str]], Body]
    read: Callable[[Any], dict[int, float]]


def operation_of(config: ModelConfig) -> Operation:
    """Return the operation that encodes with a dense or sparse model."""
    assert config.endpoint is not None  # noqa: S101 - for the type checker: only such models come here
    return _OPERATIONS[config.endpoint.api, config.kind]


def rerank_operation_of(config: ModelConfig) -> RerankOperation:
    """Return the operation that scores with a reranker."""
    assert config.endpoint is not None  # noqa: S101 - for the type checker: only such models come here
    return _RERANKING[config.endpoint.api]


def _common(config: ModelConfig, dimensions: str) -> Body:
    """Return the model's name, and its dimension under the name that the API gives it."""
    endpoint = config.endpoint
    assert endpoint is not None  # noqa: S101 - for the type checker
    body: Body = {"model": endpoint.model} if endpoint.model else {}
    return {**body, dimensions: endpoint.dimensions} if endpoint.dimensions else body


# --- requests


def _openai(config: ModelConfig, texts: Sequence[str], _query: bool) -> Body:
    return {**_common(config, "dimensions"), "input": list(texts), "encoding_format": "base64"}


def _tei(config: ModelConfig, texts: Sequence[str], query: bool) -> Body:
    dimensions = {name: value for name, value in _common(config, "dimensions").items() if name == "dimensions"}
    return {**dimensions, "inputs": list(texts), "normalize": True, "truncate": query}


def _tei_sparse(_config: ModelConfig, texts: Sequence[str], query: bool) -> Body:
    return {"inputs": list(texts), "truncate": query}


def _ollama(config: ModelConfig, texts: Sequence[str], query: bool) -> Body:
    return {**_common(config, "dimensions"), "input": list(texts), "truncate": query}


def _cohere(config: ModelConfig, texts: Sequence[str], query: bool) -> Body:
    return {
        **_common(config, "output_dimension"),
        "texts": list(texts),
        "input_type": "search_query" if query else "search_document",
        "embedding_types": ["float"],
        "truncate": "END" if query else "NONE",
    }


def _voyage(config: ModelConfig, texts: Sequence[str], query: bool) -> Body:
    return {
        **_common(config, "output_dimension"),
        "input": list(texts),
        "input_type": "query" if query else "document",
        "truncation": query,
        "encoding_format": "base64",
    }


def _jina(config: ModelConfig, texts: Sequence[str], query: bool) -> Body:
    task = config.task or "retrieval"
    adapter = {} if task == "none" else {"task": f"{task}.{'query' if query else 'passage'}"}
    body = {**_common(config, "dimensions"), **adapter, "input": list(texts)}
    return {**body, "normalized": True, "embedding_type": "base64", "truncate": query}


# --- answers


def _listed(answer: Any) -> DenseMatrix:
    """Read `{"data": [{"index", "embedding"}]}`, whose vectors are lists or float32 in base64, in any order.

    Without an index, the place in the list counts: Google's servers leave out an index of 0.
    """
    rows = {}
    for place, each in enumerate(answer["data"]):
        index = each.get("index")
        rows[place if index is None else int(index)] = each["embedding"]
    return _matrix([_row(rows[number]) for number in range(len(rows))])


def _row(value: Any) -> Any:
    return np.frombuffer(base64.b64decode(value, validate=True), "<f4") if isinstance(value, str) else value


def _matrix(rows: Any) -> DenseMatrix:
    matrix = np.array(rows, np.float32)
    if matrix.ndim != 2:  # noqa: PLR2004  rows and columns
        raise ValueError("the vectors are no matrix")
    return matrix


def _sparse(answer: Any) -> list[SparseVector]:
    """Read a list of `{"index", "value"}` for each text."""
    vectors = []
    for entries in answer:
        found = sorted((int(each["index"]), float(each["value"])) for each in entries)
        indices, values = [index for index, _ in found], [value for _, value in found]
        vectors.append(SparseVector(np.array(indices, np.uint32), np.array(values, np.float32)))
    return vectors


def _usage(answer: Any) -> int:
    return int(answer["usage"]["total_tokens"])


def _uncounted(_answer: Any) -> int:
    raise LookupError


_OPERATIONS: Mapping[tuple[ApiName, ModelKind], Operation] = {
    ("openai", "dense"): Operation("/embeddings", _openai, _listed, _usage, truncates=False, optional="encoding_format"),
    ("tei", "dense"): Operation("/embed", _tei, _matrix, _uncounted),
    ("tei", "sparse"): Operation("/embed_sparse", _tei_sparse, _sparse, _uncounted),
    ("ollama", "dense"): Operation(
        "/api/embed", _ollama, lambda answer: _matrix(answer["embeddings"]), lambda answer: int(answer["prompt_eval_count"])
    ),
    ("cohere", "dense"): Operation(
        "/v2/embed",
        _cohere,
        lambda answer: _matrix(answer["embeddings"]["float"]),
        lambda answer: int(answer["meta"]["billed_units"]["input_tokens"]),
    ),
    ("voyage", "dense"): Operation("/embeddings", _voyage, _listed, _usage),
    ("jina", "dense"): Operation("/embeddings", _jina, _listed, _usage),
}


# --- reranking


def _tei_rerank(_config: ModelConfig, query: str, texts: Sequence[str]) -> Body:
    return {"query": query, "texts": list(texts), "truncate": True, "raw_scores": False}


def _documents(**more: object) -> Callable[[ModelConfig, str, Sequence[str]], Body]:
    def body(config: ModelConfig, query: str, texts: Sequence[str]) -> Body:
        return {**_common(config, ""), "query": query, "documents": list(texts), **more}

    return body


def _scores(name: str) -> Callable[[Any], dict[int, float]]:
    return lambda answer: {int(each["index"]): float(each["relevance_score"]) for each in answer[name]}


_RERANKING: Mapping[ApiName, RerankOperation] = {
    "tei": RerankOperation("/rerank", _tei_rerank, lambda answer: {int(each["index"]): float(each["score"]) for each in answer}),
    "cohere": RerankOperation("/v2/rerank", _documents(), _scores("results")),
    "voyage": RerankOperation("/rerank", _documents(truncation=True), _scores("data")),
    "jina": RerankOperation("/rerank", _documents(return_documents=False), _scores("results")),
}
