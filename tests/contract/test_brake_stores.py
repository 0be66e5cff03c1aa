"""The deletion brake guards the documents that are gone, and nothing else, in every store there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from sync_bench import DAY, SyncBench, document, paragraph

from ingest.errors import DeletionBrakeError
from ingest.records import Rejected
from ingest.store.contract import Store
from ingest.sync.plan import DeleteMode
from ingest.testing import ListSource

DOCUMENTS = [document(f"d{number}", letter) for number, letter in enumerate("abcdefghij")]


@pytest.fixture
def bench(store: Store, collection: str, tmp_path: Path) -> SyncBench:
    """All documents stored, and none gone."""
    made = SyncBench(store, collection, tmp_path)
    made.run(DOCUMENTS)
    return made


def texts(bench: SyncBench, **equal: str) -> set[str]:
    return {payload["text"].strip() for payload, _ in bench.stored(**equal).values()}


@pytest.mark.parametrize("delete_after", [None, 7 * DAY])
def test_the_old_text_of_an_edited_document_goes_although_the_brake_holds(bench: SyncBench, delete_after: float | None) -> None:
    bench.run([ListSource(DOCUMENTS, name="other")])
    edited = [document("d0", "z"), document("d1", "bz")]
    before = bench.stored(source="list", doc_id="d2")
    with pytest.raises(DeletionBrakeError, match="8 of the 10 documents"):
        bench.full([ListSource(edited), ListSource([*edited, *DOCUMENTS[2:]], name="other")], delete_after=delete_after)
    for source in ("list", "other"):
        assert texts(bench, source=source, doc_id="d0") == {paragraph("z").strip()}
        assert texts(bench, source=source, doc_id="d1") == {paragraph("b").strip(), paragraph("z").strip()}
    assert bench.live() == {f"d{number}" for number in range(10)}
    assert bench.stored(source="list", doc_id="d2") == before


def test_a_soft_deleted_document_whose_record_is_back_is_found_again_although_the_brake_holds(bench: SyncBench) -> None:
    bench.full(DOCUMENTS[1:])
    with pytest.raises(DeletionBrakeError):
        bench.full([Rejected("line 1", "the text is empty", doc_id="d0")])
    assert bench.soft_deleted() == {}


def test_up_to_five_documents_never_need_leave_and_six_do(bench: SyncBench) -> None:
    with pytest.raises(DeletionBrakeError, match="6 of the 10 documents"):
        bench.full(DOCUMENTS[6:])
    assert bench.full(DOCUMENTS[5:], delete_after=None).deleted == 5
    assert bench.full(DOCUMENTS[9:], delete_after=None).deleted == 4


def test_a_source_that_yields_nothing_deletes_only_with_leave_for_everything(bench: SyncBench) -> None:
    bench.full(DOCUMENTS[8:], delete_after=None, max_delete=1.0)
    before = bench.stored()
    with pytest.raises(DeletionBrakeError, match=r"list yielded no record, .* 2 documents .*--max-delete 100%") as stopped:
        bench.full(DOCUMENTS[:0], max_delete=0.99)
    assert stopped.value.doc_ids == ("d8", "d9")
    assert bench.stored() == before
    receipt = bench.run(DOCUMENTS[:0], delete=DeleteMode.INCREMENTAL)
    assert (receipt.read, receipt.balanced) == (0, True)
    assert "list: yielded no record" in receipt.errors[0]
    assert bench.full(DOCUMENTS[:0], delete_after=None, max_delete=1.0).deleted == 2
    assert bench.stored() == {}
