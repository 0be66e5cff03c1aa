"""Counts of the values of a field."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ingest.store.contract import MAX_FACETS, Filter, Store
from ingest.store.payload_path import values_at

_COUNTED_BY_INDEX = ("keyword", "integer", "bool", "uuid")


def count_values(store: Store, collection: str, field: str, filters: Sequence[Filter]) -> dict[str, int]:
    """Return the most frequent values of a field as text, with the number of chunks that have each, the most frequent first.

    Without an index, all chunks that pass the filters are read.
    """
    index = store.indexes(collection).get(field)
    if index is not None and index.type in _COUNTED_BY_INDEX:
        counts = store.facet(collection, field, filters)
    else:
        points = store.scroll(collection, filters, payload=[field])
        counts = Counter(text for point in points for text in {_text(value) for value in values_at(point.payload, field)})
    return dict(sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:MAX_FACETS])


def facet_warnings(facets: Mapping[str, Mapping[str, int]]) -> tuple[str, ...]:
    """Return a sentence for each field that may have more values than are counted."""
    return tuple(
        f"facets: {len(counts):,} values of {field} are counted, the most frequent ones: it may have more"
        for field, counts in facets.items()
        if len(counts) >= MAX_FACETS
    )


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
