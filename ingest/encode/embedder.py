"""Vectors for programs that have no collection here: texts in, dense vectors out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.combining import CombinedEncoding
from ingest.encode.contract import Model, Vectors
from ingest.encode.devices import default_devices, is_accelerator
from ingest.encode.queries import QueryModel, as_queries
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError, UnknownModelError
from ingest.records import DenseMatrix
from ingest.retry import RetryPolicy

LEASE_SECONDS = 10.0
"""Seconds that a request waits for the accelerator."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of texts: `vectors (n, dim) float32`, unit norm. `tokens`: what the texts cost, prompts included; 0 if unknown."""

    vectors: DenseMatrix
    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    """A model, whose encoder serves one thread at a time: texts of threads that wait are encoded together."""

    model: Model
    query_model: QueryModel
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    documents: CombinedEncoding = field(default_factory=CombinedEncoding)
    queries: CombinedEncoding = field(default_factory=CombinedEncoding)
    controller: AdaptiveBatchController = field(default_factory=AdaptiveBatchController)


class Embedder:
    """Dense models that encode any text, under the same leases as runs. Safe from several threads.

    Args:
        make_models: returns the models; called once, by the first text. The models load with their first text, too.
        keys: their registry keys.
        devices: devices to encode on. None: the first GPU, or the CPU without one. Only accelerators are leased.
        lease_directory: folder of the lease files, shared by all processes.
    """

    def __init__(
        self,
        make_models: Callable[[], Sequence[Model]],
        keys: Sequence[str],
        *,
        devices: Sequence[str] | None = None,
        lease_directory: Path | None = None,
    ) -> None:
        self.keys = tuple(keys)
        self._make_models = make_models
        self._devices = devices
        self._lease_directory = lease_directory
        self._members: dict[str, _Member] = {}
        self._making = threading.Lock()

    def embed(self, key: str, texts: Sequence[str], *, as_query: bool = False) -> Embedded:
        """Return the vectors of texts, in their order.

        Args:
            key: registry key of the model.
            as_query: whether the texts are queries, for models that encode queries with another prompt.

        A query longer than the model accepts is truncated. Raises `ConfigurationError` for a document that is too long,
        `UnknownModelError` for a model that is not one of `keys`, and `ModelError`.
        """
        member = self._member(key)
        encode = partial(self._encode, member, as_query)
        vectors = (member.queries if as_query else member.documents).encode(texts, encode)
        limit = member.model.token_limit
        return Embedded(np.asarray(vectors), sum(limit.count(texts)) if limit else 0)

    def _member(self, key: str) -> _Member:
        if key not in self.keys:
            raise UnknownModelError(f"no model {key!r} is served: use {' or '.join(self.keys)}")
        with self._making:
            if not self._members:
                self._members = {model.key: _Member(model, as_queries(model)) for model in self._make_models()}
        return self._members[key]

    def _encode(self, member: _Member, as_query: bool, texts: Sequence[str]) -> Vectors:
        model = member.query_model if as_query else member.model
        devices = default_devices() if self._devices is None else self._devices
        on_accelerator = member.model.runs_on == "accelerator"
        with member.one_at_a_time:
            runner = BatchRunner(
                [model],
                devices=tuple(filter(is_accelerator, devices)) if on_accelerator else (),
                lease_timeout=LEASE_SECONDS,
                lease_directory=self._lease_directory,
                controller=member.controller,
                retry=RetryPolicy(attempts=1),
            )
            encoded = runner.run({model.key: texts})[model.key]
        for number, reason in encoded.failed.items():
            raise ConfigurationError(f"text {number + 1} of {len(texts)} cannot be encoded with {model.key}: {reason}")
        return encoded.vectors
