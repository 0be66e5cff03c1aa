"""Late interaction without a model: one row per word."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ingest.encode.contract import ModelKind
from ingest.records import DenseMatrix
from ingest.testing import HashEncoder


class WordRows(HashEncoder):
    """A late-interaction model and its encoder in one: the rows of a text are the hashes of its words."""

    @property
    def kind(self) -> ModelKind:
        return "multivector"

    def encode_documents(self, texts: Sequence[str]) -> list[DenseMatrix]:  # type: ignore[override]  # its parent is dense
        if self._record:
            self.encoded.extend(texts)
        return [self._hash(text.lower().split()) for text in texts]

    encode_queries = encode_documents  # type: ignore[assignment]  # as above


def max_sim(query: NDArray[np.float32], rows: NDArray[np.float32]) -> float:
    """The sum of each query row's best similarity."""
    return float((query @ rows.T).max(axis=1).sum())
