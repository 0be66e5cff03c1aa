"""Sparse models: BM25 by Qdrant's own code, SPLADE by torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import qdrant_edge

from ingest.encode.bm25_options import Bm25Options
from ingest.encode.bm25_text import VERSION, bm25_text, paired_text
from ingest.encode.contract import Encoder, ModelKind, RunsOn
from ingest.encode.feeding import Replica
from ingest.encode.model_config import ModelConfig
from ingest.encode.self_description import check_pooling, check_prompts
from ingest.encode.torch_model import TorchEncoder, TorchModel
from ingest.encode.vectors import sparse_rows
from ingest.errors import ConfigurationError
from ingest.identity import digest
from ingest.records import SparseVector

ENGLISH = Bm25Options()

_TOKENIZERS = {"word": qdrant_edge.TokenizerType.Word, "multilingual": qdrant_edge.TokenizerType.Multilingual}


class Bm25Model:
    """The term frequencies of BM25, as the server's own `qdrant/bm25` computes them from the `bm25_text`, on the CPU.

    Args:
        config: facts from the registry.
        options: language and tokenizer. Raises `ConfigurationError` if the engine does not support them.
    """

    kind: ModelKind = "sparse"
    dim = None
    dtype = "float32"
    backend = "qdrant"
    runs_on: RunsOn = "anywhere"
    uses_idf = True
    token_limit = None

    def __init__(self, config: ModelConfig, options: Bm25Options = ENGLISH) -> None:
        self.key = config.key
        self.options = asdict(options)
        # The fingerprint of English is that of the versions without options.
        others = {name: value for name, value in self.options.items() if name != "language" and value != getattr(ENGLISH, name)}
        facts = {"hub_id": config.hub_id, "language": options.language, "text": VERSION, **others}
        self.space = self.fingerprint = digest(facts)
        self._encoder = Bm25Encoder(options)

    def load(self) -> None:
        pass

    def to_device(self, device: str) -> Encoder:  # noqa: ARG002 - always on the CPU
        return self._encoder

    def offload(self) -> None:
        pass


class Bm25Encoder:
    """The encoder of BM25. Stateless, so one serves every lease."""

    def __init__(self, options: Bm25Options = ENGLISH) -> None:
        self._engine = bm25(options)
        self._text = paired_text if options.tokenizer == "word" else bm25_text

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        return [sorted_vector(self._engine.embed_document(self._text(text))) for text in texts]

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        return [sorted_vector(self._engine.embed_query(self._text(text))) for text in texts]


def bm25(options: Bm25Options = ENGLISH) -> qdrant_edge.Bm25:
    """Return the engine. Raises `ConfigurationError` if it does not support the language."""
    try:
        return qdrant_edge.Bm25(
            qdrant_edge.Bm25Config(
                language=options.language,
                tokenizer=_TOKENIZERS[options.tokenizer],
                ascii_folding=options.ascii_folding,
            )
        )
    except ValueError as exc:
        raise ConfigurationError(f"BM25 cannot be set up ({exc}): use a supported language, such as 'english'") from exc


def sorted_vector(vector: qdrant_edge.SparseVector) -> SparseVector:
    """Return the engine's vector with ascending indices."""
    indices = np.array(vector.indices, np.uint32)
    values = np.array(vector.values, np.float32)
    if not (indices[1:] > indices[:-1]).all():
        order = np.argsort(indices, kind="stable")
        indices, values = indices[order], values[order]
    return SparseVector(indices, values)


class SpladeModel(TorchModel):
    """A masked language model that weights every word of its vocabulary."""

    kind: ModelKind = "sparse"
    reads_token_ids = True

    @staticmethod
    def _library() -> Any:
        from sentence_transformers import SparseEncoder  # noqa: PLC0415 - takes many seconds, and only encoding needs it

        return SparseEncoder

    def _check(self, model: Any) -> None:
        check_pooling(self.config, model)
        check_prompts(self.config, model)

    def _encoder(self, replica: Replica) -> Encoder:
        return SpladeEncoder(self.config, replica)


class SpladeEncoder(TorchEncoder):
    """A SPLADE model on its device."""

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        return self._encode(texts, prompt=self.config.document_prompt, cut=False)

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        return self._encode(texts, prompt=self.config.query_prompt, cut=True)

    def _encode(self, texts: Sequence[str], *, prompt: str, cut: bool) -> list[SparseVector]:
        weights = self.forward(texts, prompt=prompt, cut=cut)
        # Only non-zero weights leave the device.
        rows, columns = weights.nonzero(as_tuple=True)
        values = weights[rows, columns]
        return sparse_rows(len(texts), rows.cpu().numpy(), columns.cpu().numpy(), values.cpu().numpy())
