"""Conditions on payloads, parsed from Python values or the command line. Pure; each store converts them for its engine.

The operators mean the same in every store:

- A field with a list meets `eq`, `any`, `text` and the ranges if one of its items does.
- `none` is the opposite of `any`, so points without the field meet it, too.
- `exists` is false if the field is missing, null or an empty list.
- Numbers compare by value (`1` equals `1.0`), dates as points in time (UTC without a zone).
- `text`: the value contains this text, case-sensitive.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, get_args

from ingest.errors import ConfigurationError
from ingest.parameters import checked, parse_unicode, shown
from ingest.store.contract import Condition, Operator

_RANGES: Mapping[str, Operator] = {"gt": "gt", "gte": "gte", "lt": "lt", "lte": "lte"}

_MAX_INTEGER = 2**63 - 1

_STEP = r'(?:[\w-]+|"[^"\\]*")(?:\[[0-9]*\])*'
_FIELD = re.compile(rf"{_STEP}(?:\.{_STEP})*")
"""Qdrant's payload paths: names of letters, digits, `_` and `-` joined by dots, other names quoted, `[]` or `[0]` for lists."""

_SPACE = re.compile(r"\s*")
_OPERATOR = re.compile(r"\s*(>=|<=|!=|=|>|<|~)\s*")
_VALUE = re.compile(r'("(?:[^"\\]|\\.)*"|[^&|"\s=<>!~](?:[^&|"]*[^&|"\s])?)\s*(?=[&|]|\Z)', re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""A JSON number: `0123` and `1_000` stay text."""

_LONGEST_NUMBER = 40
"""Maximum characters of a number; a longer one is an identifier."""

_COMPARISONS: Mapping[str, Operator] = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt", "~": "text"}


def parse_where(where: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Return the conditions of `{field: test}`, joined by AND.

    A test is a value (equality), a list (any of them), or a mapping with one or more of `any`, `none`, `not` (a value or a list:
    the same as `none`), `gt`, `gte`, `lt`, `lte` (a number, an ISO 8601 string, a date or datetime), `exists` (bool), `text`:
    `{"metadata.year": {"gte": 2020}, "metadata.lang": ["en", "de"], "source": "handbook"}`.
    Raises `ConfigurationError`.
    """
    return tuple(condition for field, test in where.items() for condition in _conditions(_field(field), test))


def parse_expression(expression: str) -> tuple[Condition, ...]:
    """Return the conditions of one line of text, joined by AND.

        expression = test { "&" test }
        test       = field ("=" | "!=") value { "|" value }      any of them; none of them
                   | field ("=" | "!=") "*"                      the field exists; it does not
                   | field (">" | ">=" | "<" | "<=") value       a number or an ISO 8601 date
                   | field "~" value                             contains the text
        value      = "true" | "false" | number | text | JSON string in double quotes

    `metadata.year>=2020 & metadata.lang=en|de & metadata.note!=*`. A quoted value is always text; an unquoted one
    contains no & | or quotes and does not start with an operator. Raises `ConfigurationError`.
    """
    conditions: list[Condition] = []
    position, end = 0, len(expression)
    while True:
        condition, position = _parse_test(expression, position)
        conditions.append(condition)
        if position == end:
            return tuple(conditions)
        position += 1  # the values end at a "&" or at the end


def check_condition(condition: Condition) -> Condition:
    """Return a hand-made condition, checked, in the form the stores expect. Raises `ConfigurationError`."""
    if condition.operator not in get_args(Operator):
        known = ", ".join(get_args(Operator))
        raise ConfigurationError(
            f"the filter on {shown(condition.field)} has no operator {shown(condition.operator)}: use {known}"
        )
    return _condition(_field(condition.field), condition.operator, condition.value)


def _parse_test(expression: str, start: int) -> tuple[Condition, int]:
    start = _after_space(expression, start)
    field = _FIELD.match(expression, start)
    if field is None:
        raise _unreadable(expression, start, "a field such as metadata.year")
    _field(field[0])
    operator = _OPERATOR.match(expression, field.end())
    if operator is None:
        raise _unreadable(expression, field.end(), "one of = != > >= < <= ~")
    position = operator.end()
    raw: list[str] = []
    while True:
        position = _after_space(expression, position)
        value = _VALUE.match(expression, position)
        if value is None:
            raise _unreadable(expression, position, 'a value (text with & | " or an operator in front goes in double quotes)')
        raw.append(value[1])
        position = value.end()
        if position == len(expression) or expression[position] == "&":
            return _test(field[0], operator[1], raw), position
        position += 1


def _after_space(expression: str, position: int) -> int:
    space = _SPACE.match(expression, position)
    return space.end() if space else position


def _test(field: str, operator: str, raw: Sequence[str]) -> Condition:
    if operator in _COMPARISONS:
        if len(raw) > 1:
            raise ConfigurationError(f"the filter {operator} on {field} takes one value, not {len(raw)}")
        value = _text_or_json(raw[0]) if operator == "~" else _literal(raw[0])
        return _condition(field, _COMPARISONS[operator], value)
    if list(raw) == ["*"]:
        return Condition(field, "exists", operator == "=")
    values = [_literal(value) for value in raw]
    if operator == "!=":
        return _condition(field, "none", values)
    return _condition(field, "eq", values[0]) if len(values) == 1 else _condition(field, "any", values)


def _literal(raw: str) -> str | int | float | bool:
    if raw in ("true", "false"):
        return raw == "true"
    if len(raw) <= _LONGEST_NUMBER and _NUMBER.fullmatch(raw):
        number: int | float = json.loads(raw)
        return number
    return _text_or_json(raw)


def _text_or_json(raw: str) -> str:
    if not raw.startswith('"'):
        return raw
    try:
        return str(json.loads(raw, strict=False))
    except ValueError as exc:
        raise ConfigurationError(f"{raw} is no JSON string: {exc}") from exc


def _unreadable(expression: str, position: int, expected: str) -> ConfigurationError:
    found = repr(expression[position : position + 20]) if position < len(expression) else "the end"
    return ConfigurationError(f"the filter {expression!r} cannot be read: expected {expected} instead of {found}")


def _field(field: object) -> str:
    if not isinstance(field, str) or _FIELD.fullmatch(field) is None:
        raise ConfigurationError(
            f'{shown(field)} is no payload field: write metadata.year, or metadata."odd name" in double quotes'
        )
    return checked("the field of a filter", parse_unicode, field)


def _conditions(field: str, test: object) -> list[Condition]:
    if not isinstance(test, Mapping):
        return [_condition(field, "any" if isinstance(test, (list, tuple, set, frozenset)) else "eq", test)]
    if not test:
        raise ConfigurationError(f"the filter on {field} is empty: give a value, a list, or a mapping such as {{'gte': 2020}}")
    conditions = []
    for name, value in test.items():
        operator: Operator
        match name:
            case "any" | "none" | "exists" | "text":
                operator = name
            case "not":
                operator = "none"
                value = value if isinstance(value, (list, tuple, set, frozenset)) else [value]  # noqa: PLW2901  one value or many
            case _ if name in _RANGES:
                operator = _RANGES[name]
            case _:
                raise ConfigurationError(
                    f"the filter on {field} has no test {shown(name)}: use any, none, not, gt, gte, lt, lte, exists or text"
                )
        conditions.append(_condition(field, operator, value))
    return conditions


def _condition(field: str, operator: Operator, value: object) -> Condition:
    """Return the condition with its value checked and in the form the stores expect."""
    match operator:
        case "any" | "none":
            if not isinstance(value, (list, tuple, set, frozenset)) or not value:
                raise ConfigurationError(f"the filter {operator} on {field} takes a list of values, not {shown(value)}")
            return Condition(field, operator, tuple(_scalar(field, item) for item in value))
        case "exists":
            if not isinstance(value, bool):
                raise ConfigurationError(f"the filter exists on {field} takes True or False, not {shown(value)}")
            return Condition(field, operator, value)
        case "text":
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"the filter text on {field} takes a text, not {shown(value)}")
            return Condition(field, operator, _scalar(field, value))
        case "gt" | "gte" | "lt" | "lte":
            return Condition(field, operator, _bound(field, value))
        case "eq":
            return Condition(field, operator, _scalar(field, value))


def _scalar(field: str, value: object) -> str | int | float | bool:
    if isinstance(value, str):
        return checked(f"the filter on {field}", parse_unicode, value)
    if isinstance(value, int) and abs(value) <= _MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ConfigurationError(
        f"the filter on {field} cannot compare with {shown(value)}: use text, a 64-bit integer, a finite number, True or False"
        " (and exists for what may be missing)"
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
    return number
