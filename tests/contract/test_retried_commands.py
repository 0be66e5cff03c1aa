"""Every method of the store may fail once, and its answer may be lost once: no command ends, and none does another thing.

Each test is one command. Before its first call of any method of the `Store` protocol has done anything, that call fails; the
retry does its work and loses its answer. `reaches` names the methods that a command must have called like this, and the last
test says that no method is left out: one that is added to the protocol needs a command here that calls it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from open_files import OLD

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError, StoreUnavailableError
from ingest.export.runtime import ExportRuntime
from ingest.receipt import Receipt
from ingest.records import Document, StoredPoint
from ingest.reindex.in_place import reindex_in_place
from ingest.reindex.reindex import Reindexed, reindex, roll_back
from ingest.retry import RetryPolicy
from ingest.search import Searcher
from ingest.source import open_source
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import Filter, Store
from ingest.store.retrying import RetryingStore
from ingest.sync.deletion import undelete
from ingest.sync.job import Job
from ingest.sync.ownership import find_droppable
from ingest.sync.plan import DeleteMode
from ingest.sync.preview import preview_job
from ingest.sync.reading import WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.sync.stored_sources import forget_source, list_sources
from ingest.telemetry import ThroughputMonitor
from ingest.testing import FlakyStore, HashEncoder, ListSource, Moment
from ingest.verify.verification import Repairs, Verification, verify_job

T = TypeVar("T")

POLICY = RetryPolicy(attempts=3, first=0, longest=0)
MODEL = HashEncoder("hash", 8)
OTHER = HashEncoder("other", 8)
BEFORE = [Document(f"d{number}", f"The text of number {number}.", metadata={"number": number}) for number in range(12)]
AFTER = [replace(each, text=f"{each.text} Edited.") for each in BEFORE[:3]] + BEFORE[3:11]


class SmallPages(RetryingStore):
    """Reads three points at a time."""

    def scroll(
        self, collection: str, conditions: Sequence[Filter] = (), *, page: int = 1000, **options: Any
    ) -> Iterator[StoredPoint]:
        return super().scroll(collection, conditions, page=min(page, 3), **options)


class Stage:
    """One collection in a store that works, and the same store as a command sees it: failing at every method.

    Later than at its first two calls, every second page of a scroll fails once.
    """

    def __init__(self, store: Store, collection: str, folder: Path) -> None:
        self.store = store
        self.collection = collection
        self.folder = folder
        self.faulty = FlakyStore(store, self._cue, methods=FlakyStore.REQUESTS)
        self.retrying = SmallPages(self.faulty, POLICY)

    def _cue(self, name: str, number: int) -> tuple[Moment, BaseException] | None:
        lost: Moment = "before" if number == 1 else "after"
        fails = number <= 2 or (name == "scroll" and number % 2 == 0)
        return (lost, StoreUnavailableError(f"{name} number {number} failed on cue")) if fails else None

    def job(self, **changes: Any) -> Job:
        settings = {"chunking": ChunkingOptions(tokens=100), "bounds": WindowBounds(chunks=4), "max_delete": 1.0}
        return Job(self.collection, **{**settings, **changes})

    def run(self, documents: Sequence[Document], *, store: Store, models: Sequence[Model] = (MODEL,), **changes: Any) -> Receipt:
        def work(runner: BatchRunner, rejects: RejectsFile) -> Receipt:
            sources = [ListSource(documents)]
            return run_job(self.job(**changes), sources, store=store, ensemble=Ensemble(runner), rejects=rejects)

        return self.encoding(work, models)

    def encoding(self, work: Callable[[BatchRunner, RejectsFile], T], models: Sequence[Model] = (MODEL,)) -> T:
        with (
            BatchRunner(models, lease_directory=self.folder / "leases") as runner,
            RejectsFile(self.folder / "rejects.jsonl") as rejects,
        ):
            return work(runner, rejects)

    def texts(self) -> set[str]:
        return {str(point.payload["text"]) for point in self.store.scroll(self.collection)}

    def check_retried(self, methods: Iterable[str]) -> None:
        """Assert that each of these was called, failed, and was called again."""
        assert {name: self.faulty.calls.get(name, 0) for name in methods if self.faulty.calls.get(name, 0) < 2} == {}


REACHED: set[str] = set()
"""The methods that some command reaches."""


def reaches(*methods: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test of a command that must call each of these methods, and go on although it fails."""
    REACHED.update(methods)

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def checked(*, stage: Stage, **arguments: Any) -> None:
            test(stage=stage, **arguments)
            stage.check_retried(methods)

        return checked

    return decorate


