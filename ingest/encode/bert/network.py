"""A BERT in float32: absolute positions, exact GELU, and the mean or the first token as the vector of a text."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.encode.bert.shape import BertShape
from ingest.encode.tokens import TokenIds

Matrix = NDArray[np.float32]
Step = Callable[[Matrix], Matrix]
Layer = Callable[[Matrix, Sequence[slice]], Matrix]

_WORDS = "embeddings.word_embeddings.weight"


class Weights:
    """The weights of a BERT, mapped into memory: nothing is copied, and what no query needs is not even read.

    A safetensors file is the length of a header (8 bytes), the header as JSON, and the tensors.

    Raises `OSError` if the file cannot be read, and `ValueError` if its weights are not float32 or some are missing.
    """

    def __init__(self, file: Path) -> None:
        with file.open("rb") as stream:
            self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self._start = 8 + int.from_bytes(self._bytes[:8], "little")
        header: Any = json.loads(self._bytes[8 : self._start])
        self._tensors: dict[str, Any] = header if isinstance(header, dict) else {}
        self._prefix = "bert." if f"bert.{_WORDS}" in self._tensors else ""
        self._words = self.read(_WORDS)

    def read(self, name: str) -> Matrix:
        """Return a tensor."""
        match self._tensors.get(self._prefix + name):
            case {"dtype": "F32", "shape": list(shape), "data_offsets": [int(start), int(end)]} if start < end:
                numbers = np.frombuffer(self._bytes, "<f4", (end - start) // 4, self._start + start)
                return numbers.reshape(shape)
        raise ValueError(f"there are no float32 weights {name}")

    def words(self, token_ids: TokenIds) -> Matrix:
        """Return the embedding of each token."""
        return self._words[token_ids]

    def linear(self, name: str) -> Step:
        weight, bias = self.read(f"{name}.weight").T, self.read(f"{name}.bias")
        return lambda matrix: matrix @ weight + bias

    def layer_norm(self, name: str, epsilon: float) -> Step:
        weight, bias, least = self.read(f"{name}.weight"), self.read(f"{name}.bias"), np.float32(epsilon)
        mean_of = np.full(len(weight), 1 / len(weight), np.float32)

        def normalize(matrix: Matrix) -> Matrix:
            centered = matrix - (matrix @ mean_of)[:, None]
            variance = np.square(centered) @ mean_of
            centered /= np.sqrt(variance + least)[:, None]
            centered *= weight
            centered += bias
            return centered

        return normalize


class Bert:
    """A network that turns the tokens of texts into vectors. Raises what `Weights` raises.

    The tokens of all texts are one matrix, without padding: a product of matrices takes little longer for many rows than for few.
    Only attention is computed text by text.
    """

    def __init__(self, weights: Weights, shape: BertShape) -> None:
        self._weights = weights
        self._shape = shape
        self._positions = weights.read("embeddings.position_embeddings.weight")
        self._type = weights.read("embeddings.token_type_embeddings.weight")[0]
        self._normalize = weights.layer_norm("embeddings.LayerNorm", shape.epsilon)
        self._layers = [self._layer(f"encoder.layer.{number}") for number in range(shape.layers)]

    def __call__(self, texts: Sequence[TokenIds]) -> Matrix:
        """Return the vectors of texts, `(n, dim)`, not of unit length. Their token ids include the special tokens."""
        borders = np.cumsum([0, *map(len, texts)]).tolist()
        rows = [slice(start, end) for start, end in pairwise(borders)]
        positions = np.concatenate([self._positions[: len(text)] for text in texts])
        hidden = self._normalize(self._weights.words(np.concatenate(texts)) + positions + self._type)
        for layer in self._layers:
            hidden = layer(hidden, rows)
        return np.stack([hidden[each][0] if self._shape.pooling == "cls" else hidden[each].mean(axis=0) for each in rows])

    def _layer(self, name: str) -> Layer:
        weights, epsilon, heads = self._weights, self._shape.epsilon, self._shape.heads
        size = self._shape.dim // heads
        query, key, value = (weights.linear(f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        merge = weights.linear(f"{name}.attention.output.dense")
        normalize_attended = weights.layer_norm(f"{name}.attention.output.LayerNorm", epsilon)
        widen, narrow = weights.linear(f"{name}.intermediate.dense"), weights.linear(f"{name}.output.dense")
        normalize = weights.layer_norm(f"{name}.output.LayerNorm", epsilon)

        def compute(hidden: Matrix, texts: Sequence[slice]) -> Matrix:
            projected = query(hidden), key(hidden), value(hidden)
            found = [attended(*(matrix[each].reshape(-1, heads, size) for matrix in projected)) for each in texts]
            hidden = normalize_attended(hidden + merge(np.concatenate(found)))
            return normalize(hidden + narrow(gelu(widen(hidden))))

        return compute


def open_bert(folder: Path, shape: BertShape) -> Bert | None:
    """Return the network with the weights of a folder, or None if they are not one file of float32 weights."""
    try:
        return Bert(Weights(folder / "model.safetensors"), shape)
    except (OSError, ValueError):
        return None


def attended(query: Matrix, key: Matrix, value: Matrix) -> Matrix:
    """Return what each token of a text takes from all, `(tokens, dim)`. The arguments are `(tokens, heads, dim of a head)`."""
    scores = query.swapaxes(0, 1) @ key.transpose(1, 2, 0)
    scores /= np.float32(np.sqrt(query.shape[2]))
    return (softmax(scores) @ value.swapaxes(0, 1)).swapaxes(0, 1).reshape(len(query), -1)


def softmax(scores: Matrix) -> Matrix:
    """Return the softmax over the last axis."""
    powers: Matrix = np.exp(scores - scores.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def gelu(matrix: Matrix) -> Matrix:
    """Return x Φ(x), with the error function to 1.5e-7 (Abramowitz and Stegun 7.1.26), the precision of float32."""
    size = np.abs(matrix)
    size *= np.float32(np.sqrt(0.5))
    t = size * np.float32(0.3275911)
    t += 1
    np.reciprocal(t, out=t)
    error = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        error += np.float32(coefficient)
        error *= t
    np.square(size, out=size)
    np.negative(size, out=size)
    np.exp(size, out=size)
    error *= size
    np.subtract(1, error, out=error)
    np.copysign(error, matrix, out=error)
    error += 1
    error *= matrix
    error /= 2
    return error
