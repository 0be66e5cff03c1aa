"""Dense members: one unit vector per text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ingest.encode.contract import Encoder, Kind
from ingest.encode.torch_model import TorchEncoder, TorchModel
from ingest.encode.vectors import unit_rows
from ingest.errors import ModelError
from ingest.records import DenseMatrix


class DenseModel(TorchModel):
    """A sentence-transformers model."""

    kind: Kind = "dense"

    @staticmethod
    def _library() -> Any:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - many seconds, paid only by a run that encodes

        return SentenceTransformer

    def _check(self, model: Any) -> None:
        found = model.get_embedding_dimension()
        if found != self.config.dim:
            raise ModelError(f"model {self.key!r} has {found} dimensions, its configuration says {self.config.dim}: correct dim")

    def _encoder(self, replica: Any) -> Encoder:
        return DenseEncoder(self.config, replica)


class DenseEncoder(TorchEncoder):
    """A dense model on its device."""

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        return self._encode(texts, prompt=self.config.document_prompt, cut=False)

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        return self._encode(texts, prompt=self.config.query_prompt, cut=True)

    def _encode(self, texts: Sequence[str], *, prompt: str, cut: bool) -> DenseMatrix:
        return unit_rows(self.forward(texts, prompt=prompt, cut=cut)[:, : self.config.vector_dim].cpu().numpy())
