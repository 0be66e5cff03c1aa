"""An actor that reads one part of a source after another: it plans, encodes and writes it as a single machine would."""

from __future__ import annotations

import logging
import pickle
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

from ingest.cluster.connection import WorkerMetrics, fetch
from ingest.cluster.coordinator import PartStarted
from ingest.cluster.retries import Accounts, accounts_of, correct, first_accounts
from ingest.cluster.seen import PartSeen, Shards
from ingest.cluster.uploads import GatedStore
from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.errors import IngestError, SourceError
from ingest.identity import doc_key
from ingest.records import Document, Fingerprint, Rejected
from ingest.retry import RetryPolicy
from ingest.source.partitions import Partition
from ingest.source.reading_report import ReadingReport, report_of
from ingest.store.contract import Manifest, Store
from ingest.store.retrying import RetryingStore
from ingest.store.writer import Writer
from ingest.sync.account import Tally
from ingest.sync.copying import Vectors, stored_vectors
from ingest.sync.effects import WindowResult
from ingest.sync.job import Job
from ingest.sync.pipeline import CollectionSink, Sink, SourceRun
from ingest.sync.reading import PlannedDocument
from ingest.sync.run_state import pack_uuid, unpack_uuid
from ingest.sync.sizing import WindowSizing
from ingest.sync.versions import Check, StoredVersions
from ingest.telemetry import PassReport, ThroughputMonitor

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""Workers that may die while reading one part; after that, the part itself is taken to be the cause."""

REPORT_SECONDS = 1.0
"""Seconds between two progress reports of a worker."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The setup of a worker: how to open its store and load its models. The functions must be picklable.

    Attributes:
        open_store: opens the store, which must be a server: an embedded store serves one process.
        make_models: makes the models of the ensemble, the same on every machine.
        devices: devices to compute on; None for the GPU that Ray assigned to the worker, or the CPU if it assigned none.
        memory_limit_gb: see `AdaptiveBatchController`.
        retry: limits on the retries of a batch while its model is unavailable; the store has its own.
        to_copy: stored vectors that the run may copy, see `vectors_to_copy`. The run sets it.
    """

    open_store: Callable[[], RetryingStore]
    make_models: Callable[[], Sequence[Model]]
    devices: tuple[str, ...] | None = None
    memory_limit_gb: float | None = None
    retry: RetryPolicy = RetryPolicy()
    to_copy: Vectors = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a source, as it is assigned to a worker.

    Attributes:
        number: number of the part, in the order of all sources.
        source: number of the source.
        partition: range of the source that the part covers.
        known_empty: True if no points of the source were stored when the run began.
        check: how to find out which documents have changed.
    """

    number: int
    source: int
    partition: Partition
    known_empty: bool
    check: Check


@dataclass(slots=True)
class PartResult:
    """The result of one part. If there is a `failure`, ignore the other fields.

    Attributes:
        unidentified: text with which ids begin → rejected records with such an id that could not be read.
        stale: ids of the points to delete once all parts have ended, 16 bytes each.
        window: maximum number of chunks of the last window.
        report: findings made while the part was read.
        stopped: True if the run was stopped before the part was read to its end.
    """

    number: int
    source: int
    tally: Tally = field(default_factory=Tally)
    unidentified: Counter[str] = field(default_factory=Counter)
    stale: bytearray = field(default_factory=bytearray)
    rejects: list[Rejected] = field(default_factory=list)
    passes: list[PassReport] = field(default_factory=list)
    errors: tuple[str, ...] = ()
    window: int = 0
    report: ReadingReport = field(default_factory=ReadingReport)
    stopped: bool = False
    failure: IngestError | None = None

    def add_stale(self, points: Iterable[str]) -> None:
        for point in points:
            self.stale += pack_uuid(point)

    def stale_points(self) -> list[str]:
        return [unpack_uuid(self.stale[at : at + 16]) for at in range(0, len(self.stale), 16)]


def build_manifest(job: Job, setup: WorkerSetup) -> Manifest:
    """Return the manifest of the job. Call it on a machine like the workers': dtypes depend on the device."""
    return job.manifest(setup.make_models())


def claim_documents(part: Part, shards: Shards) -> None:
    """Record the documents of a part, so that a document in several parts belongs to the first of them.

    If the part cannot be read, its worker reports that later.
    """
    try:
        name = part.partition.source.name
        records = part.partition.source.read()
        keys = (doc_key(name, record.id) for record in records if isinstance(record, Document))
        shards.claim(part.source, keys, part.number)
    except IngestError as exc:
        logger.info("%s: %s", part.partition.extent, exc)


