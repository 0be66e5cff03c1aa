"""Deletes with grace, in every store: hidden first, removed when their time has come, as they were when they come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sync_bench import DAY, FIRST_SECOND, Stored, SyncBench, counts, document

from ingest.records import Document, Rejected
from ingest.store.contract import Condition, Store
from ingest.store.schema import SOFT_DELETED_FIELD, with_soft_delete, without_soft_delete
from ingest.sync.deletion import undelete
from ingest.sync.plan import DeleteMode
from ingest.testing import HashEncoder, ListSource

DOCUMENTS = [document(f"d{number}", letters) for number, letters in enumerate(["abc", "de", "f", "g", "h", "i"])]
WITHOUT_FIRST = DOCUMENTS[1:]


@pytest.fixture
def bench(store: Store, collection: str, tmp_path: Path) -> SyncBench:
    """All documents stored, and none gone."""
    made = SyncBench(store, collection, tmp_path)
    made.run(DOCUMENTS)
    return made


def unmarked(stored: Stored) -> Stored:
    return {id_: (without_soft_delete(payload), vectors) for id_, (payload, vectors) in stored.items()}


def test_a_gone_document_is_hidden_first_and_removed_when_its_time_has_come(bench: SyncBench) -> None:
    before = bench.stored()
    encoder = HashEncoder("hash", 8, record=True)
    assert counts(bench.full(WITHOUT_FIRST, models=[encoder])) == {"read": 5, "unchanged": 5, "soft_deleted": 1}
    assert bench.soft_deleted() == {"d0": FIRST_SECOND}
    assert unmarked(bench.stored()) == before
    assert encoder.encoded == []
    live = [Condition(SOFT_DELETED_FIELD, "exists", value=False)]
    assert bench.store.count(bench.collection, live) == sum(payload["doc_id"] != "d0" for payload, _ in before.values())

    bench.clock += 7 * DAY - 1
    assert counts(bench.full(WITHOUT_FIRST)) == {"read": 5, "unchanged": 5}
    assert bench.soft_deleted() == {"d0": FIRST_SECOND}

    bench.clock += 1
    assert counts(bench.full(WITHOUT_FIRST)) == {"read": 5, "unchanged": 5, "deleted": 1}
    assert bench.stored() == {id_: point for id_, point in before.items() if point[0]["doc_id"] != "d0"}


def test_without_grace_what_is_gone_is_removed_at_once_hidden_or_not(bench: SyncBench) -> None:
    bench.full(WITHOUT_FIRST)
    assert counts(bench.full(WITHOUT_FIRST[1:], delete_after=None)) == {"read": 4, "unchanged": 4, "deleted": 2}
    assert bench.live() == {"d2", "d3", "d4", "d5"}
    assert bench.soft_deleted() == {}


def test_a_document_that_comes_back_is_as_it_was_and_no_model_is_asked(bench: SyncBench) -> None:
    before = bench.stored()
    bench.full(WITHOUT_FIRST)
    encoder = HashEncoder("hash", 8, record=True)
    receipt = bench.run(DOCUMENTS, models=[encoder])
    assert counts(receipt) == {"read": 6, "unchanged": 5, "updated": 1}
    assert (encoder.encoded, receipt.chunks.written) == ([], 0)
    assert bench.stored() == before
    assert counts(bench.full(DOCUMENTS)) == {"read": 6, "unchanged": 6}


def test_a_document_that_comes_back_edited_encodes_its_edit_alone(bench: SyncBench, store: Store, tmp_path: Path) -> None:
    bench.full(WITHOUT_FIRST)
    edited = [document("d0", "axc"), *WITHOUT_FIRST]
    encoder = HashEncoder("hash", 8, record=True)
    assert counts(bench.full(edited, models=[encoder])) == {"read": 6, "unchanged": 5, "updated": 1}
    assert [text[:11] for text in encoder.encoded] == ["Paragraph x"]
    fresh = SyncBench(store, f"{bench.collection}_fresh", tmp_path)
    fresh.run(edited)
    assert bench.stored() == fresh.stored()


def test_a_document_that_a_crash_left_half_marked_is_marked_whole_and_waits_for_its_last_part(bench: SyncBench) -> None:
    first, *rest = bench.stored(doc_id="d0").items()
    long_ago = with_soft_delete(first[1][0], "2001-01-01T00:00:00+00:00")
    bench.store.set_payload(bench.collection, {first[0]: long_ago})
    assert counts(bench.full(WITHOUT_FIRST)) == {"read": 5, "unchanged": 5, "soft_deleted": 1}
    marks = {id_: payload["_ingest"].get("soft_deleted_at") for id_, (payload, _) in bench.stored(doc_id="d0").items()}
    assert marks == {first[0]: "2001-01-01T00:00:00+00:00", **dict.fromkeys([id_ for id_, _ in rest], FIRST_SECOND)}
    bench.clock += 7 * DAY - 1
    assert counts(bench.full(WITHOUT_FIRST)) == {"read": 5, "unchanged": 5}
    bench.clock += 1
    assert counts(bench.full(WITHOUT_FIRST)) == {"read": 5, "unchanged": 5, "deleted": 1}


def test_a_document_undeleted_before_its_source_is_read_is_not_purged(bench: SyncBench) -> None:
    bench.full(WITHOUT_FIRST)
    bench.clock += 7 * DAY

    class Undeleting(ListSource):
        def read(self) -> Iterator[Document | Rejected]:
            undelete(bench.store, bench.collection)
            return super().read()

    receipt = bench.full([Undeleting([document("other", "k")], name="before"), ListSource(WITHOUT_FIRST)])
    assert counts(receipt) == {"read": 6, "written": 1, "unchanged": 5, "soft_deleted": 1}
    assert set(bench.soft_deleted()) == {"d0"}


def test_undelete_brings_back_what_was_asked_for_until_a_run_misses_it_again(bench: SyncBench) -> None:
    store, collection = bench.store, bench.collection
    bench.run([ListSource(DOCUMENTS, name="other")])
    before = bench.stored()
    nothing: list[Document] = []
    sources = [ListSource(nothing), ListSource(nothing, name="other")]
    assert counts(bench.full(sources, max_delete=1.0)) == {"soft_deleted": 12}

    assert undelete(store, collection, ["elsewhere"]) == 0
    assert undelete(store, collection, ["list"], ["d0", "d1"]) == 2
    back = {id_ for id_, (payload, _) in bench.stored().items() if "soft_deleted_at" not in payload["_ingest"]}
    assert back == {
        id_ for id_, (payload, _) in before.items() if payload["source"] == "list" and payload["doc_id"] in {"d0", "d1"}
    }
    assert undelete(store, collection) == 10
    assert bench.stored() == before

    bench.clock += 30 * DAY
    assert counts(bench.full(sources, max_delete=1.0)) == {"soft_deleted": 12}
    assert set(bench.soft_deleted().values()) == {"2025-07-15T15:06:40+00:00"}


def test_hidden_documents_stay_as_they_are_where_a_run_deletes_no_documents(bench: SyncBench) -> None:
    bench.full(WITHOUT_FIRST)
    before = bench.stored()
    bench.clock += 30 * DAY
    for delete in (DeleteMode.NONE, DeleteMode.INCREMENTAL):
        assert counts(bench.run(WITHOUT_FIRST, delete=delete)) == {"read": 5, "unchanged": 5}
        assert bench.stored() == before
