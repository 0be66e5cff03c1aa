"""Filters on payloads, parsed from Python values and text. Pure; each store converts them for its engine.

The operators mean the same in every store:

- A field with a list meets `eq`, `any`, `text`, the ranges and the areas if one of its items does.
- `none` is the opposite of `any`, and `not` that of what it contains, so points without the field meet them, too.
- `exists` is false if the field is missing, null or an empty list. `null`: it is there and null. `missing`: it is not, or
  an empty list.
- Numbers compare by value (`1` equals `1.0`), dates as points in time (UTC without a zone). From 2^53 on, integers equal integers
  only, and cannot be bounds.
- `text`: the value contains this text, case-sensitive.
- `element`: one object of a list of objects meets all of a filter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from ingest.errors import ConfigurationError
from ingest.parameters import checked, parse_list, shown
from ingest.store.conditions import MAX_DEPTH, combined, make_condition, parse_field
from ingest.store.contract import Combination, Condition, Filter, Operator, RawFilter
from ingest.store.expression import parse_expression

Where = Mapping[str, Any] | str | Filter | Sequence[Mapping[str, Any] | str | Filter] | None
"""Filters that every hit meets: `{"metadata.year": {"gte": 2020}}`, `"metadata.year>=2020"`, a list of either, or None."""

_CLIENT_FILTER = "qdrant_client."
"""The package whose `Filter` passes through as it is."""

_TESTS = ("any", "none", "gt", "gte", "lt", "lte", "exists", "null", "missing", "text", "near", "box", "polygon", "element")


def parse_filter(where: object) -> tuple[Filter, ...]:
    """Return the filters of `where`, joined by AND. Raises `ConfigurationError`.

    A text has the grammar of `parse_expression`, a mapping that of `parse_where`. A `qdrant_client.models.Filter` stays as it is.
    """
    return () if where is None else _filters(where, 0)


def parse_where(where: Mapping[str, Any]) -> tuple[Filter, ...]:
    """Return the filters of `{field: test}`, joined by AND.

    A test is a value (equality), None (null), a list (any of them), or a mapping with one or more of `any`, `none`, `not` (a
    value or a list: the same as `none`), `gt`, `gte`, `lt`, `lte` (a number, an ISO 8601 string, a date or datetime), `exists`,
    `null`, `missing` (bool), `text`, `near` (latitude, longitude, meters), `box` (south, west, north, east), `polygon` (pairs of
    latitude and longitude), `element` (filters on the objects of a list):
    `{"metadata.year": {"gte": 2020}, "metadata.lang": ["en", "de"], "source": "handbook"}`.

    The keys `and`, `or` and `not` take a list of filters, of which all, at least one or none are met:
    `{"or": [{"metadata.lang": "en"}, {"not": ["metadata.tags:draft"]}]}`. Raises `ConfigurationError`.
    """
    return _of_mapping(where, 0)


def conditions_in(filters: Sequence[Filter], *, certain: bool = True) -> Iterator[tuple[Condition, bool]]:
    """Yield every condition, and whether each hit has to meet it: not if it is inside `or` or `not`."""
    for part in filters:
        if isinstance(part, Condition):
            yield part, certain
        elif isinstance(part, Combination):
            yield from conditions_in(part.filters, certain=certain and part.operator == "and")


def as_where(part: Filter) -> dict[str, Any]:
    """Return the mapping of JSON values that `parse_where` reads as this filter; for a raw filter, its own JSON object."""
    match part:
        case Condition(field, "eq", value):
            return {field: value}
        case Condition(field, "element", Condition() | Combination() | RawFilter() as inside):
            return {field: {"element": as_where(inside)}}
        case Condition(field, operator, value):
            return {field: {operator: list(value) if isinstance(value, tuple) else value}}
        case Combination(operator, filters):
            return {operator: [as_where(each) for each in filters]}
        case RawFilter(value):
            return dict(value.model_dump(mode="json", exclude_none=True))


def _filters(where: object, depth: int) -> tuple[Filter, ...]:  # noqa: PLR0911  one case a type
    if depth > MAX_DEPTH:
        raise ConfigurationError(f"a filter is nested deeper than {MAX_DEPTH}: write it flatter")
    match where:
        case str():
            return parse_expression(where)
        case Mapping():
            return _of_mapping(where, depth)
        case Condition():
            return (_checked_condition(where, depth),)
        case Combination(operator, filters) if operator in ("and", "or", "not") and filters:
            return (Combination(operator, tuple(_one(each, depth + 1) for each in filters)),)
        case RawFilter():
            return (where,)
        case list() | tuple() if depth == 0:
            return tuple(part for each in where for part in _filters(each, 1))
    if type(where).__module__.startswith(_CLIENT_FILTER) and type(where).__name__ == "Filter":
        return (RawFilter(where),)
    raise ConfigurationError(
        f"where: {shown(where)} is not a filter: write 'metadata.year>=2020' or {{'metadata.year': {{'gte': 2020}}}}"
    )


def _one(where: object, depth: int) -> Filter:
    filters = _filters(where, depth)
    if not filters:
        raise ConfigurationError(f"where: {shown(where)} has no condition: leave it out")
    return combined("and", filters)


def _of_mapping(where: Mapping[str, Any], depth: int) -> tuple[Filter, ...]:
    filters: list[Filter] = []
    for key, test in where.items():
        match key:
            case "and" | "or" | "not":
                parts = [test] if isinstance(test, str | Mapping | Filter) else checked(f"where: {key}", parse_list, test, _as_is)
                if not parts:
                    raise ConfigurationError(f"where: {key} is empty: give a list of filters")
                filters.append(Combination(key, tuple(_one(part, depth + 1) for part in parts)))
            case _:
                filters += _tests(parse_field(key), test, depth)
    return tuple(filters)


def _as_is(value: object) -> object:
    return value


def _checked_condition(condition: Condition, depth: int) -> Condition:
    """Return a hand-made condition, checked, in the form the stores expect."""
    if condition.operator not in get_args(Operator):
        known = ", ".join(get_args(Operator))
        raise ConfigurationError(
            f"the filter on {shown(condition.field)} has no operator {shown(condition.operator)}: use {known}"
        )
    return _condition(parse_field(condition.field), condition.operator, condition.value, depth)


def _tests(field: str, test: object, depth: int) -> list[Condition]:
    if not isinstance(test, Mapping):
        return [make_condition(field, "any" if isinstance(test, (list, tuple, set, frozenset)) else "eq", test)]
    if not test:
        raise ConfigurationError(f"the filter on {field} is empty: give a value, a list, or a mapping such as {{'gte': 2020}}")
    return [_condition(field, *_operator(field, name, value), depth) for name, value in test.items()]


def _operator(field: str, name: object, value: object) -> tuple[Operator, object]:
    if name == "not":
        return "none", value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    for operator in get_args(Operator):
        if name == operator and operator in _TESTS:
            return operator, value
    raise ConfigurationError(f"the filter on {field} has no test {shown(name)}: use not, {', '.join(_TESTS)}")


def _condition(field: str, operator: Operator, value: object, depth: int) -> Condition:
    return make_condition(field, operator, _one(value, depth + 1) if operator == "element" else value)
