"""Conditions from Python values and from the command line."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from typing import Any

import filter_oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models

from ingest.errors import ConfigurationError
from ingest.store.contract import Combination, Condition, Filter, RawFilter
from ingest.store.edge.filters import filter_to
from ingest.store.expression import parse_expression
from ingest.store.expression_text import format_expression
from ingest.store.filters import as_where, parse_filter, parse_where


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
        ({"a": None}, [("a", "null", True)]),
        ({"a": {"null": False, "missing": True}}, [("a", "null", False), ("a", "missing", True)]),
        ({"a": {"near": [52.5, 13, 5000]}}, [("a", "near", (52.5, 13.0, 5000.0))]),
        ({"a": {"box": (1, 2, 3, 4)}}, [("a", "box", (1.0, 2.0, 3.0, 4.0))]),
        ({"a": {"polygon": [(0, 0), (0, 1), [1, 1]]}}, [("a", "polygon", ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0)))]),
        ({"a[]": {"element": {"x": 1}}}, [("a", "element", Condition("x", "eq", 1))]),
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
        {"a": 2.0**53},
        {"a": {"gt": 2**53}},
        {"a": {"missing": 1}},
        {"a": {"near": (91, 0, 1)}},
        {"a": {"near": (0, 0, 0)}},
        {"a": {"near": (0, 0)}},
        {"a": {"box": (1, 0, 0, 1)}},
        {"a": {"polygon": [(0, 0), (0, 1)]}},
        {"a": {"polygon": [(0, 0), (0, 1), 3]}},
        {"a": {"element": {}}},
        {"and": []},
        {"or": 3},
        {"not": [None]},
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
        ("color=red AND n=1", [("color", "eq", "red"), ("n", "eq", 1)]),
        ("a=x and b=y&c=z", [("a", "eq", "x"), ("b", "eq", "y"), ("c", "eq", "z")]),
        ('a="salt and pepper"', [("a", "eq", "salt and pepper")]),
        ("name=f(x and y) and b=1", [("name", "eq", "f(x and y)"), ("b", "eq", 1)]),
        ("a=smile :)", [("a", "eq", "smile :)")]),
        ("tags:draft", [("tags", "eq", "draft")]),
        ('a in [1, two words, "x, y"]', [("a", "any", (1, "two words", "x, y"))]),
        ("a not in (en)", [("a", "none", ("en",))]),
        ("a=null & b!=null", [("a", "null", True), ("b", "null", False)]),
        ('a="null"', [("a", "eq", "null")]),
        ("a is null and b is not missing", [("a", "null", True), ("b", "missing", False)]),
        ("p near (52.5, 13.4, 5km)", [("p", "near", (52.5, 13.4, 5000.0))]),
        ("p NEAR(52.5,-13.4,300)", [("p", "near", (52.5, -13.4, 300.0))]),
        ("p box (1, 2, 3, 4)", [("p", "box", (1.0, 2.0, 3.0, 4.0))]),
        ("p polygon (0 0, 0 1, 1 1)", [("p", "polygon", ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0)))]),
        ("items{price>10}", [("items", "element", Condition("price", "gt", 10))]),
        ("(a=1)", [("a", "eq", 1)]),
        ("not=1 & or=2 & and.x=3", [("not", "eq", 1), ("or", "eq", 2), ("and.x", "eq", 3)]),
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
        "color=red n=1",
        "a=salt and pepper",
        "a=x or",
        "a=(en or de)",
        "(a=1",
        "not",
        "a in []",
        "a in [1",
        "a in [1, , 2]",
        "a=x|null",
        "a='x y'",
        "a in ['x', 'y']",
        "a is empty",
        "p near (1, 2)",
        "p near (1, x, 3)",
        "p polygon (1 2)",
        "items{price>10",
        "a>9007199254740992",
        "(" * 33 + "a=1" + ")" * 33,
    ],
)
def test_what_cannot_be_read_says_where(expression: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_expression(expression)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        "metadata.year>=2020 and (lang=en or not tags:draft)",
        "metadata.year >= 2020 & ( lang = en OR NOT tags : draft )",
    ],
)
def test_and_binds_before_or_and_brackets_before_both(expression: str) -> None:
    year, lang, draft = Condition("metadata.year", "gte", 2020), Condition("lang", "eq", "en"), Condition("tags", "eq", "draft")
    assert parse_expression(expression) == (year, Combination("or", (lang, Combination("not", (draft,)))))
    assert parse_expression("a=1 or b=2 and not not c=3") == (
        Combination(
            "or",
            (Condition("a", "eq", 1), Combination("and", (Condition("b", "eq", 2), Condition("c", "eq", 3)))),
        ),
    )


def test_python_values_nest_as_text_does() -> None:
    where = {"metadata.year": {"gte": 2020}, "or": [{"lang": "en"}, {"not": ["tags:draft"]}]}
    assert parse_filter(where) == parse_filter("metadata.year>=2020 and (lang=en or not tags:draft)")
    assert parse_filter(["a=1", {"b": 2}, Condition("c", "eq", 3)]) == parse_filter("a=1 & b=2 & c=3")
    assert parse_filter(Combination("not", (Condition("a", "eq", 1),))) == parse_filter("not a=1")
    assert parse_filter({"items": {"element": "price>10 or color=red"}}) == parse_filter("items{price>10 or color=red}")


@pytest.mark.parametrize(
    "expression",
    [
        "a=1",
        "a in [1, two words]",
        "a not in (en)",
        "a>2024-12-31 and note~2020",
        "a is null and b is not missing and c!=*",
        "p near (52.5, 13.4, 5km) or p polygon (0 0, 0 1, 1 1)",
        "items{price>10 and color=red} and (lang=en or not tags:draft)",
    ],
)
def test_a_filter_is_written_as_json_that_is_the_same_filter(expression: str) -> None:
    filters = parse_filter(expression)
    assert parse_filter(json.loads(json.dumps([as_where(each) for each in filters]))) == filters


@given(filter_oracle.filters, st.lists(filter_oracle.documents, min_size=1, max_size=5))
def test_a_filter_is_written_as_text_that_means_the_same(part: Filter, documents: list[dict[str, Any]]) -> None:
    read = parse_expression(format_expression([part]))
    assert parse_expression(format_expression(read)) == read
    for document in documents:
        payload = {"metadata": document}
        assert all(filter_oracle.meets(payload, each) for each in read) == filter_oracle.meets(payload, part)


@pytest.mark.parametrize(
    "expression",
    [
        "metadata.lang=en and metadata.year>=2020",
        'a="two words" and b="2020" and c="true" and d="*" and e=""',
        '(a=1 or b in [x, 2.5, "y, z"]) and not (c not in [en])',
        'note~"R&D" and a is null and b is not missing and c!=* and d=*',
        "p near (52.5, 13.4, 5000.0) and p polygon (0.0 0.0, 0.0 1.0, 1.0 1.0)",
        'items{(price>10 and color=red)} and changed>"2024-12-31T00:00:00+00:00"',
    ],
)
def test_a_filter_is_written_as_it_was_read(expression: str) -> None:
    assert format_expression(parse_expression(expression)) == expression


def test_a_field_that_would_negate_is_quoted() -> None:
    assert format_expression([Condition("not", "missing", value=True)]) == '"not" is missing'


def test_a_filter_of_the_client_passes_as_it_is() -> None:
    raw = models.Filter(must=[models.HasIdCondition(has_id=[3])])
    assert parse_filter(raw) == (RawFilter(raw),)
    assert as_where(RawFilter(raw)) == {"must": [{"has_id": [3]}]}
    assert "Qdrant" in format_expression([RawFilter(raw)])
    assert parse_filter({"or": ["a=1", raw]}) == (Combination("or", (Condition("a", "eq", 1), RawFilter(raw))),)


@pytest.mark.parametrize("where", [3, [3], [["a=1"]], 3.5, Combination("xor", ()), {"a": 1, "not": ""}], ids=ascii)  # type: ignore[arg-type]
def test_what_is_no_filter_is_refused(where: object) -> None:
    with pytest.raises(ConfigurationError):
        parse_filter(where)


def test_a_filter_that_is_nested_too_deep_is_refused() -> None:
    part: Filter = Condition("a", "eq", 1)
    for _ in range(40):
        part = Combination("not", (part,))
    with pytest.raises(ConfigurationError, match="flatter"):
        parse_filter(part)


@given(st.text() | st.text(alphabet='ab.1-e"\\[]<>=!~|&*(){}, \n'))
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
    filter_to(parse_where({field: 1}))
