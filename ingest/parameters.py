"""Parse and check the values that callers pass: one set of rules for Python callers, settings and the command line.

Each `parse_…` function takes a value of any type, returns it in the type that the package computes with, and raises
`InvalidValueError` with a message that names the value and what is allowed. `checked` and `normalize` add the parameter's name
and raise `ConfigurationError`.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from ingest.errors import ConfigurationError

MAX_SECONDS = 10 * 365 * 86_400.0
"""The longest duration: ten years."""

MAX_WEIGHT = 1_000_000.0
"""The greatest weight of a vector or boost. Much greater ones would make scores infinite."""

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_QUANTITY = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?)\s*(\S*)")


P = ParamSpec("P")
T = TypeVar("T")
Choice = TypeVar("Choice", bound=str)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


class InvalidValueError(ValueError):
    """A value that a parameter does not allow."""


def shown(value: object) -> str:
    """Return a value for a message: one line of bounded length, whatever the value is."""
    try:
        return " ".join(_REPR.repr(value).split())
    except ValueError:  # an integer of more digits than Python writes
        return f"a huge {type(value).__name__}"


def checked(name: str, parse: Callable[Concatenate[object, P], T], value: object, *args: P.args, **kwargs: P.kwargs) -> T:
    """Return a parameter's value, parsed. Raises a `ConfigurationError` that begins with the parameter's name."""
    try:
        return parse(value, *args, **kwargs)
    except ValueError as exc:
        raise ConfigurationError(f"{name}: {exc}") from exc


def normalize(
    record: object, name: str, parse: Callable[Concatenate[object, P], object], *args: P.args, **kwargs: P.kwargs
) -> None:
    """Replace a field of a frozen record by its parsed value, like `checked`."""
    set_fields(record, **{name: checked(f"{type(record).__name__}.{name}", parse, getattr(record, name), *args, **kwargs)})


def set_fields(record: object, **values: object) -> None:
    """Set the fields of a frozen record, for its own `__init__`."""
    for name, value in values.items():
        object.__setattr__(record, name, value)


def parse_share(value: object) -> Fraction:
    """Return a share from 0 to 1, exactly: a number from 0 to 1, or text such as `20%`.

    A float means the decimal it prints as, so 0.29 is 29/100.
    """
    share = _share_text(value) if isinstance(value, str) else _exact(value)
    if share is None or not 0 <= share <= 1:
        raise InvalidValueError(f"{shown(value)} is not a share from 0% to 100%: {_share_hint(value)}")
    return share


def parse_share_or_number(value: object) -> Fraction | int:
    """Return a share as `parse_share` does (`Fraction`), or an allowed number of records (`int`): `20%`, 0.2 or 50."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]+", value.strip()):
        return int(value)
    if isinstance(value, Integral) and not isinstance(value, bool) and (number := int(value)) >= 0:
        return number
    try:
        return parse_share(value)
    except ValueError:
        raise InvalidValueError(
            f"{shown(value)} is neither a share from 0% to 100% nor a number from 0: write, say, 20% or 50"
        ) from None


def format_share(share: Fraction) -> str:
    """Return a share for people: `29%`, `12.5%`."""
    return f"{(Decimal(share.numerator) * 100 / share.denominator).normalize():f}%"


def parse_duration(value: object) -> float:
    """Return a duration in seconds: text with a unit (`90s`, `15m`, `6h`, `7d`, `2w`), a `timedelta`, or a number of seconds."""
    seconds = _duration_text(value) if isinstance(value, str) else _seconds(value)
    if not 0 <= seconds <= MAX_SECONDS:
        raise InvalidValueError(f"{shown(value)} is not a duration between 0 and 10 years: write, say, 90s, 15m, 6h or 30d")
    return seconds


def parse_integer(value: object, *, least: int, most: int | None = None) -> int:
    """Return a whole number within the bounds."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InvalidValueError(f"{shown(value)} is not a whole number{_bounds(least, most)}")
    number = int(value)
    if number < least or (most is not None and number > most):
        raise InvalidValueError(f"{shown(value)} is out of range: it must be a whole number{_bounds(least, most)}")
    return number


def parse_number(value: object, *, least: float = 0.0, most: float | None = None, positive: bool = False) -> float:
    """Return a finite number within the bounds; `positive`: and not 0."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidValueError(f"{shown(value)} is not a number")
    number = _float(value)
    if not math.isfinite(number) or number < least or (most is not None and number > most) or (positive and number == 0):
        raise InvalidValueError(
            f"{shown(value)} is out of range: it must be a finite number{_bounds(least, most, positive=positive)}"
        )
    return number


def parse_boolean(value: object) -> bool:
    """Return True or False; nothing else counts as one."""
    if not isinstance(value, bool):
        raise InvalidValueError(f"{shown(value)} is neither True nor False")
    return value


def parse_text(value: object) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidValueError(f"{shown(value)} is not a text with at least one character")
    return value


