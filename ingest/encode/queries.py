"""Queries on the way of documents: a runner leases the device, batches, and halves a batch that does not fit.

On the CPU the queries of a plain BERT need no torch: NumPy encodes them in float32, the first one at once.
OpenVINO takes a second to start and then a tenth of the time for each, so a process that stays uses it for converted models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ingest.encode.bert.encoder import BertQueryEncoder, open_query_encoder
from ingest.encode.contract import Encoder, FallbackModel, Model, ModelKind, RemoteModel, RunsOn, Vectors, as_remote
from ingest.encode.devices import is_accelerator
from ingest.encode.file_model import FileModel
from ingest.encode.openvino.model import OpenVinoModel
from ingest.records import TokenLimit

_LIGHT = {("dense", "float32"), ("dense", "int8")}
"""Kind and precision of the models whose queries may be encoded on the CPU."""


class QueryModel:
    """A model whose documents are queries: they get the query prompt and are truncated to the token limit.

    A device keeps it between queries, so make one per model and use it again.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def key(self) -> str:
        return self._model.key

    @property
    def kind(self) -> ModelKind:
        return self._model.kind

    @property
    def dim(self) -> int | None:
        return self._model.dim

    @property
    def dtype(self) -> str:
        return self._model.dtype

    @property
    def backend(self) -> str:
        return self._model.backend

    @property
    def runs_on(self) -> RunsOn:
        return self._model.runs_on

    @property
    def fingerprint(self) -> str:
        return self._model.fingerprint

    @property
    def space(self) -> str:
        return self._model.space

    @property
    def uses_idf(self) -> bool:
        return self._model.uses_idf

    @property
    def token_limit(self) -> TokenLimit | None:
        """The token counter for batches. No query counts more than the limit, since longer ones are truncated."""
        limit = self._model.token_limit
        if limit is None:
            return None
        most = limit.max_tokens
        return TokenLimit(limit.model, most, lambda texts: [min(most, tokens) for tokens in limit.count(texts)])

    def load(self) -> None:
        self._model.load()

    def to_device(self, device: str) -> Encoder:
        return _QueriesAsDocuments(self._model.to_device(device))

    def offload(self) -> None:
        self._model.offload()


class _FallbackQueryModel(QueryModel):
    """A query model of a `FallbackModel`, which is one itself."""

    def __init__(self, model: FallbackModel) -> None:
        super().__init__(cast("Model", model))
        self._fallback = model

    def use_float32(self) -> None:
        self._fallback.use_float32()


class _RemoteQueryModel(QueryModel):
    """A query model of a `RemoteModel`, which is one itself."""

    def __init__(self, model: RemoteModel) -> None:
        super().__init__(cast("Model", model))
        self._remote = model
        self.concurrency = model.concurrency
        self.batch_tokens = model.batch_tokens

    @property
    def batch_texts(self) -> int:
        return self._remote.batch_texts

    def take_usage(self) -> int:
        return self._remote.take_usage()

    def interrupt(self) -> None:
        self._remote.interrupt()


class _CpuQueryModel(QueryModel):
    """A query model of a dense model that torch or OpenVINO computes on the CPU. A plain BERT is opened without either.

    Args:
        once: whether to do without OpenVINO even if the model is converted to it.
    """

    def __init__(self, model: Model, files: FileModel, *, once: bool) -> None:
        super().__init__(model)
        self._files = files
        self._once = once
        self._looked = False
        self._light: BertQueryEncoder | None = None

    @property
    def dtype(self) -> str:
        return self._model.dtype if self._light is None else "float32"

    @property
    def backend(self) -> str:
        return self._model.backend if self._light is None else "numpy"

    @property
    def token_limit(self) -> TokenLimit | None:
        """None once it is opened without torch: its encoder makes batches itself, and pads nothing."""
        return super().token_limit if self._light is None else None

    def load(self) -> None:
        if not self._looked:
            if self._once or not (isinstance(self._model, OpenVinoModel) and self._model.is_converted):
                self._light = open_query_encoder(self._files.config, self._files.files, self._files.tokens)
            self._looked = True
        if self._light is None:
            super().load()

    def to_device(self, device: str) -> Encoder:
        if self._light is not None and not is_accelerator(device):
            return _QueriesAsDocuments(self._light)
        self._model.load()
        return super().to_device(device)


def as_queries(model: Model, *, once: bool = False) -> QueryModel:
    """Return the query model of a model.

    Args:
        once: whether it encodes one query and the process ends, so that a library that is slow to start does not pay off.
    """
    if isinstance(model, FileModel) and model.config.backend == "torch" and (model.kind, model.dtype) in _LIGHT:
        return _CpuQueryModel(model, model, once=once)
    if remote := as_remote(model):
        return _RemoteQueryModel(remote)
    return _FallbackQueryModel(model) if isinstance(model, FallbackModel) else QueryModel(model)


class _QueriesAsDocuments:
    def __init__(self, encoder: Encoder | BertQueryEncoder) -> None:
        self._encoder = encoder

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return self._encoder.encode_queries(texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encoder.encode_queries(texts)
