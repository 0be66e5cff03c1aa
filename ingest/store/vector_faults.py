"""The faults of stored vectors. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ingest.records import SparseVector, Vector

LENGTH_TOLERANCE = 0.01
"""Allowed deviation of a dense vector's length from 1. Encoders return unit vectors; float32 rounding is about a millionth."""

Owner = TypeVar("Owner")


class Shaped(Protocol):
    """The shape of the vectors of one name, as a `VectorSpec` and a model know it."""

    @property
    def kind(self) -> str: ...

    @property
    def dim(self) -> int | None: ...


def find_faults(vectors: Sequence[tuple[Owner, Vector]], shape: Shaped) -> Iterator[tuple[Owner, str]]:
    """Yield the owners of faulty vectors of one name, each with a phrase that continues "the vector …"."""
    if shape.dim is None:
        return _sparse_faults(vectors)
    find = _multivector_faults if shape.kind == "multivector" else _dense_faults
    return find(vectors, shape.dim)


def has_shape(vector: Vector, shape: Shaped) -> bool:
    """Return whether a vector is of this kind and dimension."""
    if isinstance(vector, SparseVector):
        return shape.kind == "sparse"
    if shape.kind == "multivector":
        return vector.ndim == 2 and len(vector) > 0 and vector.shape[1] == shape.dim  # noqa: PLR2004  rows and dimensions
    return vector.shape == (shape.dim,)


def _dense_faults(vectors: Sequence[tuple[Owner, Vector]], dim: int) -> Iterator[tuple[Owner, str]]:
    fitting: list[tuple[Owner, NDArray[np.float32]]] = []
    for owner, vector in vectors:
        if isinstance(vector, np.ndarray) and vector.shape == (dim,):
            fitting.append((owner, vector))
        else:
            yield owner, f"does not have {dim} dimensions"
    if not fitting:
        return
    rows = np.stack([vector for _, vector in fitting])
    finite = np.logical_and.reduce(np.isfinite(rows), axis=1)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    for (owner, _), is_finite, length in zip(fitting, finite, lengths, strict=True):
        if not is_finite:
            yield owner, "is not finite"
        elif length == 0:
            yield owner, "is all zeros"
        elif abs(length - 1) > LENGTH_TOLERANCE:
            yield owner, f"has length {length:.3g} instead of 1"


def _multivector_faults(vectors: Sequence[tuple[Owner, Vector]], dim: int) -> Iterator[tuple[Owner, str]]:
    for owner, vector in vectors:
        if not isinstance(vector, np.ndarray) or vector.ndim != 2:  # noqa: PLR2004  rows and dimensions
            yield owner, "is no multivector"
            continue
        rows = [(number, row) for number, row in enumerate(vector)]
        if not rows:
            yield owner, "has no rows"
        for number, fault in islice(_dense_faults(rows, dim), 1):
            yield owner, f"{fault} in row {number}"


def _sparse_faults(vectors: Sequence[tuple[Owner, Vector]]) -> Iterator[tuple[Owner, str]]:
    for owner, vector in vectors:
        if not isinstance(vector, SparseVector):
            yield owner, "is dense instead of sparse"
        elif len(vector.indices) != len(vector.values):
            yield owner, f"has {len(vector.indices)} indices for {len(vector.values)} values"
        elif not np.isfinite(vector.values).all():
            yield owner, "is not finite"
        elif (np.diff(vector.indices.astype(np.int64)) <= 0).any():
            yield owner, "has unordered or repeated indices"
