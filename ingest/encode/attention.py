"""BM42: sparse vectors whose terms are weighted by the attention of a small transformer.

The method is Qdrant's: attention of the last layer, from the first token, averaged over heads, summed over the pieces of a word,
ln(1 + weight) ** 0.5; of words with the same stem, the heaviest counts. The weights are the original MiniLM's, run by torch; stop
words, stems and indices are those of Qdrant's English BM25. The result differs slightly from FastEmbed's, which runs Qdrant's
ONNX export: do not mix the two in one collection. Its authors call BM42 experimental: compare it with `bm25` on your own queries
before relying on it. English only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.encode.contract import Encoder, ModelKind
from ingest.encode.feeding import Replica
from ingest.encode.file_model import max_tokens
from ingest.encode.model_config import ModelConfig
from ingest.encode.sparse import bm25, sorted_vector
from ingest.encode.torch_model import TorchModel
from ingest.errors import ModelError
from ingest.records import SparseVector

if TYPE_CHECKING:
    from tokenizers import Encoding

_ALPHA = 0.5
"""The method's exponent: how much a word's weight in its document counts against its rarity in the collection."""

_CACHED_WORDS = 65_536


class AttentionModel(TorchModel):
    """A BERT model of which only the attention of the last layer is used."""

    kind: ModelKind = "sparse"

    model_options = MappingProxyType({"attn_implementation": "eager"})
    """Eager, because faster implementations of attention do not return its weights."""

    @staticmethod
    def _library() -> Any:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - takes many seconds, and only encoding needs it

        return SentenceTransformer

    def _check(self, model: Any) -> None:
        if not model.tokenizer.is_fast:
            raise ModelError(f"model {self.key!r} requires a fast tokenizer, which knows the word of each token")

    def _encoder(self, replica: Replica) -> Encoder:
        return AttentionEncoder(self.config, replica.module)


class AttentionEncoder:
    """An attention model on its device. Queries do not use the model: all words of a query weigh the same."""

    def __init__(self, config: ModelConfig, model: Any) -> None:
        self._config = config
        self._model = model
        self._engine = bm25()
        self._index_of = lru_cache(_CACHED_WORDS)(self._look_up)

    def encode_documents(self, texts: Sequence[str]) -> list[SparseVector]:
        import torch  # noqa: PLC0415

        limit = max_tokens(self._config)
        inputs = self._model.tokenizer(list(texts), padding=True, truncation=True, max_length=limit + 1, return_tensors="pt")
        if int(inputs["attention_mask"].sum(dim=1).max()) > limit:
            raise ModelError(f"more than {limit} tokens, the limit of {self._config.key}: the text would be cut")
        with torch.inference_mode():
            layers = self._model.transformers_model(**inputs.to(self._model.device), output_attentions=True).attentions
            attention = layers[-1][:, :, 0].float().mean(dim=1).cpu().numpy()
        return [self._vector(encoding, weights) for encoding, weights in zip(inputs.encodings, attention, strict=True)]

    def encode_queries(self, texts: Sequence[str]) -> list[SparseVector]:
        return [sorted_vector(self._engine.embed_query(text)) for text in texts]

    def _vector(self, encoding: Encoding, weights: np.ndarray[Any, Any]) -> SparseVector:
        words: dict[int, tuple[str, float]] = {}
        for word, token, weight in zip(encoding.word_ids, encoding.tokens, weights.tolist(), strict=True):
            if word is not None:
                spelling, total = words.get(word, ("", 0.0))
                words[word] = spelling + token.removeprefix("##"), total + weight
        best: dict[int, float] = {}
        for spelling, total in words.values():
            for index in self._index_of(spelling):
                best[index] = max(best.get(index, 0.0), total)
        indices = np.array(sorted(best), np.uint32)
        values = np.array([best[index] for index in sorted(best)], np.float32)
        return SparseVector(indices, np.log1p(values) ** np.float32(_ALPHA))

    def _look_up(self, word: str) -> tuple[int, ...]:
        """Return the index of the word's stem; nothing for stop words and punctuation."""
        return tuple(self._engine.embed_query(word).indices)
