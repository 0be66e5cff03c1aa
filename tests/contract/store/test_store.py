"""What every store does with collections and writes: the same suite against the embedded engine and a server, REST and gRPC."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_server import Address
from store_data import DIM, assert_same_vectors, everything, manifest, point, sparse, vectors

from ingest.errors import CollectionNotFoundError, ManifestMismatchError, StoreError
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Store, VectorQuery

OPTIONS = CollectionOptions()


# --- collections and manifests


def test_a_manifest_comes_back_as_it_was_stored(store: Store, collection: str) -> None:
    wanted = manifest(collection, raw_name="Test — Näme")
    assert store.ensure(wanted, OPTIONS) == wanted
    assert store.manifest(collection) == wanted


def test_a_query_goes_on_after_the_first_results(ready: Store, collection: str) -> None:
    ready.upsert(collection, [point(number) for number in range(20)])
    [whole, rest] = ready.query(
        collection,
        [VectorQuery("dense", vectors(7)["dense"], 9), VectorQuery("dense", vectors(7)["dense"], 4, offset=5)],
    )
    assert [found.id for found in rest] == [found.id for found in whole[5:]]


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
        lambda store, name: store.set_aliases({f"{name}_alias": name}),
        lambda store, name: store.defer_indexing(name),
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


def test_setting_versions_leaves_the_rest_of_the_payload(ready: Store, collection: str) -> None:
    old = [point(number) for number in range(3)]
    versioned = {**old[1].payload, "_ingest": {**old[1].payload["_ingest"], "version": "1"}}
    ready.upsert(collection, [old[0], replace(old[1], payload=versioned), old[2]])
    ready.set_versions(collection, {old[0].id: "2", old[1].id: None, point(3).id: "3"})
    changed = {**old[0].payload, "_ingest": {**old[0].payload["_ingest"], "version": "2"}}
    found = everything(ready, collection)
    assert {id_: each.payload for id_, each in found.items()} == {
        old[0].id: changed,
        old[1].id: old[1].payload,
        old[2].id: old[2].payload,
    }


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


@pytest.mark.parametrize("nothing", ["upsert", "update_vectors", "set_payload", "set_versions", "delete"])
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
