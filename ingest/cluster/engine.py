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
from collections import Counter
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
from ingest.store.schema import _normalize_collection_name
from ingest.store.writer import DEFER_FROM, Writer, defer_indexing
from ingest.sync.account import Tally, close_account
from ingest.sync.deletion import check_brake
from ingest.sync.job import Job
from ingest.sync.manifest import check_still_in_use, ensure_collection
from ingest.sync.moving import check_move, take_along
from ingest.sync.ownership import check_name
from ingest.sync.pipeline import count_points
from ingest.sync.plan import DeleteMode
from ingest.sync.rejects import RejectsFile
from ingest.sync.settling import Settlement
from ingest.sync.sources import check_sources
from ingest.sync.stored_sources import note_runs, warn_of_other_names
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
    """What has come in so far. `read` and `unidentified`: records of each source, by its number."""

    tally: Tally = field(default_factory=Tally)
    read: Counter[int] = field(default_factory=Counter)
    unidentified: Counter[int] = field(default_factory=Counter)
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
    """Makes the collection equal to the sources and accounts for it; see `run_job`.

    A worker that dies is replaced, and its part read again. A part that cannot be read, or that kills its workers, is reported
    when all others have ended, and nothing is deleted then.

    Raises also `MissingExtraError`, and `ConfigurationError` for a source that cannot be split or an address without a Ray.
    """
    sources = check_sources(sources, deletes_missing=job.delete == DeleteMode.FULL)
    check_move(job.moved_from, sources)
    check_name(_normalize_collection_name(job.collection, job.aliases))
    monitor.start()
    with connected(cluster.address), ExitStack() as stack:
        gpus, cpus = (int(cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
        resources = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        workers = cluster.workers or gpus or cpus or 1
        splits = [split(source, cluster.part_size or PartSize(PARTS_PER_WORKER * workers)) for source in sources]
        wanted = run_task(describe, job, setup, **resources)
        collection = ensure_collection(wanted, job.options, store=store, accept_fingerprints=job.accept_fingerprints).collection
        moved = take_along(job.moved_from, sources, store, collection, monitor)
        warn_of_other_names(store, collection, sources, monitor, called=wanted.collection)
        held = [count_points(store, collection, source) for source in sources]
        shards = Shards(len(sources), min(SHARDS, -(-workers // 2)))
        settlements = [
            Settlement(
                source.name,
                collection,
                job.delete,
                job.delete_after,
                store,
                monitor,
                (),
                stack.enter_context(ShardedDeletes(shards, number)),
            )
            for number, source in enumerate(sources)
        ]
        for settlement, points in zip(settlements, held, strict=True):
            settlement.note_stored(known_empty=points == 0)
        works = _works(splits, held)
        coordinator = start_actor(Coordinator, max_concurrency=1000)
        if meeting := [work for work in works if splits[work.source].ids_may_meet]:
            map_in_tasks(meeting, partial(claim_documents, shards=shards), workers=workers)
        with _Watch(coordinator, monitor, stop):
            outcomes = map_in_actors(
                works, Worker, [job, collection, setup, coordinator, shards], workers=workers, resources=resources
            )
            totals = _gather(
                outcomes,
                coordinator=coordinator,
                settlements=settlements,
                rejects=rejects,
                monitor=monitor,
                indexing=_Indexing(store, collection),
            )
        totals.tally.points_moved = moved
        _check(totals, works)
        totals.stopped |= stop()
        settled = now()
        if not totals.stopped:
            _settle(job, settlements, totals, settled)
        store.finalize(collection)
        if not totals.stopped:
            note_runs(store, collection, sources, settled)
        check_still_in_use(wanted, collection, store)
        return close_account(
            wanted.collection,
            totals.tally,
            monitor,
            held=sum(held),
            holds=sum(count_points(store, collection, source) for source in sources),
            window=totals.window,
            stopped=totals.stopped,
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
    *,
    coordinator: Any,
    settlements: Sequence[Settlement],
    rejects: RejectsFile,
    monitor: ThroughputMonitor,
    indexing: _Indexing,
) -> _Totals:
    """Takes what each part came to as it comes; what must be remembered goes to disk."""
    totals = _Totals()
    for outcome in outcomes:
        for report in outcome.passes:
            monitor.log_pass(report)
        if outcome.failure is not None:
            totals.failures.append((outcome.number, outcome.failure))
            if not isinstance(outcome.failure, SourceError):  # no fault of this part, so that the others would fail too
                coordinator.stop.remote()
            continue
        settlement = settlements[outcome.source]
        for rejected in outcome.rejects:
            rejects.add(settlement.source, rejected)
        for error in outcome.errors:
            where, _, message = error.partition(": ")
            monitor.log_error(where, message)
        settlement.deletes.add_stale(outcome.stale_points())
        totals.tally.add(outcome.tally)
        totals.read[outcome.source] += outcome.tally.read
        totals.unidentified[outcome.source] += outcome.unidentified
        totals.window = max(totals.window, outcome.window)
        totals.stopped |= outcome.stopped
        indexing.written(totals.tally.chunks_written)
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


def _settle(job: Job, settlements: Sequence[Settlement], totals: _Totals, settled: float) -> None:
    for settlement in settlements:
        with Writer(settlement.store, settlement.collection) as writer:
            settlement.settle_read(writer, totals.tally)
    for number, settlement in enumerate(settlements):
        settlement.find_missing(settled, read=totals.read[number], unidentified=totals.unidentified[number])
    check_brake([settlement.ended for settlement in settlements], job.max_delete)
    for settlement in settlements:
        with Writer(settlement.store, settlement.collection) as writer:
            settlement.delete_missing(writer, settled, totals.tally)


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
