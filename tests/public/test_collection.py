"""A program syncs, searches and repairs a collection with the public names alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ingest

FRUIT: list[dict[str, Any]] = [
    {"id": "0", "text": "Document 0 speaks of marmalade.", "year": 2020},
    {"id": "1", "text": "Document 1 speaks of turbines.", "year": 2021},
    {"id": "2", "text": "Document 2 speaks of glaciers.", "year": 2022},
]

OWN = {"own": {"kind": "sparse", "hub_id": "Qdrant/bm25", "idf": True, "backend": "qdrant"}}
"""A second sparse model, which needs no weights."""


@pytest.fixture(params=["embedded", "server"])
def fruit(request: pytest.FixtureRequest, collection: str, tmp_path: Path) -> Iterator[ingest.Collection]:
    """A new collection of BM25 vectors, in a folder and on a server."""
    store = tmp_path / "store" if request.param == "embedded" else request.getfixturevalue("server_url")
    encoding = ingest.EncodingOptions(custom_models=OWN)
    with ingest.Collection(collection, store=store, models=["bm25"], encoding=encoding, state=tmp_path / "state") as opened:
        yield opened
    if request.param == "server":
        with ingest.open_store(store) as opened_store:
            for made in opened_store.collections():
                if made.name.startswith(collection):
                    opened_store.drop(made.name)


def ids(answer: ingest.Answer) -> list[str]:
    return [hit.doc_id for hit in answer]


def test_the_life_of_a_collection(fruit: ingest.Collection) -> None:
    plan = fruit.plan(FRUIT, name="fruit")
    receipt = fruit.sync(FRUIT, name="fruit")
    assert (plan.added, receipt.written, receipt.balanced) == (3, 3, True)
    assert fruit.sync(FRUIT, name="fruit").chunks.written == 0
    assert ids(fruit.search("turbines", limit=1)) == ["1"]
    assert ids(fruit.search("document", where={"metadata.year": {"gte": 2022}})) == ["2"]

    edited = [FRUIT[0], {**FRUIT[1], "text": "Document 1 speaks of marzipan now."}, FRUIT[2]]
    assert fruit.sync(edited, name="fruit").updated == 1
    assert not fruit.search("turbines")
    assert fruit.verify(edited, name="fruit").clean

    assert fruit.sync(edited[:2], name="fruit", delete="full").deleted == 1
    assert fruit.info().points == 2


def test_a_reindex_is_searched_at_once_and_rolled_back(fruit: ingest.Collection) -> None:
    fruit.sync(FRUIT, name="fruit")
    assert ids(fruit.search("glaciers")) == ["2"]
    before = fruit.info()
    fruit.reindex(models=["bm25", "own"])
    after = fruit.info()
    assert after.stored_as != before.stored_as
    assert [spec.name for spec in after.vectors] == ["bm25", "own"]
    assert fruit.search("glaciers")[0].ranks == {"bm25": 1, "own": 1}
    assert fruit.sync(FRUIT, name="fruit").chunks.written == 0, "the next sync uses the new models"

    fruit.rollback()
    assert fruit.info() == before
    assert fruit.sync(FRUIT, name="fruit").chunks.written == 0, "and after a rollback the old ones"


def test_the_options_of_a_collection_are_kept_by_the_next_program(collection: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"models": ["bm25"], "chunking": ingest.ChunkingOptions(tokens=32), "weights": {"bm25": 2.0}}
    with ingest.Collection(collection, store=tmp_path / "store", state=tmp_path / "state", **options) as first:
        first.sync(FRUIT, name="fruit")
    with ingest.Collection(collection, store=tmp_path / "store", state=tmp_path / "state") as second:
        assert second.sync(FRUIT, name="fruit").chunks.written == 0
        assert second.info().weights == {"bm25": 2.0}
        assert second.info().chunking["tokens"] == 32
    encoding = ingest.EncodingOptions(custom_models=OWN)
    with ingest.Collection(collection, store=tmp_path / "store", encoding=encoding, state=tmp_path / "state") as third:
        third.reindex(models=["own"])
        assert third.info().weights == {}, "the weight of a vector that is gone is gone"
        assert ids(third.search("glaciers")) == ["2"]


def test_an_export_is_loaded_into_a_collection(fruit: ingest.Collection, tmp_path: Path) -> None:
    assert fruit.export(FRUIT, tmp_path / "vectors", name="fruit").written == 3
    assert fruit.load(tmp_path / "vectors").written == 3
    assert fruit.sync(FRUIT, name="fruit").chunks.written == 0


def test_soft_deleted_documents_come_back(fruit: ingest.Collection) -> None:
    fruit.sync(FRUIT, name="fruit")
    assert fruit.sync(FRUIT[:2], name="fruit", delete="full", delete_after="7d").tombstoned == 1
    assert ids(fruit.search("glaciers")) == []
    assert fruit.undelete(doc_ids=["2"]) == 1
    assert ids(fruit.search("glaciers")) == ["2"]


def test_several_sources_at_once(fruit: ingest.Collection, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("# Ferries\n\nThe ferry leaves at noon.")
    sources: list[Path | ingest.Source] = [tmp_path / "notes", ingest.records_source(FRUIT, name="fruit")]
    receipt = fruit.sync(sources)
    assert (receipt.read, receipt.balanced) == (4, True)
    assert ids(fruit.search("ferry")) == ["a.md"]


def test_two_sources_of_one_name_are_refused(fruit: ingest.Collection) -> None:
    with pytest.raises(ingest.ConfigurationError, match="given twice"):
        fruit.sync([ingest.records_source(FRUIT, name="s"), ingest.records_source(FRUIT, name="s")])


def test_records_need_a_name(fruit: ingest.Collection) -> None:
    with pytest.raises(ingest.ConfigurationError, match="pass name="):
        fruit.sync(FRUIT)


def test_an_unknown_model_is_refused_before_the_store_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ingest.ConfigurationError, match="no-such-model"):
        ingest.Collection("x", store=tmp_path / "store", models=["no-such-model"])
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("mode", ["none", "incremental", "full", *ingest.DeleteMode])
def test_a_delete_mode_is_what_it_is_called(fruit: ingest.Collection, mode: Any) -> None:
    fruit.sync(FRUIT, name="fruit")
    receipt = fruit.sync(FRUIT[:2], name="fruit", delete=mode)
    assert receipt.deleted == (1 if mode == "full" else 0)
    assert fruit.info().points == 3 - receipt.deleted


def test_progress_is_reported(fruit: ingest.Collection) -> None:
    seen: list[ingest.Progress] = []
    fruit.sync(FRUIT, name="fruit", on_progress=seen.append)
    assert seen[-1] == ingest.Progress(read=3, done=3)
    assert "bm25" in {progress.model for progress in seen}


def test_asyncio_searches_and_syncs(fruit: ingest.Collection) -> None:
    async def work() -> tuple[ingest.Receipt, list[ingest.Answer]]:
        receipt = await fruit.async_sync(FRUIT, name="fruit")
        return receipt, await asyncio.gather(*(fruit.asearch(word) for word in ("marmalade", "turbines", "glaciers")))

    receipt, answers = asyncio.run(work())
    assert receipt.written == 3
    assert [ids(answer) for answer in answers] == [["0"], ["1"], ["2"]]


def test_a_sync_that_is_cancelled_ends_after_its_window(fruit: ingest.Collection) -> None:
    started = threading.Event()

    def endless() -> Iterator[dict[str, Any]]:
        number = 0
        while True:
            yield {"id": str(number), "text": f"Document {number} speaks of nothing."}
            number += 1

    async def work() -> None:
        task = asyncio.create_task(fruit.async_sync(endless(), name="endless", on_progress=lambda _: started.set()))
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert fruit.info().points > 0


@pytest.mark.parametrize("wrong", [{"delete": "ful"}, {"max_delete": 20}, {"max_delete": -0.1}, {"delete_after": -5}])
def test_nonsense_is_refused_before_anything_happens(fruit: ingest.Collection, wrong: dict[str, Any]) -> None:
    with pytest.raises(ingest.ConfigurationError, match=next(iter(wrong))):
        fruit.sync(FRUIT, name="fruit", **wrong)
    with pytest.raises(ingest.CollectionNotFoundError):
        fruit.info()
