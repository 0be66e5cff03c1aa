"""Aliases: every store takes them for a collection's name, and moves them in one step."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest
from store_data import everything, manifest, point, vectors

from ingest.errors import CollectionNotFoundError, StoreError
from ingest.store.contract import CollectionOptions, Store, VectorQuery

OPTIONS = CollectionOptions()


def two_collections(store: Store, collection: str) -> tuple[str, str]:
    """`collection`_a with the points 1 and 2, `collection`_b with 1, 2 and 3."""
    names = f"{collection}_a", f"{collection}_b"
    for name, points in zip(names, (2, 3), strict=True):
        store.ensure(manifest(name), OPTIONS)
        store.upsert(name, [point(number) for number in range(1, points + 1)])
    return names


def ours(store: Store, collection: str) -> dict[str, str]:
    """The aliases of this test, on a server that others use."""
    return {alias: target for alias, target in store.aliases().items() if alias.startswith(collection)}


USES: list[Callable[[Store, str], object]] = [
    lambda store, name: store.ensure(manifest(name), OPTIONS),
    lambda store, name: store.manifest(name),
    lambda store, name: store.fingerprints(name, [point(1).payload["_ingest"]["doc_key"]]),
    lambda store, name: [found.id for found in store.scroll(name)],
    lambda store, name: [found.id for found in store.retrieve(name, [point(1).id])],
    lambda store, name: [
        [found.id for found in answer] for answer in store.query(name, [VectorQuery("dense", vectors(2)["dense"], 5)])
    ],
    lambda store, name: store.count(name),
    lambda store, name: store.finalize(name),
    lambda store, name: store.defer_indexing(name),
]


def test_an_alias_answers_as_its_collection_does(store: Store, collection: str) -> None:
    first, _ = two_collections(store, collection)
    store.set_aliases({collection: first})
    for use in USES:
        assert use(store, collection) == use(store, first)
    assert collection not in [info.name for info in store.collections()]


def test_what_is_written_to_an_alias_is_in_its_collection(store: Store, collection: str) -> None:
    first, second = two_collections(store, collection)
    store.set_aliases({collection: first})
    store.upsert(collection, [point(4), point(5)])
    store.update_vectors(collection, {point(4).id: {"dot": vectors(50)["dot"]}})
    store.set_payload(collection, {point(4).id: {"text": "changed"}})
    store.delete(collection, [point(1).id])
    found = everything(store, first)
    assert found.keys() == {point(number).id for number in (2, 4, 5)}
    assert found[point(4).id].payload == {"text": "changed"}
    assert store.count(second) == 3


def test_a_manifest_says_the_collections_own_name(store: Store, collection: str) -> None:
    first, _ = two_collections(store, collection)
    store.set_aliases({collection: first})
    store.write_manifest(replace(manifest(collection), weights={"dense": 7.0}, raw_name="First"))
    written = replace(manifest(first), weights={"dense": 7.0}, raw_name="First")
    assert store.manifest(collection) == store.manifest(first) == written


def test_dropping_through_an_alias_drops_the_collection_and_all_its_aliases(store: Store, collection: str) -> None:
    first, second = two_collections(store, collection)
    store.set_aliases({collection: first, f"{collection}_more": first, f"{collection}_other": second})
    store.drop(collection)
    assert ours(store, collection) == {f"{collection}_other": second}
    assert [info.name for info in store.collections() if info.name.startswith(collection)] == [second]
    with pytest.raises(CollectionNotFoundError, match=collection):
        store.count(collection)


def test_aliases_are_set_moved_and_removed_together(store: Store, collection: str) -> None:
    first, second = two_collections(store, collection)
    one, two, three = (f"{collection}_{number}" for number in (1, 2, 3))
    store.set_aliases({one: first, two: second})
    store.set_aliases({one: second, two: first, three: one})  # an alias as a target means what it points to now
    assert ours(store, collection) == {one: second, two: first, three: first}
    store.set_aliases({one: None, three: None, f"{collection}_nobody": None})
    assert ours(store, collection) == {two: first}
    store.set_aliases({})
    assert ours(store, collection) == {two: first}


def test_an_alias_is_exchanged_for_others_only_if_it_exists(store: Store, collection: str) -> None:
    first, second = two_collections(store, collection)
    one, two, three = (f"{collection}_{n}" for n in (1, 2, 3))
    assert not store.exchange_alias(three, {one: second})
    store.set_aliases({one: first, three: first})
    assert store.exchange_alias(three, {one: second, two: one})
    assert ours(store, collection) == {one: second, two: first}
    assert not store.exchange_alias(three, {one: first, two: None})
    with pytest.raises(CollectionNotFoundError, match="missing"):
        store.exchange_alias(two, {one: f"{collection}_missing"})
    assert ours(store, collection) == {one: second, two: first}


def test_nothing_is_changed_where_a_target_is_missing(store: Store, collection: str) -> None:
    first, second = two_collections(store, collection)
    store.set_aliases({collection: first})
    with pytest.raises(CollectionNotFoundError, match="missing"):
        store.set_aliases({collection: second, f"{collection}_new": f"{collection}_missing"})
    assert ours(store, collection) == {collection: first}


def test_the_name_of_a_collection_cannot_become_an_alias(store: Store, collection: str) -> None:
    first, second = two_collections(store, collection)
    with pytest.raises(StoreError, match=f"{first} cannot become an alias.*ingest collections drop {first}"):
        store.set_aliases({f"{collection}_new": second, first: second})
    assert ours(store, collection) == {}
    assert store.count(first) == 2


def test_an_alias_is_no_collection_to_be_made(store: Store, collection: str) -> None:
    first, _ = two_collections(store, collection)
    store.set_aliases({collection: first})
    before = len(store.collections())
    other = replace(manifest(collection), chunking={"other": uuid.uuid4().hex})
    assert store.ensure(other, OPTIONS) == manifest(first)
    assert len(store.collections()) == before


def test_readers_never_notice_a_swap(store: Store, collection: str) -> None:
    first, second = two_collections(store, collection)
    one, two = f"{collection}_1", f"{collection}_2"
    store.set_aliases({one: first, two: second})
    done = threading.Event()
    seen: set[object] = set()
    failures: list[Exception] = []

    def read() -> None:
        while not done.is_set():
            try:
                pair = ours(store, collection)
                seen.update({store.count(one), store.manifest(one).collection, (pair[one], pair[two])})
                seen.add(len(list(store.scroll(one, page=10))))
            except Exception as exc:  # noqa: BLE001  reported below, in the test's own thread
                failures.append(exc)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(25):
        store.set_aliases({one: second, two: first})
        store.set_aliases({one: first, two: second})
    done.set()
    reader.join()
    assert failures == []
    assert seen <= {2, 3, first, second, (first, second), (second, first)}
