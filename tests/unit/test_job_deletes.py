"""What a run deletes, and when it deletes nothing: on the embedded engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from job_bench import PARAGRAPHS, Bench, counts, document

from ingest.errors import (
    DeletionBrakeError,
    SourceError,
)
from ingest.records import Document, Point, Rejected
from ingest.source import open_source
from ingest.store.edge.store import EdgeStore
from ingest.sync.plan import DeleteMode
from ingest.testing import Crash, ListSource


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    with EdgeStore(tmp_path / "qdrant") as opened:
        yield opened


@pytest.fixture
def bench(store: EdgeStore, tmp_path: Path) -> Bench:
    return Bench(store, tmp_path)


@pytest.mark.parametrize("delete", DeleteMode)
def test_a_source_that_dies_half_way_deletes_nothing(bench: Bench, delete: DeleteMode) -> None:
    bench.run(ListSource([document(f"d{n}", text) for n, text in enumerate(PARAGRAPHS)]))
    before = bench.stored()
    with pytest.raises(SourceError):
        bench.run(ListSource([document("d0", PARAGRAPHS[7]), Crash()]), delete=delete, max_delete=1.0)
    assert before.keys() <= bench.stored().keys()


@pytest.mark.parametrize("delete", DeleteMode)
def test_a_parquet_file_damaged_within_keeps_its_documents_and_the_other_files_go_on(
    bench: Bench, tmp_path: Path, delete: DeleteMode
) -> None:
    path = tmp_path / "files" / "b.parquet"
    path.parent.mkdir()
    columns = {"id": [f"d{number}" for number in range(8)], "text": PARAGRAPHS}
    pq.write_table(pa.table(columns), path, row_group_size=4, use_dictionary=False, compression="none", write_page_checksum=True)
    (path.parent / "gone.md").write_text("Gone")
    bench.run([open_source(path.parent)])
    before = bench.doc_ids()
    texts = pq.ParquetFile(path).metadata.row_group(1).column(1)
    at = texts.data_page_offset + texts.total_compressed_size - 1
    data = path.read_bytes()
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    (path.parent / "gone.md").unlink()
    (path.parent / "new.md").write_text("New")
    receipt = bench.run([open_source(path.parent)], delete=delete, max_delete=1.0)
    gone = {"gone.md"} if delete is DeleteMode.FULL else set()
    assert counts(receipt) == {"read": 6, "written": 1, "unchanged": 4, "rejected": 1} | ({"deleted": 1} if gone else {})
    assert receipt.balanced
    assert bench.doc_ids() == {*before, "new.md"} - gone


def test_a_source_that_lost_most_of_its_documents_is_stopped_by_the_brake(bench: Bench) -> None:
    documents = [document(f"d{n}", text) for n, text in enumerate(PARAGRAPHS)]
    bench.run(ListSource(documents))
    before = bench.stored()
    with pytest.raises(DeletionBrakeError) as stopped:
        bench.run(ListSource(documents[:1]), delete=DeleteMode.FULL)
    assert stopped.value.doc_ids == tuple(f"d{n}" for n in range(1, 8))
    assert bench.stored() == before


def test_a_source_whose_documents_were_all_replaced_is_stopped_however_many_are_new(bench: Bench) -> None:
    bench.run(ListSource([document(f"old{n}", text) for n, text in enumerate(PARAGRAPHS[:6])]))
    with pytest.raises(DeletionBrakeError):
        bench.run(ListSource([document(f"new{n}", text) for n, text in enumerate(PARAGRAPHS)]), delete=DeleteMode.FULL)
    assert {"old0", "old5"} <= bench.doc_ids()


def test_full_deletes_within_the_allowed_share(bench: Bench) -> None:
    documents = [document(f"d{n}", text) for n, text in enumerate(PARAGRAPHS)]
    bench.run(ListSource(documents))
    receipt = bench.run(ListSource(documents[1:]), delete=DeleteMode.FULL)
    assert receipt.balanced
    assert counts(receipt) == {"read": 7, "unchanged": 7, "deleted": 1}
    assert "d0" not in bench.doc_ids()


def test_no_source_loses_anything_if_one_of_them_trips_the_brake(bench: Bench) -> None:
    one = [document(f"d{n}", text) for n, text in enumerate(PARAGRAPHS)]
    bench.run([ListSource(one, name="one"), ListSource(one, name="two")])
    before = bench.stored()
    with pytest.raises(DeletionBrakeError, match="two"):
        bench.run([ListSource(one[1:], name="one"), ListSource(one[:1], name="two")], delete=DeleteMode.FULL)
    assert bench.stored() == before


def test_what_another_run_adds_meanwhile_is_not_gone(bench: Bench) -> None:
    documents = [document(f"d{n}", text) for n, text in enumerate(PARAGRAPHS)]
    bench.run(ListSource(documents))

    class Slow(ListSource):
        def read(self) -> Iterator[Document | Rejected]:
            yield from documents
            bench.run(ListSource([*documents, document("new", "written by the other run")]))

    receipt = bench.run(Slow([]), delete=DeleteMode.FULL, max_delete=1.0)
    assert "new" in bench.doc_ids()
    assert (receipt.deleted, receipt.balanced) == (0, False)
    assert "another job" in receipt.errors[0]


def test_points_that_another_tool_wrote_are_left_alone(bench: Bench) -> None:
    documents = [document(f"d{n}", text) for n, text in enumerate(PARAGRAPHS)]
    bench.run(ListSource(documents))
    vector = np.ones(384, np.float32)
    bench.store.upsert("docs", [Point("11111111-1111-4111-8111-111111111111", {"hash": vector}, {"source": "list"})])
    receipt = bench.run(ListSource(documents[1:]), delete=DeleteMode.FULL)
    assert (receipt.deleted, receipt.balanced) == (1, True)
    assert "11111111-1111-4111-8111-111111111111" in bench.stored()


def test_a_record_that_broke_keeps_what_is_stored_of_it(bench: Bench) -> None:
    documents = [document(f"d{n}", text) for n, text in enumerate(PARAGRAPHS)]
    bench.run(ListSource(documents))
    known = bench.run(ListSource([*documents[1:], Rejected("line 1", "the text is empty", doc_id="d0")]), delete=DeleteMode.FULL)
    assert (known.deleted, known.balanced) == (0, True)
    unknown = bench.run(ListSource([*documents[1:], Rejected("line 1", "not JSON")]), delete=DeleteMode.FULL)
    assert (unknown.deleted, unknown.balanced) == (0, True)
    assert "no readable id" in unknown.errors[0]
    assert "d0" in bench.doc_ids()


@pytest.mark.parametrize("broken", ["id,number\n1,2\n", "id,text\n1,one,more\n", 'id,text\n1,"open\n'])
def test_a_table_that_broke_keeps_its_own_documents_alone(bench: Bench, tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("b.csv", "b.csv.tsv", "c.csv"):
        (folder / name).write_text("id\ttext\n1\tone\n2\ttwo\n".replace("\t", "\t" if name.endswith("tsv") else ","))
    (folder / "b.md").write_text("A note.")
    bench.run([open_source(folder)])
    (folder / "b.csv").write_text(broken)
    (folder / "b.csv.tsv").write_text("id\ttext\n2\ttwo\n")
    (folder / "b.md").unlink()
    receipt = bench.run([open_source(folder)], delete=DeleteMode.FULL)
    assert bench.doc_ids() == {"b.csv//1", "b.csv//2", "b.csv.tsv//2", "c.csv//1", "c.csv//2"}
    assert (receipt.deleted, receipt.rejected, receipt.balanced) == (2, 1, True)
    assert "no document whose id begins with 'b.csv//' was deleted" in receipt.errors[0]
    (folder / "b.csv").write_text("id,text\n2,two\n")
    assert bench.run([open_source(folder)], delete=DeleteMode.FULL).deleted == 1
    assert "b.csv//1" not in bench.doc_ids()


def test_without_deletes_old_chunks_stay(bench: Bench) -> None:
    bench.run(ListSource([document("d", PARAGRAPHS[0])]))
    receipt = bench.run(ListSource([document("d", PARAGRAPHS[1])]), delete=DeleteMode.NONE)
    assert (receipt.balanced, receipt.chunks.deleted) == (True, 0)
    assert bench.run(ListSource([document("d", PARAGRAPHS[1])]), delete=DeleteMode.NONE).unchanged == 1
    cleaned = bench.run(ListSource([document("d", PARAGRAPHS[1])]))
    assert (cleaned.updated, cleaned.balanced) == (1, True)
    assert cleaned.chunks.deleted > 0


def test_two_sources_in_one_collection_never_touch_each_other(bench: Bench) -> None:
    bench.run(ListSource([document("d", PARAGRAPHS[0])], name="one"))
    bench.run(ListSource([document("d", PARAGRAPHS[0])], name="two"))
    receipt = bench.run(ListSource([], name="one"), delete=DeleteMode.FULL, max_delete=1.0)
    assert (receipt.deleted, receipt.balanced) == (1, True)
    assert {payload["source"] for payload, _ in bench.stored().values()} == {"two"}  # type: ignore[index]  # a payload
