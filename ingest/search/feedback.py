"""Pseudo-relevance feedback: a query moves toward the chunks that it found first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ingest.records import DenseMatrix

FEEDBACK_CHUNKS = 3
"""Best fused chunks whose vectors are added to the query."""

FEEDBACK_WEIGHT = 0.5
"""Weight of their mean, where the query has 1."""

FEEDBACK_LIMIT = 100
"""Most hits of a search with feedback: a longer list is read for its depth, which feedback does not improve."""


def vectors_to_refine(vectors: Collection[str], dense: Collection[str], weights: Mapping[str, float]) -> list[str]:
    """Return the dense vectors that a second query improves: none if a vector is alone, since only the others add evidence."""
    weighted = [name for name in vectors if weights.get(name, 1.0) != 0]
    return [name for name in weighted if name in dense] if len(weighted) > 1 else []


def refined(query: DenseMatrix, chunks: Sequence[DenseMatrix]) -> DenseMatrix:
    """Return the unit vector of the query plus `FEEDBACK_WEIGHT` times the mean of the chunks' vectors."""
    if not chunks:
        return query
    return _unit(_unit(query) + FEEDBACK_WEIGHT * np.mean(chunks, axis=0))


def _unit(vector: DenseMatrix) -> DenseMatrix:
    norm = np.linalg.norm(vector)
    return (vector / norm if norm else vector).astype(np.float32)
