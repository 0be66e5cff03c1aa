"""Models and rerankers of plugins, as members of the ensemble."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from ingest.encode.contract import Encoder, RunsOn, Vectors
from ingest.encode.devices import is_accelerator, is_out_of_memory
from ingest.encode.http.tokens import EstimatedTokens
from ingest.encode.model_config import ModelConfig
from ingest.errors import IngestError, ModelError, PluginError
from ingest.identity import digest
from ingest.plugins import EmbedderPlugin, Plugin, RerankerPlugin, describe
from ingest.records import DenseMatrix, SparseVector, TokenLimit

CANARY = "The quick brown fox jumps over the lazy dog."

MAX_ERROR = 1e-3
"""Most difference of the length of a vector from 1."""


class PluginMember:
    """The part that models and rerankers of plugins share: a `Model` without `to_device`.

    Each device has an object of its own, which one thread uses at a time.
    """

    dtype = "float32"
    backend = "plugin"

    def __init__(self, config: ModelConfig) -> None:
        assert config.plugin is not None  # noqa: S101 - for the type checker: `plugin_config` sets it
        self.config = config
        self.plugin: Plugin = config.plugin
        self.key = config.key
        self.kind = config.kind
        self.uses_idf = config.idf
        self._spare: Any = None
        self._made: dict[str, Any] = {}

    @property
    def runs_on(self) -> RunsOn:
        return "accelerator" if self.config.moves else "anywhere"

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the plugin's package, version, name and revision."""
        config = self.config
        return digest(
            {"plugin": self.plugin.identity, "revision": config.revision, "kind": config.kind, "dim": config.dim},
        )

    @property
    def space(self) -> str:
        return self.fingerprint

    def load(self) -> None:
        """Import the plugin and make its object."""
        if self._spare is None and not self._made:
            self._spare = self.plugin.make()

    def offload(self) -> None:
        for device, made in self._made.items():
            if is_accelerator(device):
                self._move(made, "cpu")

    def _on(self, device: str) -> Any:
        """Return the object of a device, there."""
        if device not in self._made:
            self._made[device], self._spare = self._spare or self.plugin.make(), None
        return self._move(self._made[device], device)

    def _move(self, made: Any, device: str) -> Any:
        if self.config.moves:
            try:
                made.to_device(device)
            except Exception as exc:
                if is_out_of_memory(exc):
                    raise
                raise PluginError(f"{self.plugin} cannot move to {device} ({describe(exc)}): use another device") from exc
        return made


class PluginModel(PluginMember):
    """A dense or sparse model of a plugin."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.dim = config.dim

    @cached_property
    def token_limit(self) -> TokenLimit | None:
        """The plugin's limit, counted by the plugin if it can, else estimated."""
        if self.config.max_tokens is None:
            return None
        counts = getattr(self.plugin.make(), "count_tokens", None)
        return TokenLimit(
            self.key, self.config.max_tokens, EstimatedTokens("") if counts is None else partial(self._count, counts)
        )

    def _count(self, counts: Callable[[list[str]], Any], texts: Sequence[str]) -> list[int]:
        """Return the tokens of texts by the plugin's own counter. Raises `PluginError`."""
        try:
            counted = [operator.index(tokens) for tokens in counts(list(texts))]
        except Exception as exc:
            raise PluginError(f"{self.plugin} cannot count tokens ({describe(exc)}): repair or update it") from exc
        if len(counted) != len(texts):
            raise PluginError(
                f"{self.plugin} counted the tokens of {len(counted)} texts instead of {len(texts)}: repair or update it"
            )
        return counted

    def to_device(self, device: str) -> Encoder:
        return PluginEncoder(self.config, self.plugin, self._on(device))


