"""Dense members that come as an ONNX file: mean-pooled transformers, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.encode.contract import Encoder, Kind, RunsOn
from ingest.encode.devices import is_accelerator
from ingest.encode.model_config import ModelConfig
from ingest.encode.resolve import verify
from ingest.encode.staged import FileModel, OnLoaded, max_tokens
from ingest.encode.tokens import DocumentTokens, padded
from ingest.encode.vectors import unit_rows
from ingest.errors import MissingExtraError, ModelError
from ingest.records import DenseMatrix


class OnnxModel(FileModel):
    """A `Model` over `model.onnx`. One session per device; it ends when the model leaves, and is opened anew.

    Args:
        config: what the registry says.
        on_loaded: told the dtype once the model is there.
    """

    kind: Kind = "dense"
    backend = "onnx"
    runs_on: RunsOn = "accelerator"

    def __init__(self, config: ModelConfig, *, on_loaded: OnLoaded | None = None) -> None:
        super().__init__(config, dtype="float32")
        self._on_loaded = on_loaded
        self._sessions: dict[str, Any] = {}

    def load(self) -> None:
        """The session reads the file itself, straight to its device; here is only made sure that it can."""
        if not self._sessions:
            verify(self.config, self.files)
            _onnxruntime(self.key)

    def to_device(self, device: str) -> Encoder:
        if device not in self._sessions:
            self._sessions[device] = self._open(device)
        return OnnxEncoder(self.config, self._sessions[device], self.tokens)

    def offload(self) -> None:
        self._sessions.clear()

    def _open(self, device: str) -> Any:
        onnxruntime = _onnxruntime(self.key)
        card = device.partition(":")[2] or "0"
        providers: list[Any] = (
            [("CUDAExecutionProvider", {"device_id": card})] if is_accelerator(device) else ["CPUExecutionProvider"]
        )
        if is_accelerator(device) and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise MissingExtraError(f"model {self.key!r} needs onnxruntime-gpu to run on {device}: pip install onnxruntime-gpu")
        try:
            session = onnxruntime.InferenceSession(self.files.folder / "model.onnx", providers=providers)
        except Exception as exc:  # its errors share no narrower type
            raise ModelError(f"model {self.key!r} in {self.files.folder} cannot be loaded ({exc})".replace("\n", " ")) from exc
        found = session.get_outputs()[0].shape[-1]
        if found != self.config.dim:
            raise ModelError(f"model {self.key!r} has {found} dimensions, its configuration says {self.config.dim}: correct dim")
        if self._on_loaded is not None:
            self._on_loaded(self.key, self.dtype)
        return session


class OnnxEncoder:
    """An ONNX model on its device."""

    def __init__(self, config: ModelConfig, session: Any, tokens: DocumentTokens) -> None:
        self._config = config
        self._session = session
        self._tokens = tokens
        self._inputs = [each.name for each in session.get_inputs()]

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        return self._encode([self._config.document_prompt + text for text in texts], cut=False)

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        return self._encode([self._config.query_prompt + text for text in texts], cut=True)

    def _encode(self, texts: Sequence[str], *, cut: bool) -> DenseMatrix:
        limit = max_tokens(self._config)
        ids = self._tokens.ids(texts, limit if cut else None)
        if max(map(len, ids)) > limit:
            raise ModelError(f"more than {limit} tokens, and {self._config.key} takes no more: the text would be cut")
        given = padded(ids)
        hidden: NDArray[np.float32] = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        weights = given["attention_mask"][:, :, None].astype(np.float32)
        rows = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        return unit_rows(rows[:, : self._config.vector_dim])


def _onnxruntime(key: str) -> Any:
    try:
        return import_module("onnxruntime")
    except ImportError as exc:
        raise MissingExtraError(f"model {key!r} needs onnxruntime: pip install 'qdrant-ingest[onnx]'") from exc
