"""Filters in every store mean what plain Python says."""

from __future__ import annotations

import os
from typing import Any

import pytest
import store_data
from filter_oracle import DATES, HUGE, NUMBERS, TEXTS, conditions, documents, filters, meets, nested, places
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import models

from ingest.search.fields import mismatch, wrong_index
from ingest.store.contract import CollectionOptions, Condition, Filter, Store
from ingest.store.filters import conditions_in, parse_filter
from ingest.store.payload_index import IndexType, PayloadIndex

CASES = int(os.environ.get("FILTER_CASES", "20"))


@pytest.fixture
def filled(store: Store, collection: str) -> Store:
    store.ensure(store_data.manifest(collection), CollectionOptions())
    return store


@settings(max_examples=CASES, derandomize=True, suppress_health_check=list(HealthCheck))
@given(metadata=st.lists(documents, min_size=6, max_size=6), part=filters)
def test_a_filter_finds_what_plain_python_finds(
    filled: Store, collection: str, metadata: list[dict[str, Any]], part: Filter
) -> None:
    points = [store_data.point(number, metadata=each, columns=("plain",)) for number, each in enumerate(metadata)]
    filled.upsert(collection, points)
    found = {each.id for each in filled.scroll(collection, [part], payload=False)}
    assert found == {each.id for each in points if meets(each.payload, part)}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (models.Filter(must=[models.FieldCondition(key="metadata.n", range=models.Range(gte=1, lt=3))]), {1, 2}),
        (models.Filter(must_not=models.FieldCondition(key="metadata.n", match=models.MatchValue(value=0))), {1, 2, 3}),
        (models.Filter(must=[models.HasIdCondition(has_id=[store_data.point(3).id])]), {3}),
        (models.Filter(must=[models.FieldCondition(key="metadata.n", match=models.MatchExcept(**{"except": [0, 1]}))]), {2, 3}),
        (models.Filter(must=[models.HasVectorCondition(has_vector="plain")]), {0, 1, 2, 3}),
        (models.Filter(must=[models.HasVectorCondition(has_vector="dense")]), set()),
        (models.Filter(must=[models.FieldCondition(key="metadata.tags", values_count=models.ValuesCount(gte=2))]), {2, 3}),
        (
            models.Filter(
                min_should=models.MinShould(
                    conditions=[
                        models.FieldCondition(key="metadata.n", range=models.Range(gt=1)),
                        models.FieldCondition(key="metadata.tags", match=models.MatchAny(any=["t0"])),
                    ],
                    min_count=2,
                )
            ),
            {2, 3},
        ),
        (models.Filter(), {0, 1, 2, 3}),
    ],
    ids=str,
)
def test_a_filter_of_the_client_means_the_same_everywhere(
    filled: Store, collection: str, raw: models.Filter, expected: set[int]
) -> None:
    points = [
        store_data.point(n, metadata={"n": n, "tags": [f"t{each}" for each in range(n)]}, columns=("plain",)) for n in range(4)
    ]
    filled.upsert(collection, points)
    for where in (raw, ["metadata.n>=0", raw], {"not": [{"not": [raw]}]}):
        found = {each.payload["metadata"]["n"] for each in filled.scroll(collection, parse_filter(where))}
        assert found == expected


@pytest.mark.parametrize(
    ("where", "values", "hint"),
    [
        ("a>=2020", ["2020-05-01"], "2020-01-01"),
        ("a=1234", ["01234"], "quotes"),
        ('a="1"', [1, 2], "without quotes"),
        ("a>=2020-01-01", [2020], "a number"),
        ("a~x", [3], "without quotes"),
        ("a near (1, 2, 3)", ["Berlin"], "place"),
        ("a=true", ["yes"], "true or false"),
        ("a=1", [1.5], None),
        ("a=x", ["2020-01-01"], None),
        ("a in [1, x]", ["y"], None),
        ("a!=1", ["y"], None),
        ("a=1", [], None),
    ],
)
def test_a_value_of_another_kind_is_told(where: str, values: list[Any], hint: str | None) -> None:
    [condition] = parse_filter(where)
    assert isinstance(condition, Condition)
    sentence = mismatch(condition, values)
    assert (sentence is None) if hint is None else (sentence is not None and hint in sentence)


INDEXED: dict[str, tuple[IndexType, st.SearchStrategy[Any]]] = {
    "integer": ("integer", st.sampled_from([number for number in NUMBERS if isinstance(number, int)] + HUGE)),
    "float": ("float", st.sampled_from(NUMBERS)),
    "keyword": ("keyword", st.sampled_from(TEXTS)),
    "datetime": ("datetime", st.sampled_from(DATES)),
    "bool": ("bool", st.booleans()),
    "geo": ("geo", places),
}


@pytest.mark.parametrize("kind", INDEXED)
def test_a_payload_index_changes_no_answer(store: Store, collection: str, kind: str) -> None:
    """Of values of its type. A condition that it would answer wrongly is refused."""
    index_type, values = INDEXED[kind]
    index = PayloadIndex(index_type)
    store.ensure(store_data.manifest(collection), CollectionOptions(index={"a": index_type}))
    field = values | st.none() | st.lists(values | st.none(), max_size=3)
    rows = st.fixed_dictionaries({}, optional={"a": field})

    @settings(max_examples=CASES, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(rows, min_size=6, max_size=6), nested(conditions(st.just("metadata.a")), 4))
    def compare(metadata: list[dict[str, Any]], part: Filter) -> None:
        if any(wrong_index(condition, index) for condition, _ in conditions_in([part])):
            return
        points = [store_data.point(number, metadata=each, columns=("plain",)) for number, each in enumerate(metadata)]
        store.upsert(collection, points)
        found = {each.id for each in store.scroll(collection, [part], payload=False)}
        assert found == {each.id for each in points if meets(each.payload, part)}

    compare()