def parse_unicode(value: object) -> str:
    """Return a text that UTF-8 can encode; it may be empty."""
    if not isinstance(value, str):
        raise InvalidValueError(f"{shown(value)} is not a text")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidValueError(f"{shown(value)} is not Unicode text: it contains half of a surrogate pair")
    return value


def parse_list(value: object, parse: Callable[[object], T]) -> list[T]:
    """Return the items of an iterable, parsed. A text is refused: its characters are never the intended items."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidValueError(f"{shown(value)} is not a list{f': give [{shown(value)}]' if isinstance(value, str) else ''}")
    return [parse(each) for each in value]


def parse_texts(value: object) -> tuple[str, ...]:
    """Return texts that are not empty, like `parse_list`."""
    return tuple(parse_list(value, parse_text))


def parse_path(value: object) -> Path:
    """Return the path of a file or directory."""
    if not isinstance(value, str | PathLike) or not str(value).strip() or "\0" in str(value):
        raise InvalidValueError(f"{shown(value)} is not a path")
    return Path(value)


def parse_choice(value: object, choices: Collection[Choice]) -> Choice:
    """Return the choice that is equal to the value."""
    for choice in choices:
        if isinstance(value, str) and choice == value:
            return choice
    raise InvalidValueError(f"{shown(value)} is not one of {', '.join(choices)}")


def parse_instance(value: object, kind: type[T]) -> T:
    """Return an object of a type."""
    if not isinstance(value, kind):
        raise InvalidValueError(f"{shown(value)} is not a {kind.__name__}")
    return value


def parse_callable(value: object) -> Callable[..., Any]:
    """Return a function."""
    if not callable(value):
        raise InvalidValueError(f"{shown(value)} is not a function")
    return value


def parse_mapping(value: object, parse: Callable[[object], T]) -> dict[str, T]:
    """Return the caller's mapping as a dictionary with text keys and parsed values."""
    if not isinstance(value, Mapping):
        raise InvalidValueError(f"{shown(value)} is not a mapping")
    parsed: dict[str, T] = {}
    for key, each in value.items():
        name = parse_text(key)
        try:
            parsed[name] = parse(each)
        except ValueError as exc:
            raise InvalidValueError(f"{shown(key)}: {exc}") from None
    return parsed


def parse_weight(value: object) -> float:
    """Return the weight of a vector in fusion."""
    try:
        return parse_number(value, most=MAX_WEIGHT, positive=True)
    except InvalidValueError:
        raise InvalidValueError(
            f"{shown(value)} is not a weight: it must be a positive, finite number of at most {MAX_WEIGHT:,.0f}"
        ) from None


def optional(parse: Callable[Concatenate[object, P], T]) -> Callable[Concatenate[object, P], T | None]:
    """Return a function that lets None pass and parses everything else."""

    def parse_optional(value: object, /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        return None if value is None else parse(value, *args, **kwargs)

    return parse_optional


def _share_text(text: str) -> Fraction | None:
    number, unit = _quantity(text)
    return number / 100 if number is not None and (unit == "%" or (unit == "" and number == 0)) else None


def _share_hint(value: object) -> str:
    """Return a hint at what the caller probably means."""
    number = _quantity(value)[0] if isinstance(value, str) else _exact(value)
    if number is None or not 0 < number <= 100:  # noqa: PLR2004  per cent
        return "write, say, 20%"
    return f"write {format_share(number if number < 1 else number / 100)}"


def _exact(value: object) -> Fraction | None:
    """Return a number as the decimal it prints as, or None if it is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return Fraction(str(value))
    except ValueError:
        return None


def _quantity(text: str) -> tuple[Fraction | None, str]:
    """Split a text into a number and the unit after it."""
    found = _QUANTITY.fullmatch(text.strip())
    return (Fraction(found[1]), found[2]) if found else (None, text)


def _duration_text(text: str) -> float:
    number, unit = _quantity(text)
    if number is None or (unit and unit not in _UNIT_SECONDS):
        raise InvalidValueError(f"{shown(text)} is not a duration: write, say, 90s, 15m, 6h or 30d")
    if not unit and number != 0:
        bare = text.strip()
        raise InvalidValueError(
            f"{shown(text)} has no unit: write {bare}s (seconds), {bare}m (minutes), {bare}h (hours) or {bare}d (days)"
        )
    return float(min(number * _UNIT_SECONDS.get(unit, 0), Fraction(MAX_SECONDS) + 1))


def _seconds(value: object) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidValueError(
            f"{shown(value)} is not a duration: give seconds, a timedelta, or text such as 90s, 15m, 6h or 30d"
        )
    return _float(value)


def _float(value: Real) -> float:
    """Return a number as a float; an integer too large for one is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _bounds(least: float, most: float | None, *, positive: bool = False) -> str:
    if positive:
        return " above 0" if most is None else f" above 0 and at most {most:.10g}"
    if most is None:
        return "" if least == -math.inf else f" of at least {least:g}"
    return f" from {least:g} to {most:.10g}"
