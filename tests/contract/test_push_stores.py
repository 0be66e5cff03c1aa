"""Documents that an app writes one by one: found at once, and unchanged for the next run of their source, in every store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ingest
from ingest.encode.ensemble import EncodingOptions
from ingest.records import StoredPoint
from ingest.source import open_source
from ingest.store.contract import Store
from ingest.testing import HashEncoder

ARTICLES = [
    {"id": "lamp", "text": "A lamp of brass.", "title": "Lamp", "price": 30},
    {"id": "chair", "text": "A chair of oak.", "title": "Chair", "price": 90},
]


class Counting(HashEncoder):
    """A model that counts how often its memory on the device is freed."""

    offloads = 0

    def offload(self) -> None:
        self.offloads += 1


@pytest.fixture
def model() -> Counting:
    return Counting("hash", 8, record=True)


@pytest.fixture
def shop(store: Store, collection: str, tmp_path: Path, model: Counting) -> Iterator[ingest.Collection]:
    with ingest.Collection(
        collection,
        store=store,
        models=[model, "bm25"],
        encoding=EncodingOptions(lease_directory=tmp_path / "leases"),
        state=tmp_path / "state",
    ) as opened:
        yield opened


def stored(opened: ingest.Collection) -> dict[str, StoredPoint]:
    return {point.id: point for point in opened.store.scroll(opened.info().stored_as, vectors=True)}


def payloads(opened: ingest.Collection) -> dict[str, dict[str, Any]]:
    return {id_: point.payload for id_, point in stored(opened).items()}


def nightly(opened: ingest.Collection, folder: Path, articles: list[dict[str, Any]]) -> ingest.Receipt:
    file = folder / "shop.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in articles))
    return opened.sync(file, name="shop", delete="full", max_delete=1.0)


def test_pushed_records_are_found_at_once_and_the_nightly_run_finds_them_unchanged(
    shop: ingest.Collection, model: Counting, tmp_path: Path
) -> None:
    first = shop.upsert(ARTICLES[0], source="shop")
    assert (first.written, first.balanced, [hit.doc_id for hit in shop.search("brass lamp", limit=1)]) == (1, True, ["lamp"])
    assert shop.upsert(ARTICLES, source="shop").unchanged == 1
    before, encoded = payloads(shop), len(model.encoded)
    receipt = nightly(shop, tmp_path, ARTICLES)
    assert (receipt.read, receipt.unchanged, receipt.deleted, len(model.encoded)) == (2, 2, 0, encoded)
    assert payloads(shop) == before


def test_a_pushed_edit_replaces_its_document_and_nothing_else(shop: ingest.Collection, tmp_path: Path) -> None:
    nightly(shop, tmp_path, ARTICLES)
    edited = {**ARTICLES[0], "text": "A lamp of copper."}
    receipt = shop.upsert(edited, source="shop")
    assert (receipt.updated, receipt.chunks.written, receipt.chunks.deleted, receipt.balanced) == (1, 1, 1, True)
    assert {payload["text"] for payload in payloads(shop).values()} == {"A lamp of copper.", "A chair of oak."}
    assert nightly(shop, tmp_path, [edited, ARTICLES[1]]).unchanged == 2
    assert shop.delete(["chair"], source="shop") == 1
    assert nightly(shop, tmp_path, [edited]).unchanged == 1


def test_a_pushed_file_is_unchanged_for_the_run_of_its_folder(shop: ingest.Collection, tmp_path: Path) -> None:
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "leave.md").write_text("# Leave\n\n## Parents\n\nTwelve weeks.\n\n## Others\n\nSix weeks, and a day.\n")
    [page] = open_source(str(folder)).read()
    assert isinstance(page, ingest.Document)
    assert shop.upsert(page, source=str(folder)).written == 1
    receipt = shop.sync(folder)
    assert (receipt.read, receipt.unchanged) == (1, 1)


def test_a_soft_deleted_document_comes_back_when_it_is_pushed(shop: ingest.Collection) -> None:
    shop.sync(ARTICLES, name="shop")
    shop.sync(ARTICLES[:1], name="shop", delete="full", delete_after="7d")
    assert "chair" not in [hit.doc_id for hit in shop.search("oak")]
    shop.upsert(ARTICLES[1], source="shop")
    assert "chair" in [hit.doc_id for hit in shop.search("oak")]


def test_a_push_is_not_the_last_run_of_its_source(shop: ingest.Collection, tmp_path: Path) -> None:
    nightly(shop, tmp_path, ARTICLES)
    before = shop.sources()
    assert before[0].location == str(tmp_path / "shop.jsonl")
    shop.upsert({"id": "desk", "text": "A desk."}, source="shop")
    [source] = shop.sources()
    assert (source.documents, source.location, source.last_run) == (3, before[0].location, before[0].last_run)


def test_models_stay_loaded_between_calls_until_the_collection_has_others(shop: ingest.Collection, model: Counting) -> None:
    for number in range(3):
        shop.upsert({"id": str(number), "text": f"Number {number}."}, source="numbers")
    assert model.offloads == 0
    other = Counting("hash", 8, revision="2", record=True)
    shop.reindex(models=[other, "bm25"], self_test=False)
    shop.upsert({"id": "3", "text": "Number 3."}, source="numbers")
    assert other.encoded[-1] == "Number 3."
    assert "Number 3." not in model.encoded


@pytest.mark.parametrize(
    ("documents", "options", "message"),
    [
        ("a text", {}, "documents: a str is no document"),
        (b"bytes", {}, "documents: a bytes is no document"),
        (5, {}, "documents: a int is no document"),
        ([], {}, "documents: there is none"),
        (ARTICLES, {"source": ""}, "source"),
        (ARTICLES, {"source": 5}, "source"),
        (ARTICLES, {"rejects": 5}, "rejects"),
    ],
)
def test_other_arguments_are_refused_before_anything_is_made(
    tmp_path: Path, documents: Any, options: dict[str, Any], message: str
) -> None:
    with (
        ingest.Collection("shop", store=tmp_path / "store", models=["bm25"]) as opened,
        pytest.raises(ingest.ConfigurationError, match=message),
    ):
        opened.upsert(documents, **{"source": "shop", **options})
    assert not (tmp_path / "store").exists()


def test_documents_that_cannot_be_used_are_rejected_and_the_others_written(shop: ingest.Collection, tmp_path: Path) -> None:
    records: list[Any] = [ARTICLES[0], {"id": "empty", "text": " "}, ["no record"], ARTICLES[0]]
    receipt = shop.upsert(records, source="shop")
    assert (receipt.read, receipt.written, receipt.rejected, receipt.balanced) == (4, 1, 3, True)
    rejects = (tmp_path / "state" / "rejects" / f"{shop.name}.pushed.jsonl").read_text().splitlines()
    assert [json.loads(line)["doc_id"] for line in rejects] == ["empty", None, "lamp"]
