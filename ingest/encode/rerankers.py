"""Rerankers: models that score how well a document answers a query."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ingest.encode.contract import Encoder, ModelKind
from ingest.encode.dense import DenseModel
from ingest.encode.devices import is_out_of_memory
from ingest.encode.feeding import Replica
from ingest.encode.file_model import max_tokens
from ingest.encode.http.reranker import HttpReranker
from ingest.encode.model_config import ModelConfig, nearest
from ingest.encode.plugin_model import PluginReranker
from ingest.encode.registry import CustomModels, find_model, known_models
from ingest.encode.resolve import resolve
from ingest.encode.tokens import DocumentTokens
from ingest.encode.torch_model import TorchEncoder, TorchModel
from ingest.encode.vectors import unit_rows
from ingest.errors import ConfigurationError, ModelError
from ingest.records import DenseMatrix, TokenLimit

if TYPE_CHECKING:
    import torch

_PAIR_ARCHITECTURES = ("ForSequenceClassification", "ForCausalLM")


class Reranker(TorchModel):
    """A `Model` whose vector of a document is one number: its score for the query set by `set_query`. Not thread-safe."""

    kind: ModelKind = "reranker"
    query = ""

    def __init__(self, config: ModelConfig, *, dtype: str, trust_remote_code: bool = False) -> None:
        super().__init__(config, dtype=dtype, trust_remote_code=trust_remote_code)
        self.dim = 1

    def set_query(self, query: str) -> None:
        """Load the model, and score documents for `query` from the next lease on. The model stays where it is."""
        self.load()
        self.query = query

    @property
    def token_limit(self) -> TokenLimit | None:
        """The token counter for batches. The model truncates longer documents, so none counts more than the limit."""
        limit = max_tokens(self.config)
        shared = self._tokens([self._shared_text])[0]
        return TokenLimit(self.key, limit, lambda texts: [min(limit, shared + tokens) for tokens in self._tokens(texts)])

    @property
    @abstractmethod
    def _shared_text(self) -> str:
        """The text that the model reads with every document."""

    @cached_property
    def _tokens(self) -> DocumentTokens:
        return DocumentTokens(self.files.folder, "")


class CrossEncoderModel(Reranker):
    """A sentence-transformers `CrossEncoder` with one output."""

    def set_query(self, query: str) -> None:
        super().set_query(query)
        tokens = 2 * max_tokens(self.config)
        # The model reads the query once per document: pass no more of it than fits.
        self.query = query if len(query) <= tokens else self._beginning(query, tokens)

    def _beginning(self, text: str, tokens: int) -> str:
        """Return the beginning of a text that `tokens` tokens cover."""
        tokenizer = self._host.tokenizer
        if not tokenizer.is_fast:
            return text
        spans = tokenizer(text, add_special_tokens=False, truncation=True, max_length=tokens, return_offsets_mapping=True)
        return text[: spans["offset_mapping"][-1][1]] if spans["offset_mapping"] else text

    @property
    def _shared_text(self) -> str:
        return self.query

    @staticmethod
    def _library() -> Any:
        from sentence_transformers import CrossEncoder  # noqa: PLC0415 - takes many seconds, and only reranking needs it

        return CrossEncoder

    def _read(self, folder: Path, dtype: torch.dtype) -> Any:
        _check_is_cross_encoder(self.key, folder)
        model = super()._read(folder, dtype)
        model.max_seq_length = min(model.max_seq_length or max_tokens(self.config), max_tokens(self.config))
        return model

    def _check(self, model: Any) -> None:
        if model.num_labels != 1:
            raise ModelError(
                f"model {self.key!r} returns {model.num_labels} numbers for a pair, but a reranker must return one: use another"
            )

    def _encoder(self, replica: Replica) -> Encoder:
        return CrossEncoderScorer(self.key, self.query, replica.module)


class BiEncoderModel(Reranker, DenseModel):
    """A dense model that compares query and document by the cosine of their vectors."""

    @property
    def _shared_text(self) -> str:
        return self.config.document_prompt

    def _encoder(self, replica: Replica) -> Encoder:
        return BiEncoderScorer(self.config, self.query, replica)


class ListwiseModel(Reranker):
    """A model whose own code reads all documents at once, such as jina-reranker-v3: `rerank(query, documents)`."""

    @property
    def token_limit(self) -> TokenLimit | None:
        """None, because the model reads the documents together and splits them itself."""
        return None

    @property
    def _shared_text(self) -> str:
        return ""

    @staticmethod
    def _library() -> Any:
        from transformers import AutoModel  # noqa: PLC0415

        return AutoModel

    def _read(self, folder: Path, dtype: torch.dtype) -> Any:
        model = self._library().from_pretrained(
            folder, local_files_only=True, trust_remote_code=self._trust_remote_code, dtype=dtype, use_safetensors=True
        )
        if not hasattr(model, "tokenizer"):
            model.tokenizer = None  # replicas copy this attribute; the model's own code does not need it
        return model

    def _check(self, model: Any) -> None:
        if not callable(getattr(model, "rerank", None)):
            raise ModelError(f"model {self.key!r} has no method rerank: it is not a listwise reranker")

    def _encoder(self, replica: Replica) -> Encoder:
        return ListwiseScorer(self.key, self.query, replica.module)


class Scorer:
    """A reranker on its device, for one query. `encode_documents` returns scores, `(n, 1) float32`, not of unit norm."""

    def __init__(self, key: str, query: str, model: Any) -> None:
        self._key = key
        self._query = query
        self._model = model

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        raise ModelError(f"model {self._key!r} is a reranker: it cannot encode {len(texts)} queries")


class CrossEncoderScorer(Scorer):
    """The scores of `CrossEncoder.predict`, with the model's own activation."""

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        pairs = [(self._query, text) for text in texts]
        return score_vectors(self._model.predict(pairs, batch_size=len(pairs), show_progress_bar=False))


