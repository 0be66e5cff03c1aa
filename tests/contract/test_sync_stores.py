"""What a sync costs and what it never touches, in every store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from sync_bench import Item, SyncBench, counts, document, paragraph, text_of

from ingest.encode.contract import Model
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.errors import DeletionBrakeError, ManifestMismatchError, SourceError
from ingest.records import Document
from ingest.store.contract import Store
from ingest.sync.reading import WindowBounds
from ingest.testing import Crash, HashEncoder, ListSource

LETTERS = "abcdefghijklmnopqrst"
DOCUMENTS = [document(f"d{number}", letter) for number, letter in enumerate(LETTERS)]


def ensemble(*, revision: str = "1", record: bool = False) -> list[Model]:
    """Two dense models, the second of which may be swapped, and a sparse one."""
    return [
        HashEncoder("first", 8, record=record),
        HashEncoder("second", 4, revision=revision, record=record),
        *ModelManager(EnsembleConfig(ensemble_models=["bm25"])).members,
    ]


def texts_encoded(models: Sequence[Model]) -> dict[str, list[str]]:
    return {model.key: model.encoded for model in models if isinstance(model, HashEncoder) and model.encoded}


@pytest.fixture
def bench(store: Store, collection: str, tmp_path: Path) -> SyncBench:
    """Nothing stored."""
    return SyncBench(store, collection, tmp_path)


def test_of_300_documents_only_the_chunk_that_was_edited_is_encoded(bench: SyncBench) -> None:
    large = WindowBounds(chunks=2000)
    texts = [[f"{number}. {paragraph(letter)}" for letter in "abc"] for number in range(300)]
    documents = [Document(f"d{number}", "\n\n".join(text)) for number, text in enumerate(texts)]
    first = bench.run(documents, models=ensemble(), bounds=large)
    assert (first.written, first.chunks.written) == (300, 900)
    texts[137][1] = paragraph("z")
    documents[137] = Document("d137", "\n\n".join(texts[137]))
    models = ensemble(record=True)
    receipt = bench.run(documents, models=models, bounds=large)
    assert counts(receipt) == {"read": 300, "unchanged": 299, "updated": 1}
    edited = [texts[137][1].strip()]
    assert texts_encoded(models) == {"first": edited, "second": edited}
    assert [(model.key, model.chunks) for model in receipt.models] == [("first", 1), ("second", 1), ("bm25", 1)]
    assert (receipt.chunks.written, receipt.chunks.deleted, receipt.chunks.reused) == (1, 1, 899)
    assert bench.effects == {"upsert": 1, "set_payload": 1, "delete": 1}


@pytest.mark.parametrize("delete_after", [None, 60.0])
def test_a_source_that_breaks_off_or_shrinks_to_a_tenth_loses_nothing(bench: SyncBench, delete_after: float | None) -> None:
    bench.run(DOCUMENTS)
    before = bench.stored()
    half: list[Item] = [*DOCUMENTS[:10], Crash()]
    with pytest.raises(SourceError):
        bench.full(half, delete_after=delete_after, max_delete=1.0)
    assert bench.stored() == before
    with pytest.raises(DeletionBrakeError) as stopped:
        bench.full(DOCUMENTS[:2], delete_after=delete_after)
    assert len(stopped.value.doc_ids) == 18
    assert bench.stored() == before


def test_of_two_documents_with_the_same_text_the_other_stays(bench: SyncBench) -> None:
    twins = [document("one", "ab"), document("other", "ab")]
    bench.run(twins)
    other = bench.stored(doc_id="other")
    assert counts(bench.full(twins[1:], delete_after=None, max_delete=1.0)) == {"read": 1, "unchanged": 1, "deleted": 1}
    assert bench.stored() == other


def test_a_sync_of_one_source_never_touches_another_of_the_same_documents(bench: SyncBench) -> None:
    bench.run([ListSource(DOCUMENTS[:4], name="one"), ListSource(DOCUMENTS[:4], name="two")])
    two = bench.stored(source="two")
    edited = [document("d0", "az"), document("d1", "b", year=1), document("new", "x")]
    for items in (edited, DOCUMENTS[:1], edited[:0]):
        for delete_after in (60.0, None):
            bench.full([ListSource(items, name="one")], delete_after=delete_after, max_delete=1.0)
            assert bench.stored(source="two") == two
    assert bench.stored() == two


def test_new_metadata_are_a_payload_and_nothing_else(bench: SyncBench) -> None:
    bench.run([document("d", "abcd", year=1999)], models=ensemble())
    before = bench.stored()
    models = ensemble(record=True)
    receipt = bench.run([document("d", "abcd", year=2000)], models=models)
    assert counts(receipt) == {"read": 1, "updated": 1}
    assert texts_encoded(models) == {}
    assert bench.effects == {"set_payload": 1}
    after = bench.stored()
    assert {id_: vectors for id_, (_, vectors) in after.items()} == {id_: vectors for id_, (_, vectors) in before.items()}
    assert {payload["metadata"]["year"] for payload, _ in after.values()} == {2000}


def test_a_chunk_that_moved_keeps_its_vectors(bench: SyncBench) -> None:
    bench.run([document("d", "abcd")], models=ensemble())
    before = bench.stored()
    models = ensemble(record=True)
    receipt = bench.run([document("d", "dabc")], models=models)
    assert counts(receipt) == {"read": 1, "updated": 1}
    assert texts_encoded(models) == {}
    assert bench.effects == {"set_payload": 1}
    after = bench.stored()
    assert {id_: vectors for id_, (_, vectors) in after.items()} == {id_: vectors for id_, (_, vectors) in before.items()}
    whole = text_of("dabc")
    for payload, _ in after.values():
        assert whole[payload["start"] : payload["end"]] == payload["text"]
    assert [payload["text"][10] for payload, _ in sorted(after.values(), key=lambda point: point[0]["chunk"])] == list("dabc")


def test_another_model_under_a_known_name_is_refused_and_once_agreed_to_costs_its_column_alone(
    bench: SyncBench, store: Store, tmp_path: Path
) -> None:
    bench.run(DOCUMENTS[:3], models=ensemble())
    before = bench.stored()
    with pytest.raises(ManifestMismatchError, match="second"):
        bench.run(DOCUMENTS[:3], models=ensemble(revision="2"))
    assert bench.stored() == before

    bench.agree_to(ensemble(revision="2"))
    models = ensemble(revision="2", record=True)
    receipt = bench.run(DOCUMENTS[:3], models=models)
    assert counts(receipt) == {"read": 3, "updated": 3}
    assert list(texts_encoded(models)) == ["second"]
    assert bench.effects == {"update_vectors": 1, "set_payload": 1}
    fresh = SyncBench(store, f"{bench.collection}_fresh", tmp_path)
    fresh.run(DOCUMENTS[:3], models=ensemble(revision="2"))
    assert bench.stored() == fresh.stored()