class PluginEncoder:
    """The model of a plugin on its device. Checks what it returns."""

    def __init__(self, config: ModelConfig, plugin: Plugin, embedder: EmbedderPlugin) -> None:
        self._dim = config.dim
        self._plugin = plugin
        self._embedder = embedder

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, query=False)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(texts, query=True)

    def _encode(self, texts: Sequence[str], *, query: bool) -> Vectors:
        try:
            found = self._embedder.embed(list(texts), query=query)
        except (IngestError, ConnectionError, TimeoutError):
            raise
        except Exception as exc:
            if is_out_of_memory(exc):
                raise
            if len(texts) == 1:
                self._check_itself()
            raise ModelError(f"{self._plugin} failed ({describe(exc)})") from exc
        return self._dense(found, len(texts)) if self._dim is not None else self._sparse(found, len(texts))

    def _check_itself(self) -> None:
        """Raise `PluginError` if it cannot even encode a plain sentence, so that a text is not to blame."""
        try:
            self._embedder.embed([CANARY], query=False)
        except (IngestError, ConnectionError, TimeoutError):
            raise
        except Exception as exc:
            raise PluginError(f"{self._plugin} cannot encode a plain sentence ({describe(exc)}): repair or update it") from exc

    def _dense(self, found: Any, count: int) -> DenseMatrix:
        if not isinstance(found, np.ndarray) or found.shape != (count, self._dim) or found.dtype != np.float32:
            actual = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else f"a {type(found).__name__}"
            raise PluginError(f"{self._plugin} returned {actual} instead of float32 {(count, self._dim)}: repair or update it")
        lengths = np.linalg.norm(found, axis=1)
        wrong = np.abs(lengths - 1) > MAX_ERROR  # False for NaN, which concerns one text alone
        if wrong.any():
            length = lengths[int(wrong.argmax())]
            raise PluginError(f"{self._plugin} returned a vector of length {length:.4g} instead of 1: repair or update it")
        return np.ascontiguousarray(found)

    def _sparse(self, found: Any, count: int) -> list[SparseVector]:
        if not isinstance(found, Sequence) or len(found) != count or not all(isinstance(each, Mapping) for each in found):
            actual = f"{len(found)} values" if isinstance(found, Sequence) else f"a {type(found).__name__}"
            raise PluginError(
                f"{self._plugin} returned {actual} instead of {count} mappings of term → weight: repair or update it"
            )
        try:
            return [_sparse_vector(each) for each in found]
        except (TypeError, ValueError, OverflowError) as exc:
            raise PluginError(
                f"{self._plugin} returned a sparse vector that is no mapping of term (32 bits) → weight ({describe(exc)}): repair"
                " or update it"
            ) from exc


class PluginReranker(PluginMember):
    """A `Model` whose vector of a document is one number: its score for the query set by `set_query`. Not thread-safe."""

    query = ""
    token_limit = None
    dim = 1

    def set_query(self, query: str) -> None:
        """Score documents for `query` from the next lease on."""
        self.query = query

    def to_device(self, device: str) -> Encoder:
        return PluginScorer(self.plugin, self._on(device), self.query)


class PluginScorer:
    """The scores of a plugin for one query. `encode_documents` returns `(n, 1) float32`, not of unit norm."""

    def __init__(self, plugin: Plugin, reranker: RerankerPlugin, query: str) -> None:
        self._plugin = plugin
        self._reranker = reranker
        self._query = query

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        try:
            scores = np.asarray(self._reranker.score(self._query, list(texts)), np.float32)
        except (IngestError, ConnectionError, TimeoutError):
            raise
        except Exception as exc:
            if is_out_of_memory(exc):
                raise
            raise PluginError(f"{self._plugin} failed ({describe(exc)})") from exc
        if scores.shape != (len(texts),):
            raise PluginError(f"{self._plugin} returned scores of shape {scores.shape} instead of {(len(texts),)}")
        return np.ascontiguousarray(scores[:, np.newaxis])

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        raise ModelError(f"{self._plugin} cannot encode {len(texts)} queries")


def _sparse_vector(weights: Mapping[int, float]) -> SparseVector:
    terms = sorted(weights)
    if terms and (terms[0] < 0 or not all(isinstance(term, int | np.integer) for term in terms)):
        raise ValueError(f"{terms[0]!r} is not a term")
    return SparseVector(np.array(terms, np.uint32), np.array([weights[term] for term in terms], np.float32))
