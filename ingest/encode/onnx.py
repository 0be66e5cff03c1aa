"""Dense models from ONNX files: mean-pooled transformers, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.encode.contract import Encoder, ModelKind, RunsOn
from ingest.encode.devices import is_accelerator
from ingest.encode.file_model import FileModel, OnLoaded, max_tokens
from ingest.encode.model_config import ModelConfig
from ingest.encode.resolve import verify
from ingest.encode.tokens import DocumentTokens, padded
from ingest.encode.vectors import unit_rows
from ingest.errors import MissingExtraError, ModelError
from ingest.records import DenseMatrix


class OnnxModel(FileModel):
    """A `Model` over `model.onnx`, with one session per device. Offloading closes the sessions.

    Args:
        config: facts from the registry.
        on_loaded: callback with the key and the dtype of the loaded model.
    """

    kind: ModelKind = "dense"
    backend = "onnx"
    runs_on: RunsOn = "accelerator"

    def __init__(self, config: ModelConfig, *, on_loaded: OnLoaded | None = None) -> None:
        super().__init__(config, dtype="float32")
        self._on_loaded = on_loaded
        self._sessions: dict[str, Any] = {}

    def load(self) -> None:
        """Verify the file and the installation. The session reads the file itself, straight to its device."""
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
        index = device.partition(":")[2] or "0"
        providers: list[Any] = (
            [("CUDAExecutionProvider", {"device_id": index})] if is_accelerator(device) else ["CPUExecutionProvider"]
        )
        if is_accelerator(device) and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise MissingExtraError(
                f"model {self.key!r} requires onnxruntime-gpu to run on {device}: pip install onnxruntime-gpu"
            )
        try:
            session = onnxruntime.InferenceSession(self.files.folder / "model.onnx", providers=providers)
        except Exception as exc:  # its errors share no narrower type
            raise ModelError(f"model {self.key!r} in {self.files.folder} cannot be loaded ({exc})".replace("\n", " ")) from exc
        dim = session.get_outputs()[0].shape[-1]
        if dim != self.config.dim:
            raise ModelError(f"model {self.key!r} has {dim} dimensions, its configuration says {self.config.dim}: correct dim")
        if self._on_loaded is not None:
            self._on_loaded(self.key, self.dtype)
        return session


class OnnxEncoder:
    """An ONNX model on its device."""

    def __init__(self, config: ModelConfig, session: Any, tokens: DocumentTokens) -> None:
        self._config = config
        self._session = session
        self._tokens = tokens
        self._input_names = [each.name for each in session.get_inputs()]

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        return self._encode([self._config.document_prompt + text for text in texts], cut=False)

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        return self._encode([self._config.query_prompt + text for text in texts], cut=True)

    def _encode(self, texts: Sequence[str], *, cut: bool) -> DenseMatrix:
        limit = max_tokens(self._config)
        ids = self._tokens.ids(texts, limit if cut else None)
        if max(map(len, ids)) > limit:
            raise ModelError(f"more than {limit} tokens, the limit of {self._config.key}: the text would be cut")
        inputs = padded(ids)
        hidden: NDArray[np.float32] = self._session.run(None, {name: inputs[name] for name in self._input_names})[0]
        weights = inputs["attention_mask"][:, :, None].astype(np.float32)
        rows = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        return unit_rows(rows[:, : self._config.vector_dim])


def _onnxruntime(key: str) -> Any:
    try:
        return import_module("onnxruntime")
    except ImportError as exc:
        raise MissingExtraError(f"model {key!r} requires onnxruntime: pip install 'qdrant-ingest[onnx]'") from exc
