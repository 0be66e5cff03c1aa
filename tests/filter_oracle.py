"""What a filter means, in plain Python; and strategies for filters and the payloads they test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from ingest.store.contract import Combination, Condition, Filter

MISSING = object()

PLACES = [(52.52, 13.40), (48.86, 2.35), (40.71, -74.01), (-33.87, 151.21)]
NUMBERS: list[int | float] = [0, 1, 1.0, -1, 2, 2.5, -2.5, 3, 2020, 2**53 - 1]
HUGE = [2**53, 2**53 + 1, 2**53 + 2, 2**63 - 1, -(2**53) - 1]
DATES = ["2020-01-01", "2020-06-01T12:00:00", "2020-06-01T12:00:00Z", "2020-06-01T14:00:00+02:00", "2021-12-31T23:59:59.5Z"]
TEXTS = ["", "a", "b", "ab", "a b", "A", "x & y", 'say "a"', "red and n=1", "1", "true", "null", "é", *DATES]
FIELDS = ["metadata.a", "metadata.b", 'metadata."odd name"', "metadata.inner.a", "metadata.inner.deep.b"]

scalars = st.sampled_from([*NUMBERS, *HUGE, *TEXTS, True, False])
places = st.sampled_from([{"lat": lat, "lon": lon} for lat, lon in PLACES])
values = scalars | st.none() | st.lists(scalars | st.none(), max_size=3) | places | st.lists(places, max_size=2)
items = st.dictionaries(st.sampled_from(["a", "b"]), scalars | st.none() | st.lists(scalars, max_size=2), max_size=2)
inner = st.fixed_dictionaries({}, optional={"a": values, "deep": st.fixed_dictionaries({}, optional={"b": values})})
documents = st.fixed_dictionaries(
    {}, optional={"a": values, "b": values, "odd name": values, "inner": inner, "items": st.lists(items, max_size=3)}
)


def conditions(fields: st.SearchStrategy[str]) -> st.SearchStrategy[Condition]:
    dates = [datetime.fromisoformat(text).replace(tzinfo=UTC).isoformat() for text in DATES[:3]]
    bounds = st.sampled_from([*NUMBERS, *dates])
    lists = st.lists(scalars, min_size=1, max_size=3).map(tuple)
    boxes = st.sampled_from([(40.0, 0.0, 60.0, 20.0), (-90.0, -180.0, 90.0, 180.0), (0.0, 0.0, 1.0, 1.0)])
    near = st.tuples(st.sampled_from(PLACES), st.sampled_from([1_000.0, 1_000_000.0, 7_000_000.0])).map(
        lambda it: (*it[0], it[1])
    )
    polygons = st.just(((40.0, 0.0), (60.0, 0.0), (60.0, 20.0), (40.0, 20.0)))
    return st.one_of(
        st.builds(Condition, fields, st.just("eq"), scalars),
        st.builds(Condition, fields, st.sampled_from(["any", "none"]), lists),
        st.builds(Condition, fields, st.sampled_from(["gt", "gte", "lt", "lte"]), bounds),
        st.builds(Condition, fields, st.sampled_from(["exists", "null", "missing"]), st.booleans()),
        st.builds(Condition, fields, st.just("text"), st.sampled_from([text for text in TEXTS if text])),
        st.builds(Condition, fields, st.just("near"), near),
        st.builds(Condition, fields, st.just("box"), boxes),
        st.builds(Condition, fields, st.just("polygon"), polygons),
    )


def nested(leaves: st.SearchStrategy[Filter], most: int) -> st.SearchStrategy[Filter]:
    return st.recursive(
        leaves,
        lambda parts: st.builds(
            Combination, st.sampled_from(["and", "or", "not"]), st.lists(parts, min_size=1, max_size=3).map(tuple)
        ),
        max_leaves=most,
    )


elements = st.builds(Condition, st.just("metadata.items"), st.just("element"), nested(conditions(st.sampled_from(["a", "b"])), 4))
filters = nested(st.one_of(conditions(st.sampled_from(FIELDS)), conditions(st.sampled_from(FIELDS)), elements), 8)


def meets(payload: Mapping[str, Any], part: Filter) -> bool:  # noqa: PLR0911  one case an operator
    """Return whether a payload meets a filter."""
    if isinstance(part, Combination):
        met = [meets(payload, each) for each in part.filters]
        return {"and": all(met), "or": any(met), "not": not any(met)}[part.operator]
    assert isinstance(part, Condition)
    value = _found(payload, part.field)
    present = [] if value is MISSING or value is None else value if isinstance(value, list) else [value]
    match part.operator:
        case "exists":
            return bool(present) is part.value
        case "missing":
            return (value is MISSING or value == []) is part.value
        case "null":
            return (value is None) is part.value
        case "any":
            return any(_equal(item, wanted) for item in present for wanted in part.value)
        case "none":
            return not any(_equal(item, wanted) for item in present for wanted in part.value)
        case "element":
            return isinstance(value, list) and any(meets(item, part.value) for item in value)
    return any(_passes(item, part) for item in present)


def _found(payload: Any, field: str) -> Any:
    for step in field.split("."):
        name = step.strip('"')
        if not isinstance(payload, dict) or name not in payload:
            return MISSING
        payload = payload[name]
    return payload


def _passes(item: Any, condition: Condition) -> bool:  # noqa: PLR0911  one case an operator
    wanted = condition.value
    match condition.operator:
        case "eq":
            return _equal(item, wanted)
        case "text":
            return isinstance(item, str) and wanted in item
        case "near":
            return isinstance(item, dict) and _distance((item["lat"], item["lon"]), wanted[:2]) <= wanted[2]
        case "box":
            south, west, north, east = wanted
            return isinstance(item, dict) and south < item["lat"] < north and west < item["lon"] < east
        case "polygon":
            return isinstance(item, dict) and 40 < item["lat"] < 60 and 0 < item["lon"] < 20  # the only one of the strategy
    one, other = _ordered(item, wanted)
    if one is None:
        return False
    return bool({"gt": one > other, "gte": one >= other, "lt": one < other, "lte": one <= other}[condition.operator])


def _ordered(item: Any, bound: Any) -> tuple[Any, Any]:
    if isinstance(bound, str):
        return (_date(item), _date(bound)) if isinstance(item, str) else (None, None)
    return (item, bound) if isinstance(item, int | float) and not isinstance(item, bool) else (None, None)


def _date(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _equal(item: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(item, bool) or isinstance(wanted, str) or isinstance(item, str):
        return type(item) is type(wanted) and item == wanted
    return isinstance(item, int | float) and item == wanted


def _distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    (lat, lon), (lat2, lon2) = (tuple(map(math.radians, place)) for place in (one, other))
    half = math.sin((lat2 - lat) / 2) ** 2 + math.cos(lat) * math.cos(lat2) * math.sin((lon2 - lon) / 2) ** 2
    return 2 * 6_371_000 * math.asin(math.sqrt(half))
