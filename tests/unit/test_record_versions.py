"""When a file of records need not be read: whatever could make that wrong makes it be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from open_files import OLD, opened_below
from record_folder import RecordFolder
from sync_bench import DAY, Stored, SyncBench, counts, document, without_versions

from ingest.errors import DeletionBrakeError
from ingest.records import Document, FileBegin, FileEnd
from ingest.source import open_source
from ingest.source.chunking import ChunkingOptions
from ingest.source.fields import FieldMap
from ingest.source.read_options import ReadOptions
from ingest.store import open_store
from ingest.store.schema import INGEST_FIELD
from ingest.sync.deletion import delete_documents
from ingest.sync.plan import DeleteMode
from ingest.sync.preview import preview_job
from ingest.sync.record_files import MARK
from ingest.testing import FlakyStore, HashEncoder, ListSource


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SyncBench]:
    """Nothing stored."""
    with open_store(tmp_path / "store") as store:
        yield SyncBench(store, "test", tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> RecordFolder:
    """Two files, with five records of six chunks."""
    made = RecordFolder(tmp_path / "folder")
    made.write({"a.jsonl": [("1", "a"), ("2", "bc"), ("3", "d")], "b.jsonl": [("1", "a"), ("2", "e")]})
    return made


def read_by(bench: SyncBench, folder: RecordFolder, **job: Any) -> list[str]:
    """Run, and return the files that were opened."""
    with opened_below(folder.path) as opened:
        bench.run([folder.source()], **job)
        return opened()


def test_files_of_records_are_not_opened(bench: SyncBench, folder: RecordFolder) -> None:
    (folder.path / "c.csv").write_text("id;text;year\n1;Tea;2001\n2;Milk;2002\n")
    (folder.path / "d.json").write_text('[{"id": "1", "text": "Water"}]')
    for name in ("c.csv", "d.json"):
        os.utime(folder.path / name, (OLD + 0.5, OLD + 0.5))
    first = bench.full([folder.source()])
    before = bench.stored()
    with opened_below(folder.path) as opened:
        receipt = bench.full([folder.source()])
        assert opened() == []
    assert (counts(receipt), receipt.skipped_unread, bench.effects) == ({"read": 8, "unchanged": 8}, 8, {})
    assert (receipt.chunks.reused, receipt.chunks.written) == (9, 0)
    assert (receipt.types, receipt.notes) == (first.types, first.notes)
    assert receipt.types
    assert receipt.notes
    assert bench.stored() == before
    folder.write({"b.jsonl": [("1", "a"), ("2", "f")]})
    with opened_below(folder.path) as opened:
        receipt = bench.full([folder.source()])
        assert opened() == ["b.jsonl"]
    assert (counts(receipt), receipt.skipped_unread) == ({"read": 8, "unchanged": 7, "updated": 1}, 6)


@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl"])
def test_a_single_file_is_not_opened_either(bench: SyncBench, folder: RecordFolder, name: str) -> None:
    with opened_below(folder.path) as opened:
        bench.full([open_source(folder.path / name)])
        assert opened() == [name]
    with opened_below(folder.path) as opened:
        receipt = bench.full([open_source(folder.path / name)])
        assert opened() == []
    assert receipt.skipped_unread == receipt.read == len(folder.files[name])


def test_a_file_with_rejected_records_shows_them_again(bench: SyncBench, folder: RecordFolder) -> None:
    folder.write({"b.jsonl": [("1", "a"), ("1", "e")]})
    folder.write({"c.jsonl": [("1", "!"), ("2", "a")], "d.jsonl": [], "e.jsonl": [("1", "a")]})
    for _ in range(2):
        assert bench.run([folder.source()]).rejected == 2
        rejects = (bench.folder / "rejects.jsonl").read_text()
        assert read_by(bench, folder) == ["b.jsonl", "c.jsonl", "d.jsonl"]
        assert (bench.folder / "rejects.jsonl").read_text() == rejects


def test_only_a_touched_mark_is_written(bench: SyncBench, folder: RecordFolder) -> None:
    bench.run([folder.source()])
    folder.touch("a.jsonl")
    assert read_by(bench, folder) == ["a.jsonl"]
    assert bench.effects == {"set_versions": 1}
    assert read_by(bench, folder) == []
    marks = [payload[INGEST_FIELD]["version"] for payload, _ in bench.stored().values() if "version" in payload[INGEST_FIELD]]
    assert [mark.startswith(MARK) for mark in marks] == [True, True]


@pytest.mark.parametrize("letters", ["z", ""])
def test_a_mark_loses_nothing_that_an_app_writes_meanwhile(bench: SyncBench, folder: RecordFolder, letters: str) -> None:
    folder.write({"a.jsonl": [("1", "a")]})
    bench.run([folder.source()])
    folder.touch("a.jsonl")
    written: list[Stored] = []

    def write_as_app(_name: str, _call: int) -> None:
        if letters:
            bench.run([ListSource([replace(document("a.jsonl//1", "a"), title="new")], folder.name)], pushed=True)
        else:
            delete_documents(bench.store, bench.collection, ["a.jsonl//1"])
        written.append(bench.stored(doc_id="a.jsonl//1"))

    meddled = FlakyStore(bench.store, write_as_app, methods=frozenset({"set_payload", "set_versions"}))
    assert bench.run([folder.source()], store=meddled).balanced == bool(letters)
    assert without_versions(bench.stored(doc_id="a.jsonl//1")) == without_versions(written[-1])
    assert read_by(bench, folder) == ["a.jsonl"]


def test_the_mark_moves_with_the_records(bench: SyncBench, folder: RecordFolder) -> None:
    for number in range(5):
        folder.write({"b.jsonl": [(str(each), "a") for each in range(number % 3, number + 1)]})
        bench.full([folder.source()], delete_after=None)
        assert read_by(bench, folder, delete=DeleteMode.FULL) == []
        assert sum("version" in payload[INGEST_FIELD] for payload, _ in bench.stored().values()) == 2


def test_options_models_and_checks_read_everything(bench: SyncBench, folder: RecordFolder) -> None:
    def skipped(models: Any = (), chunking: ChunkingOptions | None = None, **options: Any) -> int:
        wanted = bench.job(chunking=chunking or ChunkingOptions(tokens=100))
        if bench.collection in bench.store.aliases():
            stored = bench.store.manifest(bench.collection)
            manifest = wanted.manifest(models or [HashEncoder("hash", 8)])
            bench.store.write_manifest(replace(manifest, collection=stored.collection))
        return bench.run([open_source(folder.path, **options)], models=models, chunking=wanted.chunking).skipped_unread

    assert skipped() == 0
    for options in (
        {"options": ReadOptions(encoding="utf-8")},
        {"fields": FieldMap(metadata=("year",))},
        {"max_record_bytes": 10_000},
        {"chunking": ChunkingOptions(tokens=50)},
        {"models": [HashEncoder("hash", 8, revision="2")]},
    ):
        skipped()
        assert (skipped(**options), skipped(**options)) == (0, 5)
    assert bench.run([folder.source()], models=[HashEncoder("hash", 8, revision="2")], check="content").skipped_unread == 0


def test_a_full_check_reads_them(bench: SyncBench, folder: RecordFolder) -> None:
    bench.run([folder.source()])
    assert read_by(bench, folder, full_check="7d") == []
    bench.clock += 8 * DAY
    assert read_by(bench, folder, full_check="7d") == ["a.jsonl", "b.jsonl"]
    assert read_by(bench, folder, full_check="7d") == []


DAMAGE: list[Callable[[dict[str, Any]], object]] = [
    lambda own: own.update(doc_fp="0"),
    lambda own: own.update(doc_chunks=3),
    lambda own: own.update(schema=1),
    lambda own: own.update(vectors={}),
    lambda own: own.update(version="1"),
    lambda own: own.update(version=7),
    lambda own: own.update(soft_deleted_at="2025-06-15T15:06:40+00:00"),
    lambda own: own.update(doc_key="damaged"),
]


def test_a_point_that_differs_makes_its_file_be_read(bench: SyncBench, folder: RecordFolder) -> None:
    record = "a.jsonl//2"
    bench.run([folder.source()])
    whole = bench.stored(doc_id=record)
    point, (payload, _) = max(whole.items())
    for damage in DAMAGE:
        own = dict(payload[INGEST_FIELD])
        damage(own)
        bench.store.set_payload(bench.collection, {point: {**payload, INGEST_FIELD: own}})
        assert read_by(bench, folder) == ["a.jsonl"]
        bench.store.set_payload(bench.collection, {point: payload})
    bench.store.delete(bench.collection, [point])
    assert read_by(bench, folder) == ["a.jsonl"]
    bench.run([ListSource([document(record, "z")], folder.name)], pushed=True)
    assert read_by(bench, folder) == ["a.jsonl"]
    assert bench.stored(doc_id=record).keys() == whole.keys()


@pytest.mark.parametrize("mark", ["[]", "{", '["", 3, "0", [7], {}, []]'])
def test_a_damaged_mark_makes_its_file_be_read(bench: SyncBench, folder: RecordFolder, mark: str) -> None:
    bench.run([folder.source()])
    marked = {point: payload for point, (payload, _) in bench.stored().items() if "version" in payload[INGEST_FIELD]}
    for point, payload in marked.items():
        own = {**payload[INGEST_FIELD], "version": MARK + mark}
        bench.store.set_payload(bench.collection, {point: {**payload, INGEST_FIELD: own}})
    assert read_by(bench, folder) == ["a.jsonl", "b.jsonl"]
    assert read_by(bench, folder) == []


def test_records_that_are_gone_go_and_those_that_stay_make_their_file_be_read(bench: SyncBench, folder: RecordFolder) -> None:
    bench.run([folder.source()])
    folder.write({"a.jsonl": [("1", "a")]})
    bench.run([folder.source()])
    assert read_by(bench, folder) == ["a.jsonl"]  # incremental: the others are still stored
    grace: dict[str, Any] = {"delete": DeleteMode.FULL, "delete_after": DAY}
    with pytest.raises(DeletionBrakeError):
        bench.run([folder.source()], max_delete="0%", **grace)
    assert bench.run([folder.source()], **grace).soft_deleted == 2
    assert read_by(bench, folder, **grace) == []
    assert bench.soft_deleted().keys() == {"a.jsonl//2", "a.jsonl//3"}
    bench.clock += 2 * DAY
    receipt = bench.run([folder.source()], **grace)
    assert (receipt.deleted, receipt.skipped_unread, len(bench.stored())) == (2, 3, 3)
    folder.remove("b.jsonl")
    receipt = bench.run([folder.source()], delete=DeleteMode.FULL)
    assert (receipt.deleted, receipt.skipped_unread) == (2, 1)


def test_a_source_that_moved_is_read_once(bench: SyncBench, folder: RecordFolder) -> None:
    bench.run([folder.source()])
    moved = [replace(folder.source(), name="new")]
    assert bench.run(moved, moved_from=folder.name).skipped_unread == 0
    assert bench.run(moved).skipped_unread == 5


def test_a_preview_opens_no_file_either(bench: SyncBench, folder: RecordFolder) -> None:
    bench.run([folder.source()])
    folder.write({"b.jsonl": [("1", "a"), ("2", "f")]})
    before = bench.stored()
    with opened_below(folder.path) as opened:
        preview = preview_job(bench.job(), [folder.source()], store=bench.store, models=[HashEncoder("hash", 8)])
        assert opened() == ["b.jsonl"]
    assert (preview.read, preview.unchanged, preview.updated, preview.skipped_unread) == (5, 4, 1, 3)
    assert bench.stored() == before


def test_a_part_of_a_source_is_read(bench: SyncBench, folder: RecordFolder) -> None:
    bench.run([folder.source()])
    source = folder.source()
    part = source.part(list(source.place.files(lambda _: False)))
    assert bench.run([part]).skipped_unread == 0
    assert read_by(bench, folder) == []


def test_a_file_that_changes_while_it_is_read_has_no_end(folder: RecordFolder) -> None:
    for source, change in ((folder.source(), "b.jsonl"), (open_source(folder.path / "a.jsonl"), "a.jsonl")):
        seen: list[str] = []
        for item in source.read_files(lambda _: ()):  # type: ignore[attr-defined]
            if isinstance(item, Document) and item.id.removeprefix("b.jsonl//") == "2":
                folder.touch(change)
            if isinstance(item, FileBegin | FileEnd):
                seen.append(f"{type(item).__name__} {item.id}")
        whole = ["FileBegin a.jsonl//", "FileEnd a.jsonl//", "FileBegin b.jsonl//"]
        assert seen == (whole if change == "b.jsonl" else ["FileBegin "])
