"""The retrying store: each request has attempts of its own, and a lost answer is harmless."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store_data import manifest, point

from ingest.errors import CollectionNotFoundError, StoreError, StoreUnavailableError
from ingest.retry import RetryPolicy
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Store
from ingest.store.edge.store import EdgeStore
from ingest.store.retrying import RetryingStore
from ingest.sync.manifest import ensure_collection
from ingest.testing import FlakyStore, Moment

TWICE = RetryPolicy(attempts=2, first=0, longest=0)
OPTIONS = CollectionOptions()


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Store]:
    with EdgeStore(tmp_path) as store:
        store.ensure(manifest("docs"), OPTIONS)
        store.upsert("docs", [point(number) for number in range(25)])
        yield store


def flaky(store: Store, *cues: tuple[str, int], moment: Moment = "before") -> FlakyStore:
    """Fails at these calls: a method and the number of its call."""

    def cue(name: str, number: int) -> tuple[Moment, BaseException] | None:
        return (moment, StoreUnavailableError("Qdrant is restarting")) if (name, number) in cues else None

    return FlakyStore(store, cue, methods=FlakyStore.REQUESTS)


def move_aliases_by_their_own_names(store: Store) -> None:
    store.ensure(manifest("other"), OPTIONS)
    store.set_aliases({"one": "docs", "two": "other"})
    store.set_aliases({"one": "two", "two": "one"})


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("use", "outcome"),
    [
        pytest.param(lambda store: store.ensure(manifest("new"), OPTIONS), lambda store: store.count("new") == 0, id="ensure"),
        pytest.param(lambda store: store.drop("docs"), lambda store: store.collections() == [], id="drop"),
        pytest.param(
            move_aliases_by_their_own_names, lambda store: store.aliases() == {"one": "other", "two": "docs"}, id="set_aliases"
        ),
        pytest.param(lambda store: store.upsert("docs", [point(99)]), lambda store: store.count("docs") == 26, id="upsert"),
        pytest.param(lambda store: store.delete("docs", [point(1).id]), lambda store: store.count("docs") == 24, id="delete"),
    ],
)
def test_a_change_whose_outcome_is_unknown_is_made_once(
    edge: Store, use: Callable[[Store], object], outcome: Callable[[Store], bool], moment: Moment
) -> None:
    def every_second(_name: str, number: int) -> tuple[Moment, BaseException] | None:
        return (moment, StoreUnavailableError("the answer was lost")) if number % 2 else None

    use(RetryingStore(FlakyStore(edge, every_second, methods=FlakyStore.REQUESTS), TWICE))
    assert outcome(edge)


def test_a_collection_that_was_never_there_cannot_be_dropped(edge: Store) -> None:
    store = RetryingStore(edge, TWICE)
    with pytest.raises(CollectionNotFoundError):
        store.drop("nothing")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("page", [1, 7, 25, 1000])
def test_scrolling_goes_on_where_it_was(edge: Store, page: int, moment: Moment) -> None:
    unreliable = flaky(edge, ("scroll", 1), ("scroll", 3), ("scroll", 5), moment=moment)
    found = [each.id for each in RetryingStore(unreliable, TWICE).scroll("docs", page=page)]
    assert found == [each.id for each in edge.scroll("docs")]
    assert len(set(found)) == 25


def test_each_page_has_attempts_of_its_own_and_no_more(edge: Store) -> None:
    unreliable = flaky(edge, ("scroll", 2), ("scroll", 3))
    found = RetryingStore(unreliable, TWICE).scroll("docs", page=5)
    first = [next(found).id for _ in range(5)]
    with pytest.raises(StoreUnavailableError, match="gave up after 2 attempts"):
        next(found)
    rest = RetryingStore(edge, TWICE).scroll("docs", page=5, after=first[-1])
    assert [*first, *(each.id for each in rest)] == [each.id for each in edge.scroll("docs")]


def test_making_a_collection_is_retried_request_by_request(edge: Store) -> None:
    """A chain of requests: every one fails once, so none would ever succeed if the whole chain were repeated."""

    def every_second(_name: str, number: int) -> tuple[Moment, BaseException] | None:
        return ("before", StoreUnavailableError("Qdrant is restarting")) if number % 2 else None

    store = RetryingStore(FlakyStore(edge, every_second, methods=FlakyStore.REQUESTS), TWICE)
    wanted = manifest("fresh")
    made = ensure_collection(wanted, OPTIONS, store=store)
    assert ensure_collection(wanted, OPTIONS, store=store) == made
    assert edge.aliases() == {"fresh": made.collection}


def test_once_stopped_nothing_is_tried_again(edge: Store) -> None:
    stopped = threading.Event()

    def stop(_name: str, _number: int) -> tuple[Moment, BaseException]:
        stopped.set()
        return "before", StoreUnavailableError("Qdrant is overloaded", retry_after=3600)

    unreliable = FlakyStore(edge, stop, methods=FlakyStore.REQUESTS)
    store = RetryingStore(unreliable, RetryPolicy(seconds=100_000))
    with pytest.raises(StoreError, match="was stopped"):
        store.until(stopped).count("docs")
    assert unreliable.calls == {"count": 1}


def test_attempts_can_be_made_through_another_store(edge: Store) -> None:
    unreliable = flaky(edge, ("count", 1))
    assert RetryingStore(edge, TWICE).through(lambda _inner: unreliable).count("docs") == 25
    assert unreliable.calls == {"count": 2}


def test_what_is_opened_is_retried_under_the_policy_that_is_given(tmp_path: Path) -> None:
    with open_store(tmp_path / "store", retry=RetryPolicy(attempts=3, first=0, longest=0)) as store:
        unreliable = flaky(store, ("aliases", 1), ("aliases", 2))
        assert store.through(lambda _inner: unreliable).aliases() == {}
        assert unreliable.calls == {"aliases": 3}
