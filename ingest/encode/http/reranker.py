"""Rerankers that an endpoint computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ingest.encode.contract import Encoder
from ingest.encode.http.apis import rerank_operation_of
from ingest.encode.http.model import EndpointModel
from ingest.encode.model_config import ModelConfig
from ingest.errors import ModelError
from ingest.records import DenseMatrix


class HttpReranker(EndpointModel):
    """A `Model` whose vector of a document is one number: its score for the query set by `set_query`. Not thread-safe.

    The endpoint truncates what is too long, so that no tokens are counted here.
    """

    query = ""
    token_limit = None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.dim = 1

    def set_query(self, query: str) -> None:
        """Score documents for `query` from the next lease on."""
        self.query = query

    def to_device(self, device: str) -> Encoder:  # noqa: ARG002 - always elsewhere
        return HttpScorer(self, self.query)


class HttpScorer:
    """The scores of an endpoint for one query. `encode_documents` returns `(n, 1) float32`, not of unit norm."""

    def __init__(self, model: HttpReranker, query: str) -> None:
        self._model = model
        self._query = query

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        model, operation, client = self._model, rerank_operation_of(self._model.config), self._model.client
        reply = model.post(operation.path, operation.body(model.config, self._query, texts), len(texts))
        scores = client.read(operation.read, reply.json)
        if sorted(scores) != list(range(len(texts))):
            raise client.misfit(f"scores of {len(scores)} documents", f"those of all {len(texts)}")
        return np.array([[scores[index]] for index in range(len(texts))], np.float32)

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        raise ModelError(f"model {self._model.key!r} is a reranker: it cannot encode {len(texts)} queries")
