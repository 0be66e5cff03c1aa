"""Pushes and deletes during a reindex: nothing that was answered with success is missing afterwards, in every store."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import ingest
from ingest.encode.ensemble import EncodingOptions
from ingest.errors import StoreError
from ingest.store.contract import Store
from ingest.sync.deletion import delete_documents, undelete
from ingest.sync.in_use import stays_in_use
from ingest.sync.ownership import swap_alias
from ingest.sync.stored_sources import forget_source
from ingest.testing import FlakyStore

ARTICLES = [{"id": name, "text": f"A {name} of brass."} for name in ("lamp", "chair", "bed", "desk")]

Open = Callable[..., ingest.Collection]


@pytest.fixture
def opened(store: Store, collection: str, tmp_path: Path) -> Iterator[Open]:
    """Opens the collection as another process does, with leases of its own."""
    with ExitStack() as closing:

        def open_collection(through: Store = store, **options: Any) -> ingest.Collection:
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            encoding = EncodingOptions(lease_directory=folder)
            return closing.enter_context(ingest.Collection(collection, store=through, encoding=encoding, state=folder, **options))

        yield open_collection


@pytest.fixture
def shop(opened: Open) -> ingest.Collection:
    """A collection in which a document was soft-deleted."""
    made = opened(models=["bm25"])
    made.sync(ARTICLES, name="shop")
    made.sync(ARTICLES[:3], name="shop", delete="full", delete_after="7d")
    made.sync([{"id": "sold", "text": "Sold."}], name="archive")
    return made


def stored(shop: ingest.Collection) -> set[str]:
    """The documents that a search can find."""
    points = shop.store.scroll(shop.info().stored_as)
    return {point.payload["doc_id"] for point in points if "soft_deleted_at" not in point.payload["_ingest"]}


class Writes:
    """Calls that write in a thread of their own each, at a moment of another process that then waits until all have written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._threads: list[threading.Thread] = []
        self.errors: list[BaseException] = []

    def start(self, *writes: Callable[[Store], object]) -> None:
        for write in writes:
            written = threading.Event()
            watched = FlakyStore(self._store, self._after_writing(written), methods=FlakyStore.EFFECTS | {"aliases"})
            thread = threading.Thread(target=self._run, args=(write, watched, written))
            self._threads.append(thread)
            thread.start()
            written.wait()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()
        assert not self.errors

    def _after_writing(self, written: threading.Event) -> Callable[[str, int], None]:
        wrote = False

        def cue(method: str, _: int) -> None:
            nonlocal wrote
            wrote = wrote or method != "aliases"
            if wrote and method == "aliases":
                written.set()

        return cue

    def _run(self, write: Callable[[Store], object], store: Store, written: threading.Event) -> None:
        try:
            write(store)
        except BaseException as error:  # noqa: BLE001  asserted in `join`
            self.errors.append(error)
        finally:
            written.set()


def test_what_is_written_just_before_the_swap_is_in_the_new_collection(
    shop: ingest.Collection, opened: Open, store: Store, collection: str
) -> None:
    writes = Writes(store)

    def cue(_: str, call: int) -> None:
        if call == 1:
            writes.start(
                lambda through: opened(through).upsert({"id": "shelf", "text": "A shelf."}, source="shop"),
                lambda through: delete_documents(through, collection, ["lamp"]),
                lambda through: undelete(through, collection, doc_ids=["desk"]),
                lambda through: forget_source(through, collection, "archive"),
            )

    before = shop.info().stored_as
    builder = opened(FlakyStore(store, cue, methods=frozenset({"exchange_alias"})), models=["bm25"], language="de")
    done = builder.reindex(self_test=False, keep_old=False)
    writes.join()
    assert (done.stored_as, before) == (builder.info().stored_as, done.dropped[0])
    assert stored(builder) == {"chair", "bed", "desk", "shelf"}
    assert all(
        point.payload["_ingest"]["vectors"] == builder.info().manifest.fingerprints for point in store.scroll(done.stored_as)
    )


def test_a_write_that_does_not_wait_makes_the_reindex_copy_again(
    shop: ingest.Collection, opened: Open, store: Store, collection: str
) -> None:
    attempts = []

    def cue(_: str, call: int) -> None:
        attempts.append(call)
        if call == 1:
            point = next(store.scroll(shop.info().stored_as))
            store.delete(shop.info().stored_as, [point.id])
            assert stays_in_use(store, collection, shop.info().stored_as, wait=0)

    builder = opened(FlakyStore(store, cue, methods=frozenset({"exchange_alias"})), models=["bm25"], language="de")
    assert builder.reindex(self_test=False).points == 4
    assert (attempts, swap_alias(collection) in store.aliases()) == ([1, 2], False)


def test_a_rollback_during_the_last_copy_is_not_swapped_back(shop: ingest.Collection, opened: Open, store: Store) -> None:
    opened(models=["bm25"], language="de").reindex(self_test=False)

    def cue(_: str, call: int) -> None:
        if call == 1:
            shop.rollback()

    builder = opened(FlakyStore(store, cue, methods=frozenset({"exchange_alias"})), models=["bm25"], language="fr")
    before = shop.info().stored_as
    with pytest.raises(StoreError, match="so it was not swapped again"):
        builder.reindex(self_test=False)
    assert shop.info().stored_as != before


def test_a_rollback_says_what_was_written_since(shop: ingest.Collection, opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    opened(models=["bm25"], language="de").reindex(self_test=False)
    pushing = opened()
    pushing.rollback()
    pushing.rollback()
    assert "since that swap" not in caplog.text
    pushing.upsert([{"id": "shelf", "text": "A shelf."}, {**ARTICLES[0], "price": 3}], source="shop")
    pushing.delete(["bed"])
    pushing.rollback()
    assert "3 chunks of" in caplog.text
    assert "must be pushed again" in caplog.text
