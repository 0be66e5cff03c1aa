"""Models that read a question together with a document and say how well the one answers the other."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ingest.encode.contract import Encoder, Kind
from ingest.encode.dense import DenseModel
from ingest.encode.devices import is_out_of_memory
from ingest.encode.model_config import ModelConfig, ModelKind, nearest
from ingest.encode.registry import CustomModels, find_model, known_models
from ingest.encode.resolve import resolve
from ingest.encode.staged import max_tokens
from ingest.encode.tokens import DocumentTokens
from ingest.encode.torch_model import TorchEncoder, TorchModel
from ingest.encode.vectors import unit_rows
from ingest.errors import ConfigurationError, ModelError
from ingest.records import DenseMatrix, TokenLimit

if TYPE_CHECKING:
    import torch

_PAIR_ARCHITECTURES = ("ForSequenceClassification", "ForCausalLM")


class Reranker(TorchModel):
    """A `Model` whose vector of a document is one number: its score for the question in hand. See `asked`."""

    kind: Kind = "reranker"
    query = ""

    def __init__(self, config: ModelConfig, *, dtype: str, trust_remote_code: bool = False) -> None:
        super().__init__(config, dtype=dtype, trust_remote_code=trust_remote_code)
        self.dim = 1

    def asked(self, query: str) -> Self:
        """This reranker, over the same weights, as it reads documents for `query`. Loads the model. One thread at a time."""
        self.load()
        bound = copy.copy(self)
        bound.query = query
        return bound

    @property
    def token_limit(self) -> TokenLimit | None:
        """For batches alone: what is longer than the model takes is cut by it, and costs no more than what it takes."""
        limit = max_tokens(self.config)
        with_each = self._tokens([self._read_with_each])[0]
        return TokenLimit(self.key, limit, lambda texts: [min(limit, with_each + tokens) for tokens in self._tokens(texts)])

    @property
    @abstractmethod
    def _read_with_each(self) -> str:
        """What the model reads with every document."""

    @cached_property
    def _tokens(self) -> DocumentTokens:
        return DocumentTokens(self.files.folder, "")


class CrossEncoderModel(Reranker):
    """A sentence-transformers `CrossEncoder` with one output."""

    def asked(self, query: str) -> Self:
        bound = super().asked(query)
        tokens = 2 * max_tokens(self.config)
        # No more than the model could read with even the shortest document: 50 candidates, 50 times.
        bound.query = query if len(query) <= tokens else self._beginning(query, tokens)
        return bound

    def _beginning(self, text: str, tokens: int) -> str:
        """What so many tokens cover of it."""
        tokenizer = self._host.tokenizer
        if not tokenizer.is_fast:
            return text
        spans = tokenizer(text, add_special_tokens=False, truncation=True, max_length=tokens, return_offsets_mapping=True)
        return text[: spans["offset_mapping"][-1][1]] if spans["offset_mapping"] else text

    @property
    def _read_with_each(self) -> str:
        return self.query

    @staticmethod
    def _library() -> Any:
        from sentence_transformers import CrossEncoder  # noqa: PLC0415 - many seconds, paid only by a run that reranks

        return CrossEncoder

    def _read(self, folder: Path, dtype: torch.dtype) -> Any:
        _check_reads_pairs(self.key, folder)
        model = super()._read(folder, dtype)
        model.max_seq_length = min(model.max_seq_length or max_tokens(self.config), max_tokens(self.config))
        return model

    def _check(self, model: Any) -> None:
        if model.num_labels != 1:
            raise ModelError(
                f"model {self.key!r} gives {model.num_labels} numbers for a pair, and a reranker gives one: use another"
            )

    def _encoder(self, replica: Any) -> Encoder:
        return CrossEncoderScorer(self.key, self.query, replica)


class BiEncoderModel(Reranker, DenseModel):
    """A dense model that compares question and document by the cosine of their vectors."""

    @property
    def _read_with_each(self) -> str:
        return self.config.document_prompt

    def _encoder(self, replica: Any) -> Encoder:
        return BiEncoderScorer(self.config, self.query, replica)


class ListwiseModel(Reranker):
    """A model with code of its own that reads all documents at once: `rerank(query, documents)`, as jina-reranker-v3 does it."""

    @property
    def token_limit(self) -> TokenLimit | None:
        """None: the documents are read together, in parts that the model chooses itself."""
        return None

    @property
    def _read_with_each(self) -> str:
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
            model.tokenizer = None  # every other model has one to be copied; this one's code finds its own
        return model

    def _check(self, model: Any) -> None:
        if not callable(getattr(model, "rerank", None)):
            raise ModelError(f"model {self.key!r} has no method rerank: it is no listwise reranker")

    def _encoder(self, replica: Any) -> Encoder:
        return ListwiseScorer(self.key, self.query, replica)


class Scorer:
    """A reranker on its device, for one question. `encode_documents` is `(n, 1) float32`: scores, not of unit norm."""

    def __init__(self, key: str, query: str, model: Any) -> None:
        self._key = key
        self._query = query
        self._model = model

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        raise ModelError(f"model {self._key!r} is a reranker: it makes no vectors of {len(texts)} questions")


class CrossEncoderScorer(Scorer):
    """`CrossEncoder.predict`, with the model's own activation."""

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        pairs = [(self._query, text) for text in texts]
        return column(self._model.predict(pairs, batch_size=len(pairs), show_progress_bar=False))


