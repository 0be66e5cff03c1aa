"""What leaves an encoder: of unit length, of the right shape, and finite."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.encode.contract import Model, Vectors
from ingest.errors import ModelError
from ingest.records import DenseMatrix, SparseVector


def unit_rows(rows: NDArray[np.float32]) -> DenseMatrix:
    """Each row divided by its length. A row of zeros has no direction: it becomes NaN, which no border lets through."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def sparse_rows(count: int, rows: NDArray[Any], columns: NDArray[Any], values: NDArray[np.float32]) -> list[SparseVector]:
    """`count` vectors from what is not zero in a matrix: where it is, row by row with ascending columns, and what it is."""
    bounds = np.searchsorted(rows, np.arange(count + 1))
    indices = columns.astype(np.uint32)
    return [SparseVector(indices[start:end], values[start:end]) for start, end in pairwise(bounds)]


def finite_rows(model: Model, vectors: Vectors, count: int) -> NDArray[np.bool_]:
    """`(count,)`, False where a vector is not made of finite numbers.

    Raises `ModelError` if these are not `count` vectors of the kind and dimension that the model is said to make.
    """
    if model.dim is not None:
        if not isinstance(vectors, np.ndarray) or vectors.shape != (count, model.dim) or vectors.dtype != np.float32:
            raise _unexpected(model, vectors, f"float32 {(count, model.dim)}")
        rows: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(vectors), axis=1)
        return rows
    sizes = np.array([len(vector.values) for vector in vectors] if isinstance(vectors, list) else [], np.intp)
    if len(sizes) != count or any(len(vector.indices) != size for vector, size in zip(vectors, sizes, strict=True)):
        raise _unexpected(model, vectors, f"{count} sparse vectors, each with as many indices as values")
    finite = np.ones(count, np.bool_)
    if sizes.any():
        numbers = np.isfinite(np.concatenate([vector.values for vector in vectors]))
        finite[np.repeat(np.arange(count), sizes)[~numbers]] = False
    return finite


def not_finite(model: Model) -> str:
    """Why a text's vector was refused."""
    return f"{model.key} made a vector that is not finite, computing in {model.dtype}"


def _unexpected(model: Model, found: Any, expected: str) -> ModelError:
    made = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else f"{len(found)} sparse vectors"
    return ModelError(f"model {model.key!r} made {made} where {expected} was expected: its configuration is wrong")
