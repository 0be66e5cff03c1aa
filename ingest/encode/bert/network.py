"""A BERT in float32: absolute positions, exact GELU, and the mean or the first token as the vector of a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ingest.encode.bert.shape import BertShape
from ingest.encode.tokens import TokenIds

Matrix = NDArray[np.float32]
Step = Callable[[Matrix], Matrix]

_WORDS = "embeddings.word_embeddings.weight"


class Weights:
    """The weights of a BERT, mapped into memory.

    Raises `OSError` and `SafetensorError` if the file cannot be read or lacks some, and `ValueError` if they are not float32.
    """

    def __init__(self, file: Path) -> None:
        opened: Any = safe_open(file, framework="numpy")
        self._file = opened
        self._prefix = "bert." if f"bert.{_WORDS}" in opened.keys() else ""  # noqa: SIM118  it is no mapping
        self._words = opened.get_slice(self._prefix + _WORDS)

    def read(self, name: str) -> Matrix:
        """Return a tensor."""
        weights: Matrix = self._file.get_tensor(self._prefix + name)
        if weights.dtype != np.float32:
            raise ValueError(f"{name} is {weights.dtype}")
        return weights

    def words(self, token_ids: TokenIds) -> Matrix:
        """Return the embedding of each token. The table is the largest part of a small model, so only these rows are read."""
        return np.concatenate([self._words[token : token + 1] for token in token_ids.tolist()])

    def linear(self, name: str) -> Step:
        weight, bias = self.read(f"{name}.weight").T, self.read(f"{name}.bias")
        return lambda matrix: matrix @ weight + bias

    def layer_norm(self, name: str, epsilon: float) -> Step:
        weight, bias, least = self.read(f"{name}.weight"), self.read(f"{name}.bias"), np.float32(epsilon)

        def normalize(matrix: Matrix) -> Matrix:
            centered = matrix - matrix.mean(axis=-1, keepdims=True)
            variance = np.square(centered).mean(axis=-1, keepdims=True)
            return centered / np.sqrt(variance + least) * weight + bias  # type: ignore[no-any-return]

        return normalize


class Bert:
    """A network that turns the tokens of one text into a vector. Raises what `Weights` raises."""

    def __init__(self, weights: Weights, shape: BertShape) -> None:
        self._weights = weights
        self._shape = shape
        self._positions = weights.read("embeddings.position_embeddings.weight")
        self._type = weights.read("embeddings.token_type_embeddings.weight")[0]
        self._normalize = weights.layer_norm("embeddings.LayerNorm", shape.epsilon)
        self._layers = [self._layer(f"encoder.layer.{number}") for number in range(shape.layers)]

    def __call__(self, token_ids: TokenIds) -> Matrix:
        """Return the vector of a text, `(dim,)`, not of unit length. `token_ids` includes the special tokens."""
        hidden = self._normalize(self._weights.words(token_ids) + self._positions[: len(token_ids)] + self._type)
        for layer in self._layers:
            hidden = layer(hidden)
        vector: Matrix = hidden[0] if self._shape.pooling == "cls" else hidden.mean(axis=0)
        return vector

    def _layer(self, name: str) -> Step:
        weights, epsilon, count = self._weights, self._shape.epsilon, self._shape.heads
        query, key, value = (weights.linear(f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        merge = weights.linear(f"{name}.attention.output.dense")
        normalize_attended = weights.layer_norm(f"{name}.attention.output.LayerNorm", epsilon)
        widen, narrow = weights.linear(f"{name}.intermediate.dense"), weights.linear(f"{name}.output.dense")
        normalize = weights.layer_norm(f"{name}.output.LayerNorm", epsilon)

        def heads(matrix: Matrix) -> Matrix:
            return matrix.reshape(len(matrix), count, -1).swapaxes(0, 1)

        def compute(hidden: Matrix) -> Matrix:
            keys = heads(key(hidden))
            scores = heads(query(hidden)) @ keys.swapaxes(1, 2) / np.float32(np.sqrt(keys.shape[2]))
            attended = (softmax(scores) @ heads(value(hidden))).swapaxes(0, 1).reshape(hidden.shape)
            hidden = normalize_attended(hidden + merge(attended))
            return normalize(hidden + narrow(gelu(widen(hidden))))

        return compute


def open_bert(folder: Path, shape: BertShape) -> Bert | None:
    """Return the network with the weights of a folder, or None if they are not one file of float32 weights."""
    try:
        return Bert(Weights(folder / "model.safetensors"), shape)
    except (OSError, SafetensorError, ValueError):
        return None


def softmax(scores: Matrix) -> Matrix:
    """Return the softmax over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def gelu(matrix: Matrix) -> Matrix:
    """Return x Φ(x), with the error function to 1.5e-7 (Abramowitz and Stegun 7.1.26), the precision of float32."""
    size = np.abs(matrix) / np.float32(np.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * size)
    polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return matrix * (1 + np.copysign(1 - polynomial * np.exp(-size * size), matrix)) / 2  # type: ignore[no-any-return]
