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

from ingest.encode.contract import StagedModel
from ingest.encode.runner import BatchRunner
from ingest.records import Receipt, Source
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import CollectionOptions, Distance, Manifest, Store
from ingest.store.writer import RetryPolicy, Writer
from ingest.sync.account import Tally, close_account
from ingest.sync.deletion import check_brake
from ingest.sync.manifest import agree, wanted_manifest
from ingest.sync.plan import DeleteMode
from ingest.sync.reading import WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.sync.settling import Settlement
from ingest.sync.sizing import WindowSizing
from ingest.sync.source_run import Patient, SourceRun
from ingest.sync.spool import PendingDeletes, SeenDocuments
from ingest.telemetry import ThroughputMonitor


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
    patient = Patient(store, job.retry)
    wanted = job.manifest(models)
    collection = agree(wanted, job.options, store=store, retry=job.retry, accept=job.accept).collection
    held = {source.name: patient.count(collection, source) for source in sources}
    tally = Tally()
    sizing = WindowSizing(job.bounds, monitor)
    with ExitStack() as spools:
        runs: list[tuple[SourceRun, Settlement]] = []
        for source in sources:
            seen, deletes = spools.enter_context(SeenDocuments()), spools.enter_context(PendingDeletes())
            run = SourceRun(
                source,
                collection,
                job.delete,
                job.chunking,
                patient,
                models,
                runner,
                monitor,
                sizing,
                tally,
                seen,
                rejects.add,
                deletes.add_stale,
            )
            runs.append((run, Settlement(source.name, collection, job.delete, job.delete_after, patient, monitor, seen, deletes)))
        with Writer(store, collection, retry=job.retry) as writer:
            for run, settlement in runs:
                if not stop():
                    known_empty = held[run.source.name] == 0
                    settlement.note_stored(known_empty=known_empty)
                    run.run(writer, stop, known_empty=known_empty)
        stopped = stop()
        if not stopped:
            settled = now()
            for run, settlement in runs:
                settlement.find_gone(settled, unidentified=run.unidentified)
            check_brake([(settlement.source, settlement.deletes) for _, settlement in runs], job.max_delete)
            with Writer(store, collection, retry=job.retry) as writer:
                for _, settlement in runs:
                    settlement.settle(writer, settled, tally)
    patient(lambda: store.finalize(collection))
    return close_account(
        wanted.collection,
        tally,
        monitor,
        held=sum(held.values()),
        holds=sum(patient.count(collection, source) for source in sources),
        window=sizing.bounds.chunks,
        stopped=stopped,
    )
