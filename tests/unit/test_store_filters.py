"""Conditions from Python values and from the command line."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from typing import Any

import pytest
import qdrant_edge
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ConfigurationError
from ingest.store.contract import Condition
from ingest.store.filters import parse_expression, parse_where


@pytest.mark.parametrize(
    ("where", "conditions"),
    [
        ({}, []),
        ({"source": "docs"}, [("source", "eq", "docs")]),
        ({"a": 1, "b": True, "c": 1.5}, [("a", "eq", 1), ("b", "eq", True), ("c", "eq", 1.5)]),
        ({"a": ["x", "y"]}, [("a", "any", ("x", "y"))]),
        ({"a": ("x",)}, [("a", "any", ("x",))]),
        ({"a": {"any": [1, 2]}}, [("a", "any", (1, 2))]),
        ({"a": {"none": ["x"]}}, [("a", "none", ("x",))]),
        ({"a": {"not": "x"}}, [("a", "none", ("x",))]),
        ({"a": {"not": ["x", 1]}}, [("a", "none", ("x", 1))]),
        ({"a": {"gte": 1, "lt": 2.5}}, [("a", "gte", 1), ("a", "lt", 2.5)]),
        ({"a": {"gt": "2024-12-31"}}, [("a", "gt", "2024-12-31T00:00:00+00:00")]),
        ({"a": {"gt": "2024-12-31T10:00:00Z"}}, [("a", "gt", "2024-12-31T10:00:00+00:00")]),
        ({"a": {"gt": date(2024, 12, 31)}}, [("a", "gt", "2024-12-31T00:00:00+00:00")]),
        ({"a": {"lte": datetime(2024, 12, 31, 5, tzinfo=UTC)}}, [("a", "lte", "2024-12-31T05:00:00+00:00")]),
        ({"a": {"exists": False}}, [("a", "exists", False)]),
        ({"a": {"text": "some words"}}, [("a", "text", "some words")]),
        ({'metadata."odd key"[].x-y': 1}, [('metadata."odd key"[].x-y', "eq", 1)]),
    ],
    ids=str,
)
def test_python_values_become_conditions(where: dict[str, Any], conditions: list[tuple[str, Any, Any]]) -> None:
    assert parse_where(where) == tuple(Condition(*each) for each in conditions)


@pytest.mark.parametrize(
    "where",
    [
        {"": 1},
        {"a b": 1},
        {"a.": 1},
        {'a"b': 1},
        {3: 1},
        {"a": None},
        {"a": []},
        {"a": {}},
        {"a": [None]},
        {"a": [[1]]},
        {"a": {"like": "x"}},
        {"a": {"any": "x"}},
        {"a": {"none": []}},
        {"a": {"gte": "soon"}},
        {"a": {"gte": True}},
        {"a": {"gte": None}},
        {"a": {"exists": "yes"}},
        {"a": {"text": ""}},
        {"a": {"text": 3}},
        {"a": math.nan},
        {"a": {"lt": math.inf}},
        {"a": 2**63},
        {"a": "\ud800"},
        {"a": b"bytes"},
    ],
    ids=ascii,
)
def test_what_cannot_be_a_condition_is_an_error_in_one_line(where: dict[Any, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_where(where)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "conditions"),
    [
        ("metadata.year>=2020", [("metadata.year", "gte", 2020)]),
        (" a < -1.5e3 ", [("a", "lt", -1500.0)]),
        ("a>2024-12-31", [("a", "gt", "2024-12-31T00:00:00+00:00")]),
        ("a<=3", [("a", "lte", 3)]),
        ("lang=en", [("lang", "eq", "en")]),
        ("lang = en | de", [("lang", "any", ("en", "de"))]),
        ("lang!=en", [("lang", "none", ("en",))]),
        ("lang!=en|de", [("lang", "none", ("en", "de"))]),
        ("a=true & b=false", [("a", "eq", True), ("b", "eq", False)]),
        ('a="true"', [("a", "eq", "true")]),
        ("a=*", [("a", "exists", True)]),
        ("a!=*", [("a", "exists", False)]),
        ('a="*"', [("a", "eq", "*")]),
        ("zip=01234", [("zip", "eq", "01234")]),
        ("a=1_000", [("a", "eq", "1_000")]),
        ("a=" + "9" * 50, [("a", "eq", "9" * 50)]),
        ("a=two words & b=x=y", [("a", "eq", "two words"), ("b", "eq", "x=y")]),
        ('a="R&D | \\"x\\""|c', [("a", "any", ('R&D | "x"', "c"))]),
        ("note~2020", [("note", "text", "2020")]),
        ('metadata."odd key">1', [('metadata."odd key"', "gt", 1)]),
    ],
)
def test_the_command_line_says_the_same(expression: str, conditions: list[tuple[str, Any, Any]]) -> None:
    assert parse_expression(expression) == tuple(Condition(*each) for each in conditions)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        " ",
        "a",
        "a=",
        "=1",
        "a==1",
        "a=b&",
        "&a=b",
        "a=b|",
        "a>1|2",
        'a="open',
        'a="x"y',
        "a>soon",
        'a="\\x"',
        "a b=1",
        "a=1e999",
    ],
)
def test_what_cannot_be_read_says_where(expression: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_expression(expression)
    assert "\n" not in str(caught.value)


@given(st.text() | st.text(alphabet='ab.1-e"\\[]<>=!~|&* \n'))
def test_reading_an_expression_never_fails_in_another_way(expression: str) -> None:
    try:
        conditions = parse_expression(expression)
    except ConfigurationError as error:
        assert "\n" not in str(error)  # noqa: PT017  whether it fails depends on the input
    else:
        assert conditions


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_quoted_value_is_taken_as_it_is(text: str) -> None:
    assert parse_expression(f"a={json.dumps(text)}&b={json.dumps(text, ensure_ascii=False)}") == (
        Condition("a", "eq", text),
        Condition("b", "eq", text),
    )


@given(st.from_regex(r'\A(?:[\w-]+|"[^"\\]*")(?:\[[0-9]{0,3}\])?(?:\.[\w-]+)?\Z'))
def test_the_engine_understands_every_field_that_is_accepted(field: str) -> None:
    [condition] = parse_where({field: 1})
    qdrant_edge.FieldCondition(condition.field, match=qdrant_edge.MatchValue(1))
