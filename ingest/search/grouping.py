"""Documents of candidates: one hit for each document. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.records import Payload, doc_key
from ingest.search.fusion import Fused, Rankings

GROUP_DEPTH = 5
"""Chunks per vector for each document that a search grouped by document returns. It asks for more if they are too few."""


def document_keys(rankings: Rankings) -> set[str]:
    """Return the keys of the documents in the rankings, whose payloads contain `doc_id` and `source`."""
    return {key for ranking in rankings.values() for point in ranking if (key := _key(point.payload)) is not None}


def best_of_each_document(fused: Sequence[Fused], rankings: Rankings) -> list[Fused]:
    """Return the best candidate of each document, in their order. A point without a document stands for itself."""
    keys = {point.id: _key(point.payload) for ranking in rankings.values() for point in ranking}
    best: dict[str, Fused] = {}
    for candidate in fused:
        best.setdefault(keys[candidate.id] or candidate.id, candidate)
    return list(best.values())


def _key(payload: Payload) -> str | None:
    match payload:
        case {"source": str() as source, "doc_id": str() as doc_id}:
            return doc_key(source, doc_id)
    return None
