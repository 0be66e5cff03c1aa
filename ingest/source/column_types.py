"""The types of the columns of a CSV file, whose values are all text.

A column has a type only if every value of a sample has it. A value that does not fit stays as the text it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, get_args

ColumnType = Literal["text", "integer", "number", "boolean", "date"]
COLUMN_TYPES: tuple[ColumnType, ...] = get_args(ColumnType)

_INT64 = 2**63
# No leading zero, no plus: such values are codes and telephone numbers. An exponent without a sign, as in 1E5, is a code, too.
_INTEGER = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-][0-9]+)?", re.ASCII)
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,6})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?",
    re.ASCII,
)
_BOOLEANS: Mapping[str, bool] = {"true": True, "false": False}
_ALL_BOOLEANS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "yes", "y", "t", "on", "1"), True),
    **dict.fromkeys(("false", "no", "n", "f", "off", "0"), False),
}


def guess_type(values: Iterable[str]) -> ColumnType:
    """Return the type that all values have which are not blank."""
    filled = [value.strip() for value in values if value and not value.isspace()]
    if filled:
        if all(value.lower() in _BOOLEANS for value in filled):
            return "boolean"
        for name, convert in _CONVERTERS.items():
            if name != "boolean" and all(convert(value) is not None for value in filled):
                return name
    return "text"


def typed(value: str, column_type: ColumnType) -> Any:
    """Return the value in the type of its column. A blank value is null. Raise `ValueError` for a value that does not fit."""
    if column_type == "text":
        return value
    stripped = value.strip()
    if not stripped:
        return None
    converted = _CONVERTERS[column_type](stripped)
    if converted is None:
        raise ValueError(value)
    return converted


def _integer(value: str) -> int | None:
    if _INTEGER.fullmatch(value) and len(value) <= 20 and -_INT64 <= int(value) < _INT64:  # noqa: PLR2004  digits of 64 bits
        return int(value)
    return None


def _number(value: str) -> float | int | None:
    if _INTEGER.fullmatch(value):
        return _integer(value)
    if not _NUMBER.fullmatch(value) or value == "-0":
        return None
    number = float(value)
    return number if is_exact(Decimal(value), number) else None


def is_exact(value: Decimal, number: float) -> bool:
    """Return whether a float, written as text, is the decimal it was made from."""
    return value.is_finite() and Decimal(repr(number)) == value


def _boolean(value: str) -> bool | None:
    return _ALL_BOOLEANS.get(value.lower())


def _date(value: str) -> str | None:
    """Return a date or a point in time in ISO 8601."""
    if not _DATE.fullmatch(value):
        return None
    try:
        if len(value) == len("2026-01-31"):
            return date.fromisoformat(value).isoformat()
        return datetime.fromisoformat(value.replace(",", ".")).isoformat()
    except ValueError:
        return None


_CONVERTERS: Mapping[ColumnType, Callable[[str], Any]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
}