class ListwiseScorer(Scorer):
    """The scores of the model's own `rerank`."""

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        import torch  # noqa: PLC0415

        scores = np.full(len(texts), np.nan, np.float32)
        try:
            with torch.inference_mode():
                for result in self._model.rerank(self._query, list(texts)):
                    scores[int(result["index"])] = float(result["relevance_score"])
        except Exception as exc:  # the model's own code may raise anything
            if is_out_of_memory(exc):
                raise
            raise ModelError(
                f"model {self._key!r} failed in its own code ({type(exc).__name__}: {exc})".replace("\n", " ")
            ) from exc
        return score_vectors(scores)


class BiEncoderScorer(TorchEncoder):
    """The cosines of the documents' vectors with the query's. Truncates documents to the token limit."""

    def __init__(self, config: ModelConfig, query: str, replica: Replica) -> None:
        super().__init__(config, replica)
        self._query = query

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        return score_vectors(self._rows(texts, self.config.document_prompt) @ self._query_row)

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        raise ModelError(f"model {self.config.key!r} is used as a reranker: it cannot encode {len(texts)} queries")

    @cached_property
    def _query_row(self) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self._rows([self._query], self.config.query_prompt)[0]
        return row

    def _rows(self, texts: Sequence[str], prompt: str) -> DenseMatrix:
        return unit_rows(self.forward(texts, prompt=prompt, cut=True).cpu().numpy())


_MODEL_TYPES: Mapping[str, type[Reranker]] = MappingProxyType(
    {"": CrossEncoderModel, "cross-encoder": CrossEncoderModel, "bi-encoder": BiEncoderModel, "listwise": ListwiseModel}
)