@pytest.fixture
def stage(store: Store, collection: str, tmp_path: Path) -> Stage:
    return Stage(store, collection, tmp_path)


@reaches("manifest", "ensure", "set_aliases", "aliases", "count", "upsert", "finalize", "notes", "update_notes")
def test_a_first_run(stage: Stage) -> None:
    receipt = stage.run(BEFORE, store=stage.retrying)
    assert (receipt.balanced, receipt.written, receipt.rejected) == (True, 12, 0)
    assert stage.texts() == {each.text for each in BEFORE}


@reaches("manifest", "ensure", "count", "scroll", "fingerprints", "upsert", "delete", "finalize")
@pytest.mark.parametrize("delete_after", [None, 3600.0])
def test_a_run_that_deletes(stage: Stage, delete_after: float | None) -> None:
    stage.run(BEFORE, store=stage.store)
    receipt = stage.run(AFTER, store=stage.retrying, delete=DeleteMode.FULL, delete_after=delete_after)
    assert receipt.balanced
    assert (receipt.updated, receipt.unchanged, receipt.deleted + receipt.soft_deleted) == (3, 8, 1)
    kept = {BEFORE[11].text} if delete_after else set()
    assert stage.texts() == {each.text for each in AFTER} | kept
    if delete_after:
        stage.check_retried(["retrieve", "set_payload"])


@reaches("scroll", "set_versions")
def test_a_run_of_a_file_of_records(stage: Stage) -> None:
    path = stage.folder / "records.jsonl"
    path.write_text("".join(f'{{"id": "{each.id}", "text": "{each.text}"}}\n' for each in BEFORE))
    os.utime(path, (OLD + 0.5, OLD + 0.5))

    def work(runner: BatchRunner, rejects: RejectsFile) -> Receipt:
        return run_job(stage.job(), [open_source(path)], store=stage.retrying, ensemble=Ensemble(runner), rejects=rejects)

    assert [stage.encoding(work).skipped_unread for _ in range(2)] == [0, 12]


