"""Filters in the JSON of Qdrant's REST API, one meaning for both engines. Pure; each store converts the JSON to its own types.

What a payload index would change is written so that it does not: the bounds of an integer index are cut to whole numbers, and a
list that contains null counts as null once it is indexed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from ingest.store.contract import Combination, Condition, Filter, RawFilter

EXACT_INTEGER = 2**53
"""Whole numbers below this compare as floats, so 2020 finds 2020.0. From it on, floats skip integers."""

_POLE, _MERIDIAN = 90 - 1e-7, 180 - 1e-7

Json = dict[str, Any]

_CLAUSES = {"and": "must", "or": "should", "not": "must_not"}


def filter_json(filters: Sequence[Filter], among: Sequence[str] | None = None) -> Json | None:
    """Return filters, joined by AND, or None if there are none. A `RawFilter` stays as it is.

    `among`: ids of the only points that pass; None: any.
    """
    conditions = [_json(each) for each in filters]
    if among is not None:
        conditions.append({"has_id": list(among)})
    return {"must": conditions} if conditions else None


def _json(part: Filter) -> Any:
    match part:
        case Condition():
            return _condition(part)
        case Combination(operator, filters):
            return {_CLAUSES[operator]: [_json(each) for each in filters]}
        case RawFilter():
            return part
    assert_never(part)


def _condition(condition: Condition) -> Json:  # noqa: C901, PLR0911  one case an operator
    key, value = condition.field, condition.value
    match condition.operator:
        case "eq":
            return _equal(key, value)
        case "any":
            return _any(key, value)
        case "none":
            return {"must_not": [_any(key, value)]}
        case "exists":
            empty = {"is_empty": {"key": key}}
            return {"must_not": [empty]} if value else empty
        case "null":  # null has no value, and a list that contains it has one
            null = {"must": [{"is_null": {"key": key}}, {"key": key, "values_count": {"lt": 1}}]}
            return null if value else {"must_not": [null]}
        case "missing":
            missing = {"must": [{"is_empty": {"key": key}}], "must_not": [{"is_null": {"key": key}}]}
            return missing if value else {"must_not": [missing]}
        case "text":
            return {"key": key, "match": {"substring": value}}
        case "near":
            latitude, longitude, meters = value
            return {"key": key, "geo_radius": {"center": _place(latitude, longitude), "radius": meters}}
        case "box":
            south, west, north, east = value
            corners = {"top_left": _inside(north, west), "bottom_right": _inside(south, east)}
            return {"key": key, "geo_bounding_box": corners}
        case "polygon":
            ring = [_place(*place) for place in value]
            return {"key": key, "geo_polygon": {"exterior": {"points": [*ring, ring[0]]}}}
        case "element":
            return {"nested": {"key": key, "filter": filter_json([value])}}
        case "gt" | "gte" | "lt" | "lte":
            return _range(key, condition.operator, value)
    assert_never(condition.operator)


def _any(key: str, values: Sequence[str | float]) -> Json:
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) == len(values):
        return {"key": key, "match": {"any": texts}}
    return {"should": [_equal(key, value) for value in values]}


def _equal(key: str, value: str | float) -> Json:
    if isinstance(value, bool | str) or (isinstance(value, int) and abs(value) >= EXACT_INTEGER):
        return {"key": key, "match": {"value": value}}
    equal = _bounds(key, gte=value, lte=value)
    if float(value).is_integer():
        return equal
    return {"must": [equal, _bounds(key, gt=math.floor(value), lt=math.ceil(value))]}


def _range(key: str, operator: str, value: str | float) -> Json:
    """Return a bound. One between two whole numbers also names these, for an integer index, which drops the fraction."""
    bound = _bounds(key, **{operator: value})
    if isinstance(value, str) or float(value).is_integer():
        return bound
    below, above = math.floor(value), math.ceil(value)
    if operator in ("gt", "gte"):
        return {"should": [_bounds(key, gte=above), {"must": [bound, _bounds(key, gt=below)]}]}
    return {"should": [_bounds(key, lte=below), {"must": [bound, _bounds(key, lt=above)]}]}


def _bounds(key: str, **bounds: str | float) -> Json:
    return {"key": key, "range": bounds}


def _inside(latitude: float, longitude: float) -> Mapping[str, float]:
    """Return a corner just inside the world: a geo index takes the 180th meridian in the east for the one in the west."""
    return _place(max(-_POLE, min(_POLE, latitude)), max(-_MERIDIAN, min(_MERIDIAN, longitude)))


def _place(latitude: float, longitude: float) -> Mapping[str, float]:
    return {"lat": latitude, "lon": longitude}
