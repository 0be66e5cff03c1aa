"""A job and its collection agree, or nothing happens: new collections, those of older versions, crashes, other settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from interleaving import Interleaved
from store_data import manifest, point

from ingest.errors import ConfigurationError, ManifestMismatchError, StoreError
from ingest.store.contract import CollectionOptions, Manifest, Store
from ingest.store.edge.store import EdgeStore
from ingest.store.schema import physical_name
from ingest.sync.job import Job
from ingest.sync.manifest import check_still_in_use, ensure_collection
from ingest.testing import HashEncoder

WANTED = manifest("docs")
OTHER = replace(WANTED, chunking={"max_tokens": 100})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    with EdgeStore(tmp_path) as opened:
        yield opened


def agreed(store: Store, wanted: Manifest = WANTED) -> Manifest:
    return ensure_collection(wanted, CollectionOptions(), store=store)


def names(store: Store) -> list[str]:
    return [info.name for info in store.collections()]


def test_a_new_collection_is_made_behind_an_alias(store: Store) -> None:
    made = agreed(store)
    assert made == replace(WANTED, collection=physical_name(WANTED), base_name="docs")
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


def test_beside_an_empty_collection_one_with_other_settings_is_made(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    empty = agreed(store).collection
    made = agreed(store, OTHER)
    assert made == replace(OTHER, collection=physical_name(OTHER), base_name="docs")
    assert (names(store), store.aliases()) == (sorted([empty, made.collection]), {"docs": made.collection})
    assert f"ingest collections drop {empty}" in caplog.text
    assert agreed(store).collection == empty  # and back, as long as neither holds a point


@pytest.mark.parametrize("owner", ["docs itself", "handbook"])
def test_an_empty_collection_that_is_not_a_version_of_the_name_is_refused(store: Store, owner: str) -> None:
    if owner == "handbook":
        other = ensure_collection(replace(WANTED, collection="handbook"), CollectionOptions(), store=store)
        store.set_aliases({"docs": other.collection})
    else:
        store.ensure(WANTED, CollectionOptions())
    before = names(store), store.aliases()
    with pytest.raises(ManifestMismatchError, match="made differently: chunking"):
        agreed(store, OTHER)
    assert (names(store), store.aliases()) == before


@pytest.mark.parametrize("name", ["docs__previous", "docs__next", "Docs__NEXT"])
def test_a_name_that_reindex_needs_is_refused(store: Store, name: str) -> None:
    job = Job(name)
    with pytest.raises(ConfigurationError, match="reserved"):
        agreed(store, job.manifest([HashEncoder("dense", 8)]))
    assert (names(store), store.aliases()) == ([], {})


def test_an_alias_in_the_place_of_a_new_collection_is_refused(store: Store) -> None:
    """Its points would mix with those of the collection that the alias stands for."""
    other = ensure_collection(replace(WANTED, collection="handbook"), CollectionOptions(), store=store)
    store.set_aliases({physical_name(WANTED): other.collection})
    with pytest.raises(ConfigurationError, match=f"{physical_name(WANTED)} is an alias of {other.collection}"):
        agreed(store)
    assert "docs" not in store.aliases()


# --- two runs at the same moment


STEPS = [(method, after) for method in ("manifest", "ensure", "aliases", "set_aliases") for after in (False, True)]


@pytest.mark.parametrize(("method", "after"), STEPS)
def test_two_first_runs_with_the_same_models_share_one_collection(store: Store, method: str, after: bool) -> None:
    made: list[Manifest] = []
    made.append(agreed(Interleaved(store, method, lambda: made.append(agreed(store)), after=after)))
    assert made[0] == made[1]
    assert (names(store), store.aliases()) == ([made[0].collection], {"docs": made[0].collection})


@pytest.mark.parametrize(("method", "after"), STEPS)
def test_two_first_runs_with_different_models_never_lose_or_mix_points(store: Store, method: str, after: bool) -> None:
    """Whichever takes the name last has it; the other one is told at its end at the latest, and what it wrote is still there."""
    runs: dict[str, Manifest] = {}

    def other_run() -> None:
        runs["other"] = agreed(store, OTHER)
        store.upsert(runs["other"].collection, [point(1)])

    with suppress(ManifestMismatchError):
        runs["this"] = agreed(Interleaved(store, method, other_run, after=after))
        store.upsert(runs["this"].collection, [point(2)])
    assert [found.id for found in store.scroll(runs["other"].collection)] == [point(1).id]
    told = []
    for name, wanted in (("this", WANTED), ("other", OTHER)):
        if name in runs:
            try:
                check_still_in_use(wanted, runs[name].collection, store)
            except StoreError as exc:
                told.append(str(exc))
    assert len(told) == len(runs) - 1
    if told:
        assert [found.id for found in store.scroll(runs["this"].collection)] == [point(2).id]
        assert "docs came to stand for" in told[0]


def test_what_another_run_writes_to_an_empty_collection_meanwhile_is_kept(store: Store) -> None:
    first = agreed(store)
    racing = Interleaved(store, "count", lambda: store.upsert(first.collection, [point(1)]), after=True)
    made = agreed(racing, OTHER)
    assert [found.id for found in store.scroll(first.collection)] == [point(1).id]
    assert store.count(made.collection) == 0
    with pytest.raises(StoreError, match=f"docs came to stand for {made.collection} while this run wrote to {first.collection}"):
        check_still_in_use(WANTED, first.collection, store)


def test_a_swap_during_a_run_is_only_said(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    first, new = agreed(store).collection, replace(OTHER, collection="docs__00000000", base_name="docs")
    store.ensure(new, CollectionOptions())
    store.set_aliases({"docs": new.collection, "docs__previous": first})
    check_still_in_use(WANTED, first, store)
    assert f"a reindex replaced {first} by {new.collection}" in caplog.text


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
    assert "'DOCS' and 'D.O.C.S' both stand for collection 'docs'" in said
