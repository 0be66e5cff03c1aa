"""Sentences about the fields that a request names: missing ones, values of another kind, indexes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from itertools import islice
from typing import Any

from ingest.errors import ConfigurationError
from ingest.parameters import shown
from ingest.store.contract import Condition, Filter, Store
from ingest.store.filters import conditions_in
from ingest.store.payload_index import PayloadIndex
from ingest.store.payload_path import paths_in, values_at
from ingest.store.schema import INGEST_FIELD

FRESH_SECONDS = 60.0
"""Seconds for which the indexes of a collection and its number of points are remembered."""

LARGE = 100_000
"""Points from which a filter on a field without an index is worth a warning."""

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


@dataclass(frozen=True, slots=True)
class FieldUse:
    """A use of a field by an option of a request, outside of its filters.

    Attributes:
        option: the option that names the field.
        kinds: the kinds of values that the option can use, as `_kind` names them; none if any will do.
        hint: what to write instead if the field has only others.
    """

    option: str
    field: str
    kinds: tuple[str, ...] = ()
    hint: str = ""


class FieldCheck:
    """A check of requests against the values of a collection's fields, which it remembers. Safe from several threads.

    Args:
        store: an open store.
        collection: name of the collection itself.
        name: the caller's name for it, for messages.
        own: conditions on all points that may be read.
        clock: monotonic seconds.
    """

    def __init__(
        self, store: Store, collection: str, name: str, own: Sequence[Filter] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._collection = collection
        self._name = name
        self._own = own
        self._clock = clock
        self._known: set[str] = set()
        self._useful: set[FieldUse] = set()
        self._facts = _Facts({}, 0, {})
        self._fresh_until = float("-inf")

    def check(self, filters: Sequence[Filter]) -> None:
        """Raise `ConfigurationError` for a condition that the index of its field answers wrongly."""
        indexes = self._current().indexes if filters else {}
        for condition, _ in conditions_in(filters):
            if (index := indexes.get(condition.field)) and (problem := wrong_index(condition, index)):
                raise ConfigurationError(f"where: {problem}")

    def warnings(self, filters: Sequence[Filter], others: Sequence[FieldUse] = (), *, found: bool) -> tuple[str, ...]:
        """Return a sentence for each field that may be a mistake, if nothing was found, or where absence may pass; for one whose
        index is missing or leaves out values; and for an option that can use none of the values of its field.

        A field that exists is found at once and remembered; a missing one takes a scan.

        Args:
            others: fields that the request names outside of its filters, such as that of its groups.
        """
        conditions = list(conditions_in(filters))
        suspects = [each for each, certain in conditions if not (found and certain) or _absence_passes(each)]
        named = dict.fromkeys([*(each.field for each in suspects), *(each.field for each in others)])
        missing = [field for field in named if not self._has(field)]
        known = self._some_fields() if missing else []
        missing = missing if known else []  # in an empty collection no field is a mistake
        sentences = [f"no chunk of {self._name!r} has a field {field}: {nearest_field(field, known)}" for field in missing]
        if not found:
            present = [each for each in suspects if each.field not in missing]
            sentences += filter(None, (mismatch(each, self._sample(each.field)) for each in present))
        sentences += filter(None, (self._about_index(each) for each, _ in conditions if each.field not in missing))
        sentences += filter(None, (self._about_use(each) for each in others if each.field not in missing))
        return tuple(dict.fromkeys(sentences))

    def _about_use(self, use: FieldUse) -> str | None:
        if not use.kinds or use in self._useful:
            return None
        values = self._sample(use.field)
        if values and not any(_kind(value) in use.kinds for value in values):
            return f"{use.option}: {use.field} has values such as {shown(values[0])}: {use.hint}"
        self._useful.add(use)
        return None

    def _about_index(self, condition: Condition) -> str | None:
        facts = self._current()
        index = facts.indexes.get(condition.field)
        if index is None and facts.points >= LARGE:
            return (
                f"{condition.field} has no payload index, so each filter on it reads many of {facts.points:,} chunks: add"
                f" {condition.field.removeprefix('metadata.')} to [index] in ingest.toml and run the sync again"
            )
        if index is None or index.type != "integer" or _wanted(condition) != ["number"]:
            return None
        having = facts.having.get(condition.field)
        if having is None:
            having = self._store.count(self._collection, [*self._own, Condition(condition.field, "exists", value=True)])
            facts.having[condition.field] = having
        left_out = having - (index.points or 0)
        if left_out <= 0:
            return None
        return f"the integer index of {condition.field} leaves out {left_out:,} chunks with other values: index it as float"

    def _current(self) -> _Facts:
        if self._clock() >= self._fresh_until:
            self._fresh_until = self._clock() + FRESH_SECONDS
            self._facts = _Facts(self._store.indexes(self._collection), self._store.count(self._collection), {})
        return self._facts

    def _has(self, field: str) -> bool:
        if field not in self._known:
            if not self._sample(field, points=1):
                return False
            self._known.add(field)
        return True

    def _some_fields(self) -> list[str]:
        """Return the fields of a few chunks, without those that belong to the package alone."""
        points = islice(self._store.scroll(self._collection, self._own, page=SAMPLE), SAMPLE)
        paths = (path for point in points for path in paths_in(point.payload))
        return [path for path in dict.fromkeys(paths) if not path.startswith(INGEST_FIELD)]

    def _sample(self, field: str, *, points: int = SAMPLE) -> list[Any]:
        """Return the values of the field in a few chunks that have it."""
        having = self._store.scroll(self._collection, [*self._own, Condition(field, "exists", value=True)], page=points)
        return [value for point in islice(having, points) for value in values_at(point.payload, field)]


@dataclass(frozen=True, slots=True)
class _Facts:
    """The indexes and points of a collection at one time, and field → points that have it, as far as counted."""

    indexes: Mapping[str, PayloadIndex]
    points: int
    having: dict[str, int]


def nearest_field(field: str, known: Sequence[str]) -> str:
    """Return a hint at the field that is meant by one that no chunk has."""
    if field == "folders":  # of `path^=`
        return "no file lies in a folder below the one that was read"
    by_name = {path.removeprefix("metadata."): path for path in known}
    close = get_close_matches(field.removeprefix("metadata."), by_name, n=1)
    return f"did you mean {by_name[close[0]]}?" if close else "a document's own fields are named metadata.…"


def wrong_index(condition: Condition, index: PayloadIndex) -> str | None:
    """Return a sentence if the index compares numbers with dates, which both are numbers to it, else None."""
    wanted = _wanted(condition)
    if index.type == "datetime" and "number" in wanted:
        return f"{condition.field} has a datetime index: compare it with a date, such as 2020-01-01"
    if index.type in ("integer", "float") and "date" in wanted:
        return f"{condition.field} has an index of numbers: compare it with a number"
    return None


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
