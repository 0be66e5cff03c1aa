"""The faults of stored vectors. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ingest.records import SparseVector, Vector

LENGTH_TOLERANCE = 0.01
"""Allowed deviation of a dense vector's length from 1. Encoders return unit vectors; float32 rounding is about a millionth."""

Owner = TypeVar("Owner")


def find_faults(vectors: Sequence[tuple[Owner, Vector]], dim: int | None) -> Iterator[tuple[Owner, str]]:
    """Yield the owners of faulty vectors of one name, each with a phrase that continues "the vector …".

    `dim`: the dimension, or None for sparse vectors.
    """
    return _sparse_faults(vectors) if dim is None else _dense_faults(vectors, dim)


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