class ListwiseScorer(Scorer):
    """The model's own `rerank`."""

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        import torch  # noqa: PLC0415

        scores = np.full(len(texts), np.nan, np.float32)
        try:
            with torch.inference_mode():
                for found in self._model.rerank(self._query, list(texts)):
                    scores[int(found["index"])] = float(found["relevance_score"])
        except Exception as exc:  # its code is its own: it may raise anything
            if is_out_of_memory(exc):
                raise
            raise ModelError(
                f"model {self._key!r} failed in its own code ({type(exc).__name__}: {exc})".replace("\n", " ")
            ) from exc
        return column(scores)


class BiEncoderScorer(TorchEncoder):
    """Cosines of the documents' vectors with the question's. What is over the limit is cut: nothing is stored of it."""

    def __init__(self, config: ModelConfig, query: str, model: Any) -> None:
        super().__init__(config, model)
        self._query = query

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        return column(self._rows(texts, self.config.document_prompt) @ self._query_row)

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        raise ModelError(f"model {self.config.key!r} is used as a reranker: it makes no vectors of {len(texts)} questions")

    @cached_property
    def _query_row(self) -> NDArray[np.float32]:
        row: NDArray[np.float32] = self._rows([self._query], self.config.query_prompt)[0]
        return row

    def _rows(self, texts: Sequence[str], prompt: str) -> DenseMatrix:
        return unit_rows(self.forward(texts, prompt=prompt, cut=True).cpu().numpy())


_MODELS: Mapping[str, type[Reranker]] = MappingProxyType(
    {"": CrossEncoderModel, "cross-encoder": CrossEncoderModel, "bi-encoder": BiEncoderModel, "listwise": ListwiseModel}
)


_KINDS: tuple[ModelKind, ...] = ("reranker",)


def reranker_config(
    model: str | Path,
    *,
    custom_models: CustomModels | None = None,
    trust_remote_code: Collection[str] = (),
    max_length: int | None = None,
) -> ModelConfig:
    """What is known of a reranker before it is looked for.

    Args:
        model: registry key or one of `custom_models`; else a folder; else a repository on the hub, `owner/name`. The latter two
            are taken for CrossEncoders.
        trust_remote_code: as `model` may be: those whose own Python code may run.
        max_length: tokens of question and document together, of which more is cut off; the model's own limit if not given.

    Raises `UnknownModelError`, and `ConfigurationError` for a model that needs to run its own code and is not trusted to.
    """
    config = _named(model, custom_models, trust_remote_code)
    if config.pooling not in _MODELS:
        raise ConfigurationError(
            f"reranker {config.key!r} works by {config.pooling!r}: {nearest(config.pooling, _MODELS.keys() - {''})}"
        )
    if config.needs_remote_code and config.key not in trust_remote_code:
        where = config.hub_id or config.path
        raise ConfigurationError(
            f"model {config.key!r} runs Python code of its own: add it to trust_remote_code if you trust {where}"
        )
    return replace(config, max_tokens=max_length) if max_length else config


def make_reranker(config: ModelConfig, dtype: str) -> Reranker:
    """The model, its files found or downloaded, not yet loaded. Raises `ModelError` that says how to get it."""
    config = limited(config)
    return _MODELS[config.pooling](config, dtype=dtype, trust_remote_code=config.needs_remote_code)


def limited(config: ModelConfig) -> ModelConfig:
    """With the model's own limit, where none is given. Its files are found or downloaded for that."""
    return config if config.max_tokens else replace(config, max_tokens=_positions(resolve(config).folder))


def _named(model: str | Path, custom: CustomModels | None, trusted: Collection[str]) -> ModelConfig:
    key, path = str(model), Path(model).expanduser()
    if isinstance(model, Path) or key not in known_models(custom):
        explicit = isinstance(model, Path) or path.is_absolute() or key.startswith((".", "~"))
        if not explicit and key in trusted and key.count("/") == 1 and path.is_dir():  # whoever trusts one may not know the other
            raise ConfigurationError(
                f"the reranker {key!r} may run its own code, and is a folder here as well as a name for the hub: write ./{key} in"
                " reranker and trust_remote_code if you mean the folder, else work in another directory"
            )
        if explicit or path.is_dir():
            return ModelConfig(key, kind="reranker", path=path, needs_remote_code=key in trusted)
        if key.count("/") == 1:
            return ModelConfig(key, kind="reranker", hub_id=key, needs_remote_code=key in trusted)
    return find_model(key, custom=custom, kinds=_KINDS)


def _positions(folder: Path) -> int:
    positions = _json(folder / "config.json").get("max_position_embeddings")
    return positions if isinstance(positions, int) and positions > 0 else 512


def _check_reads_pairs(key: str, folder: Path) -> None:
    """The library would give any other model a head of random weights, and random answers."""
    made_as = _json(folder / "config_sentence_transformers.json").get("model_type")
    architectures = _json(folder / "config.json").get("architectures") or [""]
    if made_as != "CrossEncoder" and not str(architectures[0]).endswith(_PAIR_ARCHITECTURES):
        raise ModelError(
            f"model {key!r} in {folder} is a {architectures[0] or 'model of unknown kind'}, no CrossEncoder: name another"
        )


def _json(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ModelError(f"cannot read {file} ({exc}): fetch the model again") from exc
    return read if isinstance(read, dict) else {}


def column(scores: NDArray[Any]) -> DenseMatrix:
    """Scores as vectors of one dimension."""
    return np.ascontiguousarray(np.reshape(scores, (-1, 1)), dtype=np.float32)
