"""A run: makes a collection equal to its sources, and accounts for it.

    check → open the collection → note what is stored, read, encode and write → delete → account

Nothing is deleted or soft-deleted before every source has ended without an error and everything new is acknowledged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple

from ingest.encode.contract import Encoder, Model
from ingest.encode.ensemble import Ensemble
from ingest.receipt import Receipt
from ingest.records import Source
from ingest.source.chunking import borders_of
from ingest.store.contract import Manifest, Store
from ingest.store.schema import _normalize_collection_name
from ingest.store.similarity import note_sigmas
from ingest.store.writer import Writer
from ingest.sync.account import Tally, close_account
from ingest.sync.copying import FindCopies, reusable_vectors, stored_vectors, vectors_to_copy
from ingest.sync.deletion import SourceDeletes, check_brake
from ingest.sync.job import Job
from ingest.sync.manifest import check_still_in_use, ensure_collection
from ingest.sync.moving import check_move, folder_of, move_if_renamed
from ingest.sync.ownership import check_name
from ingest.sync.pipeline import CollectionSink, SourceRun, count_points
from ingest.sync.plan import DeleteMode
from ingest.sync.probe import VectorProbe
from ingest.sync.record_files import PendingMarks
from ingest.sync.rejects import RejectsFile
from ingest.sync.run_state import PendingDeletes, SeenDocuments
from ingest.sync.sizing import WindowSizing
from ingest.sync.sources import are_files, check_sources, count_bytes, count_documents, is_part
from ingest.sync.stored_sources import is_check_due, note_runs, warn_of_other_names
from ingest.sync.versions import Check, StoredVersions
from ingest.telemetry import ThroughputMonitor


def run_job(
    job: Job,
    sources: Sequence[Source],
    *,
    store: Store,
    ensemble: Ensemble,
    rejects: RejectsFile,
    now: Callable[[], float] = time.time,
    stop: Callable[[], bool] = lambda: False,
    pushed: bool = False,
    check: Callable[[Model, Encoder], None] | None = None,
    find_copies: FindCopies | None = None,
) -> Receipt:
    """Make the collection equal to the sources, one after another, and return the account of it.

    Args:
        rejects: the file that receives rejected records.
        now: returns seconds since 1970.
        stop: asked after each window. Once it returns True, which it must keep returning, the run ends after the current window,
            deletes nothing, and accounts for what it read.
        pushed: whether the sources are documents that an app has just saved. Then no index is built, which may take minutes,
            and the run is not noted as the last one of its sources. The same holds for a part of a source.
        check: a check of each model before it encodes. None: its vectors are compared with those that are stored.
        find_copies: returns vectors that need not be encoded, in place of those that are stored. Called from the thread that
            reads.

    Raises `ConfigurationError` before anything is touched (see `check_sources`) and `ManifestMismatchError` before anything is
    loaded; `SourceError`, `ModelError`, `StoreError` or `LeaseError` if the run cannot go on (acknowledged writes stay, and the
    next run continues from there); `DeletionBrakeError` if the brake stops the run.
    """
    sources = check_run(job, sources)
    monitor = ensemble.monitor
    monitor.start()
    if monitor.on_progress is not None:
        documents = count_documents(sources)
        monitor.expect(documents, count_bytes(sources) if documents is None else None)
    wanted = job.manifest(ensemble.models)
    reusable = reusable_vectors(store, job.reuse, wanted, job.aliases)
    with ExitStack() as state:
        seen = [state.enter_context(SeenDocuments()) for _ in sources]
        pending = [state.enter_context(PendingDeletes()) for _ in sources]
        marks = state.enter_context(PendingMarks())

        def read(opened: OpenRun) -> ReadResult:
            sizing = WindowSizing(job.bounds, monitor)
            check_model = check or VectorProbe(store, opened.collection).check
            to_copy = vectors_to_copy(store, opened.collection, wanted, reusable)
            vectors = stored_vectors(store, opened.collection, to_copy, ensemble.models)
            with Writer(store, opened.collection) as writer:
                for number, (source, deletes) in enumerate(zip(sources, opened.deletes, strict=True)):
                    if stop():
                        break
                    opened.note_stored(number)
                    sink = CollectionSink(store, opened.collection, writer, deletes.pending.add_stale)
                    points = opened.points_before[number]
                    with StoredVersions(store, opened.collection, source.name, points, ensemble.fingerprints) as versions:
                        run = SourceRun(
                            source,
                            job.chunking,
                            job.delete,
                            ensemble,
                            sink,
                            sizing,
                            opened.tally,
                            seen[number],
                            rejects.add,
                            check=check_model,
                            find_copies=find_copies or vectors.find,
                            versions=versions if opened.checks[number] is Check.VERSION else None,
                            notes_versions=True,
                            add_marks=marks.add,
                        )
                        run.run(stop, known_empty=points == 0)
                    deletes.read, deletes.unidentified = run.read, run.unidentified
            marks.write(store, opened.collection)
            return ReadResult(sizing.bounds.chunks, stop())

        return complete_run(
            job,
            wanted,
            sources,
            store=store,
            monitor=monitor,
            tracked=list(zip(seen, pending, strict=True)),
            read=read,
            now=now,
            check=job.check,
            pushed=pushed or any(map(is_part, sources)),
        )


def check_run(job: Job, sources: Sequence[Source]) -> Sequence[Source]:
    """Return the sources. Raises `ConfigurationError` if the job cannot be run with them; touches nothing."""
    sources = check_sources(sources, deletes_missing=job.delete == DeleteMode.FULL)
    check_move(job.moved_from, sources)
    borders_of(job.chunking)
    check_name(_normalize_collection_name(job.collection, job.aliases))
    return sources


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run whose collection exists and whose sources are to be read.

    Attributes:
        collection: the name under which the collection is stored.
        deletes: the deletes of each source, whose `read` and `unidentified` are set as the source is read.
        points_before: number of stored points of each source before the run.
        tally: the account, which reading adds to.
        checks: how to find out which documents of each source have changed.
    """

    collection: str
    deletes: Sequence[SourceDeletes]
    points_before: Sequence[int]
    tally: Tally
    checks: Sequence[Check]

    def note_stored(self, number: int) -> None:
        """Note the stored documents of a source that is about to be read. Only they can be missing when it has ended."""
        if self.points_before[number]:
            self.deletes[number].note_stored()


