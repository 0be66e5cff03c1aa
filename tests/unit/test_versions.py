"""When a document need not be read: whatever could make that wrong makes it be read."""

from __future__ import annotations

import ast
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any, ClassVar

import fsspec  # type: ignore[import-untyped]
import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from open_files import NAMES, OLD, opened_below, write_tree
from sync_bench import DAY, SyncBench, counts, versioned

import ingest.source
from ingest.errors import SourceError
from ingest.records import Document, Rejected, Unchanged, Unread, Versioned
from ingest.source import open_source
from ingest.source.chunking import ChunkingOptions
from ingest.source.formats import FileFormat
from ingest.source.read_options import ReadOptions
from ingest.source.sampling import SampledSources
from ingest.source.versions import READING, document_version, local_version, remote_version
from ingest.store import open_store
from ingest.sync.plan import DeleteMode
from ingest.sync.preview import preview_job
from ingest.testing import Crash, HashEncoder, VersionedSource


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SyncBench]:
    """Nothing stored."""
    with open_store(tmp_path / "store") as store:
        yield SyncBench(store, "test", tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


def test_other_options_read_everything(bench: SyncBench, tree: Path) -> None:
    bench.run([open_source(tree)])
    for options in (ReadOptions(encoding="utf-8"), ReadOptions(html_content="all")):
        assert bench.run([open_source(tree, options=options)]).skipped_unread == 0
        assert bench.run([open_source(tree, options=options)]).skipped_unread == 4
    chunking = ChunkingOptions(tokens=50)
    for models in ([HashEncoder("hash", 8)], [HashEncoder("hash", 8, revision="2")]):
        stored = bench.store.manifest(bench.collection)
        wanted = bench.job(chunking=chunking).manifest(models)
        bench.store.write_manifest(replace(wanted, collection=stored.collection))
        assert bench.run([open_source(tree)], models=models, chunking=chunking).skipped_unread == 0
        assert bench.run([open_source(tree)], models=models, chunking=chunking).skipped_unread == 4


def test_a_check_of_the_content_opens_every_file(bench: SyncBench, tree: Path) -> None:
    bench.run([open_source(tree)])
    with opened_below(tree) as opened:
        receipt = bench.run([open_source(tree)], check="content")
        assert opened() == NAMES
    assert (counts(receipt), receipt.skipped_unread) == ({"read": 4, "unchanged": 4}, 0)


def test_a_file_that_may_be_changed_within_the_same_tick_is_opened_again(bench: SyncBench, tree: Path) -> None:
    os.utime(tree / "b.txt", (time.time() + 3600,) * 2)  # a slow machine would take longer than a time of now
    bench.run([open_source(tree)])
    with opened_below(tree) as opened:
        receipt = bench.run([open_source(tree)])
        assert opened() == ["b.txt"]
    assert (counts(receipt), bench.effects) == ({"read": 4, "unchanged": 4}, {})


def test_a_file_whose_times_were_set_back_is_opened(bench: SyncBench, tree: Path) -> None:
    bench.run([open_source(tree)])
    (tree / "b.txt").write_text("Black coffeE.")
    os.utime(tree / "b.txt", (OLD, OLD))
    assert counts(bench.run([open_source(tree)])) == {"read": 4, "unchanged": 3, "updated": 1}


def test_a_single_file_is_not_opened_either(bench: SyncBench, tree: Path) -> None:
    bench.run([open_source(tree / "a.md")])
    with opened_below(tree) as opened:
        assert bench.run([open_source(tree / "a.md")]).skipped_unread == 1
        assert opened() == []
    link = tree / "link.md"
    link.symlink_to("a.md")  # its own times tell nothing about the file
    bench.run([open_source(link)])
    assert bench.run([open_source(link)]).skipped_unread == 0


def test_a_document_that_comes_back_with_its_version_is_restored(bench: SyncBench) -> None:
    documents = [versioned(f"d{number}", "ab", "1") for number in range(4)]
    bench.full(documents)
    before = bench.stored()
    assert bench.full(documents[1:]).soft_deleted == 1
    receipt = bench.full(documents)
    assert (receipt.updated, receipt.skipped_unread) == (1, 3)
    assert bench.stored() == before


def test_an_id_that_comes_twice_is_rejected_read_or_unread(bench: SyncBench) -> None:
    documents = [versioned("d0", "a", "1"), versioned("d0", "b", "1"), versioned("d1", "c", "1")]
    for skipped in (0, 2):
        receipt = bench.run(documents)
        assert (receipt.read, receipt.rejected, receipt.skipped_unread, receipt.balanced) == (3, 1, skipped, True)
    assert {payload["text"][:12] for payload, _ in bench.stored().values()} == {"Paragraph a.", "Paragraph c."}


def test_a_rejected_document_is_read_again(bench: SyncBench) -> None:
    bench.run([versioned("d0", "a", "1")])
    rejected: list[Document | Rejected | Crash] = [Rejected("d0", "broken", doc_id="d0")]
    bench.run(rejected)
    source = VersionedSource([versioned("d0", "b", "2")])
    assert counts(bench.run([source])) == {"read": 1, "updated": 1}
    assert source.documents_read == ["d0"]


def test_a_document_with_a_missing_point_is_read(bench: SyncBench) -> None:
    bench.run([versioned("d0", "ab", "1")])
    bench.store.delete(bench.collection, [min(bench.stored())])
    assert counts(bench.run([versioned("d0", "ab", "1")])) == {"read": 1, "updated": 1}
    assert len(bench.stored()) == 2


def test_stale_chunks_that_nothing_may_delete_make_a_document_read(bench: SyncBench) -> None:
    bench.run([versioned("d0", "ab", "1")])
    bench.run([versioned("d0", "ac", "2")], delete=DeleteMode.NONE)
    receipt = bench.run([versioned("d0", "ac", "2")])
    assert (receipt.skipped_unread, receipt.chunks.deleted) == (0, 1)
    assert bench.run([versioned("d0", "ac", "2")]).skipped_unread == 1


def test_everything_is_read_when_the_full_check_is_due(bench: SyncBench) -> None:
    documents = [versioned("d0", "ab", "1")]
    lying = [versioned("d0", "ac", "1")]
    bench.run(documents, full_check="7d")
    bench.clock += 6 * DAY
    assert bench.run(lying, full_check="7d").skipped_unread == 1
    bench.clock += 2 * DAY
    assert counts(bench.run(lying, full_check="7d")) == {"read": 1, "updated": 1}
    assert bench.run(lying, full_check="7d").skipped_unread == 1
    bench.clock -= 3 * DAY  # a clock that is wrong
    assert bench.run(lying, full_check="7d").skipped_unread == 0


def test_a_lost_note_of_the_full_check_makes_it_due(bench: SyncBench) -> None:
    documents = [versioned("d0", "ab", "1")]
    bench.run(documents)
    notes = bench.store.notes(bench.collection)
    values: tuple[Any, ...] = (None, {}, 7)
    for value in values:
        bench.store.update_notes(bench.collection, dict.fromkeys(notes, value))
        assert bench.run(documents, full_check="7d").skipped_unread == 0
        assert bench.run(documents, full_check="7d").skipped_unread == 1


def test_a_preview_skips_like_a_run_and_writes_nothing(bench: SyncBench) -> None:
    bench.run([versioned("d0", "ab", "1"), versioned("d1", "cd", "1"), versioned("d2", "a", "1")])
    before = bench.stored()
    changed = VersionedSource([versioned("d0", "ab", "1"), versioned("d1", "cd", "2"), versioned("d2", "b", "2")])
    preview = preview_job(bench.job(), [changed], store=bench.store, models=[HashEncoder("hash", 8)])
    assert (preview.unchanged, preview.updated, preview.skipped_unread, preview.payload_only) == (2, 1, 1, 0)
    assert preview_job(bench.job(check="content"), [changed], store=bench.store, models=[HashEncoder("hash", 8)]).unchanged == 2
    assert changed.documents_read == ["d0", "d1", "d2"]
    assert bench.stored() == before


class Careless(VersionedSource):
    """A source that leaves everything unread."""

    def read_changed(self, unchanged: Unchanged) -> Iterator[Document | Rejected | Unread]:
        return (Unread(item.id, "") for item in self.items if isinstance(item, Document))


def test_a_document_that_nothing_says_is_unchanged_cannot_be_left_unread(bench: SyncBench) -> None:
    documents: Sequence[Document] = [versioned("d0", "ab", "1")]
    bench.run(documents)
    with pytest.raises(SourceError, match="did not read 'd0'"):
        bench.run([Careless(documents)])


LOCAL = {"size": 9, "mtime": 1000.5, "created": 1000.5, "ino": 7, "islink": False}


@pytest.mark.parametrize(
    "changes", [{"size": 10}, {"mtime": 1000.25}, {"created": 1000.75}, {"ino": 8}], ids=["size", "content", "anything", "inode"]
)
def test_the_version_of_a_local_file_changes_with(changes: dict[str, Any]) -> None:
    assert local_version(LOCAL, 2000) != local_version({**LOCAL, **changes}, 2000)


@pytest.mark.parametrize(
    ("info", "now"),
    [
        (LOCAL, 1002.4),
        (LOCAL, 900.0),
        ({**LOCAL, "islink": True}, 2000.0),
        ({**LOCAL, "ino": None}, 2000.0),
        ({"size": 9}, 2000.0),
        ({**LOCAL, "mtime": 1000.0, "created": 1000.0}, 2000.0),
    ],
    ids=["just changed", "of the future", "a link", "no inode", "no times", "whole seconds"],
)
def test_a_local_file_has_no_version(info: dict[str, Any], now: float) -> None:
    assert local_version(info, now) is None


def test_a_remote_file_is_known_by_its_identifier_or_else_by_an_old_time() -> None:
    day = datetime(2026, 1, 1, tzinfo=UTC)
    later = day.timestamp() + 3600
    assert remote_version({"size": 9, "ETag": '"a"', "LastModified": day}, later) == '9 ETag "a"'
    assert remote_version({"size": 9, "VersionId": "v", "ETag": '"a"'}, later) == "9 VersionId v"
    assert remote_version({"size": 9, "ETag": 'W/"a"'}, later) is None
    assert remote_version({"size": 9, "generation": "17", "etag": "a"}, later) == "9 generation 17"
    http = {"size": 9, "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    assert remote_version(http, later) == f"9 {day.isoformat()}"
    assert remote_version(http, day.timestamp() + 59) is None
    assert remote_version({**http, "size": None}, later) is None
    assert remote_version({**http, "Last-Modified": "yesterday"}, later) is None
    assert remote_version({"size": 9, "mtime": day.timestamp()}, later) is None  # of a member of an archive, for example


DECIDE_NO_TEXT = {"pathspec", "semantic-text-splitter", "watchfiles"}
"""They find files and their changes, and cut texts (a part of the chunker's fingerprint)."""

ZSTD = {"backports", "compression"}
"""Where zstd is, before Python 3.14 and since. Two versions of it unpack the same bytes."""


def test_versions_depend_on_every_library_that_reads_files() -> None:
    found = set()
    homes = packages_distributions()
    for path in Path(ingest.source.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                modules.append(str(node.module))
            packages = {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {"ingest", *ZSTD}
            found |= {canonical(home) for package in packages for home in homes[package]}
    assert found == {*READING} | DECIDE_NO_TEXT


def canonical(distribution: str) -> str:
    return distribution.lower().replace("_", "-")


class Bucket(MemoryFileSystem):  # type: ignore[misc]
    """An object store that gives ETags and counts its requests."""

    protocol = "bucket"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    requests: ClassVar[Counter[str]] = Counter()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("bucket:/")))

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self.requests["list"] += 1
        listed = super().ls(path, detail=True, **options)
        for info in listed:
            if info["type"] == "file":
                info["ETag"] = f'"{sha256(self.store[info["name"]].getvalue()).hexdigest()}"'
        return listed if detail else [info["name"] for info in listed]

    def _open(self, path: str, *arguments: Any, **options: Any) -> Any:
        self.requests["open"] += 1
        return super()._open(path, *arguments, **options)


def test_an_unchanged_bucket_is_only_listed(bench: SyncBench) -> None:
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    bucket = fsspec.filesystem("bucket")
    for number in range(20):
        bucket.pipe(f"/tea/{number % 2}/{number}.md", f"# Tea\n\nTea {number}.".encode())
    bench.run([open_source("bucket://tea")])
    Bucket.requests.clear()
    assert bench.run([open_source("bucket://tea")]).skipped_unread == 20
    assert set(Bucket.requests) == {"list"}
    bucket.pipe("/tea/0/4.md", b"Coffee.")
    Bucket.requests.clear()
    receipt = bench.run([open_source("bucket://tea")])
    assert (receipt.updated, receipt.skipped_unread, Bucket.requests["open"]) == (1, 19, 1)


def test_a_file_of_records_or_of_a_plugin_has_no_version() -> None:
    assert document_version("1", FileFormat("pdf"), "") is not None
    assert document_version("1", FileFormat("code:python"), "") is not None
    assert document_version(None, FileFormat("pdf"), "") is None
    assert document_version("1", FileFormat("jsonl"), "") is None
    assert document_version("1", FileFormat("format-of-a-plugin"), "") is None
    assert document_version("1", FileFormat("text"), "") != document_version("1", FileFormat("text", "gzip"), "")


class Hasty(VersionedSource):
    """A source that asks for all of its documents at once."""

    def read_changed(self, unchanged: Unchanged) -> Iterator[Document | Rejected | Unread]:
        documents = [item for item in self.items if isinstance(item, Document)]
        same = unchanged([Versioned(each.id, each.version or "") for each in documents])
        yield from (Unread(each.id, "") if each.id in same else each for each in documents)


def test_of_two_documents_with_one_id_the_first_counts(bench: SyncBench) -> None:
    bench.run([Hasty([versioned("d0", "b", "2")])])
    assert counts(bench.run([Hasty([versioned("d0", "a", "1"), versioned("d0", "b", "2")])])) == {
        "read": 2,
        "updated": 1,
        "rejected": 1,
    }


def test_points_that_moved_are_compared_with_what_is_read(bench: SyncBench) -> None:
    bench.run([VersionedSource([versioned("d0", "a", "1")], name="old")])
    receipt = bench.run([VersionedSource([versioned("d0", "b", "1")], name="new")], moved_from="old")
    assert (receipt.moved, receipt.updated, receipt.skipped_unread) == (1, 1, 0)


def test_a_source_that_was_begun_for_a_sample_is_read_to_its_end() -> None:
    class Once(VersionedSource):
        reads_once = True

    sampled = SampledSources([Once([versioned("d0", "a", "1"), versioned("d1", "b", "1")])])
    assert len(sampled.texts()) == 2
    assert not hasattr(sampled.sources[0], "read_changed")
    assert len(list(sampled.sources[0].read())) == 2
