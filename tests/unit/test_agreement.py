"""A job and its collection agree, or nothing happens: new collections, those of older versions, crashes, other settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from store_data import manifest, point

from ingest.errors import ManifestMismatchError
from ingest.store.contract import CollectionOptions, Manifest, Store
from ingest.store.edge import EdgeStore
from ingest.store.schema import physical_name
from ingest.sync.manifest import agree

WANTED = manifest("docs")
OTHER = replace(WANTED, chunking={"max_tokens": 100})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    with EdgeStore(tmp_path) as opened:
        yield opened


def agreed(store: Store, wanted: Manifest = WANTED) -> Manifest:
    return agree(wanted, CollectionOptions(), store=store)


def names(store: Store) -> list[str]:
    return [info.name for info in store.collections()]


def test_a_new_collection_is_made_behind_an_alias(store: Store) -> None:
    made = agreed(store)
    assert made == replace(WANTED, collection=physical_name(WANTED))
    assert store.aliases() == {"docs": made.collection}
    assert names(store) == [made.collection]
    store.upsert("docs", [point(1)])
    assert agreed(store) == made
    assert store.count(made.collection) == 1


def test_a_collection_that_has_the_name_itself_stays_as_it_is(store: Store) -> None:
    store.ensure(WANTED, CollectionOptions())
    store.upsert("docs", [point(1)])
    assert agreed(store) == WANTED
    assert (names(store), store.aliases()) == (["docs"], {})


def test_a_crash_before_the_alias_was_set_is_healed(store: Store) -> None:
    store.ensure(replace(WANTED, collection=physical_name(WANTED)), CollectionOptions())
    assert agreed(store).collection == physical_name(WANTED)
    assert store.aliases() == {"docs": physical_name(WANTED)}


@pytest.mark.parametrize("plain", [True, False])
def test_an_empty_collection_is_made_anew_with_other_settings(store: Store, plain: bool) -> None:
    if plain:
        store.ensure(WANTED, CollectionOptions())
    else:
        agreed(store)
    made = agreed(store, OTHER)
    assert made == replace(OTHER, collection=physical_name(OTHER))
    assert (names(store), store.aliases()) == ([made.collection], {"docs": made.collection})


def test_a_collection_with_points_is_refused_with_other_settings_and_called_as_the_user_does(store: Store) -> None:
    made = agreed(store)
    store.upsert("docs", [point(1)])
    with pytest.raises(ManifestMismatchError, match="collection 'docs' was made differently: chunking"):
        agreed(store, OTHER)
    assert store.aliases() == {"docs": made.collection}
    assert store.count("docs") == 1


def test_weights_may_change_but_are_not_forgotten(store: Store) -> None:
    made = agreed(store)
    assert agreed(store, replace(WANTED, weights={})) == made
    new = replace(made, weights={"dense": 9.0})
    assert agreed(store, replace(WANTED, weights={"dense": 9.0})) == new
    assert store.manifest("docs") == new


def test_a_second_name_for_the_same_collection_is_said(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    agreed(store)
    agreed(store, replace(WANTED, raw_name="D.O.C.S"))
    [said] = caplog.messages
    assert "'DOCS' and 'D.O.C.S' both mean collection 'docs'" in said
