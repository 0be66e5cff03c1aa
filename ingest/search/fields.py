"""Sentences about the fields of a filter: one that no chunk has, or that holds values of another kind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from ingest.parameters import shown
from ingest.store.conditions import values_at
from ingest.store.contract import Condition, Filter, Store
from ingest.store.filters import conditions_in

SAMPLE = 16
"""Chunks that are read to see what a field holds."""

_HINTS = {
    ("number", "date"): "compare with a date, such as 2020-01-01",
    ("number", "text"): "put the value in double quotes",
    ("text", "number"): "compare with a number, without quotes",
    ("text", "date"): "compare by >= and <, which understand dates",
    ("date", "number"): "compare with a number",
    ("date", "text"): "only ISO 8601 dates have an order",
}


class FieldCheck:
    """What the fields of one collection hold, as far as filters asked. Safe from several threads.

    Args:
        store: an open store.
        collection: name of the collection itself.
        name: the caller's name for it, for messages.
    """

    def __init__(self, store: Store, collection: str, name: str) -> None:
        self._store = store
        self._collection = collection
        self._name = name
        self._known: set[str] = set()

    def warnings(self, filters: Sequence[Filter], *, found: bool) -> tuple[str, ...]:
        """Return a sentence for each field that may be a mistake: if nothing was found, or where absence may pass.

        A field that exists is found at once and remembered; a missing one takes a scan.
        """
        suspects = [each for each, certain in conditions_in(filters) if not (found and certain) or _absence_passes(each)]
        missing = [field for field in dict.fromkeys(each.field for each in suspects) if not self._has(field)]
        sentences = [
            f"no chunk of {self._name!r} has a field {field}: a document's own fields are named metadata.…" for field in missing
        ]
        if not found:
            others = [each for each in suspects if each.field not in missing]
            sentences += filter(None, (mismatch(each, self._sample(each.field)) for each in others))
        return tuple(dict.fromkeys(sentences))

    def _has(self, field: str) -> bool:
        if field not in self._known:
            if not self._sample(field, points=1):
                return False
            self._known.add(field)
        return True

    def _sample(self, field: str, *, points: int = SAMPLE) -> list[Any]:
        """Return the values of the field in a few chunks that have it."""
        having = self._store.scroll(self._collection, [Condition(field, "exists", value=True)], page=points)
        return [value for point in islice(having, points) for value in values_at(point.payload, field)]


def mismatch(condition: Condition, values: Sequence[Any]) -> str | None:
    """Return a sentence if none of these values of the field is of a kind that the condition compares with, else None."""
    wanted = _wanted(condition)
    held = {_kind(value): value for value in values}
    if not wanted or not held or any(kind in held or (kind == "text" and "date" in held) for kind in wanted):
        return None
    kind, example = next(iter(held.items()))
    hint = _HINTS.get((wanted[0], kind), "compare with a value of that kind")
    return (
        f"the filter on {condition.field} compares with a {wanted[0]}, and the field has values such as {shown(example)}: {hint}"
    )


def _wanted(condition: Condition) -> list[str]:
    match condition.operator:
        case "eq":
            return [_kind(condition.value, date=False)]
        case "any":
            return [_kind(value, date=False) for value in condition.value]
        case "gt" | "gte" | "lt" | "lte":
            return [_kind(condition.value)]
        case "text":
            return ["text"]
        case "near" | "box" | "polygon":
            return ["place"]
    return []


def _kind(value: object, *, date: bool = True) -> str:
    match value:
        case bool():
            return "true or false"
        case int() | float():
            return "number"
        case str():
            return "date" if date and _is_date(value) else "text"
        case {"lat": _, "lon": _}:
            return "place"
    return "object"


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _absence_passes(condition: Condition) -> bool:
    match condition.operator:
        case "none":
            return True
        case "missing":
            return bool(condition.value)
        case "exists" | "null":
            return not condition.value
    return False
