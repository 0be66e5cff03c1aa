"""Dense and sparse models that an endpoint computes. Their encoders send requests; nothing is leased or loaded."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.encode.contract import Encoder, ModelKind, RunsOn, Vectors
from ingest.encode.http.apis import Operation, operation_of
from ingest.encode.http.endpoint import Endpoint
from ingest.encode.http.proof import CANARIES, Proof
from ingest.encode.http.tokens import TokenCounter, counter_of
from ingest.encode.model_config import ModelConfig
from ingest.encode.vectors import unit_rows
from ingest.errors import ModelError, ModelUnavailableError
from ingest.identity import digest
from ingest.records import TokenLimit

if TYPE_CHECKING:
    from ingest.encode.http.client import EndpointClient, Reply

_GROWTH = 8
"""A limit on the texts of a request that was lowered grows again by one part in this many with each request that succeeds."""

_FAILURES = 5
"""Times that the endpoint must fail on the same texts in a row before one of them may be the cause."""

_TOKENS_HEADER = "x-compute-tokens"


class EndpointModel:
    """The part of a `Model` that all models of endpoints share. Safe from several threads.

    Args:
        config: facts with an endpoint.
    """

    kind: ModelKind
    dtype = "float32"
    backend = "http"
    runs_on: RunsOn = "remote"

    def __init__(self, config: ModelConfig) -> None:
        assert config.endpoint is not None  # noqa: S101 - for the type checker: `model_config` makes one
        self.config = config
        self.endpoint: Endpoint = config.endpoint
        self.key = config.key
        self.kind = config.kind
        self.uses_idf = config.idf
        self.concurrency = self.endpoint.concurrency
        self.batch_tokens = config.batch_tokens
        self._batch_texts: float = self.endpoint.batch_texts
        self._usage = 0
        self._client: tuple[int, EndpointClient] | None = None
        self._lock = threading.Lock()

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the API, host, path, model, dimension, task and prompts."""
        config, endpoint = self.config, self.endpoint
        return digest(
            {
                "endpoint": [endpoint.api, endpoint.host, endpoint.path, endpoint.model],
                "kind": config.kind,
                "dim": config.vector_dim,
                "task": config.task,
                "query_prompt": config.query_prompt,
                "document_prompt": config.document_prompt,
            }
        )

    @property
    def space(self) -> str:
        return self.fingerprint

    @property
    def batch_texts(self) -> int:
        """Maximum number of texts in a request: the configured one, or less while the endpoint refuses that as too large."""
        return max(1, int(self._batch_texts))

    def load(self) -> None:
        """Raise `ConfigurationError` if the API key is not in the environment. Sends nothing."""
        _ = self.client

    def offload(self) -> None:
        pass

    @property
    def client(self) -> EndpointClient:
        """The client of this process: a forked child makes its own."""
        from ingest.encode.http.client import EndpointClient  # noqa: PLC0415 - a search with local models needs no HTTP library

        with self._lock:
            if self._client is None or self._client[0] != os.getpid():
                self._client = os.getpid(), EndpointClient(self.key, self.endpoint)
            return self._client[1]

    def interrupt(self) -> None:
        """Let each request that waits for its turn fail. Those of other runs and searches in this process fail, too."""
        self.client.interrupt()

    def post(self, path: str, body: Mapping[str, Any], texts: int, *, tokens: int = 0) -> Reply:
        """Send a request with so many texts, and learn from the answer how many the endpoint takes."""
        from ingest.encode.http.client import TooLargeError  # noqa: PLC0415

        try:
            reply = self.client.post(path, body, tokens=tokens)
        except TooLargeError:
            with self._lock:
                self._batch_texts = max(1, min(self._batch_texts, texts // 2))
            raise
        with self._lock:
            self._batch_texts = min(self.endpoint.batch_texts, self._batch_texts * (1 + 1 / _GROWTH))
        return reply

    def used(self, tokens: int) -> None:
        """Note tokens that the endpoint counted."""
        with self._lock:
            self._usage += tokens

    def take_usage(self) -> int:
        """Return the tokens that the endpoint has counted since the last call."""
        with self._lock:
            usage, self._usage = self._usage, 0
            return usage


class HttpModel(EndpointModel):
    """A dense or sparse model.

    Args:
        config: facts with an endpoint.
        proof: what the endpoint proved when the collection was made, or None. One of another model is ignored.
    """

    def __init__(self, config: ModelConfig, proof: Proof | None = None) -> None:
        super().__init__(config)
        self.dim = config.vector_dim if config.kind == "dense" else None
        self.proof = proof if proof is not None and proof.fingerprint == self.fingerprint else None
        self.takes_optional: bool | None = None
        """Whether the endpoint takes the optional field of its requests; None before its first answer."""

    @cached_property
    def tokens(self) -> TokenCounter:
        return counter_of(self.config)

    @property
    def token_limit(self) -> TokenLimit:
        """The configured limit, or the length at which the endpoint truncates in silence if that is less."""
        most = self.config.max_tokens
        assert most is not None  # noqa: S101 - for the type checker: `model_config` rejects such a model without one
        return TokenLimit(self.key, self.proof.limit(most) if self.proof else most, self.tokens)

    def price(self, texts: Sequence[str]) -> float | None:
        """Return the price of encoding documents, in the currency of `price_per_million_tokens`; None without one."""
        rate = self.endpoint.price_per_million_tokens
        return None if rate is None else rate * self.tokens.priced(texts) / 1_000_000

    def to_device(self, device: str) -> Encoder:  # noqa: ARG002 - always elsewhere
        return HttpEncoder(self)


class HttpEncoder:
    """An encoder that sends a request for each batch. Does not retry, and does not split.

    A text is blamed only while the endpoint encodes another one.
    """

    def __init__(self, model: HttpModel) -> None:
        self._model = model
        self._operation: Operation = operation_of(model.config)
        self._failing: Sequence[str] = ()
        self._failures = 0

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, query=False)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(self._shortened(texts), query=True)

    def _encode(self, texts: Sequence[str], *, query: bool) -> Vectors:
        from ingest.encode.http.client import FailedRequestError  # noqa: PLC0415

        try:
            return self._vectors(texts, query=query)
        except FailedRequestError as exc:
            self._failures = self._failures + 1 if texts == self._failing else 1
            self._failing = texts
            if self._failures < _FAILURES or not self._encodes_another(query=query):
                raise
            raise ModelError(f"{exc}, {self._failures} times, although it encodes other texts") from exc
        except ModelUnavailableError:
            raise
        except ModelError as exc:
            if len(texts) > 1 or self._encodes_another(query=query):
                raise
            raise ModelUnavailableError(f"{exc}, and other texts, too: check its configuration", gave_up=True) from exc

    def _encodes_another(self, *, query: bool) -> bool:
        """Return whether the endpoint encodes a harmless text. Raises `ModelUnavailableError` if it is unavailable."""
        try:
            self._vectors(CANARIES[:1], query=query)
        except ModelUnavailableError:
            raise
        except ModelError:
            return False
        return True

    def _vectors(self, texts: Sequence[str], *, query: bool) -> Vectors:
        model, operation, client = self._model, self._operation, self._model.client
        reply = self._send(texts, query=query)
        vectors = client.read(operation.read, reply.json)
        model.used(_tokens_of(operation, reply))
        if len(vectors) != len(texts):
            raise client.misfit(f"{len(vectors)} vectors", f"{len(texts)}")
        if isinstance(vectors, np.ndarray):
            if vectors.shape[1] != model.dim:
                raise client.misfit(f"vectors of {vectors.shape[1]} dimensions", f"{model.dim}")
            return unit_rows(vectors)
        return vectors

    def _send(self, texts: Sequence[str], *, query: bool) -> Reply:
        """Send a request. One that is refused is sent without its optional field if the endpoint never took that."""
        from ingest.encode.http.client import TooLargeError  # noqa: PLC0415

        model, operation = self._model, self._operation
        prompt = model.config.query_prompt if query else model.config.document_prompt
        tokens = sum(model.tokens(texts)) if model.client.counts_tokens else 0
        body = operation.body(model.config, [prompt + text for text in texts], query)
        plain = {name: value for name, value in body.items() if name != operation.optional}
        if model.takes_optional is False:
            return model.post(operation.path, plain, len(texts), tokens=tokens)
        try:
            reply = model.post(operation.path, body, len(texts), tokens=tokens)
        except (ModelUnavailableError, TooLargeError):
            raise
        except ModelError:
            if model.takes_optional or plain == body:
                raise
            reply = model.post(operation.path, plain, len(texts), tokens=tokens)
            model.takes_optional = False
        else:
            model.takes_optional = True
        return reply

    def _shortened(self, texts: Sequence[str]) -> Sequence[str]:
        """Return queries that the API refuses if they are too long, each within the token limit."""
        if self._operation.truncates:
            return texts
        counter, most = self._model.tokens, self._model.token_limit.max_tokens
        counts = counter(texts)
        return [counter.beginning(text, most) if count > most else text for text, count in zip(texts, counts, strict=True)]


def _tokens_of(operation: Operation, reply: Reply) -> int:
    """Return the tokens that an answer counts, in its body or in the header of TEI; 0 if it counts none."""
    try:
        return operation.tokens(reply.json)
    except (LookupError, TypeError, ValueError):
        header = reply.headers.get(_TOKENS_HEADER, "")
        return int(header) if header.isdecimal() else 0
