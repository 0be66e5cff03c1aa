"""Filters as text: the counterpart of `ingest.store.expression`. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from ingest.store.contract import Combination, Condition, Filter, Operator, RawFilter

_PLAIN = re.compile(r"(?!(?:true|false|null)\Z)[^\W\d][\w./:-]*")
"""Text that needs no quotes as a value, because it is neither a number nor a literal."""

_SIGNS: Mapping[Operator, str] = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "text": "~"}
_LISTS: Mapping[Operator, str] = {"any": "in", "none": "not in"}

RAW = "(a filter in Qdrant's own terms)"
"""Stands for a `RawFilter`, which has no text that can be read again."""


def format_expression(filters: Sequence[Filter]) -> str:
    """Return filters, joined by AND, as the text that `parse_expression` reads as filters with the same meaning."""
    return " and ".join(_format(each) for each in filters)


def _format(part: Filter) -> str:
    match part:
        case Condition():
            return _condition(part)
        case Combination("not", filters):
            return f"not ({' or '.join(map(_format, filters))})"
        case Combination(operator, filters):
            return f"({f' {operator} '.join(map(_format, filters))})"
        case RawFilter():
            return RAW


def _condition(condition: Condition) -> str:  # noqa: PLR0911  one case an operator
    # The word `not` before a space would negate what follows.
    field = f'"{condition.field}"' if condition.field.lower() == "not" else condition.field
    match condition.operator, condition.value:
        case "element", inside:
            return f"{field}{{{_format(inside)}}}"
        case "exists", exists:
            return f"{field}{'=' if exists else '!='}*"
        case "null" | "missing" as state, holds:
            return f"{field} is {'' if holds else 'not '}{state}"
        case "any" | "none" as operator, values:
            return f"{field} {_LISTS[operator]} [{', '.join(map(_value, values))}]"
        case "near" | "box" as area, numbers:
            return f"{field} {area} ({', '.join(map(_value, numbers))})"
        case "polygon", places:
            return f"{field} polygon ({', '.join(' '.join(map(_value, place)) for place in places)})"
    return f"{field}{_SIGNS[condition.operator]}{_value(condition.value)}"


def _value(value: str | float | bool) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
