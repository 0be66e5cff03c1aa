"""An open searcher goes on in the collection that its name stands for, with the models that made that one, in every store."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from itertools import count, cycle
from pathlib import Path
from typing import Any, Self

import pytest
from reindexing import Bench, documents

from ingest.encode.contract import Model
from ingest.errors import CollectionNotFoundError, ConfigurationError, ManifestMismatchError
from ingest.reindex.reindex import roll_back
from ingest.search import Searcher
from ingest.search.current_view import FOLLOW_SECONDS
from ingest.store.contract import Manifest, Store
from ingest.testing import FakeClock, HashEncoder

DOCUMENTS = documents(3, paragraphs=2)
OLD = HashEncoder("swapped", 16)
NEW = HashEncoder("swapped", 24, revision="2")
NEWER = HashEncoder("swapped", 16, revision="3")
KEPT = HashEncoder("kept", 16)
THREADS = int(os.environ.get("SEARCH_THREADS", "4"))
"""More of them find more, and take longer."""
ROLLBACKS = 2
DUE_EVERY = 10
"""So many times is the clock read before the name is looked up: a collection is found dropped by some, and moved by others."""


class Models:
    """A loader that finds the models of any manifest, as far as it knows them; `calls` counts how often it was asked."""

    def __init__(self, store: Store, name: str, known: Sequence[HashEncoder] = (OLD, NEW, NEWER, KEPT)) -> None:
        self.store, self.name, self.known, self.calls = store, name, known, 0

    def __call__(self, keys: Sequence[str]) -> list[Model]:
        self.calls += 1
        made = {(spec.name, spec.fingerprint) for spec in self.store.manifest(self.name).vectors}
        found = {each.key: each for each in self.known if (each.key, each.fingerprint) in made}
        return [found.get(key, HashEncoder(key, 8, revision="unknown")) for key in keys]


class Watched:
    """A store that counts how often a manifest is read, and calls `before` ahead of a method. Else the store it wraps."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.manifests = 0
        self.before: dict[str, Callable[[], object]] = {}

    def manifest(self, collection: str) -> Manifest:
        self.manifests += 1
        return self.store.manifest(collection)

    def __getattr__(self, name: str) -> Any:
        if name in self.before:
            self.before.pop(name)()
        return getattr(self.store, name)


@pytest.fixture
def bench(store: Store, collection: str, tmp_path: Path) -> Bench:
    made = Bench(store, tmp_path, collection)
    made.run(DOCUMENTS, [OLD, KEPT])
    return made


@pytest.fixture
def text(bench: Bench) -> str:
    """A chunk's whole text as it was encoded: in its own vector space nothing is nearer to it, in another nothing is near."""
    return next(str(payload["text"]) for payload, _ in bench.content().values() if not payload.get("title"))


def opened(bench: Bench, clock: FakeClock | None = None, store: Any = None, **changes: Any) -> Searcher:
    return Searcher.open(
        bench.name, store or bench.store, models=Models(bench.store, bench.name, **changes), clock=clock or FakeClock()
    )


def assert_finds(searcher: Searcher, text: str, model: HashEncoder) -> None:
    """By the very space of the model: the text itself is found, with the greatest similarity there is."""
    found = searcher.rankings(text)["swapped"]
    assert found[0].score == pytest.approx(1, abs=1e-3)
    assert searcher.search(text)[0].text == text
    assert searcher.manifest.vectors[0].fingerprint == model.fingerprint


def test_it_goes_on_in_the_new_collection_at_once_where_the_old_one_is_dropped(bench: Bench, text: str) -> None:
    searcher = opened(bench)
    assert_finds(searcher, text, OLD)
    bench.reindex([NEW, KEPT], keep_old=False)
    assert_finds(searcher, text, NEW)
    assert [answer[0].text for answer in searcher.search_batch([text, text])] == [text, text]
    bench.reindex([OLD, KEPT], keep_old=False)
    assert searcher.search(text, context=1, where={"source": "list"}, group_by="doc_id")[0].text == text
    assert_finds(searcher, text, OLD)


def test_it_follows_a_swap_and_a_rollback_where_the_old_one_is_kept(bench: Bench, text: str) -> None:
    clock = FakeClock()
    searcher = opened(bench, clock)
    bench.reindex([NEW, KEPT])
    assert_finds(searcher, text, OLD)
    clock.now += FOLLOW_SECONDS
    assert_finds(searcher, text, NEW)
    roll_back(bench.name, store=bench.store)
    assert_finds(searcher, text, NEW)
    clock.now += FOLLOW_SECONDS
    assert_finds(searcher, text, OLD)


def test_it_looks_seldom_and_keeps_the_models_that_stay(bench: Bench, text: str) -> None:
    clock, watched = FakeClock(), Watched(bench.store)
    searcher = opened(bench, clock, watched)
    load, kept = searcher._load_models, searcher.view().models["kept"]
    for _ in range(5):
        searcher.search(text)
    assert watched.manifests == 1
    for _ in range(3):
        clock.now += FOLLOW_SECONDS
        searcher.search_batch([text, text])
        searcher.search(text)
    assert watched.manifests == 4
    assert isinstance(load, Models)
    assert load.calls == 1
    bench.reindex([NEW, KEPT])
    clock.now += FOLLOW_SECONDS
    assert_finds(searcher, text, NEW)
    assert load.calls == 2
    assert searcher.view().models["kept"] is kept


