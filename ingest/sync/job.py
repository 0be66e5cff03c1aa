"""The loop: read and plan, encode, write, settle, account. Three stages, two bounded queues.

    reader thread          calling thread             writer thread
    source → plan  ──►  queue  ──►  encode  ──►  queue  ──►  upsert, acknowledge

Nothing is deleted or hidden before every source has ended without an error and everything new is acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from ingest.encode.contract import StagedModel
from ingest.encode.runner import BatchRunner
from ingest.records import ChunkCounts, Receipt, Rejected, Source, TokenLimit
from ingest.source.chunking import Chunker, ChunkingOptions
from ingest.store.contract import CollectionOptions, Condition, Distance, Manifest, Store
from ingest.store.writer import Effects, RetryPolicy, Writer, call_with_retries
from ingest.sync.deletion import (
    check_brake,
    deletes_held_back,
    find_gone,
    note_stored,
    payloads_to_mark,
    payloads_to_restore,
)
from ingest.sync.effects import Failure, collect_effects, wanted_texts
from ingest.sync.manifest import agree, wanted_manifest
from ingest.sync.plan import DeleteMode, Fate
from ingest.sync.prefetch import Prefetch
from ingest.sync.reading import Reader, Window, WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.sync.sizing import WindowSizing, vector_bytes
from ingest.sync.spool import PendingDeletes, SeenDocuments
from ingest.telemetry import ThroughputMonitor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """What to keep equal to what.

    Attributes:
        collection: any spelling; it is normalized.
        delete_after: seconds that `full` keeps a document which is gone, hidden from search; None deletes it at once.
        max_delete: share of a source's live documents (0 to 1) that `full` may delete or hide before the brake stops the run.
        weights: vector name → weight in query-time fusion, kept in the manifest.
        aliases: normalized name → the collection meant.
        options: layout of the collection where it has yet to be made.
        bounds: of the first windows.
        retry: patience with a store that is unavailable, for each request.
        distance: of the dense vectors of a new collection.
        accept: stored vectors of models whose fingerprints differ count as made by the models of this job, where dimensions and
            distances are the same.
    """

    collection: str
    delete: DeleteMode = DeleteMode.INCREMENTAL
    delete_after: float | None = None
    max_delete: float = 0.2
    chunking: ChunkingOptions = field(default_factory=ChunkingOptions)
    weights: Mapping[str, float] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    options: CollectionOptions = field(default_factory=CollectionOptions)
    bounds: WindowBounds = field(default_factory=WindowBounds)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    distance: Distance = "cosine"
    accept: bool = False

    def manifest(self, models: Sequence[StagedModel]) -> Manifest:
        """What a collection made by this job with these models says of itself."""
        return wanted_manifest(
            self.collection,
            models,
            chunking=self.chunking,
            weights=self.weights,
            aliases=self.aliases,
            distance=self.distance,
        )


@dataclass(slots=True)
class _Tally:
    """Documents, unless it says chunks."""

    read: int = 0
    written: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    tombstoned: int = 0
    rejected: int = 0
    chunks_inserted: int = 0
    chunks_written: int = 0
    chunks_reused: int = 0
    chunks_deleted: int = 0

    @property
    def done(self) -> int:
        return self.written + self.updated + self.unchanged + self.rejected


def run_job(
    job: Job,
    sources: Sequence[Source],
    *,
    store: Store,
    models: Sequence[StagedModel],
    runner: BatchRunner,
    rejects: RejectsFile,
    monitor: ThroughputMonitor,
    now: Callable[[], float] = time.time,
    stop: Callable[[], bool] = lambda: False,
) -> Receipt:
    """Makes the collection equal to the sources, one after another, and accounts for it. `now`: seconds since 1970.

    Once `stop` says True, which it must keep saying, the run finishes the window in hand, deletes nothing, and accounts for what
    it read.
    Raises `ManifestMismatchError` before anything is loaded; `SourceError`, `ModelError`, `StoreError` or `LeaseError` where the
    run could not go on (what was acknowledged stays, the next run continues from there); `DeletionBrakeError` if the brake held.
    """
    patient = _Patient(store, job.retry)
    wanted = job.manifest(models)
    collection = agree(wanted, job.options, store=store, retry=job.retry, accept=job.accept).collection
    held = {source.name: patient.count(collection, source) for source in sources}
    tally = _Tally()
    sizing = WindowSizing(job.bounds, monitor)
    with ExitStack() as spools:
        syncs = [
            _SourceSync(
                job,
                collection,
                source,
                patient,
                models,
                runner,
                rejects,
                monitor,
                sizing,
                tally,
                spools.enter_context(SeenDocuments()),
                spools.enter_context(PendingDeletes()),
            )
            for source in sources
        ]
        with Writer(store, collection, retry=job.retry) as writer:
            for sync in syncs:
                if not stop():
                    sync.run(writer, stop, known_empty=held[sync.source.name] == 0)
        stopped = stop()
        if not stopped:
            settled = now()
            for sync in syncs:
                sync.find_gone(settled)
            check_brake([(sync.source.name, sync.deletes) for sync in syncs], job.max_delete)
            with Writer(store, collection, retry=job.retry) as writer:
                for sync in syncs:
                    sync.settle(writer, settled)
    patient(lambda: store.finalize(collection))
    holds = sum(patient.count(collection, source) for source in sources)
    expected = sum(held.values()) + tally.chunks_inserted - tally.chunks_deleted
    if holds != expected:
        monitor.log_error(
            wanted.collection,
            f"holds {holds} points of these sources where the plan says {expected}: is another job writing the same source?",
        )
    seconds = monitor.elapsed()
    read = tally.done if stopped else tally.read  # what was read ahead of the last window is the next run's
    return Receipt(
        collection=wanted.collection,
        read=read,
        written=tally.written,
        updated=tally.updated,
        unchanged=tally.unchanged,
        deleted=tally.deleted,
        tombstoned=tally.tombstoned,
        rejected=tally.rejected,
        chunks=ChunkCounts(tally.chunks_written, tally.chunks_reused, tally.chunks_deleted),
        balanced=read == tally.done and holds == expected,
        seconds=round(seconds, 3),
        models=monitor.model_reports(),
        lease_events=monitor.lease_events,
        errors=monitor.errors,
        window=sizing.bounds.chunks,
        swap_share=round(monitor.swap_seconds / seconds, 4) if seconds else 0.0,
        stopped=stopped,
    )


def token_limits(models: Sequence[StagedModel]) -> list[TokenLimit]:
    """The bounds a chunk must keep, of those models that have one."""
    return [limit for model in models if (limit := model.token_limit) is not None]


def model_fingerprints(models: Sequence[StagedModel]) -> dict[str, str]:
    """Vector name → fingerprint of the model that makes it."""
    return {model.key: model.fingerprint for model in models}


def count_points(store: Store, collection: str, source: Source) -> int:
    """Points the store holds of one source."""
    return store.count(collection, [Condition("source", "eq", source.name)])


@dataclass(frozen=True, slots=True)
class _Patient:
    """Asks the store again while it is unavailable, within the job's patience."""

    store: Store
    policy: RetryPolicy

    def __call__(self, call: Callable[[], T]) -> T:
        return call_with_retries(call, self.policy)

    def count(self, collection: str, source: Source) -> int:
        return self(lambda: count_points(self.store, collection, source))


