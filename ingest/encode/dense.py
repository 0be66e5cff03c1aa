"""Dense models computed by torch: one unit vector per text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ingest.encode.contract import Encoder, ModelKind
from ingest.encode.feeding import Replica
from ingest.encode.self_description import check_pooling, check_prompts
from ingest.encode.torch_model import TorchEncoder, TorchModel
from ingest.encode.vectors import unit_rows
from ingest.errors import ModelError
from ingest.records import DenseMatrix


class DenseModel(TorchModel):
    """A sentence-transformers model."""

    kind: ModelKind = "dense"
    reads_token_ids = True

    @staticmethod
    def _library() -> Any:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - takes many seconds, and only encoding needs it

        return SentenceTransformer

    def _check(self, model: Any) -> None:
        dim = model.get_embedding_dimension()
        if dim != self.config.dim:
            raise ModelError(f"model {self.key!r} has {dim} dimensions, its configuration says {self.config.dim}: correct dim")
        if self.kind == "dense":
            check_pooling(self.config, model)
        check_prompts(self.config, model)

    def _encoder(self, replica: Replica) -> Encoder:
        return DenseEncoder(self.config, replica)


class DenseEncoder(TorchEncoder):
    """A dense model on its device."""

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        return self.start_documents(texts)()

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        return self._start(texts, prompt=self.config.query_prompt, cut=True)()

    def start_documents(self, texts: Sequence[str]) -> Callable[[], DenseMatrix]:
        return self._start(texts, prompt=self.config.document_prompt, cut=False)

    def _start(self, texts: Sequence[str], *, prompt: str, cut: bool) -> Callable[[], DenseMatrix]:
        rows = self.forward(texts, prompt=prompt, cut=cut)[:, : self.config.vector_dim]
        fetched = self.replica.fetch(rows)
        return lambda: unit_rows(fetched())
