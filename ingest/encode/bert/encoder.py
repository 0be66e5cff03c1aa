"""The encoder of queries that needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from threadpoolctl import ThreadpoolController

from ingest.encode.bert.network import Bert, open_bert
from ingest.encode.bert.shape import read_shape
from ingest.encode.file_model import max_tokens
from ingest.encode.model_config import ModelConfig
from ingest.encode.resolve import ModelFiles, verifying
from ingest.encode.self_description import prompt_differences
from ingest.encode.tokens import DocumentTokens, TokenIds
from ingest.encode.vectors import unit_rows
from ingest.records import DenseMatrix

BATCH_TOKENS = 512
"""Most tokens of the queries that are computed together. With more, what a layer computes no longer fits the caches of a core."""


class BertQueryEncoder:
    """An encoder of queries in float32, on the CPU, like torch's. Truncates queries to the token limit. Not thread-safe.

    A query has about ten tokens, too few for two threads: waiting for each other takes them longer than the work.
    """

    def __init__(self, config: ModelConfig, network: Bert, tokens: DocumentTokens) -> None:
        self._config = config
        self._network = network
        self._tokens = tokens
        self._threads = ThreadpoolController().select(internal_api="openblas")

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        """Return `(n, dim) float32`, of unit length, for texts without the prompt."""
        ids = self._tokens.ids([self._config.query_prompt + text for text in texts], max_tokens(self._config))
        with self._threads.limit(limits=1):
            vectors = np.concatenate([self._network(batch) for batch in batches(ids)])
        return unit_rows(vectors[:, : self._config.vector_dim])


def batches(texts: Sequence[TokenIds]) -> Iterator[list[TokenIds]]:
    """Yield the texts in order, several at a time: `BATCH_TOKENS` at most, or one that has more."""
    batch, tokens = list[TokenIds](), 0
    for text in texts:
        if batch and tokens + len(text) > BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += len(text)
    if batch:
        yield batch


def open_query_encoder(config: ModelConfig, files: ModelFiles, tokens: DocumentTokens) -> BertQueryEncoder | None:
    """Return the encoder, or None if the model is no plain BERT, or not the one that its configuration describes.

    Nothing is raised for a wrong configuration: torch, which then loads the model, says what is wrong. Raises `ModelError` if the
    weights are not the published ones, or the tokenizer cannot be read.
    """
    with verifying(config, files):
        shape = read_shape(files.folder, tokens)
        if (
            shape is None
            or (shape.dim, shape.pooling) != (config.dim, config.pooling or shape.pooling)
            or shape.positions < max_tokens(config)
            or config.task is not None
            or config.needs_remote_code
            or prompt_differences(config, shape)
        ):
            return None
        network = open_bert(files.folder, shape)
        return None if network is None else BertQueryEncoder(config, network, tokens)
