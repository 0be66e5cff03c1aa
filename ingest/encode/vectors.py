"""Checks on the vectors of an encoder: unit length, the right shape, and finite."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.encode.contract import Model, Vectors
from ingest.errors import ModelError
from ingest.records import DenseMatrix, SparseVector


def unit_rows(rows: NDArray[np.float32]) -> DenseMatrix:
    """Return each row divided by its length. A row of zeros becomes NaN, which `finite_rows` rejects."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def sparse_rows(count: int, rows: NDArray[Any], columns: NDArray[Any], values: NDArray[np.float32]) -> list[SparseVector]:
    """Return `count` sparse vectors from the non-zero entries of a matrix: sorted by row, then by column."""
    bounds = np.searchsorted(rows, np.arange(count + 1))
    indices = columns.astype(np.uint32)
    return [SparseVector(indices[start:end], values[start:end]) for start, end in pairwise(bounds)]


def finite_rows(model: Model, vectors: Vectors, count: int) -> NDArray[np.bool_]:
    """Return `(count,)`, False for each vector that is not finite.

    Raises `ModelError` if there are not `count` vectors of the model's kind and dimension.
    """
    if model.kind == "multivector":
        return _finite_multivectors(model, vectors, count)
    if model.dim is not None:
        if not isinstance(vectors, np.ndarray) or vectors.shape != (count, model.dim) or vectors.dtype != np.float32:
            raise _unexpected(model, vectors, f"float32 {(count, model.dim)}")
        rows: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(vectors), axis=1)
        return rows
    sparse = [vector for vector in vectors if isinstance(vector, SparseVector)]
    sizes = np.array([len(vector.values) for vector in sparse], np.intp)
    if len(sizes) != count or any(len(vector.indices) != size for vector, size in zip(sparse, sizes, strict=True)):
        raise _unexpected(model, vectors, f"{count} sparse vectors, each with as many indices as values")
    finite = np.ones(count, np.bool_)
    if sizes.any():
        numbers = np.isfinite(np.concatenate([vector.values for vector in sparse]))
        finite[np.repeat(np.arange(count), sizes)[~numbers]] = False
    return finite


def _finite_multivectors(model: Model, vectors: Vectors, count: int) -> NDArray[np.bool_]:
    if (
        not isinstance(vectors, list)
        or len(vectors) != count
        or not all(
            isinstance(matrix, np.ndarray) and matrix.ndim == 2 and len(matrix) and matrix.shape[1] == model.dim  # noqa: PLR2004
            for matrix in vectors
        )
    ):
        raise _unexpected(model, vectors, f"{count} multivectors of {model.dim} dimensions, each with a row or more")
    return np.array([isinstance(matrix, np.ndarray) and bool(np.isfinite(matrix).all()) for matrix in vectors], np.bool_)


def not_finite(model: Model) -> str:
    """Return the reason for rejecting a vector."""
    return f"{model.key} made a vector that is not finite, computing in {model.dtype}"


def _unexpected(model: Model, vectors: Any, expected: str) -> ModelError:
    actual = f"{vectors.dtype} {vectors.shape}" if isinstance(vectors, np.ndarray) else f"{len(vectors)} {_kind(vectors)}"
    return ModelError(f"model {model.key!r} returned {actual} where {expected} was expected: its configuration is wrong")


def _kind(vectors: Any) -> str:
    return "sparse vectors" if all(isinstance(vector, SparseVector) for vector in vectors) else "multivectors"