class Worker:
    """An actor that is called with one part at a time. Models stay loaded from one part to the next.

    Args:
        collection: name of the collection itself, not an alias.
    """

    def __init__(self, job: Job, collection: str, setup: WorkerSetup, coordinator: Any, shards: Shards) -> None:
        self._job = job
        self._collection = collection
        self._setup = setup
        self._coordinator = coordinator
        self._shards = shards
        self._store = setup.open_store()
        self._models = setup.make_models()
        self._vectors = stored_vectors(self._store, collection, setup.to_copy, self._models)
        self._controller = AdaptiveBatchController(soft_limit_gb=setup.memory_limit_gb)
        self._metrics = WorkerMetrics()

    def __call__(self, part: Part) -> PartResult:
        """Read one part. Errors of the part or the store are not raised: they become the result's failure."""
        started: PartStarted = fetch(self._coordinator.begin.remote(part.number))
        result = PartResult(part.number, part.source)
        if started.stopping:
            result.stopped = True
            return result
        try:
            if started.attempt > ATTEMPTS:
                raise SourceError(  # noqa: TRY301  handled like the errors of _read
                    f"{ATTEMPTS} workers died while reading it, perhaps out of memory: see the logs of Ray"
                )
            self._read(part, started, result)
        except IngestError as exc:
            result.failure = exc
        except Exception as exc:  # a bug: reported like any other failure, with its part
            logger.exception("%s", part.partition.extent)
            result.failure = IngestError(f"{type(exc).__name__}: {exc}")
        fetch(self._coordinator.end.remote(part.number))
        return result

    def _read(self, part: Part, started: PartStarted, result: PartResult) -> None:
        source, job = part.partition.source, self._job
        first = first_accounts(map(pickle.loads, started.notes))
        now: dict[str, Any] = {}
        monitor = _Monitor(result.passes, self._metrics)

        def announce(documents: Sequence[PlannedDocument]) -> None:
            accounts: Accounts = accounts_of(documents)
            fetch(self._coordinator.note.remote(part.number, pickle.dumps(accounts)))
            now.update((key, account) for key, account in accounts.items() if key in first)

        with ExitStack() as stack:
            seen = PartSeen(self._shards, part.source, part.number, first)
            stack.callback(seen.close)
            reports = stack.enter_context(_Reports(self._coordinator, part.number, source.name, monitor, self._metrics))
            store = self._store.through(lambda inner: cast("Store", GatedStore(inner, self._coordinator, part.number)))
            ensemble = Ensemble(self._runner(monitor))
            # All versions of the source are never read at once, because each part would do so.
            versions = StoredVersions(store, self._collection, source.name, None, ensemble.fingerprints)
            stack.enter_context(versions)
            # What a worker has written that died must be read again, or it would be counted as skipped.
            by_version = part.check is Check.VERSION and started.attempt == 1
            with Writer(store, self._collection, defer_from=sys.maxsize) as writer:
                sink = CollectionSink(store, self._collection, writer, result.add_stale)
                run = SourceRun(
                    source,
                    job.chunking,
                    job.delete,
                    ensemble,
                    _AnnouncingSink(sink, announce),
                    WindowSizing(job.bounds, monitor),
                    result.tally,
                    seen,
                    lambda _name, rejected: result.rejects.append(rejected),
                    versions=versions if by_version else None,
                    notes_versions=True,
                    find_copies=self._vectors.find,
                )
                run.run(reports.stop, known_empty=part.known_empty and started.attempt == 1)
            seen.flush()
        correct(result.tally, first, now, seen.read_again)
        result.unidentified = run.unidentified
        result.errors = monitor.errors
        result.window = run.sizing.bounds.chunks
        result.report = report_of(source)
        result.stopped = reports.stop()

    def _runner(self, monitor: ThroughputMonitor) -> BatchRunner:
        """Not closed when the part ends: the device stays with this process, which Ray gave it to."""
        config = EnsembleConfig([model.key for model in self._models], exclusive_mode=False)
        return BatchRunner(
            self._models,
            config=config,
            devices=self._setup.devices,
            monitor=monitor,
            controller=self._controller,
            retry=self._setup.retry,
        )


@dataclass(frozen=True, slots=True)
class _AnnouncingSink:
    """A sink that announces the documents of each window before any of them is written."""

    sink: Sink
    announce: Callable[[Sequence[PlannedDocument]], None]

    def look_up(self, doc_keys: Sequence[str]) -> Sequence[Fingerprint]:
        return self.sink.look_up(doc_keys)

    def write(self, result: WindowResult) -> None:
        self.announce(result.documents)
        self.sink.write(result)


class _Monitor(ThroughputMonitor):
    """A monitor that also keeps each pass, for the driver's monitor."""

    def __init__(self, passes: list[PassReport], metrics: WorkerMetrics) -> None:
        super().__init__()
        self._passes = passes
        self._metrics = metrics

    def log_pass(self, report: PassReport) -> None:
        super().log_pass(report)
        self._passes.append(report)
        self._metrics.count_pass(report.key, report.chunks, report.seconds)


class _Reports:
    """A thread that reports the progress of a part to the coordinator and learns whether to stop."""

    def __init__(self, coordinator: Any, part: int, source: str, monitor: ThroughputMonitor, metrics: WorkerMetrics) -> None:
        self._coordinator = coordinator
        self._part = part
        self._source = source
        self._monitor = monitor
        self._metrics = metrics
        self._reported = 0
        self._stopping = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest-reports", daemon=True)

    def stop(self) -> bool:
        return self._stopping

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        self._report()

    def _run(self) -> None:
        while not self._ended.wait(REPORT_SECONDS):
            self._report()

    def _report(self) -> None:
        read, done = self._monitor.documents
        stopping: bool = fetch(self._coordinator.report.remote(self._part, read, done))
        self._stopping |= stopping and not self._ended.is_set()
        if done > self._reported:
            self._metrics.count_documents(self._source, done - self._reported)
            self._reported = done
