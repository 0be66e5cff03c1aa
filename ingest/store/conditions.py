"""Conditions on one payload field: the checks of their fields and values. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any

from ingest.errors import ConfigurationError
from ingest.parameters import checked, parse_number, parse_unicode, shown
from ingest.store.contract import Combination, Condition, Filter, Operator
from ingest.store.payload_path import is_field
from ingest.store.qdrant_filter import EXACT_INTEGER

MAX_DEPTH = 32
"""Maximum nesting of a filter."""

_MAX_INTEGER = 2**63 - 1

_CORNERS = 3
"""Least corners of a polygon."""


def parse_field(field: object) -> str:
    """Return the path of a payload field. Raises `ConfigurationError`."""
    if not isinstance(field, str) or not is_field(field):
        raise ConfigurationError(
            f'{shown(field)} is no payload field: write metadata.year, or metadata."odd name" in double quotes'
        )
    return checked("the field of a filter", parse_unicode, field)


def combined(operator: str, filters: Sequence[Filter]) -> Filter:
    """Return filters joined by `and` or `or`: a single one as it is."""
    if len(filters) == 1:
        return filters[0]
    return Combination("and" if operator == "and" else "or", tuple(filters))


def make_condition(field: str, operator: Operator, value: object) -> Condition:  # noqa: C901, PLR0911  one case an operator
    """Return the condition with its value checked and in the form the stores expect. Raises `ConfigurationError`.

    An `element` condition takes a `Filter` that is already checked.
    """
    match operator:
        case "any" | "none":
            if not isinstance(value, (list, tuple, set, frozenset)) or not value:
                raise ConfigurationError(f"the filter {operator} on {field} takes a list of values, not {shown(value)}")
            return Condition(field, operator, tuple(_scalar(field, item) for item in value))
        case "exists" | "null" | "missing":
            if not isinstance(value, bool):
                raise ConfigurationError(f"the filter {operator} on {field} takes True or False, not {shown(value)}")
            return Condition(field, operator, value)
        case "text":
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"the filter text on {field} takes a text, not {shown(value)}")
            return Condition(field, operator, _scalar(field, value))
        case "near" | "box" | "polygon":
            return Condition(field, operator, _area(field, operator, value))
        case "element":
            return Condition(field.removesuffix("[]"), operator, value)
        case "gt" | "gte" | "lt" | "lte":
            return Condition(field, operator, _bound(field, value))
        case "eq":
            return Condition(field, "null", True) if value is None else Condition(field, operator, _scalar(field, value))


def _scalar(field: str, value: object) -> str | int | float | bool:
    if isinstance(value, str):
        return checked(f"the filter on {field}", parse_unicode, value)
    if isinstance(value, int) and abs(value) <= _MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        if EXACT_INTEGER <= abs(value) <= _MAX_INTEGER:
            raise ConfigurationError(
                f"the filter on {field} cannot compare exactly with {shown(value)}: from 2^53 on, write a whole number"
            )
        return value
    raise ConfigurationError(
        f"the filter on {field} cannot compare with {shown(value)}: use text, a 64-bit integer, a finite number, True or False"
        " (and exists, null or missing for what may be absent)"
    )


def _bound(field: str, value: object) -> str | int | float:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError as exc:
            raise ConfigurationError(
                f"the filter on {field} cannot order by {shown(value)}: use a number or an ISO 8601 date such as 2024-12-31"
            ) from exc
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    number = _scalar(field, value)
    if isinstance(number, (bool, str)):
        raise ConfigurationError(f"the filter on {field} cannot order by {shown(number)}: use a number or an ISO 8601 date")
    if EXACT_INTEGER <= abs(number) <= _MAX_INTEGER:
        raise ConfigurationError(
            f"the filter on {field} cannot order by {shown(number)}: the store compares bounds exactly only below 2^53"
        )
    return number


def _area(field: str, operator: str, value: object) -> tuple[Any, ...]:
    match operator, value:
        case "near", (latitude, longitude, meters):
            name = f"the filter near on {field}"
            return (*_place(field, operator, latitude, longitude), checked(name, parse_number, meters, positive=True))
        case "box", (south, west, north, east):
            bottom, left = _place(field, operator, south, west)
            top, right = _place(field, operator, north, east)
            if bottom >= top or left >= right:
                raise ConfigurationError(
                    f"the filter box on {field} is empty: give south, west, north, east; across the 180th meridian, two boxes"
                )
            return (bottom, left, top, right)
        case "polygon", [*corners] if len(corners) >= _CORNERS:
            return tuple(_corner(field, corner) for corner in corners)
    raise _refused_area(field, operator, value)


def _corner(field: str, corner: object) -> tuple[float, float]:
    match corner:
        case (latitude, longitude):
            return _place(field, "polygon", latitude, longitude)
    raise _refused_area(field, "polygon", corner)


def _place(field: str, operator: str, latitude: object, longitude: object) -> tuple[float, float]:
    name = f"the filter {operator} on {field}"
    return (
        checked(f"{name}: latitude", parse_number, latitude, least=-90, most=90),
        checked(f"{name}: longitude", parse_number, longitude, least=-180, most=180),
    )


def _refused_area(field: str, operator: str, value: object) -> ConfigurationError:
    form = {
        "near": "latitude, longitude and meters",
        "box": "south, west, north and east",
        "polygon": "three or more pairs of latitude and longitude",
    }[operator]
    return ConfigurationError(f"the filter {operator} on {field} takes {form}, not {shown(value)}")
