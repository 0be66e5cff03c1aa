"""What callers pass: one rule for shares, durations, numbers and choices, and messages that name the value."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ConfigurationError
from ingest.parameters import (
    checked,
    format_share,
    parse_boolean,
    parse_choice,
    parse_duration,
    parse_integer,
    parse_number,
    parse_share,
    parse_share_or_number,
    shown,
)


@pytest.mark.parametrize(
    ("value", "share"),
    [
        ("20%", Fraction(1, 5)),
        (" 12.5 % ", Fraction(1, 8)),
        ("0%", Fraction(0)),
        ("0", Fraction(0)),
        ("100%", Fraction(1)),
        (0.29, Fraction(29, 100)),
        (np.float32(0.29), Fraction(29, 100)),
        (1, Fraction(1)),
        (0, Fraction(0)),
        (Fraction(1, 3), Fraction(1, 3)),
    ],
)
def test_a_share_is_exactly_what_was_written(value: object, share: Fraction) -> None:
    assert parse_share(value) == share


@given(st.integers(0, 10_000), st.integers(1, 10_000))
def test_a_float_of_at_most_six_decimals_and_its_text_are_one_share(part: int, whole: int) -> None:
    """So `missing > live * share` is decided as on paper."""
    percent = round(min(part / whole, 1.0) * 100, 4)
    share = parse_share(f"{percent}%")
    assert parse_share(float(f"{percent / 100:.6f}")) == share
    assert parse_share(format_share(share)) == share


@pytest.mark.parametrize(
    "value",
    [
        "",
        "%",
        "-1",
        "101%",
        "-1%",
        "nan%",
        "50",
        "0.2",
        "1",
        "many",
        "1/3%",
        "٢٠%",
        20,
        1.01,
        -0.1,
        math.nan,
        math.inf,
        True,
        None,
        [],
    ],
)
def test_what_is_no_share_is_refused_by_its_value(value: object) -> None:
    with pytest.raises(ConfigurationError) as raised:
        checked("max_delete", parse_share, value)
    assert str(raised.value).startswith(f"max_delete: {value!r} is not a share from 0% to 100%: write")


@pytest.mark.parametrize(("value", "meant"), [(20, "20%"), ("50", "50%"), ("0.2", "20%"), (12.5, "12.5%"), ("1", "1%")])
def test_the_message_says_what_is_probably_meant(value: object, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"write {meant}$"):
        checked("max_delete", parse_share, value)


@pytest.mark.parametrize(
    ("value", "parsed"), [("20%", Fraction(1, 5)), (0.2, Fraction(1, 5)), ("50", 50), (50, 50), ("0", 0), (1, 1)]
)
def test_a_whole_number_is_a_number_of_records(value: object, parsed: Fraction | int) -> None:
    assert (type(parse_share_or_number(value)), parse_share_or_number(value)) == (type(parsed), parsed)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("90s", 90.0),
        ("1.5h", 5400.0),
        ("7d", 604_800.0),
        ("2w", 1_209_600.0),
        ("0", 0.0),
        (60, 60.0),
        (0.5, 0.5),
        (timedelta(days=7), 604_800.0),
    ],
)
def test_durations(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    "value", ["7", "7 days", "-1d", "1e400d", "9" * 400 + "d", "", "d", -1, math.nan, math.inf, True, None, 10**10, "11w" * 2]
)
def test_what_is_no_duration_is_refused_by_its_value(value: object) -> None:
    with pytest.raises(ConfigurationError) as raised:
        checked("delete_after", parse_duration, value)
    assert str(raised.value).startswith(f"delete_after: {shown(value)} ")


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (lambda value: parse_integer(value, least=1), np.int64(3)),
        (lambda value: parse_number(value, least=1, most=3), np.float64(3)),
        (lambda value: parse_choice(value, ["a", "b"]), "a"),
        (parse_boolean, False),
    ],
)
def test_what_is_meant_passes_as_a_plain_value(parse: Callable[[object], object], value: Any) -> None:
    parsed = parse(value)
    assert parsed == value
    assert type(parsed) in {int, float, str, bool}


@pytest.mark.parametrize(
    ("parse", "values"),
    [
        (lambda value: parse_integer(value, least=1), [0, True, 1.0, "1", None, math.nan]),
        (lambda value: parse_number(value, least=1, most=3), [0.9, 3.1, math.nan, math.inf, True, "2", None]),
        (lambda value: parse_number(value, positive=True), [0, -1]),
        (lambda value: parse_choice(value, ["a", "b"]), ["c", "", None, 1, ["a"]]),
        (parse_boolean, [0, 1, "yes", None]),
    ],
)
def test_what_is_not_allowed_is_refused_by_its_value(parse: Callable[[object], object], values: list[object]) -> None:
    for value in values:
        with pytest.raises(ConfigurationError) as raised:
            checked("this", parse, value)
        assert str(raised.value).startswith(f"this: {value!r} ")


@pytest.mark.parametrize(
    "parse", [parse_number, parse_duration, parse_share, lambda value: parse_integer(value, least=0, most=9)]
)
@pytest.mark.parametrize("digits", [400, 5000])
def test_an_integer_that_no_float_holds_is_refused_in_a_short_line(parse: Callable[[object], object], digits: int) -> None:
    with pytest.raises(ConfigurationError) as raised:
        checked("this", parse, 10**digits)
    assert len(str(raised.value)) < 200