def reranker_config(
    model: str | Path,
    *,
    custom_models: CustomModels | None = None,
    trust_remote_code: Collection[str] = (),
    max_length: int | None = None,
) -> ModelConfig:
    """Return the configuration of a reranker. Does not look for its files.

    Args:
        model: registry key or a key of `custom_models`, else a folder, else a repository on the hub, `owner/name`. Folders and
            repositories must be CrossEncoders.
        trust_remote_code: models, named like `model`, whose own Python code may run.
        max_length: maximum tokens of query and document together; longer pairs are truncated. None: the model's own limit.

    Raises `UnknownModelError`, and `ConfigurationError` for a model that requires its own code and is not trusted.
    """
    config = _find_config(model, custom_models, trust_remote_code)
    if config.pooling not in _MODEL_TYPES:
        hint = nearest(config.pooling, _MODEL_TYPES.keys() - {""})
        raise ConfigurationError(f"unknown pooling {config.pooling!r} of reranker {config.key!r}: {hint}")
    if config.needs_remote_code and config.key not in trust_remote_code:
        origin = config.hub_id or config.path
        raise ConfigurationError(
            f"model {config.key!r} runs Python code of its own: add it to trust_remote_code if you trust {origin}"
        )
    return replace(config, max_tokens=max_length) if max_length else config


AnyReranker = Reranker | HttpReranker | PluginReranker


def make_reranker(config: ModelConfig, dtype: str) -> AnyReranker:
    """Return the model, its files found or downloaded, not loaded yet. Raises `ModelError` with instructions to get it."""
    if config.backend == "http":
        return HttpReranker(config)
    if config.backend == "plugin":
        return PluginReranker(config)
    config = with_token_limit(config)
    return _MODEL_TYPES[config.pooling](config, dtype=dtype, trust_remote_code=config.needs_remote_code)


def with_token_limit(config: ModelConfig) -> ModelConfig:
    """Return the configuration with the model's own token limit if it has none. Finds or downloads the model's files."""
    return config if config.max_tokens else replace(config, max_tokens=_max_positions(resolve(config).folder))


def _find_config(model: str | Path, custom: CustomModels | None, trusted: Collection[str]) -> ModelConfig:
    key, path = str(model), Path(model).expanduser()
    if isinstance(model, Path) or key not in known_models(custom):
        explicit = isinstance(model, Path) or path.is_absolute() or key.startswith((".", "~"))
        if not explicit and key in trusted and key.count("/") == 1 and path.is_dir():  # trusting one must not trust the other
            raise ConfigurationError(
                f"the trusted reranker {key!r} is both a folder here and a possible name on the hub: write ./{key} in reranker"
                " and trust_remote_code to use the folder, or work in another directory to use the hub"
            )
        if explicit or path.is_dir():
            return ModelConfig(key, kind="reranker", path=path, needs_remote_code=key in trusted)
        if key.count("/") == 1:
            return ModelConfig(key, kind="reranker", hub_id=key, needs_remote_code=key in trusted)
    kinds: tuple[ModelKind, ...] = ("reranker",)
    return find_model(key, custom=custom, kinds=kinds)


def _max_positions(folder: Path) -> int:
    positions = _json(folder / "config.json").get("max_position_embeddings")
    return positions if isinstance(positions, int) and positions > 0 else 512


def _check_is_cross_encoder(key: str, folder: Path) -> None:
    """Raise `ModelError` for any other model: the library would add a head of random weights to it."""
    saved_as = _json(folder / "config_sentence_transformers.json").get("model_type")
    architectures = _json(folder / "config.json").get("architectures") or [""]
    if saved_as != "CrossEncoder" and not str(architectures[0]).endswith(_PAIR_ARCHITECTURES):
        raise ModelError(
            f"model {key!r} in {folder} is a {architectures[0] or 'model of unknown kind'}, not a CrossEncoder: use another"
        )


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ModelError(f"cannot read {file} ({exc}): download the model again") from exc
    return content if isinstance(content, dict) else {}


def score_vectors(scores: NDArray[Any]) -> DenseMatrix:
    """Return scores as vectors of one dimension."""
    return np.ascontiguousarray(np.reshape(scores, (-1, 1)), dtype=np.float32)
