"""An actor that reads parts of sources, one after another: plans, encodes and writes them as one machine does the whole."""

from __future__ import annotations

import logging
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast
from uuid import UUID

from ingest.cluster.connection import Figures, fetch
from ingest.cluster.coordinator import PartStarted
from ingest.cluster.retries import Accounts, accounts_of, correct, first_accounts
from ingest.cluster.seen import PartSeen, Shards
from ingest.cluster.uploads import GatedStore
from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.errors import IngestError
from ingest.records import Document, Fingerprint, Rejected, doc_key
from ingest.retry import RetryPolicy
from ingest.source.partitions import Partition
from ingest.store.contract import Manifest, Store
from ingest.store.retrying import RetryingStore
from ingest.store.writer import Writer
from ingest.sync.account import Tally
from ingest.sync.effects import WindowResult
from ingest.sync.job import Job
from ingest.sync.pipeline import CollectionSink, Sink, SourceRun
from ingest.sync.reading import PlannedDocument
from ingest.sync.sizing import WindowSizing
from ingest.telemetry import PassReport, ThroughputMonitor

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""Workers that may die over one part: then it is the part that kills them."""

REPORT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker opens for itself. The functions travel to it, so they are such that can be pickled.

    Attributes:
        open_store: a server's: an embedded store serves one process.
        make_models: the members of the ensemble, the same on every machine.
        devices: to compute on; None: the card that Ray gave the worker, else the processor.
        memory_limit_gb: see `AdaptiveBatchController`.
        retry: limits on the retries of a batch while its model is unavailable; the store has its own.
    """

    open_store: Callable[[], RetryingStore]
    make_models: Callable[[], Sequence[Model]]
    devices: tuple[str, ...] | None = None
    memory_limit_gb: float | None = None
    retry: RetryPolicy = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Work:
    """One part to read.

    Attributes:
        number: of the part, in the order of all sources.
        source: number of the source.
        known_empty: nothing was stored of the source when the run began.
    """

    number: int
    source: int
    partition: Partition
    known_empty: bool


@dataclass(slots=True)
class Outcome:
    """What came of one part. Where there is a `failure`, the rest counts for nothing.

    Attributes:
        stale: ids of points to delete once all parts have ended, 16 bytes each.
        window: chunks that the last window was allowed to hold.
        stopped: it was told to stop before its end, or before its beginning.
    """

    number: int
    source: int
    tally: Tally = field(default_factory=Tally)
    unidentified: int = 0
    stale: bytearray = field(default_factory=bytearray)
    rejects: list[Rejected] = field(default_factory=list)
    passes: list[PassReport] = field(default_factory=list)
    errors: tuple[str, ...] = ()
    window: int = 0
    stopped: bool = False
    failure: IngestError | None = None

    def add_stale(self, points: Iterable[str]) -> None:
        for point in points:
            self.stale += UUID(point).bytes

    def stale_points(self) -> list[str]:
        return [str(UUID(bytes=bytes(self.stale[at : at + 16]))) for at in range(0, len(self.stale), 16)]


def describe(job: Job, setup: WorkerSetup) -> Manifest:
    """What the collection is to say of itself: known on a machine like the workers' alone, for it decides about dtypes."""
    return job.manifest(setup.make_models())


def claim_documents(work: Work, shards: Shards) -> None:
    """Notes which documents a part has, so that of two parts with the same one the first has it.

    A part that cannot be read is left for its worker to report.
    """
    try:
        name = work.partition.source.name
        records = work.partition.source.read()
        keys = (doc_key(name, record.id) for record in records if isinstance(record, Document))
        shards.claim(work.source, keys, work.number)
    except IngestError as exc:
        logger.info("%s: %s", work.partition.extent, exc)


