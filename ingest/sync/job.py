"""The loop: read and plan, encode, write, settle, account. Three stages, two bounded queues.

    reader thread          calling thread             writer thread
    source → plan  ──►  queue  ──►  encode  ──►  queue  ──►  upsert, acknowledge

Nothing is deleted before the source has ended without an error and everything new is acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingest.encode.contract import StagedModel
from ingest.encode.runner import BatchRunner
from ingest.records import ChunkCounts, Receipt, Rejected, Source, TokenLimit
from ingest.source.chunking import Chunker, ChunkingOptions
from ingest.store.contract import CollectionOptions, Condition, Store
from ingest.store.writer import Effects, RetryPolicy, Writer
from ingest.sync.deletion import check_brake, deletes_held_back, note_gone
from ingest.sync.effects import Failure, collect_effects, wanted_texts
from ingest.sync.manifest import check_manifest, wanted_manifest
from ingest.sync.plan import DeleteMode
from ingest.sync.prefetch import Prefetch
from ingest.sync.reading import Reader, Window, WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.sync.spool import PendingDeletes, SeenDocuments
from ingest.telemetry import ThroughputMonitor


@dataclass(frozen=True, slots=True)
class Job:
    """What to keep equal to what.

    Attributes:
        collection: any spelling; it is normalized.
        max_delete: share of a source's stored documents (0 to 1) that `full` may delete before the brake stops the run.
        weights: vector name → weight in query-time fusion, kept in the manifest.
        aliases: normalized name → the collection meant.
        options: layout of the collection where it has yet to be made.
    """

    collection: str
    delete: DeleteMode = DeleteMode.INCREMENTAL
    max_delete: float = 0.2
    chunking: ChunkingOptions = field(default_factory=ChunkingOptions)
    weights: Mapping[str, float] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    options: CollectionOptions = field(default_factory=CollectionOptions)
    bounds: WindowBounds = field(default_factory=WindowBounds)
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(slots=True)
class _Tally:
    """Documents, unless it says chunks."""

    read: int = 0
    written: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    rejected: int = 0
    unidentified: int = 0
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
) -> Receipt:
    """Makes the collection equal to the sources, one after another, and accounts for it.

    Raises `ManifestMismatchError` before anything is loaded; `SourceError`, `ModelError`, `StoreError` or `LeaseError` where the
    run could not go on (what was acknowledged stays, the next run continues from there); `DeletionBrakeError` if the brake held.
    """
    wanted = wanted_manifest(job.collection, models, chunking=job.chunking, weights=job.weights, aliases=job.aliases)
    check_manifest(wanted, store.ensure(wanted, job.options))
    collection = wanted.collection
    held = {source.name: count_points(store, collection, source) for source in sources}
    tally = _Tally()
    with Writer(store, collection, retry=job.retry) as writer:
        for source in sources:
            synced = _SourceSync(job, collection, source, store, models, runner, rejects, monitor, writer, tally)
            synced.run(known_empty=held[source.name] == 0)
    store.finalize(collection)
    holds = sum(count_points(store, collection, source) for source in sources)
    expected = sum(held.values()) + tally.chunks_inserted - tally.chunks_deleted
    if holds != expected:
        monitor.log_error(
            collection,
            f"holds {holds} points of these sources where the plan says {expected}: is another job writing the same source?",
        )
    return Receipt(
        collection=collection,
        read=tally.read,
        written=tally.written,
        updated=tally.updated,
        unchanged=tally.unchanged,
        deleted=tally.deleted,
        rejected=tally.rejected,
        chunks=ChunkCounts(tally.chunks_written, tally.chunks_reused, tally.chunks_deleted),
        balanced=tally.read == tally.done and holds == expected,
        seconds=round(monitor.elapsed(), 3),
        models=monitor.model_reports(),
        lease_events=monitor.lease_events,
        errors=monitor.errors,
    )


def token_limits(models: Sequence[StagedModel]) -> list[TokenLimit]:
    """The bounds a chunk must keep, of those models that have one."""
    return [limit for model in models if (limit := model.token_limit) is not None]


def count_points(store: Store, collection: str, source: Source) -> int:
    """Points the store holds of one source."""
    return store.count(collection, [Condition("source", "eq", source.name)])


@dataclass(slots=True)
class _SourceSync:
    """One source of a run."""

    job: Job
    collection: str
    source: Source
    store: Store
    models: Sequence[StagedModel]
    runner: BatchRunner
    rejects: RejectsFile
    monitor: ThroughputMonitor
    writer: Writer
    tally: _Tally
    unidentified: int = 0
    kept: int = 0

    def run(self, *, known_empty: bool) -> None:
        with SeenDocuments() as seen, PendingDeletes() as deletes:
            reader = Reader(
                self.source,
                store=self.store,
                collection=self.collection,
                chunker=Chunker(token_limits(self.models), self.job.chunking),
                models={model.key: model.fingerprint for model in self.models},
                delete=self.job.delete,
                seen=seen,
                reject=self.rejects.add,
                bounds=self.job.bounds,
                known_empty=known_empty,
            )
            with Prefetch(reader.windows()) as windows:
                for window in windows:
                    self._process(window, deletes)
            self._settle_deletions(seen, deletes)

    def _process(self, window: Window, deletes: PendingDeletes) -> None:
        tally = self.tally
        tally.read += window.read
        tally.unchanged += window.unchanged
        tally.rejected += window.rejected
        tally.chunks_reused += window.reused
        self.unidentified += window.unidentified
        self.kept += window.unchanged
        if window.documents:
            encoded = self.runner.run(wanted_texts(window.documents, [model.key for model in self.models]))
            result = collect_effects(window.documents, encoded)
            for failure in result.failures:
                self._reject(failure)
            self.writer.submit(result.effects)
            deletes.add_stale(result.stale)
            tally.written += result.written
            tally.updated += result.updated
            tally.chunks_inserted += result.chunks_inserted
            tally.chunks_written += result.chunks_written
            tally.chunks_reused += result.chunks_reused
            self.kept += result.updated
        self.monitor.listener.documents(tally.read, tally.done)

    def _reject(self, failure: Failure) -> None:
        document = failure.document.document
        position = f"{document.position} chunk {failure.chunk}"
        self.rejects.add(self.source.name, Rejected(position, failure.reason, document.text[:1000], document.id))
        self.monitor.log_error(position, failure.reason)
        self.tally.rejected += 1

    def _settle_deletions(self, seen: SeenDocuments, deletes: PendingDeletes) -> None:
        """The source has ended without an error: stale chunks go, and with `full` also documents it no longer has."""
        if self.job.delete is DeleteMode.FULL:
            if self.unidentified:
                self.monitor.log_error(self.source.name, deletes_held_back(self.unidentified))
            else:
                note_gone(self.store, self.collection, self.source.name, seen, deletes)
                check_brake(self.source.name, deletes, kept=self.kept, max_share=self.job.max_delete)
        for ids in deletes.batches():
            self.writer.submit(Effects(deletes=ids))
            self.tally.chunks_deleted += len(ids)
        self.tally.deleted += deletes.count_gone_documents()
