"""What every store finds: fingerprints, scrolling, filters and queries, the same against the embedded engine and a server."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from faulty_proxy import FaultyProxy
from qdrant_server import Address
from store_data import assert_same_vectors, everything, manifest, point, sparse, vectors

from ingest.errors import StoreError
from ingest.records import Point
from ingest.store import open_store
from ingest.store.contract import SCHEMA_VERSION, CollectionOptions, Condition, Operator, Store, VectorQuery
from ingest.store.filters import parse_where
from ingest.store.schema import fingerprint_of

OPTIONS = CollectionOptions()


# --- fingerprints


def test_fingerprints_of_more_than_one_page(ready: Store, collection: str) -> None:
    dot = {"dot": vectors(1)["dot"]}
    small = [replace(point(number, doc_id=f"doc-{number % 700}", columns=()), vectors=dot) for number in range(5_600)]
    for start in range(0, len(small), 700):
        ready.upsert(collection, small[start : start + 700])
    wanted = [made for each in small if (made := fingerprint_of(each.id, each.payload)) and each.payload["doc_id"] != "doc-1"]
    found = ready.fingerprints(collection, sorted({made.doc_key for made in wanted} | {str(uuid.uuid4())}))
    assert len(wanted) > 5_000
    assert sorted(found, key=lambda made: made.id) == sorted(wanted, key=lambda made: made.id)


def test_fingerprints_of_nobody_and_of_strangers(ready: Store, collection: str) -> None:
    key = str(uuid.uuid4())
    foreign = Point(str(uuid.uuid4()), {}, {"_ingest": {"doc_key": key, "schema": 99}})
    ready.upsert(collection, [point(1), foreign])
    assert ready.fingerprints(collection, []) == []
    assert ready.fingerprints(collection, [key]) == []


@pytest.mark.parametrize(
    "payload", [{}, {"source": "docs"}, {"_ingest": None}, {"_ingest": ["x"]}, {"_ingest": {"schema": SCHEMA_VERSION}}]
)
def test_points_of_other_tools_are_found_but_have_no_fingerprint(
    ready: Store, collection: str, payload: dict[str, object]
) -> None:
    foreign = Point(str(uuid.uuid4()), {"dense": vectors(2)["dense"]}, payload)
    ready.upsert(collection, [point(1), foreign])
    assert everything(ready, collection)[foreign.id].payload == payload
    assert {found.id for found in ready.scroll(collection, payload=["doc_id", "_ingest.doc_key"])} == {point(1).id, foreign.id}
    [[best]] = ready.query(collection, [VectorQuery("dense", vectors(2)["dense"], 1)])
    assert (best.id, best.payload) == (foreign.id, payload)
    key = point(1).payload["_ingest"]["doc_key"]
    assert [made.id for made in ready.fingerprints(collection, [key])] == [point(1).id]


def test_points_of_other_tools_may_have_numbers_as_ids(ready: Store, collection: str) -> None:
    foreign = Point("7", {"dense": vectors(2)["dense"]}, {"other": 1})
    ready.upsert(collection, [point(1), foreign])
    ready.set_payload(collection, {"7": {"other": 2}})
    ready.update_vectors(collection, {"7": {"dense": vectors(3)["dense"]}})
    [[best]] = ready.query(collection, [VectorQuery("dense", vectors(3)["dense"], 1)])
    [stored] = ready.retrieve(collection, ["7"], vectors=["dense"])
    assert (best.id, stored.id, stored.payload) == ("7", "7", {"other": 2})
    assert_same_vectors(stored, Point("7", {"dense": vectors(3)["dense"]}, {}))
    ready.delete(collection, ["7"])
    assert everything(ready, collection).keys() == {point(1).id}


# --- reading


def test_scrolling_returns_every_point_once_by_id(ready: Store, collection: str) -> None:
    ready.upsert(collection, [point(number) for number in range(25)])
    ids = [found.id for found in ready.scroll(collection, page=10)]
    assert ids == sorted(point(number).id for number in range(25))


@pytest.mark.parametrize("page", [1, 4, 24, 25, 1000])
def test_scrolling_continues_after_any_point(ready: Store, collection: str, page: int) -> None:
    ready.upsert(collection, [point(number) for number in range(25)])
    ids = sorted(point(number).id for number in range(25))
    for last in (0, 11, 23, 24):
        rest = ready.scroll(collection, page=page, after=ids[last])
        assert [found.id for found in rest] == ids[last + 1 :]
    of_one = [Condition("doc_id", "any", ("doc-3", "doc-4"))]
    first, second = (found.id for found in ready.scroll(collection, of_one))
    assert [found.id for found in ready.scroll(collection, of_one, page=page, after=first)] == [second]


def test_a_page_is_one_request(server: Address, collection: str) -> None:
    asked: list[str] = []
    with (
        FaultyProxy(server.url, lambda request: asked.append(request.path.partition("?")[0])) as proxy,
        open_store(proxy.url) as store,
    ):
        store.ensure(manifest(collection), OPTIONS)
        store.upsert(collection, [point(number) for number in range(25)])
        assert len(list(store.scroll(collection, page=10))) == 25
        store.drop(collection)
    assert len([path for path in asked if path.endswith("/points/scroll")]) == 3


def test_scrolling_continues_after_a_point_that_is_gone(ready: Store, collection: str) -> None:
    ready.upsert(collection, [point(number) for number in range(9)])
    ids = sorted(point(number).id for number in range(9))
    ready.delete(collection, [ids[3]])
    assert [found.id for found in ready.scroll(collection, page=2, after=ids[3])] == ids[4:]


def test_scrolling_returns_only_what_was_asked_for(ready: Store, collection: str) -> None:
    ready.upsert(collection, [point(1, metadata={"year": 2020, "lang": "en"})])
    [found] = ready.scroll(collection, payload=["text", "metadata.year"], vectors=["bm25"])
    assert found.payload == {"text": "text 1", "metadata": {"year": 2020}}
    assert found.vectors.keys() == {"bm25"}
    [bare] = ready.scroll(collection, payload=False)
    assert (bare.payload, bare.vectors) == ({}, {})


DOCUMENTS = {
    1: {"year": 2019, "lang": "en", "draft": True, "day": "2019-05-01", "score": 1.0, "tags": ["a", "b"], "note": "Hello World"},
    2: {"year": 2020, "lang": "de", "draft": False, "day": "2020-05-01T10:00:00Z", "score": 2.5, "tags": ["b"], "note": None},
    3: {"year": 2021, "lang": "fr", "draft": True, "day": "2021-05-01T00:30:00+02:00", "tags": [], "big": 2**60 + 1},
    4: {"lang": "en", "odd key": "x", "score": -1},
}


FILTERS: list[tuple[dict[str, object], set[int]]] = [
    ({"metadata.lang": "en"}, {1, 4}),
    ({"metadata.year": 2020}, {2}),
    ({"metadata.year": 2020.0}, {2}),
    ({"metadata.score": 1}, {1}),
    ({"metadata.score": 2.5}, {2}),
    ({"metadata.big": 2**60 + 1}, {3}),
    ({"metadata.big": 2**60}, set()),
    ({"metadata.draft": True}, {1, 3}),
    ({"metadata.draft": False}, {2}),
    ({"metadata.tags": "b"}, {1, 2}),
    ({'metadata."odd key"': "x"}, {4}),
    ({"metadata.lang": ["en", "de", "xx"]}, {1, 2, 4}),
    ({"metadata.year": [2019, 2021]}, {1, 3}),
    ({"metadata.score": [1, 2.5, "x"]}, {1, 2}),
    ({"metadata.lang": {"none": ["en", "de"]}}, {3}),
    ({"metadata.year": {"not": 2019}}, {2, 3, 4}),
    ({"metadata.draft": {"not": True}}, {2, 4}),
    ({"metadata.tags": {"not": "a"}}, {2, 3, 4}),
    ({"metadata.year": {"gte": 2020}}, {2, 3}),
    ({"metadata.year": {"gt": 2019, "lt": 2021}}, {2}),
    ({"metadata.score": {"lte": 1}}, {1, 4}),
    ({"metadata.day": {"gte": "2020-05-01"}}, {2, 3}),
    ({"metadata.day": {"lt": "2020-05-01T10:00:00+00:00"}}, {1}),
    ({"metadata.day": {"lt": "2021-05-01"}}, {1, 2, 3}),
    ({"metadata.note": {"exists": True}}, {1}),
    ({"metadata.tags": {"exists": True}}, {1, 2}),
    ({"metadata.tags": {"exists": False}}, {3, 4}),
    ({"metadata.note": {"text": "lo Wor"}}, {1}),
    ({"metadata.note": {"text": "hello"}}, set()),
    ({"source": "docs", "doc_id": ["doc-1", "doc-2"], "metadata.year": {"gt": 2019}}, {2}),
    ({"source": "elsewhere"}, set()),
]


def test_conditions_mean_the_same_everywhere(ready: Store, collection: str) -> None:
    stored = {number: point(number, metadata=metadata) for number, metadata in DOCUMENTS.items()}
    ready.upsert(collection, list(stored.values()))
    number_of = {each.id: number for number, each in stored.items()}
    scrolled, counted, queried = {}, {}, {}
    for where, _ in FILTERS:
        conditions = parse_where(where)
        scrolled[str(where)] = {number_of[found.id] for found in ready.scroll(collection, conditions)}
        counted[str(where)] = ready.count(collection, conditions)
        [answer] = ready.query(collection, [VectorQuery("dense", vectors(1)["dense"], 10, conditions)])
        queried[str(where)] = {number_of[found.id] for found in answer}
    expected = {str(where): numbers for where, numbers in FILTERS}
    assert scrolled == expected
    assert queried == expected
    assert counted == {where: len(numbers) for where, numbers in expected.items()}


@pytest.mark.parametrize(("operator", "expected"), [("any", 0), ("none", 1)])
def test_an_empty_list_matches_nothing(ready: Store, collection: str, operator: Operator, expected: int) -> None:
    ready.upsert(collection, [point(1)])
    assert ready.count(collection, [Condition("source", operator, ())]) == expected


def test_each_query_is_answered_in_order_best_first(ready: Store, collection: str) -> None:
    ready.upsert(collection, [point(number) for number in range(30)])
    queries = [
        VectorQuery("dense", vectors(3)["dense"], 5),
        VectorQuery("bm25", vectors(4)["bm25"], 3),
        VectorQuery("dot", vectors(5)["dot"], 40),
    ]
    dense, bm25, dot = ready.query(collection, queries, payload=["doc_id"])
    assert dense[0].id == point(3).id
    assert dense[0].score == pytest.approx(1.0, abs=1e-6)
    assert dense[0].payload == {"doc_id": "doc-3"}
    assert bm25[0].id == point(4).id
    assert [len(answer) for answer in (dense, bm25, dot)] == [5, 3, 30]
    for answer in (dense, bm25, dot):
        scores = [found.score for found in answer]
        assert scores == sorted(scores, reverse=True)
    [bare] = ready.query(collection, queries[:1], payload=False)
    assert [found.payload for found in bare] == [{}] * 5


def test_results_of_one_score_are_ordered_by_id(ready: Store, collection: str) -> None:
    seeds = (1, 2, 1, 1, 2, 1, 2, 2)  # of the vectors, so that scores of two kinds mix
    points = [replace(point(number), vectors={"dense": vectors(seed)["dense"]}) for number, seed in enumerate(seeds)]
    ready.upsert(collection, points)
    [found] = ready.query(collection, [VectorQuery("dense", vectors(1)["dense"], 10)], payload=False)
    by_seed = [sorted(each.id for each, seed in zip(points, seeds, strict=True) if seed == wanted) for wanted in (1, 2)]
    assert [each.id for each in found] == [*by_seed[0], *by_seed[1]]


def test_rare_terms_weigh_more_where_the_vector_says_so(ready: Store, collection: str) -> None:
    common, rare = sparse({1: 1.0}), sparse({2: 1.0})
    points = [replace(point(number), vectors={"bm25": common, "plain": common}) for number in range(9)]
    ready.upsert(collection, [*points, replace(point(9), vectors={"bm25": rare, "plain": rare})])
    both = sparse({1: 1.0, 2: 1.0})
    with_idf, without = ready.query(collection, [VectorQuery("bm25", both, 10), VectorQuery("plain", both, 10)])
    assert with_idf[0].id == point(9).id
    assert with_idf[0].score > with_idf[1].score
    assert {found.score for found in without} == {1.0}


def test_an_unknown_vector_is_refused(ready: Store, collection: str) -> None:
    with pytest.raises(StoreError):
        ready.query(collection, [VectorQuery("unknown", vectors(1)["dense"], 1)])


def test_finalizing_changes_no_answer(ready: Store, collection: str) -> None:
    ready.upsert(collection, [point(number) for number in range(200)])
    ready.delete(collection, [point(number).id for number in range(100)])
    queries = [VectorQuery("dense", vectors(500)["dense"], 10), VectorQuery("bm25", vectors(500)["bm25"], 10)]
    before = ready.query(collection, queries)
    ready.finalize(collection)
    assert [[found.id for found in answer] for answer in ready.query(collection, queries)] == [
        [found.id for found in answer] for answer in before
    ]
    assert ready.count(collection) == 100


# --- all of them side by side


def test_every_store_gives_the_same_answers(ready: Store, collection: str, server: Address) -> None:
    points = [point(number, metadata={"year": 2000 + number % 7}) for number in range(300)]
    ready.upsert(collection, points)
    queries = [
        VectorQuery(name, vectors(seed)[name], 10, conditions)
        for seed in range(1000, 1010)
        for name in ("dense", "dot", "bm25", "plain")
        for conditions in ((), parse_where({"metadata.year": {"gte": 2003}}))
    ]
    other = f"{collection}_other"
    with open_store(server.url) as reference:
        reference.ensure(manifest(other), OPTIONS)
        try:
            reference.upsert(other, points)
            expected = reference.query(other, queries)
        finally:
            reference.drop(other)
    for mine, theirs in zip(ready.query(collection, queries), expected, strict=True):
        assert [found.score for found in mine] == pytest.approx([found.score for found in theirs], abs=1e-5)
        if len({round(found.score, 4) for found in theirs}) == len(theirs):  # no ties
            assert [found.id for found in mine] == [found.id for found in theirs]