def test_weights_that_change_in_place_are_followed_too(bench: Bench, text: str) -> None:
    clock = FakeClock()
    searcher = opened(bench, clock)
    bench.run(DOCUMENTS, [OLD, KEPT], weights={"kept": 3.0})
    clock.now += FOLLOW_SECONDS
    assert searcher.search(text, fusion="rrf")[0].score == pytest.approx((1 + 3) / 60)


@pytest.mark.parametrize("moment", ["query", "retrieve", "scroll"])
def test_a_search_whose_collection_is_dropped_in_the_middle_begins_anew(bench: Bench, text: str, moment: str) -> None:
    watched = Watched(bench.store)
    searcher = opened(bench, store=watched)
    watched.before[moment] = lambda: bench.reindex([NEW, KEPT], keep_old=False)
    answer = searcher.search(text, context=1)
    assert (answer[0].text, answer[0].ranks) == (text, {"swapped": 1, "kept": 1})
    assert not watched.before
    assert_finds(searcher, text, NEW)


def test_a_search_that_takes_long_answers_from_what_the_name_stands_for_in_the_end(bench: Bench, text: str) -> None:
    clock, watched = FakeClock(), Watched(bench.store)
    searcher = opened(bench, clock, watched)

    def swap() -> None:
        bench.reindex([NEW, KEPT])
        bench.store.delete(searcher.manifest.collection, [point.id for point in bench.store.scroll(bench.name)])
        clock.now += FOLLOW_SECONDS

    watched.before["retrieve"] = swap
    assert searcher.search(text)[0].text == text
    assert_finds(searcher, text, NEW)


def test_it_never_mixes_models_and_says_so_where_the_new_ones_cannot_be_had(
    bench: Bench, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    searcher = opened(bench, clock, known=(OLD, KEPT))
    bench.reindex([NEW, KEPT])
    with caplog.at_level(logging.WARNING, "ingest.search"):
        for _ in range(3):
            clock.now += FOLLOW_SECONDS
            assert_finds(searcher, text, OLD)
    [record] = caplog.records
    assert "swapped" in record.getMessage()
    bench.store.drop(searcher.manifest.collection)
    with pytest.raises(ManifestMismatchError, match="another swapped"):
        searcher.search(text)


def test_a_vector_that_is_gone_is_named(bench: Bench, text: str) -> None:
    searcher = opened(bench)
    assert searcher.search(text, vectors=["kept"])[0].text == text
    bench.reindex([NEW], keep_old=False)
    with pytest.raises(ConfigurationError, match=r"kept.*swapped"):
        searcher.search(text, vectors=["kept"])


def test_a_collection_that_is_gone_for_good_is_called_as_the_caller_calls_it(bench: Bench, text: str) -> None:
    searcher = opened(bench)
    bench.store.drop(bench.name)
    with pytest.raises(CollectionNotFoundError, match=rf"{bench.name} "):
        searcher.search(text)
    bench.run(DOCUMENTS, [NEW, KEPT])
    assert_finds(searcher, text, NEW)


class Reading:
    """Threads that search until the block ends, and check that every answer comes from one space."""

    def __init__(self, searcher: Searcher, text: str) -> None:
        self.searcher, self.text = searcher, text
        self.done = threading.Event()
        self.errors: list[BaseException] = []
        self.found: list[set[str]] = [set() for _ in range(THREADS)]
        self.threads = [threading.Thread(target=self._read, args=[number]) for number in range(THREADS)]

    def _read(self, number: int) -> None:
        ways = cycle([self._rankings, self._search, self._batch])
        try:
            while not self.done.is_set():
                next(ways)()
                self.found[number].add(self.searcher.manifest.vectors[0].fingerprint)
        except BaseException as error:  # noqa: BLE001  shown by the test
            self.errors.append(error)

    def _rankings(self) -> None:
        assert {name: round(found[0].score, 2) for name, found in self.searcher.rankings(self.text).items()} == {
            "swapped": 1,
            "kept": 1,
        }

    def _search(self) -> None:
        best = self.searcher.search(self.text, context=1)[0]
        assert (best.text, best.ranks) == (self.text, {"swapped": 1, "kept": 1})

    def _batch(self) -> None:
        answers = asyncio.run(self._many())
        assert [answer[0].ranks for answer in answers] == [{"swapped": 1, "kept": 1}] * 3

    async def _many(self) -> Sequence[Any]:
        return await asyncio.gather(*(self.searcher.asearch(self.text) for _ in range(3)))

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        for thread in self.threads:
            thread.join()


def test_many_threads_and_tasks_search_while_a_sync_writes_and_reindexes_swap_the_collection(bench: Bench, text: str) -> None:
    ticks = count()
    searcher = Searcher.open(
        bench.name,
        bench.store,
        models=Models(bench.store, bench.name),
        clock=lambda: next(ticks) * FOLLOW_SECONDS / DUE_EVERY,
    )
    more = documents(6, paragraphs=2)
    with Reading(searcher, text) as reading:
        assert bench.run(more, [OLD, KEPT]).balanced
        bench.reindex([NEW, KEPT], keep_old=False)
        bench.reindex([NEWER, KEPT])
        for _ in range(ROLLBACKS):
            roll_back(bench.name, store=bench.store)
        assert bench.run(DOCUMENTS, [NEWER, KEPT]).balanced
    assert not reading.errors
    assert {OLD.fingerprint, NEWER.fingerprint} <= set.union(*reading.found) <= {each.fingerprint for each in (OLD, NEW, NEWER)}
