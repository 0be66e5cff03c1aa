"""What is gone, what the brake makes of it, and when a grace period has passed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from command import write_jsonl
from sync_bench import DAY, FIRST_SECOND, SyncBench, counts, document

from ingest.errors import DeletionBrakeError, ModelError, SourceError
from ingest.parameters import parse_share
from ingest.records import DenseMatrix, Rejected
from ingest.source import open_source
from ingest.store.edge.store import EdgeStore
from ingest.store.schema import with_soft_delete
from ingest.sync.deletion import is_braked
from ingest.sync.plan import DeleteMode
from ingest.sync.preview import preview_job
from ingest.testing import Crash, HashEncoder, ListSource

DOCUMENTS = [document(f"d{number}", letter) for number, letter in enumerate("abcdefghij")]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SyncBench]:
    """All documents stored, and none gone."""
    with EdgeStore(tmp_path / "qdrant") as store:
        made = SyncBench(store, "docs", tmp_path)
        made.run(DOCUMENTS)
        yield made


def test_a_source_that_lost_most_of_its_documents_hides_and_removes_nothing(bench: SyncBench) -> None:
    bench.full(DOCUMENTS[1:])
    bench.clock += 30 * DAY
    before = bench.stored()
    with pytest.raises(DeletionBrakeError, match=r"8 of the 9 documents.*no document was deleted or soft-deleted") as stopped:
        bench.full(DOCUMENTS[9:])
    assert stopped.value.doc_ids == tuple(f"d{number}" for number in range(1, 9))
    assert stopped.value.exit_code == 4
    assert bench.stored() == before


def test_what_an_earlier_run_hid_does_not_count_against_the_next(bench: SyncBench) -> None:
    assert counts(bench.full(DOCUMENTS[2:])) == {"read": 8, "unchanged": 8, "soft_deleted": 2}
    assert counts(bench.full(DOCUMENTS[3:])) == {"read": 7, "unchanged": 7, "soft_deleted": 1}
    bench.clock += 7 * DAY
    assert counts(bench.full(DOCUMENTS[4:])) == {"read": 6, "unchanged": 6, "soft_deleted": 1, "deleted": 3}
    assert bench.soft_deleted().keys() == {"d3"}


def test_the_share_is_of_the_live_documents(bench: SyncBench) -> None:
    bench.full(DOCUMENTS[2:])
    with pytest.raises(DeletionBrakeError, match="6 of the 8 documents"):
        bench.full(DOCUMENTS[8:], max_delete=0.7)
    assert bench.soft_deleted().keys() == {"d0", "d1"}


@pytest.mark.parametrize(
    ("missing", "live", "share", "read", "braked"),
    [
        (0, 10, 0.2, 10, False),
        (5, 5, 0.2, 1, False),  # up to five may always go
        (6, 6, 0.2, 1, True),
        (6, 30, 0.2, 24, False),  # from there on, the share decides
        (7, 30, 0.2, 23, True),
        (6, 30, 0.1, 24, True),
        (1, 100, 0.0, 99, True),  # a share of 0 allows none
        (0, 100, 0.0, 100, False),
        (10, 10, 1.0, 1, False),  # a share of 1 allows all
        (1, 1, 0.99, 0, True),  # of a source that yielded nothing, only that allows any
        (1000, 1000, 1.0, 0, False),
        (0, 0, 0.2, 0, False),
    ],
)
def test_the_brake_by_table(missing: int, live: int, share: float, read: int, braked: bool) -> None:
    assert is_braked(missing, live, parse_share(share), read=read) is braked


def test_the_brake_names_the_first_documents_on_one_line(bench: SyncBench) -> None:
    odd = [document("a\nb", "x"), document("z" * 900, "y")]
    bench.run([*DOCUMENTS, *odd])
    with pytest.raises(DeletionBrakeError) as stopped:
        bench.full([DOCUMENTS[9]])
    assert "'a\\nb', 'd0', 'd1', 'd2', 'd3' and 6 more" in str(stopped.value)
    assert "20% (and more than 5 documents)" in str(stopped.value)
    assert "\n" not in str(stopped.value)
    assert len(str(stopped.value)) < 600


def test_a_record_whose_id_no_document_can_have_holds_nothing_back(bench: SyncBench, tmp_path: Path) -> None:
    lines = tmp_path / "corpus.jsonl"
    good = [{"id": f"d{number}", "text": f"Text {number}."} for number in range(3)]
    write_jsonl(lines, good)
    bench.run([open_source(str(lines), name="lines")])
    write_jsonl(lines, [*good[1:], {"id": "x" * 5_000, "text": "t"}, {"id": "a\0", "text": "t"}, {"id": "\ud800", "text": "t"}])
    receipt = bench.full([open_source(str(lines), name="lines")], delete_after=None)
    assert counts(receipt) == {"read": 5, "unchanged": 2, "deleted": 1, "rejected": 3}
    assert receipt.errors == ()


def test_an_emptied_folder_is_synced_like_an_emptied_table(bench: SyncBench, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("A note.")
    bench.run([open_source(str(folder))])
    (folder / "a.md").unlink()
    for make in (open_source(str(folder)), open_source(f"{folder}/", name=str(folder))):
        with pytest.raises(DeletionBrakeError, match=r"notes yielded no record.*'a\.md'.*--max-delete 100%"):
            bench.full([make])
    receipt = bench.full([open_source(str(folder))], delete_after=None, max_delete=1.0)
    assert (receipt.deleted, receipt.balanced) == (1, True)
    assert "yielded no record" in receipt.errors[0]


def test_no_source_hides_anything_if_another_trips_the_brake(bench: SyncBench) -> None:
    bench.run([ListSource(DOCUMENTS, name="other")])
    before = bench.stored()
    with pytest.raises(DeletionBrakeError, match="other"):
        bench.full([ListSource(DOCUMENTS[1:]), ListSource(DOCUMENTS[9:], name="other")])
    assert bench.stored() == before


def test_a_source_that_dies_half_way_hides_and_removes_nothing(bench: SyncBench) -> None:
    bench.full(DOCUMENTS[1:])
    bench.clock += 30 * DAY
    before = bench.stored()
    with pytest.raises(SourceError):
        bench.full([*DOCUMENTS[2:], Crash()], max_delete=1.0)
    assert bench.stored() == before


def test_a_record_without_an_id_holds_everything_back(bench: SyncBench) -> None:
    bench.full(DOCUMENTS[1:])
    bench.clock += 30 * DAY
    before = bench.stored()
    receipt = bench.full([*DOCUMENTS[2:], Rejected("line 1", "not JSON")])
    assert (receipt.deleted, receipt.soft_deleted, receipt.balanced) == (0, 0, True)
    assert "no readable id" in receipt.errors[0]
    assert bench.stored() == before


def test_a_run_that_was_stopped_hides_and_removes_nothing(bench: SyncBench) -> None:
    bench.full(DOCUMENTS[1:])
    bench.clock += 30 * DAY
    before = bench.stored()
    receipt = bench.full(DOCUMENTS[2:], stop=lambda: True)
    assert (receipt.deleted, receipt.soft_deleted, receipt.stopped) == (0, 0, True)
    assert bench.stored() == before


def test_a_clock_that_went_back_removes_nothing_early(bench: SyncBench) -> None:
    bench.full(DOCUMENTS[1:])
    right = bench.clock
    bench.clock -= 365 * DAY
    assert counts(bench.full(DOCUMENTS[2:])) == {"read": 8, "unchanged": 8, "soft_deleted": 1}
    bench.clock = right
    assert counts(bench.full(DOCUMENTS[2:])) == {"read": 8, "unchanged": 8, "deleted": 1}
    assert bench.soft_deleted() == {"d0": FIRST_SECOND}


def test_a_soft_delete_is_exact_to_the_microsecond(bench: SyncBench) -> None:
    bench.clock += 0.25
    bench.full(DOCUMENTS[1:], delete_after=1.0)
    assert bench.soft_deleted() == {"d0": FIRST_SECOND.replace(":40", ":40.250000")}
    bench.clock += 0.75
    assert counts(bench.full(DOCUMENTS[1:], delete_after=1.0)) == {"read": 9, "unchanged": 9}
    bench.clock += 0.25
    assert counts(bench.full(DOCUMENTS[1:], delete_after=1.0)) == {"read": 9, "unchanged": 9, "deleted": 1}


def test_a_soft_delete_whose_time_cannot_be_read_is_written_anew(bench: SyncBench) -> None:
    ((id_, (payload, _)),) = bench.stored(doc_id="d0").items()
    bench.store.set_payload("docs", {id_: with_soft_delete(payload, "last week")})
    assert counts(bench.full(DOCUMENTS[1:])) == {"read": 9, "unchanged": 9, "soft_deleted": 1}
    assert bench.soft_deleted() == {"d0": FIRST_SECOND}


def test_a_hidden_document_whose_record_broke_is_back_as_it_was(bench: SyncBench) -> None:
    """It is in the source again, unusable: what is stored of it stays, as that of any broken record does."""
    before = bench.stored()
    bench.full(DOCUMENTS[1:])
    receipt = bench.full([*DOCUMENTS[1:], Rejected("line 1", "the text is empty", doc_id="d0")])
    assert counts(receipt) == {"read": 10, "unchanged": 9, "rejected": 1}
    assert bench.stored() == before


def test_a_hidden_document_that_comes_back_and_cannot_be_encoded_is_back_as_it_was(bench: SyncBench) -> None:
    class Fails(HashEncoder):
        def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
            raise ModelError("cannot encode this")

    before = bench.stored()
    bench.full(DOCUMENTS[1:])
    receipt = bench.full([document("d0", "z"), *DOCUMENTS[1:]], models=[Fails("hash", 8)])
    assert (receipt.rejected, receipt.balanced) == (1, True)
    assert bench.stored() == before


def test_what_came_back_after_another_edit_and_a_crash_leaves_no_old_chunk(bench: SyncBench) -> None:
    bench.full(DOCUMENTS[1:])
    receipt = bench.full([document("d0", "xyz"), *DOCUMENTS[1:]])
    assert counts(receipt) == {"read": 10, "unchanged": 9, "updated": 1}
    assert (receipt.chunks.written, receipt.chunks.deleted) == (3, 1)
    assert bench.soft_deleted() == {}


def test_a_preview_tells_what_will_be_hidden_what_waits_and_what_is_due(bench: SyncBench) -> None:
    bench.full(DOCUMENTS[2:])
    bench.clock += 6 * DAY
    bench.full(DOCUMENTS[3:])
    bench.clock += 1 * DAY
    before = bench.stored()
    job = bench.job(delete=DeleteMode.FULL, delete_after=7 * DAY)
    left = DOCUMENTS[4:]
    preview = preview_job(job, [ListSource(left)], store=bench.store, models=[HashEncoder("hash", 8)], now=lambda: bench.clock)
    assert (preview.deleted, preview.in_grace_period, preview.soft_deleted, preview.brake) == (2, 1, 1, False)
    assert bench.stored() == before
    receipt = bench.full(left)
    assert (receipt.deleted, receipt.soft_deleted, receipt.chunks.deleted) == (2, 1, preview.stale_chunks)
