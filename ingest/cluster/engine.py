"""A job on Ray: the same plan, the same pipeline and the same receipt as `run_job`, on as many machines as there are.

    driver    agree → split → hand out parts ──────────────► settle deletes → account
    workers                    └─ read → plan → encode → write, part after part
    coordinator                       who reads what, who may write, whether to stop
    shards                        which documents were seen, what was stored

Nothing is deleted or soft-deleted before every part has ended without an error and everything new is acknowledged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
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
from ingest.cluster.coordinator import Coordinator, Standing
from ingest.cluster.seen import SHARDS, ShardedDeletes, Shards
from ingest.cluster.worker import Outcome, Work, Worker, WorkerSetup, claim_documents, describe
from ingest.errors import ConfigurationError, IngestError, SourceError
from ingest.parameters import normalize, optional, parse_instance, parse_integer, parse_text
from ingest.records import Receipt, Source
from ingest.source.partitions import PartSize, Split, split
from ingest.store.contract import Store
from ingest.store.writer import DEFER_FROM, defer_indexing
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import OpenRun, ReadResult, check_run, complete_run
from ingest.telemetry import ThroughputMonitor

logger = logging.getLogger(__name__)

PARTS_PER_WORKER = 4
"""So many at least, where there is enough to read: the slowest part is what all wait for in the end."""

LISTED = 5
"""Failed parts that an error names."""

_WATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """How a job is spread.

    Attributes:
        address: of the cluster; `local` for one that is started here and ends with the run.
        workers: None: one for each GPU of the cluster, or where it has none, for each CPU.
        part_size: None: so that each worker has a few parts.
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
    """The results of the parts so far: failures by number of the part."""

    failures: list[tuple[int, IngestError]] = field(default_factory=list)
    window: int = 0
    stopped: bool = False


def check_location(store: object) -> None:
    """Raise `ConfigurationError` unless the store is the URL of a server, which the workers can open too."""
    if not (isinstance(store, str) and store.lower().startswith(("http://", "https://"))):
        raise ConfigurationError(
            f"engine ray needs a Qdrant server, since the embedded store at {store} serves one process at a time: give"
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
    with connected(cluster.address), ExitStack() as state:
        gpus, cpus = (int(cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
        resources = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        workers = cluster.workers or gpus or cpus or 1
        splits = [split(source, cluster.part_size or PartSize(PARTS_PER_WORKER * workers)) for source in sources]
        wanted = run_task(describe, job, setup, **resources)
        shards = Shards(len(sources), min(SHARDS, -(-workers // 2)))

        def read(opened: OpenRun) -> ReadResult:
            works = _works(splits, opened.points_before)
            coordinator = start_actor(Coordinator, max_concurrency=1000)
            if meeting := [work for work in works if splits[work.source].ids_may_meet]:
                map_in_tasks(meeting, partial(claim_documents, shards=shards), workers=workers)
            with _Watch(coordinator, monitor, stop):
                outcomes = map_in_actors(
                    works, Worker, [job, opened.collection, setup, coordinator, shards], workers=workers, resources=resources
                )
                totals = _gather(
                    outcomes,
                    opened,
                    coordinator=coordinator,
                    rejects=rejects,
                    monitor=monitor,
                    indexing=_Indexing(store, opened.collection),
                )
            _check(totals, works)
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
        )


def _works(splits: Sequence[Split], held: Sequence[int]) -> list[Work]:
    numbers = count()
    return [
        Work(next(numbers), source, partition, known_empty=held[source] == 0)
        for source, found in enumerate(splits)
        for partition in found.partitions
    ]


def _gather(
    outcomes: Iterator[Outcome],
    opened: OpenRun,
    *,
    coordinator: Any,
    rejects: RejectsFile,
    monitor: ThroughputMonitor,
    indexing: _Indexing,
) -> _Totals:
    """Add up the results of the parts as they arrive. What must be remembered of them goes to disk."""
    totals = _Totals()
    for outcome in outcomes:
        for report in outcome.passes:
            monitor.log_pass(report)
        if outcome.failure is not None:
            totals.failures.append((outcome.number, outcome.failure))
            if not isinstance(outcome.failure, SourceError):  # not the fault of this part, so the others would fail too
                coordinator.stop.remote()
            continue
        deletes = opened.deletes[outcome.source]
        for rejected in outcome.rejects:
            rejects.add(deletes.source, rejected)
        for error in outcome.errors:
            where, _, message = error.partition(": ")
            monitor.log_error(where, message)
        deletes.pending.add_stale(outcome.stale_points())
        deletes.read += outcome.tally.read
        deletes.unidentified += outcome.unidentified
        opened.tally.add(outcome.tally)
        totals.window = max(totals.window, outcome.window)
        totals.stopped |= outcome.stopped
        indexing.written(opened.tally.chunks_written)
    return totals


def _check(totals: _Totals, works: Sequence[Work]) -> None:
    """Raises an error of the first failure's type if any part failed: it names them."""
    if totals.failures:
        failures = sorted(totals.failures, key=lambda failed: failed[0])
        told = "; ".join(f"{works[number].partition.extent}: {error}" for number, error in failures[:LISTED])
        more = f"; and {len(failures) - LISTED} more" if len(failures) > LISTED else ""
        raise type(failures[0][1])(
            f"{len(failures)} of {len(works)} parts failed, so nothing was deleted; what the others wrote stays: {told}{more}"
        )


@dataclass(slots=True)
class _Indexing:
    """Defers it once, when as much is written as a writer of its own would have deferred it for."""

    store: Store
    collection: str
    deferred: bool = False

    def written(self, chunks: int) -> None:
        if not self.deferred and chunks >= DEFER_FROM:
            self.deferred = True
            defer_indexing(self.store, self.collection)


class _Watch:
    """Shows on the driver how far all have come, and passes on that they are to stop."""

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
            standing: Standing = fetch(self._coordinator.standing.remote())
            self._monitor.log_documents(standing.read, standing.done)