class ReadResult(NamedTuple):
    """The end of the reading.

    Attributes:
        window: maximum number of chunks of the last window.
        stopped: whether the run was stopped before every source had ended.
    """

    window: int
    stopped: bool


def complete_run(
    job: Job,
    wanted: Manifest,
    sources: Sequence[Source],
    *,
    store: Store,
    monitor: ThroughputMonitor,
    tracked: Sequence[tuple[Container[str], PendingDeletes]],
    read: Callable[[OpenRun], ReadResult],
    now: Callable[[], float],
    check: Check = Check.CONTENT,
    pushed: bool = False,
) -> Receipt:
    """Open the collection, read the sources with `read`, delete what is stale or missing, and return the account.

    Args:
        wanted: the manifest of the job with its models.
        tracked: for each source, the keys of the documents it has, and its pending deletes.
        read: notes what is stored of each source, reads, encodes and writes it. Everything it wrote is acknowledged when it
            returns.
        check: how `read` finds out which documents have changed, unless everything is due to be read.
        pushed: see `run_job`.
    """
    opened = _open_run(job, wanted, sources, store=store, monitor=monitor, tracked=tracked, check=check, now=now())
    collection, tally = opened.collection, opened.tally
    window, stopped = read(opened)
    ended = now()
    if not stopped:
        _delete(opened, store, job, ended)
    if not pushed:
        store.finalize(collection)
        note_sigmas(store, collection)
        if not stopped:
            checks = zip(sources, opened.checks, strict=True)
            read_all = [source.name for source, check in checks if check is Check.CONTENT]
            note_runs(store, collection, sources, ended, read_all=read_all)
    check_still_in_use(wanted, collection, store)
    return close_account(
        wanted.collection,
        tally,
        monitor,
        points_before=sum(opened.points_before),
        points_after=sum(count_points(store, collection, source) for source in sources),
        window=window,
        stopped=stopped,
        sources=sources,
    )


def _open_run(
    job: Job,
    wanted: Manifest,
    sources: Sequence[Source],
    *,
    store: Store,
    monitor: ThroughputMonitor,
    tracked: Sequence[tuple[Container[str], PendingDeletes]],
    check: Check,
    now: float,
) -> OpenRun:
    options = replace(job.options, files=job.options.files or are_files(sources))
    collection = ensure_collection(wanted, options, store=store, accept_fingerprints=job.accept_fingerprints).collection
    folder = folder_of(job.moved_from, sources, store, collection)
    moved = 0 if folder else move_if_renamed(job.moved_from, sources, store, collection, monitor)
    tally = Tally(points_moved=moved)
    warn_of_other_names(store, collection, sources, monitor, called=wanted.collection)
    deletes = [
        SourceDeletes(source.name, collection, job.delete, job.delete_after, store, monitor, seen, pending, moved_folder=folder)
        for source, (seen, pending) in zip(sources, tracked, strict=True)
    ]
    points_before = [count_points(store, collection, source) for source in sources]
    due = [
        points == 0 or tally.points_moved > 0 or is_check_due(store, collection, source, job.full_check, now)
        for source, points in zip(sources, points_before, strict=True)
    ]
    return OpenRun(collection, deletes, points_before, tally, [Check.CONTENT if each else check for each in due])


def _delete(opened: OpenRun, store: Store, job: Job, now: float) -> None:
    """Delete stale chunks, then what is missing if the brake allows it."""
    with Writer(store, opened.collection) as writer:
        for deletes in opened.deletes:
            deletes.delete_stale(writer, opened.tally)
    for deletes in opened.deletes:
        deletes.find_missing(now)
    check_brake([deletes.ended for deletes in opened.deletes if deletes.delete == DeleteMode.FULL], job.max_delete)
    with Writer(store, opened.collection) as writer:
        for deletes in opened.deletes:
            deletes.delete_missing(writer, now, opened.tally)