@dataclass(slots=True)
class _SourceSync:
    """One source of a run."""

    job: Job
    collection: str
    source: Source
    patient: _Patient
    models: Sequence[StagedModel]
    runner: BatchRunner
    rejects: RejectsFile
    monitor: ThroughputMonitor
    sizing: WindowSizing
    tally: _Tally
    seen: SeenDocuments
    deletes: PendingDeletes
    unidentified: int = 0

    def run(self, writer: Writer, stop: Callable[[], bool], *, known_empty: bool) -> None:
        """Reads the source to its end; everything it has is handed to the writer."""
        store, name = self.patient.store, self.source.name
        if self.job.delete is DeleteMode.FULL and not known_empty:
            self.patient(lambda: note_stored(store, self.collection, name, self.deletes))
        reader = Reader(
            self.source,
            look_up=lambda keys: self.patient(lambda: store.fingerprints(self.collection, keys)),
            chunker=Chunker(token_limits(self.models), self.job.chunking),
            models=model_fingerprints(self.models),
            delete=self.job.delete,
            seen=self.seen,
            reject=self.rejects.add,
            bounds=lambda: self.sizing.bounds,
            vector_bytes=vector_bytes(self.models),
            known_empty=known_empty,
        )
        with Prefetch(reader.windows(), stop=stop) as windows:
            for window in windows:
                self._process(window, writer)

    def find_gone(self, now: float) -> None:
        """The source has ended without an error: what was stored of it and was not seen is gone."""
        if self.job.delete is DeleteMode.FULL:
            if self.unidentified:
                self.monitor.log_error(self.source.name, deletes_held_back(self.unidentified))
            else:
                find_gone(self.deletes, self.seen, now=now, delete_after=self.job.delete_after)

    def settle(self, writer: Writer, now: float) -> None:
        """Tombstones where documents are newly gone or came back unusable; then stale chunks and documents whose time has come.

        Everything that was written is acknowledged, so that no payload read here is older than one on its way.
        """
        store, collection, deletes = self.patient.store, self.collection, self.deletes
        for ids in deletes.points_that_came_back(self.seen):
            restored = self.patient(partial(payloads_to_restore, store, collection, ids))
            writer.submit(Effects(payloads=restored))
        for ids in deletes.points_to_mark():
            marked = self.patient(partial(payloads_to_mark, store, collection, ids, now=now))
            writer.submit(Effects(payloads=marked))
        for ids in deletes.points_to_delete():
            writer.submit(Effects(deletes=ids))
            self.tally.chunks_deleted += len(ids)
        self.tally.tombstoned += deletes.count_gone_documents(Fate.TOMBSTONE)
        self.tally.deleted += deletes.count_gone_documents(Fate.DELETE)

    def _process(self, window: Window, writer: Writer) -> None:
        tally = self.tally
        tally.read += window.read
        tally.unchanged += window.unchanged
        tally.rejected += window.rejected
        tally.chunks_reused += window.reused
        self.unidentified += window.unidentified
        if window.documents:
            encoded = self.runner.run(wanted_texts(window.documents, [model.key for model in self.models]))
            result = collect_effects(window.documents, encoded)
            for failure in result.failures:
                self._reject(failure)
            writer.submit(result.effects)
            self.deletes.add_stale(result.stale)
            tally.written += result.written
            tally.updated += result.updated
            tally.chunks_inserted += result.chunks_inserted
            tally.chunks_written += result.chunks_written
            tally.chunks_reused += result.chunks_reused
        self.sizing.observe(window)
        self.monitor.log_documents(tally.read, tally.done)

    def _reject(self, failure: Failure) -> None:
        document = failure.document.document
        position = f"{document.position} chunk {failure.chunk}"
        self.rejects.add(self.source.name, Rejected(position, failure.reason, document.text[:1000], document.id))
        self.monitor.log_error(position, failure.reason)
        self.tally.rejected += 1
