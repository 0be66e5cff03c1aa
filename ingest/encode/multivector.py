"""Late-interaction models computed by torch: one unit vector per token (ColBERT)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ingest.encode.contract import Encoder, ModelKind
from ingest.encode.feeding import Replica
from ingest.encode.file_model import max_tokens
from ingest.encode.self_description import check_prompts
from ingest.encode.tokens import DocumentTokens
from ingest.encode.torch_model import TorchEncoder, TorchModel
from ingest.encode.vectors import unit_rows
from ingest.errors import ModelError
from ingest.records import DenseMatrix, TokenLimit

_LATE_TYPES = {"MultiVectorEncoder", "ColBERT"}
"""Model types of sentence-transformers and PyLate."""

_LATE_ARCHITECTURES = ("HF_ColBERT",)
"""The architecture that Stanford's ColBERT saves."""


class MultivectorModel(TorchModel):
    """A sentence-transformers `MultiVectorEncoder`. Its files say which tokens of a text get a row."""

    kind: ModelKind = "multivector"

    @staticmethod
    def _library() -> Any:
        from sentence_transformers import MultiVectorEncoder  # noqa: PLC0415 - takes many seconds, and only encoding needs it

        return MultiVectorEncoder

    def _read(self, folder: Path, dtype: Any) -> Any:
        # The library would give any other model a projection of random weights.
        if not _is_late(folder):
            raise ModelError(f"model {self.key!r} in {folder} makes one vector of a text, not one per token: correct its kind")
        return super()._read(folder, dtype)

    def _check(self, model: Any) -> None:
        dim = model.get_embedding_dimension()
        if dim != self.config.dim:
            raise ModelError(f"model {self.key!r} has {dim} dimensions, its configuration says {self.config.dim}: correct dim")
        check_prompts(self.config, model)

    def _encoder(self, replica: Replica) -> Encoder:
        return MultivectorEncoder(self.config, replica)

    @cached_property
    def _query_tokens(self) -> DocumentTokens:
        return DocumentTokens(self.files.folder, "")

    @property
    def query_limit(self) -> TokenLimit | None:
        """The limit on a query, which is often much lower than that on a chunk. None before the model is loaded."""
        if self.module is None:
            return None
        most = _query_length(self.module[0]) or max_tokens(self.config)
        marker = 1 if self.config.query_prompt else 0
        return TokenLimit(self.key, most, lambda texts: [marker + tokens for tokens in self._query_tokens(texts)])


class MultivectorEncoder(TorchEncoder):
    """A late-interaction model on its device. Leaves out the rows of the tokens that the model does not compare."""

    def encode_documents(self, texts: Sequence[str]) -> list[DenseMatrix]:
        return self._encode(texts, "document", self.config.document_prompt)

    def encode_queries(self, texts: Sequence[str]) -> list[DenseMatrix]:
        return self._encode(texts, "query", self.config.query_prompt)

    def _encode(self, texts: Sequence[str], task: Literal["document", "query"], prompt: str) -> list[DenseMatrix]:
        import torch  # noqa: PLC0415 - takes seconds, and only encoding needs it

        with torch.inference_mode():
            features = self.replica.module(self._inputs(texts, task, prompt), task=task)
            compared = features["attention_mask"].bool()
            rows = features["token_embeddings"][compared][:, : self.config.vector_dim].float()
            counts = compared.sum(dim=1).cpu().numpy()
            fetched = self.replica.fetch(rows)()
        if not counts.all():
            raise ModelError(f"{self.config.key} compares no token of the text: it has only characters that the model skips")
        return np.split(unit_rows(fetched), np.cumsum(counts)[:-1])

    def _inputs(self, texts: Sequence[str], task: str, prompt: str) -> dict[str, Any]:
        """Return the inputs on the device: queries at the length that the model's files say, documents whole."""
        import torch  # noqa: PLC0415

        module, limit = self.replica.module, max_tokens(self.config)
        module.max_seq_length = limit
        # One token more than allowed, so that a document over the limit is noticed instead of truncated.
        length = {"max_length": limit + 1} if task == "document" else {}
        features = module.preprocess(list(texts), prompt=prompt, task=task, **length)
        if task == "document":
            self._check_limit(int(features["attention_mask"].sum(dim=1).max()))
        return {name: value.to(module.device) if isinstance(value, torch.Tensor) else value for name, value in features.items()}


def _is_late(folder: Path) -> bool:
    """Return whether the files of a model say that it was trained for one vector per token."""
    described, config = (_json(folder / name) for name in ("config_sentence_transformers.json", "config.json"))
    late = any(architecture in _LATE_ARCHITECTURES for architecture in config.get("architectures") or ())
    return late or described.get("model_type") in _LATE_TYPES or "query_prefix" in described


def _json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or an empty one if there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _query_length(transformer: Any) -> int | None:
    """Return the tokens to which the model cuts a query, or None if it says nothing."""
    expansion = getattr(transformer, "query_expansion", None)
    length: int | None = expansion["length"] if expansion else getattr(transformer, "query_length", None)
    return length
