"""A text that is stored with a vector of the same model is never encoded again, in every store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from sync_bench import DAY, SyncBench, counts, document, paragraph

from ingest.encode.contract import Model
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.errors import CollectionNotFoundError, ConfigurationError, StoreError, StoreUnavailableError
from ingest.records import Point, StoredPoint, Vector
from ingest.source import open_source
from ingest.store.contract import Store
from ingest.sync.preview import preview_job
from ingest.testing import FlakyStore, HashEncoder, ListSource

BM25 = ModelManager(EnsembleConfig(ensemble_models=["bm25"])).members


@pytest.fixture
def bench(store: Store, collection: str, tmp_path: Path) -> SyncBench:
    return SyncBench(store, collection, tmp_path)


def recording() -> list[HashEncoder]:
    return [HashEncoder("first", 8, record=True), HashEncoder("second", 4, record=True)]


def fresh(bench: SyncBench) -> SyncBench:
    return SyncBench(bench.store, f"{bench.collection}_fresh", bench.folder)


def test_a_renamed_folder_is_not_encoded_again(bench: SyncBench, tmp_path: Path) -> None:
    old = tmp_path / "handbook" / "old"
    old.mkdir(parents=True)
    for name in "abcde":
        file = old / f"{name}.md"
        file.write_text(f"# Rule {name}\n\n{paragraph(name)}\n\n{paragraph(name.upper())}\n")
        os.utime(file, (DAY, DAY))  # a version is stored for files that are seconds old
    first = bench.run([open_source(str(old.parent), name="handbook")], models=[*recording(), *BM25])
    old.rename(old.with_name("new"))
    handbook, models = open_source(str(old.parent), name="handbook"), recording()
    receipt = bench.run([handbook], models=[*models, *BM25], delete="full", max_delete=1.0)
    assert counts(receipt) == {"read": 5, "written": 5, "deleted": 5}
    assert [model.encoded for model in models] == [[], []]
    assert receipt.models == ()
    assert receipt.chunks.copied == receipt.chunks.written == first.chunks.written > 5
    compared = fresh(bench)
    compared.run([handbook], models=[*recording(), *BM25])
    assert bench.stored() == compared.stored()


@pytest.mark.parametrize("grace", [None, 7 * DAY])
def test_a_renamed_folder_takes_its_documents_along(bench: SyncBench, tmp_path: Path, grace: float | None) -> None:
    old = tmp_path / "handbook" / "rules" / "old"
    old.mkdir(parents=True)
    for name in "abcdefgh":
        (old / f"{name}.md").write_text(paragraph(name))
    for name in ("gone", "kept"):
        (old.parent / f"{name}.md").write_text(paragraph(name[0].upper()))
    handbook = open_source(str(tmp_path / "handbook"), name="handbook")
    bench.run([handbook])
    old.rename(old.with_name("new"))
    (old.parent / "gone.md").unlink()
    encoder = HashEncoder("hash", 8, record=True)
    receipt = bench.run([handbook], models=[encoder], moved_from="rules/old/", delete_after=grace)
    moved = {"deleted": 8} if grace is None else {"soft_deleted": 8}
    assert (counts(receipt), encoder.encoded) == ({"read": 9, "written": 8, "unchanged": 1, **moved}, [])
    new = {f"rules/new/{name}.md" for name in "abcdefgh"}
    assert bench.live() == {"rules/gone.md", "rules/kept.md", *new}
    again = bench.run([handbook], models=[encoder], moved_from="rules/old")
    assert counts(again) == {"read": 9, "unchanged": 9, **({} if grace is None else {"deleted": 8})}


def test_nothing_goes_of_a_folder_that_has_not_moved(bench: SyncBench, tmp_path: Path) -> None:
    old = tmp_path / "handbook" / "old"
    old.mkdir(parents=True)
    for name in "ab":
        (old / f"{name}.md").write_text(paragraph(name))
    handbook = open_source(str(tmp_path / "handbook"), name="handbook")
    bench.run([handbook])
    (old / "a.md").unlink()
    partly = bench.run([handbook], moved_from="old")
    assert counts(partly) == {"read": 1, "unchanged": 1}
    assert "still has documents" in partly.errors[0]
    (old / "b.md").unlink()
    assert counts(bench.run([handbook], moved_from="old")) == {}
    (tmp_path / "handbook" / "c.md").write_text(paragraph("c"))
    assert counts(bench.run([handbook], moved_from="old", delete="none")) == {"read": 1, "written": 1}
    assert bench.live() == {"old/a.md", "old/b.md", "c.md"}


def test_a_text_that_another_document_has_is_copied_and_only_the_rest_is_encoded(bench: SyncBench) -> None:
    bench.run([ListSource([document("gone", "ab"), document("kept", "c")], name="contracts")], models=recording())
    bench.full([ListSource([document("kept", "c")], name="contracts")], models=recording())
    assert bench.soft_deleted().keys() == {"gone"}
    models = recording()
    receipt = bench.run([ListSource([document("new", "axbc")], name="letters")], models=models)
    assert [model.encoded for model in models] == [[paragraph("x").strip()]] * 2
    assert (receipt.chunks.written, receipt.chunks.copied) == (4, 3)
    compared = fresh(bench)
    compared.run([ListSource([document("new", "axbc")], name="letters")], models=recording())
    assert bench.stored(source="letters") == compared.stored()


def test_each_vector_is_copied_by_itself(bench: SyncBench) -> None:
    bench.run([document("old", "ab")], models=recording())
    swapped = [recording()[0], HashEncoder("second", 4, revision="2", record=True)]
    bench.agree_to(swapped)
    receipt = bench.run([document("new", "ab")], models=swapped)
    assert [len(model.encoded) for model in swapped] == [0, 2]
    assert [(model.key, model.chunks) for model in receipt.models] == [("second", 2)]
    compared = fresh(bench)
    compared.run([document("new", "ab")], models=swapped)
    assert bench.stored(doc_id="new") == compared.stored()


def without_second(point: StoredPoint) -> Point:
    return Point(point.id, {"first": point.vectors["first"]}, point.payload)


def zero_second(point: StoredPoint) -> Point:
    return Point(point.id, {**point.vectors, "second": np.zeros(4, np.float32)}, point.payload)


def second_of_an_unknown_model(point: StoredPoint) -> Point:
    made = point.payload["_ingest"]
    return Point(point.id, point.vectors, {**point.payload, "_ingest": {**made, "vectors": {"first": made["vectors"]["first"]}}})


def test_a_damaged_vector_is_never_copied(bench: SyncBench) -> None:
    damages = {"ab": without_second, "cd": zero_second, "ef": second_of_an_unknown_model}
    bench.run([document(letters, letters) for letters in damages], models=recording())
    stored = list(bench.store.scroll(bench.collection, vectors=True))
    bench.store.upsert(bench.collection, [damages[point.payload["doc_id"]](point) for point in stored])
    models, new = recording(), [document(f"new {letters}", letters) for letters in damages]
    bench.run([*new], models=models)
    assert [len(model.encoded) for model in models] == [0, 6]
    compared = fresh(bench)
    compared.run([*new], models=recording())
    of_new = {point: each for point, each in bench.stored().items() if each[0]["doc_id"].startswith("new")}
    assert of_new == compared.stored()


def test_a_text_that_a_thousand_documents_have_does_not_hide_the_others(
    bench: SyncBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.sync.copying.PAGE_POINTS", 3)
    bench.run([document(f"d{number}", "a") for number in range(20)] + [document("other", "bcdefg")], models=recording())
    models = recording()
    receipt = bench.run([document("new", "abcdefg")], models=models)
    assert (receipt.chunks.copied, [model.encoded for model in models]) == (7, [[], []])


def refusing(store: Store, error: StoreError) -> Store:
    return cast("Store", FlakyStore(store, lambda _name, _call: ("before", error), methods=frozenset({"scroll"})))


def test_a_store_that_refuses_to_search_for_texts_costs_the_copies_and_not_the_run(
    bench: SyncBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.run([document("old", "ab")], models=recording())
    models = recording()
    receipt = bench.run([document("new", "ab")], models=models, store=refusing(bench.store, StoreError("strict mode")))
    assert (receipt.chunks.copied, receipt.balanced, len(models[0].encoded)) == (0, True, 2)
    assert "strict mode" in caplog.text
    with pytest.raises(StoreUnavailableError):
        bench.run([document("third", "ab")], store=refusing(bench.store, StoreUnavailableError("gone")), models=recording())


def test_a_plan_counts_what_would_be_copied(bench: SyncBench) -> None:
    bench.run([document("old", "ab")], models=recording())
    wanted = ListSource([document("old", "ab"), document("new", "abx")])
    preview = preview_job(bench.job(), [wanted], store=bench.store, models=recording())
    assert (preview.copied, preview.chunks) == (2, {"first": 1, "second": 1})


def test_vectors_that_cost_less_than_a_request_are_computed(bench: SyncBench) -> None:
    models: list[Model] = list(BM25)
    bench.run([document("old", "ab")], models=models)
    receipt = bench.run([document("new", "ab")], models=models)
    assert (receipt.chunks.written, receipt.chunks.copied) == (2, 0)


def test_another_collection_of_the_same_documents_encodes_nothing(bench: SyncBench) -> None:
    documents = [document(f"d{letter}", letter) for letter in "abcde"]
    bench.run(documents, models=[*recording(), *BM25])
    stranger = SyncBench(bench.store, f"{bench.collection}_stranger", bench.folder)
    stranger.run(documents, models=[HashEncoder("first", 3), HashEncoder("third", 2)])
    for number, reuse in enumerate(([bench.collection], [bench.collection.upper()], ["all"])):
        models = recording()
        other = SyncBench(bench.store, f"{bench.collection}_other_{number}", bench.folder)
        receipt = other.run(documents, models=[*models, *BM25], reuse=reuse)
        assert ([model.encoded for model in models], receipt.chunks.copied) == ([[], []], 5)
        assert other.stored() == bench.stored()


def test_a_collection_without_vectors_to_reuse_is_refused_before_anything_is_made(bench: SyncBench) -> None:
    bench.run([document("old", "ab")], models=recording())
    other = SyncBench(bench.store, f"{bench.collection}_other", bench.folder)
    with pytest.raises(ConfigurationError, match="no vector of the same model, distance and datatype"):
        other.run([document("old", "ab")], models=[HashEncoder("third", 2)], reuse=[bench.collection])
    with pytest.raises(CollectionNotFoundError):
        other.run([document("old", "ab")], models=recording(), reuse=[f"{bench.collection}_never"])
    assert other.collection not in bench.store.aliases()


def test_vectors_that_another_collection_has_rounded_are_not_reused(bench: SyncBench) -> None:
    bench.run([document("old", "ab")], models=recording(), distance="dot")
    rounded = [
        Point(point.id, {name: _in_float16(vector) for name, vector in point.vectors.items()}, point.payload)
        for point in bench.store.scroll(bench.collection, vectors=True)
    ]
    bench.store.upsert(bench.collection, rounded)
    models = recording()
    other = SyncBench(bench.store, f"{bench.collection}_other", bench.folder)
    receipt = other.run([document("old", "ab")], models=models, distance="dot", reuse=[bench.collection])
    assert (receipt.chunks.copied, [len(model.encoded) for model in models]) == (0, [2, 2])


def _in_float16(vector: Vector) -> Vector:
    return np.asarray(vector).astype(np.float16).astype(np.float32)
