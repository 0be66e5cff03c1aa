"""The vectors of stored chunks as a query. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ingest.encode.contract import Vectors
from ingest.records import SparseVector, Vector

MAX_TERMS = 100
"""Most terms of a sparse query: those of the greatest weight."""


def mean_vector(vectors: Sequence[Vector]) -> Vectors | None:
    """Return the mean of one named vector of several chunks as a batch of one query, or None if no chunk has it."""
    if not vectors:
        return None
    if isinstance(vectors[0], SparseVector):
        return [_mean_of_sparse([vector for vector in vectors if isinstance(vector, SparseVector)])]
    rows = np.array([np.asarray(vector) for vector in vectors], dtype=np.float64)
    return np.array([rows.mean(axis=0)], dtype=np.float32)


def _mean_of_sparse(vectors: Sequence[SparseVector]) -> SparseVector:
    indices = np.concatenate([vector.indices for vector in vectors])
    values = np.concatenate([vector.values for vector in vectors])
    terms, where = np.unique(indices, return_inverse=True)
    sums = np.bincount(where, weights=values, minlength=len(terms)) / len(vectors)
    kept = np.sort(np.argsort(-sums, kind="stable")[:MAX_TERMS])
    return SparseVector(terms[kept].astype(np.uint32), sums[kept].astype(np.float32))
