"""Filters of Haystack, translated to ours, and a document store with them, for Haystack's own tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haystack import Document
from haystack.errors import FilterError
from store_data import point

from ingest.errors import ConfigurationError
from ingest.store.contract import Store
from ingest.store.filters import parse_filter

_BOUNDS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_NEVER = {"exists": True, "missing": True}
"""A test that no field passes: Haystack's comparisons with None."""


def where_of(filters: Any) -> dict[str, Any]:  # noqa: PLR0911  one case an operator
    """Return a filter of Haystack as `where`. Raises `FilterError`."""
    match filters:
        case {"operator": "AND" | "OR" as operator, "conditions": [*conditions]}:
            return {operator.lower(): [where_of(each) for each in conditions]}
        case {"operator": "NOT", "conditions": [*conditions]}:
            return {"not": {"and": [where_of(each) for each in conditions]}}
        case {"field": str(field), "operator": str(operator), "value": value}:
            name = f"metadata.{field.removeprefix('meta.')}"
            match operator, value:
                case "==" | "!=", None:
                    return {name: {"exists": operator == "!="}}
                case "==", _:
                    return {name: value}
                case "!=", _:
                    return {name: {"not": value}}
                case "in" | "not in", list():
                    return {name: {"any" if operator == "in" else "none": value}}
                case ">" | ">=" | "<" | "<=", _:
                    return {name: _NEVER if value is None else {_BOUNDS[operator]: value}}
    raise FilterError(f"{filters!r} is no filter")


class FilteredStore:
    """What Haystack's tests of filters need of a document store. Each document is a point with its `meta` as metadata."""

    def __init__(self, store: Store, collection: str) -> None:
        self._store = store
        self._collection = collection
        self._documents: dict[str, Document] = {}

    def write_documents(self, documents: list[Document]) -> None:
        points = [point(number, metadata=each.meta, columns=("plain",)) for number, each in enumerate(documents)]
        self._documents = {stored.id: each for stored, each in zip(points, documents, strict=True)}
        self._store.upsert(self._collection, points)

    def filter_documents(self, filters: Mapping[str, Any] | None = None) -> list[Document]:
        """Return the documents in the order in which they were written."""
        try:
            conditions = parse_filter(where_of(filters)) if filters else ()
        except ConfigurationError as exc:
            raise FilterError(str(exc)) from exc
        found = {each.id for each in self._store.scroll(self._collection, conditions, payload=False)}
        return [document for id_, document in self._documents.items() if id_ in found]
