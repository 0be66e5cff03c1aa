"""What every store does: the same suite against the embedded engine and a real server over REST and gRPC."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_server import Address
from store_data import DIM, manifest, point, sparse, vectors

from ingest.errors import CollectionNotFoundError, ManifestMismatchError, StoreError
from ingest.records import Point, SparseVector, StoredPoint
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Condition, Operator, Store, VectorQuery
from ingest.store.filters import parse_where
from ingest.store.schema import fingerprint_of

OPTIONS = CollectionOptions()


@pytest.fixture
def ready(store: Store, collection: str) -> Store:
    """A store with the collection in it, empty."""
    store.ensure(manifest(collection), OPTIONS)
    return store


def everything(store: Store, collection: str) -> dict[str, StoredPoint]:
    return {found.id: found for found in store.scroll(collection, vectors=True)}


def assert_same_vectors(found: StoredPoint, wanted: Point) -> None:
    assert found.vectors.keys() == wanted.vectors.keys()
    for name, value in wanted.vectors.items():
        stored = found.vectors[name]
        if isinstance(value, SparseVector):
            assert isinstance(stored, SparseVector)
            assert stored.indices.dtype == np.uint32
            assert stored.values.dtype == np.float32
            assert stored.indices.tolist() == value.indices.tolist()
            assert stored.values.tolist() == value.values.tolist()
        else:
            assert isinstance(stored, np.ndarray)
            assert stored.dtype == np.float32
            unit = value / np.linalg.norm(value) if name == "dense" else value
            np.testing.assert_allclose(stored, unit, rtol=0, atol=1e-6)


# --- collections and manifests


def test_a_manifest_comes_back_as_it_was_stored(store: Store, collection: str) -> None:
    wanted = manifest(collection, raw_name="Test — Näme")
    assert store.ensure(wanted, OPTIONS) == wanted
    assert store.manifest(collection) == wanted


def test_ensuring_again_changes_nothing_and_returns_what_is_there(ready: Store, collection: str) -> None:
    ready.upsert(collection, [point(1)])
    other = replace(manifest(collection, raw_name="another"), weights={"dense": 3.0})
    assert ready.ensure(other, OPTIONS) == manifest(collection)
    assert ready.count(collection) == 1


@pytest.mark.parametrize(
    "options",
    [
        CollectionOptions(on_disk=True, quantization="scalar", hnsw_m=8, hnsw_ef_construct=32),
        CollectionOptions(quantization="binary", shards=2),
    ],
)
def test_every_layout_stores_and_finds(store: Store, collection: str, options: CollectionOptions) -> None:
    store.ensure(manifest(collection), options)
    store.upsert(collection, [point(number) for number in range(20)])
    store.finalize(collection)
    [best] = store.query(collection, [VectorQuery("dense", vectors(7)["dense"], 1)])
    assert [found.id for found in best] == [point(7).id]


def test_a_new_manifest_replaces_the_old(ready: Store, collection: str) -> None:
    old = manifest(collection)
    new = replace(old, vectors=(replace(old.vectors[0], fingerprint="dense-2"), *old.vectors[1:]), weights={}, chunking={"x": 1})
    ready.write_manifest(new)
    assert ready.manifest(collection) == new


def test_a_manifest_cannot_change_the_columns(ready: Store, collection: str) -> None:
    old = manifest(collection)
    with pytest.raises(ManifestMismatchError, match="dense"):
        ready.write_manifest(replace(old, vectors=(replace(old.vectors[0], dim=DIM + 1), *old.vectors[1:])))
    assert ready.manifest(collection) == old


def test_collections_are_listed_by_name_with_their_points(store: Store, collection: str) -> None:
    for suffix in ("b", "a"):
        store.ensure(manifest(f"{collection}_{suffix}"), OPTIONS)
    store.upsert(f"{collection}_b", [point(1), point(2)])
    ours = [info for info in store.collections() if info.name.startswith(collection)]
    assert [(info.name, info.points, info.manifest, info.ours, info.problem) for info in ours] == [
        (f"{collection}_a", 0, manifest(f"{collection}_a"), True, None),
        (f"{collection}_b", 2, manifest(f"{collection}_b"), True, None),
    ]


def test_a_dropped_collection_is_gone_and_can_be_made_again(ready: Store, collection: str) -> None:
    ready.upsert(collection, [point(1)])
    ready.drop(collection)
    assert collection not in [info.name for info in ready.collections()]
    with pytest.raises(CollectionNotFoundError):
        ready.count(collection)
    ready.ensure(manifest(collection), OPTIONS)
    assert ready.count(collection) == 0


@pytest.mark.parametrize(
    "use",
    [
        lambda store, name: store.manifest(name),
        lambda store, name: store.write_manifest(manifest(name)),
        lambda store, name: store.drop(name),
        lambda store, name: store.fingerprints(name, [str(uuid.uuid4())]),
        lambda store, name: store.upsert(name, [point(1)]),
        lambda store, name: store.update_vectors(name, {point(1).id: vectors(1)}),
        lambda store, name: store.set_payload(name, {point(1).id: {}}),
        lambda store, name: store.delete(name, [point(1).id]),
        lambda store, name: list(store.scroll(name)),
        lambda store, name: store.query(name, [VectorQuery("dense", vectors(1)["dense"], 1)]),
        lambda store, name: store.count(name),
        lambda store, name: store.finalize(name),
    ],
    ids=lambda use: use.__code__.co_names[0],
)
def test_a_missing_collection_is_said_to_be_missing(store: Store, collection: str, use: Callable[[Store, str], object]) -> None:
    with pytest.raises(CollectionNotFoundError, match=collection):
        use(store, collection)


def test_a_closed_store_says_so(store: Store, collection: str) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.count(collection)


# --- writing


def test_points_come_back_as_they_were_stored(ready: Store, collection: str) -> None:
    metadata = {"year": 2020, "x": 1.5, "tags": ["a", "ü"], "deep": {"none": None, "yes": True}, "big": 2**60, "odd key.": ""}
    wanted = [point(1, metadata=metadata), point(2, columns=["dense"]), point(3, columns=["bm25"])]
    ready.upsert(collection, wanted)
    found = everything(ready, collection)
    assert found.keys() == {each.id for each in wanted}
    for each in wanted:
        assert found[each.id].payload == each.payload
        assert_same_vectors(found[each.id], each)


def test_an_empty_sparse_vector_is_stored_and_never_found(ready: Store, collection: str) -> None:
    empty = replace(point(1), vectors={"dense": vectors(1)["dense"], "bm25": sparse({})})
    ready.upsert(collection, [empty, point(2)])
    assert_same_vectors(everything(ready, collection)[empty.id], empty)
    [found] = ready.query(collection, [VectorQuery("bm25", vectors(2)["bm25"], 10)])
    assert [each.id for each in found] == [point(2).id]


def test_upserting_again_replaces_the_whole_point(ready: Store, collection: str) -> None:
    ready.upsert(collection, [point(1, metadata={"old": 1})])
    new = replace(point(1), vectors={"dense": vectors(99)["dense"]}, payload={"text": "new"})
    ready.upsert(collection, [new])
    [found] = everything(ready, collection).values()
    assert found.payload == {"text": "new"}
    assert_same_vectors(found, new)


def test_updating_vectors_leaves_the_other_columns_and_the_payload(ready: Store, collection: str) -> None:
    old, bystander = point(1), point(2)
    ready.upsert(collection, [old, bystander])
    ready.update_vectors(collection, {old.id: {"dense": vectors(99)["dense"], "bm25": vectors(99)["bm25"]}})
    found = everything(ready, collection)
    assert found[old.id].payload == old.payload
    mixed = {**old.vectors, "dense": vectors(99)["dense"], "bm25": vectors(99)["bm25"]}
    assert_same_vectors(found[old.id], replace(old, vectors=mixed))
    assert_same_vectors(found[bystander.id], bystander)


def test_setting_payloads_replaces_them_whole_and_leaves_the_vectors(ready: Store, collection: str) -> None:
    old = [point(number, metadata={"old": number}) for number in range(3)]
    ready.upsert(collection, old)
    ready.set_payload(collection, {old[0].id: {"text": "a"}, old[1].id: {"text": "b", "metadata": {"new": None}}})
    found = everything(ready, collection)
    payloads = [found[each.id].payload for each in old]
    assert payloads == [{"text": "a"}, {"text": "b", "metadata": {"new": None}}, old[2].payload]
    for each in old:
        assert_same_vectors(found[each.id], each)


def test_changing_a_point_that_is_not_there_is_an_error_of_its_own(ready: Store, collection: str) -> None:
    changes: list[Callable[[], None]] = [
        lambda: ready.update_vectors(collection, {point(1).id: {"dense": vectors(1)["dense"]}}),
        lambda: ready.set_payload(collection, {point(1).id: {"text": "a"}}),
    ]
    for change in changes:
        with pytest.raises(StoreError) as caught:
            change()
        assert type(caught.value) is StoreError
    assert ready.count(collection) == 0


def test_deleting_ignores_what_is_not_there(ready: Store, collection: str) -> None:
    ready.upsert(collection, [point(1), point(2)])
    ready.delete(collection, [point(1).id, point(3).id])
    ready.delete(collection, [point(1).id])
    assert everything(ready, collection).keys() == {point(2).id}


@pytest.mark.parametrize("nothing", ["upsert", "update_vectors", "set_payload", "delete"])
def test_writing_nothing_does_nothing(ready: Store, collection: str, nothing: str) -> None:
    ready.upsert(collection, [point(1)])
    getattr(ready, nothing)(collection, [] if nothing in ("upsert", "delete") else {})
    assert ready.count(collection) == 1


@pytest.mark.parametrize("wrong", [{"dense": np.ones(DIM + 1, np.float32)}, {"unknown": np.ones(2, np.float32)}])
def test_vectors_that_do_not_fit_are_refused_in_one_line(ready: Store, collection: str, wrong: dict[str, np.ndarray]) -> None:
    with pytest.raises(StoreError) as caught:
        ready.upsert(collection, [replace(point(1), vectors=wrong)])
    assert collection in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_threads_may_write_and_read(ready: Store, collection: str) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 50, 10):
            ready.upsert(collection, [point(each) for each in range(number, number + 10)])
            ready.count(collection)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 50, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ready.count(collection) == 150


# --- fingerprints


def test_fingerprints_of_more_than_one_page(ready: Store, collection: str) -> None:
    small = [replace(point(number, doc_id=f"doc-{number % 700}"), vectors={"dot": vectors(1)["dot"]}) for number in range(5_600)]
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


@pytest.mark.parametrize("payload", [{}, {"source": "docs"}, {"_ingest": None}, {"_ingest": ["x"]}, {"_ingest": {"schema": 1}}])
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


# --- reading


def test_scrolling_returns_every_point_once_by_id(ready: Store, collection: str) -> None:
    ready.upsert(collection, [point(number) for number in range(25)])
    ids = [found.id for found in ready.scroll(collection, page=10)]
    assert ids == sorted(point(number).id for number in range(25))


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


# --- what is not ours


def test_a_server_collection_of_somebody_else_is_refused_and_left_alone(server: Address, collection: str) -> None:
    client = QdrantClient(url=server.url, check_compatibility=False)
    try:
        client.create_collection(collection, vectors_config=models.VectorParams(size=3, distance=models.Distance.DOT))
        with open_store(server.url) as store:
            with pytest.raises(StoreError, match="not made by this package"):
                store.ensure(manifest(collection), OPTIONS)
            with pytest.raises(StoreError, match="not made by this package"):
                store.manifest(collection)
            [info] = [each for each in store.collections() if each.name == collection]
            assert (info.points, info.manifest, info.ours, info.problem) == (0, None, False, None)
        assert client.get_collection(collection).payload_schema == {}
    finally:
        client.delete_collection(collection)
        client.close()