class Worker:
    """Called with one part at a time. Models stay loaded from one part to the next.

    Args:
        collection: its own name.
    """

    def __init__(self, job: Job, collection: str, setup: WorkerSetup, coordinator: Any, shards: Shards) -> None:
        self._job = job
        self._collection = collection
        self._setup = setup
        self._coordinator = coordinator
        self._shards = shards
        self._store = setup.open_store()
        self._models = setup.make_models()
        self._controller = AdaptiveBatchController(soft_limit_gb=setup.memory_limit_gb)
        self._figures = Figures()

    def __call__(self, work: Work) -> Outcome:
        """Never raises what the part is to blame for, or the store: that is the outcome's failure."""
        begun: PartStarted = fetch(self._coordinator.begin.remote(work.number))
        outcome = Outcome(work.number, work.source)
        if begun.stopping:
            outcome.stopped = True
            return outcome
        try:
            if begun.attempt > ATTEMPTS:
                raise IngestError(  # noqa: TRY301  what became of the part is told in one way
                    f"{ATTEMPTS} workers died over it, for want of memory perhaps: see the logs of Ray"
                )
            self._read(work, begun, outcome)
        except IngestError as exc:
            outcome.failure = exc
        except Exception as exc:  # a mistake of ours is told like any other failure, with the part it happened in
            logger.exception("%s", work.partition.extent)
            outcome.failure = IngestError(f"{type(exc).__name__}: {exc}")
        fetch(self._coordinator.end.remote(work.number))
        return outcome

    def _read(self, work: Work, begun: PartStarted, outcome: Outcome) -> None:
        source, job = work.partition.source, self._job
        first = first_accounts(map(pickle.loads, begun.notes))
        now: dict[str, Any] = {}
        monitor = _Monitor(outcome.passes, self._figures)

        def announce(documents: Sequence[PlannedDocument]) -> None:
            accounts: Accounts = accounts_of(documents)
            fetch(self._coordinator.note.remote(work.number, pickle.dumps(accounts)))
            now.update((key, account) for key, account in accounts.items() if key in first)

        with ExitStack() as stack:
            seen = PartSeen(self._shards, work.source, work.number, first)
            stack.callback(seen.close)
            reports = stack.enter_context(_Reports(self._coordinator, work.number, source.name, monitor, self._figures))
            store = self._store.through(lambda inner: cast("Store", GatedStore(inner, self._coordinator, work.number)))
            with Writer(store, self._collection, defer_from=sys.maxsize) as writer:
                sink = CollectionSink(store, self._collection, writer, outcome.add_stale)
                run = SourceRun(
                    source,
                    job.chunking,
                    job.delete,
                    Ensemble(self._runner(monitor)),
                    _AnnouncingSink(sink, announce),
                    WindowSizing(job.bounds, monitor),
                    outcome.tally,
                    seen,
                    lambda _name, rejected: outcome.rejects.append(rejected),
                )
                run.run(reports.stop, known_empty=work.known_empty and begun.attempt == 1)
            seen.flush()
        correct(outcome.tally, first, now, seen.found)
        outcome.unidentified = run.unidentified
        outcome.errors = monitor.errors
        outcome.window = run.sizing.bounds.chunks
        outcome.stopped = reports.stop()

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
    """Also keeps each pass, for the driver's own monitor."""

    def __init__(self, passes: list[PassReport], figures: Figures) -> None:
        super().__init__()
        self._passes = passes
        self._figures = figures

    def log_pass(self, report: PassReport) -> None:
        super().log_pass(report)
        self._passes.append(report)
        self._figures.count_pass(report.key, report.chunks, report.seconds)


class _Reports:
    """Tells the coordinator now and then how far a part has come, and hears whether to stop."""

    def __init__(self, coordinator: Any, part: int, source: str, monitor: ThroughputMonitor, figures: Figures) -> None:
        self._coordinator = coordinator
        self._part = part
        self._source = source
        self._monitor = monitor
        self._figures = figures
        self._told = 0
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
        if done > self._told:
            self._figures.count_documents(self._source, done - self._told)
            self._told = done
