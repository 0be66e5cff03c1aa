"""A job on Ray: the same plan, the same pipeline and the same receipt as `run_job`, on all machines of a cluster.

    driver       ensure collection → split → distribute parts ─────────► delete → account
    workers                                   └─ read → plan → encode → write, one part after another
    coordinator                                  progress, write requests, stopping
    shards                                       documents seen, points stored

Nothing is deleted or soft-deleted before every part has ended without an error and all new points are acknowledged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from types import TracebackType
from typing import Any, Self

from ingest.cluster.connection import (
    LOCAL,
    cluster_resources,
    connected,
    fetch,
    map_in_actors,
    map_in_tasks,
    run_task,
    start_actor,
)
from ingest.cluster.coordinator import Coordinator, RunProgress
from ingest.cluster.seen import SHARDS, ShardedDeletes, Shards
from ingest.cluster.worker import Part, PartResult, Worker, WorkerSetup, build_manifest, claim_documents
from ingest.errors import ConfigurationError, IngestError, SourceError
from ingest.parameters import normalize, optional, parse_instance, parse_integer, parse_text
from ingest.receipt import Receipt
from ingest.records import Source
from ingest.source.partitions import PartSize, Split, split
from ingest.source.reading_report import report_of
from ingest.store.contract import Store
from ingest.store.writer import DEFER_FROM, defer_indexing
from ingest.sync.copying import reusable_vectors, vectors_to_copy
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import OpenRun, ReadResult, check_run, complete_run
from ingest.telemetry import ThroughputMonitor

logger = logging.getLogger(__name__)

PARTS_PER_WORKER = 4
"""Minimum number of parts, if the source is large enough: at the end all workers wait for the slowest part."""

MAX_LISTED_PARTS = 5
"""Number of failed parts that an error names."""

_WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """The options of a job on a cluster.

    Attributes:
        address: address of the cluster; `local` starts one on this machine that ends with the run.
        workers: number of workers; None for one per GPU of the cluster, or one per CPU if it has no GPU.
        part_size: size of a part; None for a size that gives each worker several parts.
    """

    address: str = LOCAL
    workers: int | None = None
    part_size: PartSize | None = None

    def __post_init__(self) -> None:
        normalize(self, "address", parse_text)
        normalize(self, "workers", optional(parse_integer), least=1)
        normalize(self, "part_size", optional(parse_instance), PartSize)


@dataclass(slots=True)
class _Totals:
    """The results of the parts so far. Each failure comes with the number of its part."""

    failures: list[tuple[int, IngestError]] = field(default_factory=list)
    window: int = 0
    stopped: bool = False


def check_location(store: object) -> None:
    """Raise `ConfigurationError` unless the store is the URL of a server, which the workers can open too."""
    if not (isinstance(store, str) and store.lower().startswith(("http://", "https://"))):
        raise ConfigurationError(
            f"engine ray needs a Qdrant server, because the embedded store at {store} serves one process at a time: pass"
            " --store http://…"
        )


def run_on_ray(
    job: Job,
    sources: Sequence[Source],
    *,
    cluster: ClusterOptions,
    setup: WorkerSetup,
    store: Store,
    rejects: RejectsFile,
    monitor: ThroughputMonitor,
    now: Callable[[], float] = time.time,
    stop: Callable[[], bool] = lambda: False,
) -> Receipt:
    """Make the collection equal to the sources on a Ray cluster, and return the account of it; see `run_job`.

    A worker that dies is replaced, and its part is read again. If a part cannot be read or kills its workers, the other parts are
    finished first, and nothing is deleted.

    Raises what `run_job` raises, `MissingExtraError`, and `ConfigurationError` for a source that cannot be split and for an
    address without a Ray cluster.
    """
    sources = check_run(job, sources)
    monitor.start()
    for source in sources:
        report_of(source).clear()
    with connected(cluster.address), ExitStack() as state:
        gpus, cpus = (int(cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
        resources = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        workers = cluster.workers or gpus or cpus or 1
        splits = [split(source, cluster.part_size or PartSize(PARTS_PER_WORKER * workers)) for source in sources]
        wanted = run_task(build_manifest, job, setup, **resources)
        reusable = reusable_vectors(store, job.reuse, wanted, job.aliases)
        shards = Shards(len(sources), min(SHARDS, -(-workers // 2)))

        def read(opened: OpenRun) -> ReadResult:
            for number in range(len(sources)):
                opened.note_stored(number)
            parts = _number_parts(splits, opened)
            coordinator = start_actor(Coordinator, max_concurrency=1000)
            if meeting := [part for part in parts if splits[part.source].ids_may_meet]:
                map_in_tasks(meeting, claim_documents, shards, workers=workers)
            to_copy = vectors_to_copy(store, opened.collection, wanted, reusable)
            arguments = [job, opened.collection, replace(setup, to_copy=to_copy), coordinator, shards]
            with _Watch(coordinator, monitor, stop):
                results = map_in_actors(parts, Worker, arguments, workers=workers, resources=resources)
                totals = _gather(
                    results,
                    opened,
                    sources,
                    coordinator=coordinator,
                    rejects=rejects,
                    monitor=monitor,
                    indexing=_Indexing(store, opened.collection),
                )
            _check(totals, parts)
            return ReadResult(totals.window, totals.stopped or stop())

        return complete_run(
            job,
            wanted,
            sources,
            store=store,
            monitor=monitor,
            tracked=[((), state.enter_context(ShardedDeletes(shards, number))) for number in range(len(sources))],
            read=read,
            now=now,
            check=job.check,
        )


def _number_parts(splits: Sequence[Split], opened: OpenRun) -> list[Part]:
    numbers = count()
    return [
        Part(next(numbers), source, partition, known_empty=opened.points_before[source] == 0, check=opened.checks[source])
        for source, parts in enumerate(splits)
        for partition in parts.partitions
    ]


def _gather(
    results: Iterator[PartResult],
    opened: OpenRun,
    sources: Sequence[Source],
    *,
    coordinator: Any,
    rejects: RejectsFile,
    monitor: ThroughputMonitor,
    indexing: _Indexing,
) -> _Totals:
    """Add up the results of the parts as they arrive. Rejects and stale points go to disk."""
    totals = _Totals()
    for result in results:
        for report in result.passes:
            monitor.log_pass(report)
        if result.failure is not None:
            totals.failures.append((result.number, result.failure))
            if not isinstance(result.failure, SourceError):  # not specific to this part: the others would fail too
                coordinator.stop.remote()
            continue
        deletes = opened.deletes[result.source]
        for rejected in result.rejects:
            rejects.add(deletes.source, rejected)
        for error in result.errors:
            where, _, message = error.partition(": ")
            monitor.log_error(where, message)
        deletes.pending.add_stale(result.stale_points())
        deletes.read += result.tally.read
        deletes.unidentified += result.unidentified
        opened.tally.add(result.tally)
        report_of(sources[result.source]).add(result.report)
        totals.window = max(totals.window, result.window)
        totals.stopped |= result.stopped
        indexing.written(opened.tally.chunks_written)
    return totals


def _check(totals: _Totals, parts: Sequence[Part]) -> None:
    """Raise an error that names the failed parts, if any. It has the type of the first failure."""
    if totals.failures:
        failures = sorted(totals.failures, key=lambda failed: failed[0])
        named = "; ".join(f"{parts[number].partition.extent}: {error}" for number, error in failures[:MAX_LISTED_PARTS])
        more = f"; and {len(failures) - MAX_LISTED_PARTS} more" if len(failures) > MAX_LISTED_PARTS else ""
        raise type(failures[0][1])(
            f"{len(failures)} of {len(parts)} parts failed, so nothing was deleted; the other parts are kept: {named}{more}"
        )


@dataclass(slots=True)
class _Indexing:
    """The indexing of a collection, deferred once the run has written as many chunks as make a `Writer` defer it."""

    store: Store
    collection: str
    deferred: bool = False

    def written(self, chunks: int) -> None:
        if not self.deferred and chunks >= DEFER_FROM:
            self.deferred = True
            defer_indexing(self.store, self.collection)


class _Watch:
    """A thread that shows the progress of all workers on the driver and tells the coordinator when to stop."""

    def __init__(self, coordinator: Any, monitor: ThroughputMonitor, stop: Callable[[], bool]) -> None:
        self._coordinator = coordinator
        self._monitor = monitor
        self._stop = stop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_WATCH_SECONDS):
            if self._stop():
                self._coordinator.stop.remote()
            progress: RunProgress = fetch(self._coordinator.progress.remote())
            self._monitor.log_documents(progress.read, progress.done)