@reaches("scroll", "set_payload")
def test_an_undelete(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    stage.run(AFTER, store=stage.store, delete=DeleteMode.FULL, delete_after=3600.0)
    assert undelete(stage.retrying, stage.collection) == 1


@reaches("manifest", "count", "ensure", "set_aliases")
def test_a_run_over_what_a_failed_first_run_left(stage: Stage) -> None:
    """Another is made beside the empty collection: manifest, count, ensure, set_aliases, each with attempts of its own."""
    stage.run([], store=stage.store, models=[OTHER])
    assert stage.run(BEFORE, store=stage.retrying).balanced
    assert stage.texts() == {each.text for each in BEFORE}


@reaches("scroll", "set_payload", "write_manifest")
def test_a_run_that_accepts_another_fingerprint(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    receipt = stage.run(BEFORE, store=stage.retrying, models=[HashEncoder("hash", 8, revision="2")], accept_fingerprints=True)
    assert (receipt.balanced, receipt.unchanged) == (True, 12)


@reaches("manifest", "count", "scroll", "fingerprints")
def test_a_plan(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    job = stage.job(delete=DeleteMode.FULL)
    preview = preview_job(job, [ListSource(AFTER)], store=stage.retrying, models=[MODEL])
    assert (preview.read, preview.updated, preview.unchanged, preview.deleted) == (11, 3, 8, 1)


@reaches("manifest", "count", "scroll", "fingerprints")
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
            ensemble=Ensemble(runner),
            repair=repair,
            sample="all",
            rng=random.Random(0),
        )
    )

    assert (found.read, found.points, found.sampled, found.clean, found.repaired) == (11, 11, 11, False, repair)
    if repair:
        assert {each.text for each in AFTER} <= stage.texts()
        stage.check_retried(["upsert", "retrieve", "set_payload", "finalize"])


@reaches("manifest", "count", "scroll", "fingerprints", "update_vectors", "set_payload", "finalize")
def test_a_repair_of_a_single_vector(stage: Stage) -> None:
    models = [MODEL, OTHER]
    stage.run(BEFORE, store=stage.store, models=models)
    damaged = next(stage.store.scroll(stage.collection))
    stage.store.update_vectors(stage.collection, {damaged.id: {"other": np.zeros(8, np.float32)}})

    def verify(store: Store, *, repair: bool) -> Verification:
        sources, job = [ListSource(BEFORE)], stage.job()
        return stage.encoding(
            lambda runner, _: verify_job(job, sources, store=store, ensemble=Ensemble(runner), repair=repair), models
        )

    repaired = verify(stage.retrying, repair=True)
    assert (repaired.repaired, repaired.repairs) == (True, Repairs(vectors=1))
    assert verify(stage.store, repair=False).clean


def reindexed(stage: Stage, store: Store, *, keep_old: bool) -> Reindexed:
    """Run on one model, reindex to the other."""
    stage.run(BEFORE, store=stage.store)
    report = stage.encoding(
        lambda runner, _: reindex(stage.job(), store=store, ensemble=Ensemble(runner), keep_old=keep_old), [OTHER]
    )
    assert (report.points, report.encoded, report.copied) == (12, {"other": 12}, {})
    assert [spec.name for spec in stage.store.manifest(stage.collection).vectors] == ["other"]
    return report


@reaches("aliases", "manifest", "ensure", "set_aliases", "write_manifest", "defer_indexing", "notes", "update_notes")
@reaches("scroll", "retrieve", "upsert", "count", "finalize", "drop", "exchange_alias")
def test_a_reindex_that_drops_the_old_collection(stage: Stage) -> None:
    report = reindexed(stage, stage.retrying, keep_old=False)
    assert [info.name for info in stage.store.collections() if info.name.startswith(stage.collection)] == [report.stored_as]


@reaches("set_vectors", "fill_vectors")
def test_a_reindex_in_place(stage: Stage) -> None:
    """The embedded engine changes named vectors; a server refuses before anything changes, and says what to do."""

    def reindexed_in_place(runner: BatchRunner, _: object) -> Reindexed:
        return reindex_in_place(stage.job(), store=stage.retrying, ensemble=Ensemble(runner))

    stage.run(BEFORE, store=stage.store)
    before = stage.store.manifest(stage.collection)
    if stage.store.engine.startswith("qdrant-edge"):
        assert stage.encoding(reindexed_in_place, [OTHER]).encoded == {"other": 12}
        return
    with pytest.raises(ConfigurationError, match=r"requires the embedded engine, and .* is Qdrant 1\.\d+.*leave --in-place out"):
        stage.encoding(reindexed_in_place, [OTHER])
    with pytest.raises(ConfigurationError, match="in place"):
        stage.retrying.set_vectors(before)
    assert stage.store.manifest(stage.collection) == before


@reaches("aliases", "collections", "drop")
def test_a_drop(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    stage.retrying.drop(find_droppable(stage.retrying, stage.collection).name)
    assert not [info.name for info in stage.store.collections() if info.name.startswith(stage.collection)]


@reaches("aliases", "set_aliases", "count")
def test_a_rollback(stage: Stage) -> None:
    report = reindexed(stage, stage.store, keep_old=True)
    assert roll_back(stage.collection, store=stage.retrying).stored_as == report.previous
    assert [spec.name for spec in stage.store.manifest(stage.collection).vectors] == ["hash"]


@reaches("facet", "notes")
def test_a_list_of_the_sources(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    (source,) = list_sources(stage.retrying, stage.collection)
    assert (source.name, source.documents, source.points) == ("list", 12, 12)


@reaches("notes", "count", "scroll", "delete", "update_notes")
def test_a_source_that_is_forgotten(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    assert forget_source(stage.retrying, stage.collection, "list").deleted == 12
    assert stage.texts() == set()


@reaches("manifest", "ensure", "count", "fingerprints", "upsert", "delete", "finalize")
def test_a_load(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    runtime = ExportRuntime(stage.folder / "export")
    job = stage.job()
    stage.encoding(lambda runner, rejects: runtime.embed(job, [ListSource(AFTER)], ensemble=Ensemble(runner), rejects=rejects))
    receipt = runtime.load(job, store=stage.retrying, monitor=ThroughputMonitor())
    assert (receipt.balanced, receipt.updated, receipt.unchanged) == (True, 3, 8)
    assert stage.texts() == {each.text for each in AFTER} | {BEFORE[11].text}


@reaches("manifest", "query", "scroll", "retrieve", "indexes", "count")
def test_a_search(stage: Stage) -> None:
    stage.run(BEFORE, store=stage.store)
    with Searcher.open(
        stage.collection, stage.retrying, models=lambda _keys: [MODEL], devices=(), lease_directory=stage.folder / "leases"
    ) as searcher:
        answer = searcher.search(BEFORE[5].text, where={"metadata.unheard_of": {"exists": False}})
    assert answer.hits[0].text == BEFORE[5].text
    assert answer.warnings


def test_every_method_of_a_store_is_reached_by_some_command() -> None:
    assert REACHED == FlakyStore.REQUESTS
