"""Every request of every command may fail in a way that passes, and its answer may be lost: the command succeeds all the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ingest.encode.contract import Model
from ingest.encode.runner import BatchRunner
from ingest.errors import StoreUnavailableError
from ingest.export.runtime import ExportRuntime
from ingest.records import Document, Receipt, StoredPoint
from ingest.reindex.reindex import reindex, roll_back
from ingest.retry import RetryPolicy
from ingest.search import Searcher
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import Condition, Store
from ingest.store.retrying import RetryingStore
from ingest.sync.deletion import undelete
from ingest.sync.job import Job, run_job
from ingest.sync.plan import DeleteMode
from ingest.sync.preview import preview_job
from ingest.sync.reading import WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.telemetry import ThroughputMonitor
from ingest.testing import FlakyStore, HashEncoder, ListSource, Moment
from ingest.verify.verification import verify_job

T = TypeVar("T")

POLICY = RetryPolicy(attempts=3, first=0, longest=0)
MODEL = HashEncoder("hash", 8)
OTHER = HashEncoder("other", 8)
BEFORE = [Document(f"d{number}", f"The text of number {number}.", metadata={"number": number}) for number in range(12)]
AFTER = [replace(each, text=f"{each.text} Edited.") for each in BEFORE[:3]] + BEFORE[3:11]


class SmallPages(RetryingStore):
    """Reads three points at a time."""

    def scroll(
        self, collection: str, conditions: Sequence[Condition] = (), *, page: int = 1000, **options: Any
    ) -> Iterator[StoredPoint]:
        return super().scroll(collection, conditions, page=min(page, 3), **options)


class Stage:
    """One collection in a store that works, and the same store as a command sees it: failing at every method.

    The first call of each method fails before it does anything, and its retry loses its answer. Later, every second page of a
    scroll fails once.
    """

    def __init__(self, store: Store, collection: str, folder: Path) -> None:
        self.store = store
        self.collection = collection
        self.folder = folder
        self.faulty = FlakyStore(store, self._cue, methods=FlakyStore.EFFECTS | FlakyStore.READS | FlakyStore.MANAGEMENT)
        self.retrying = SmallPages(self.faulty, POLICY)

    def _cue(self, name: str, number: int) -> tuple[Moment, BaseException] | None:
        lost: Moment = "before" if number == 1 else "after"
        fails = number <= 2 or (name == "scroll" and number % 2 == 0)
        return (lost, StoreUnavailableError(f"{name} number {number} failed on cue")) if fails else None

    def job(self, **changes: Any) -> Job:
        settings = {"chunking": ChunkingOptions(tokens=100), "bounds": WindowBounds(chunks=4), "max_delete": 1.0}
        return Job(self.collection, **{**settings, **changes})

    def run(self, documents: Sequence[Document], *, store: Store, model: Model = MODEL, **changes: Any) -> Receipt:
        def work(runner: BatchRunner, rejects: RejectsFile) -> Receipt:
            sources = [ListSource(documents)]
            return run_job(self.job(**changes), sources, store=store, models=[model], runner=runner, rejects=rejects)

        return self.encoding(work, model)

    def encoding(self, work: Callable[[BatchRunner, RejectsFile], T], model: Model = MODEL) -> T:
        with (
            BatchRunner([model], lease_directory=self.folder / "leases") as runner,
            RejectsFile(self.folder / "rejects.jsonl") as rejects,
        ):
            return work(runner, rejects)

    def texts(self) -> set[str]:
        return {str(point.payload["text"]) for point in self.store.scroll(self.collection)}

    def failed(self, *methods: str) -> bool:
        """Whether each of these was called, failed and was called again."""
        return all(self.faulty.calls.get(name, 0) >= 2 for name in methods)


@pytest.fixture
def stage(store: Store, collection: str, tmp_path: Path) -> Stage:
    return Stage(store, collection, tmp_path)


def test_a_first_run(stage: Stage) -> None:
    receipt = stage.run(BEFORE, store=stage.retrying)
    assert (receipt.balanced, receipt.written, receipt.rejected) == (True, 12, 0)
    assert stage.texts() == {each.text for each in BEFORE}
    assert stage.failed("manifest", "ensure", "set_aliases", "count", "upsert", "finalize")


@pytest.mark.parametrize("delete_after", [None, 3600.0])
def test_a_run_that_deletes(stage: Stage, delete_after: float | None) -> None:
    stage.run(BEFORE, store=stage.store)
    receipt = stage.run(AFTER, store=stage.retrying, delete=DeleteMode.FULL, delete_after=delete_after)
    assert receipt.balanced
    assert (receipt.updated, receipt.unchanged, receipt.deleted + receipt.soft_deleted) == (3, 8, 1)
    kept = {BEFORE[11].text} if delete_after else set()
    assert stage.texts() == {each.text for each in AFTER} | kept
    assert stage.failed("manifest", "ensure", "count", "scroll", "fingerprints", "upsert", "delete", "finalize")
    assert not delete_after or stage.failed("retrieve", "set_payload")


def test_a_run_that_brings_documents_back(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    stage.run(AFTER, store=stage.store, delete=DeleteMode.FULL, delete_after=3600.0)
    assert undelete(stage.retrying, stage.collection) == 1
    assert stage.failed("scroll", "set_payload")


def test_a_run_over_what_a_failed_first_run_left(stage: Stage) -> None:
    """Another is made beside the empty collection: manifest, count, ensure, set_aliases, each with attempts of its own."""
    stage.run([], store=stage.store, model=OTHER)
    assert stage.run(BEFORE, store=stage.retrying).balanced
    assert stage.texts() == {each.text for each in BEFORE}
    assert stage.failed("manifest", "count", "ensure", "set_aliases")


def test_a_run_that_accepts_another_fingerprint(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    receipt = stage.run(BEFORE, store=stage.retrying, model=HashEncoder("hash", 8, revision="2"), accept_fingerprints=True)
    assert (receipt.balanced, receipt.unchanged) == (True, 12)
    assert stage.failed("scroll", "set_payload", "write_manifest")


def test_a_plan(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    job = stage.job(delete=DeleteMode.FULL)
    preview = preview_job(job, [ListSource(AFTER)], store=stage.retrying, models=[MODEL])
    assert (preview.read, preview.updated, preview.unchanged, preview.deleted) == (11, 3, 8, 1)
    assert stage.failed("manifest", "count", "scroll", "fingerprints")


@pytest.mark.parametrize("repair", [False, True])
def test_a_verification(stage: Stage, repair: bool) -> None:
    stage.run(BEFORE, store=stage.store)
    damaged, _ = list(stage.store.scroll(stage.collection))[4:6]
    stage.store.delete(stage.collection, [damaged.id])

    found = stage.encoding(
        lambda runner, _: verify_job(
            stage.job(delete_after=3600.0),
            [ListSource(AFTER)],
            store=stage.retrying,
            models=[MODEL],
            runner=runner,
            repair=repair,
            sample="all",
            rng=random.Random(0),
        )
    )

    assert (found.read, found.points, found.sampled, found.clean, found.repaired) == (11, 11, 11, False, repair)
    assert stage.failed("manifest", "count", "scroll", "fingerprints")
    if repair:
        assert {each.text for each in AFTER} <= stage.texts()
        assert stage.failed("upsert", "retrieve", "set_payload", "finalize")


@pytest.mark.parametrize("keep_old", [False, True])
def test_a_reindex_and_its_rollback(stage: Stage, keep_old: bool) -> None:
    stage.run(BEFORE, store=stage.store)
    before = stage.store.manifest(stage.collection)

    report = stage.encoding(
        lambda runner, _: reindex(stage.job(), store=stage.retrying, models=[OTHER], runner=runner, keep_old=keep_old),
        OTHER,
    )

    assert (report.points, report.encoded, report.copied) == (12, {"other": 12}, {})
    assert [spec.name for spec in stage.store.manifest(stage.collection).vectors] == ["other"]
    assert stage.failed("aliases", "manifest", "ensure", "set_aliases", "write_manifest", "defer_indexing")
    assert stage.failed("scroll", "retrieve", "upsert", "count", "finalize")
    if keep_old:
        stage.faulty.calls.clear()
        roll_back(stage.collection, store=stage.retrying)
        assert stage.store.manifest(stage.collection) == before
        assert stage.failed("aliases", "set_aliases", "count")
    else:
        assert report.dropped == (before.collection,)
        assert before.collection not in {each.name for each in stage.store.collections()}
        assert stage.failed("drop")


def test_a_load(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    runtime = ExportRuntime(stage.folder / "export")
    job = stage.job()
    stage.encoding(
        lambda runner, rejects: runtime.embed(job, [ListSource(AFTER)], models=[MODEL], runner=runner, rejects=rejects)
    )
    receipt = runtime.load(job, store=stage.retrying, monitor=ThroughputMonitor())
    assert (receipt.balanced, receipt.updated, receipt.unchanged) == (True, 3, 8)
    assert stage.texts() == {each.text for each in AFTER} | {BEFORE[11].text}
    assert stage.failed("manifest", "ensure", "count", "fingerprints", "upsert", "delete", "finalize")


def test_a_search(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    with Searcher.open(
        stage.collection, stage.retrying, models=lambda _keys: [MODEL], devices=(), lease_directory=stage.folder / "leases"
    ) as searcher:
        answer = searcher.search(BEFORE[5].text, where={"metadata.unheard_of": {"exists": False}})
    assert answer.hits[0].text == BEFORE[5].text
    assert answer.warnings
    assert stage.failed("manifest", "query", "scroll", "retrieve")
