"""Encode where Qdrant cannot be reached, and write where it can: `embed` on one machine, `load` on another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ingest.encode.ensemble import Ensemble
from ingest.errors import DeletionBrakeError, SourceError
from ingest.export.directory import MANIFEST, ExportDirectory, Shard, translated
from ingest.export.index import ExportIndex
from ingest.parameters import checked, parse_integer, parse_path
from ingest.receipt import Receipt
from ingest.records import Fingerprint, Payload, Point, Source
from ingest.source.formats import check_parquet
from ingest.store.contract import Condition, Store
from ingest.store.schema import INGEST_FIELD, _normalize_collection_name, fingerprint_of
from ingest.store.similarity import note_sigmas
from ingest.store.writer import Effects, Writer
from ingest.sync.account import Tally, close_account, make_receipt
from ingest.sync.deletion import MAX_LISTED, brake_message, deletes_held_back, is_braked, nothing_read
from ingest.sync.effects import WindowResult
from ingest.sync.job import Job
from ingest.sync.manifest import check_still_in_use, ensure_collection
from ingest.sync.pipeline import SourceRun
from ingest.sync.plan import DeleteMode, plan_document
from ingest.sync.prefetch import Prefetch
from ingest.sync.rejects import RejectsFile
from ingest.sync.run_state import PendingDeletes, SeenDocuments
from ingest.sync.sizing import WindowSizing
from ingest.sync.sources import check_sources
from ingest.telemetry import ThroughputMonitor

if TYPE_CHECKING:
    import pyarrow as pa

    from ingest.export.shards import ShardFile

logger = logging.getLogger(__name__)

SHARD_BYTES = 128 * 2**20
"""Minimum size of a finished shard. A power cut loses what was encoded since the last finished shard."""


class ExportRuntime:
    """An export: the points of sources, as Parquet files in the directory `path`, for a collection that is named at `load`.

    Raises `MissingExtraError` without the extra `parquet`.
    """

    def __init__(self, path: str | Path, *, shard_bytes: int = SHARD_BYTES) -> None:
        check_parquet("an export")
        self._path = checked("path", parse_path, path)
        self._shard_bytes = checked("shard_bytes", parse_integer, shard_bytes, least=1)

    def embed(
        self,
        job: Job,
        sources: Sequence[Source],
        *,
        ensemble: Ensemble,
        rejects: RejectsFile,
        stop: Callable[[], bool] = lambda: False,
    ) -> Receipt:
        """Make the export equal to the sources, and return the account of it. Ignores the job's collection and delete mode.

        An existing export is continued: a document whose current version is in a complete shard is not encoded again, a changed
        document is written again as a whole, and a document missing from its source is removed, under the brake. The receipt
        balances if every document that was read has an outcome and the shards have exactly the rows of these documents. Once
        `stop` returns True, which it must keep returning, the current window is finished and the export can be continued later.

        Raises `ConfigurationError` for sources that `check_sources` refuses (one whose end is uncertain can begin an export but
        not continue one), and if the directory has other files or an export of other sources; `ManifestMismatchError` if the
        export has other models or chunking; `DeletionBrakeError`; and what a run raises. What was written stays: run it again.
        """
        sources = check_sources(sources, deletes_missing=(self._path / MANIFEST).exists())
        monitor = ensemble.monitor
        monitor.start()
        with (
            ExportDirectory.writable(self._path, job.manifest(ensemble.models), [source.name for source in sources]) as export,
            ExportIndex() as index,
            SeenDocuments() as seen,
        ):
            for problem in export.drop_damaged():
                logger.warning("%s; its documents are encoded again", problem)
            for shard in export.shards:
                for table in export.tables(shard):
                    index.add(_payloads(export, shard, table), shard.name)
            rows_before = _rows(export)
            documents_before = {source.name: index.count_documents(source.name) for source in sources}
            sizing, tally, runs = WindowSizing(job.bounds, monitor), Tally(), list[SourceRun]()
            with _ShardWriter(export, index, self._shard_bytes) as writer:
                sink = _ShardSink(index, ensemble.fingerprints, writer)
                for source in sources:
                    if stop():
                        break
                    run = SourceRun(
                        source, job.chunking, DeleteMode.INCREMENTAL, ensemble, sink, sizing, tally, seen, rejects.add
                    )
                    runs.append(run)
                    run.run(stop, known_empty=documents_before[source.name] == 0)
            stopped = stop()
            if not stopped:
                missing = [key for run in runs for key in _missing(run, index, seen, documents_before[run.source.name], job)]
                index.remove(missing)
                tally.deleted = len(missing)
            _remove_stale_rows(export, index)
            if not stopped:
                export.finish()
            tally.chunks_deleted = rows_before + tally.chunks_written - _rows(export)
            complete = _rows(export) == sum(index.count_chunks(source.name) for source in sources)
            return make_receipt(str(export.path), tally, monitor, complete=complete, window=sizing.bounds.chunks, stopped=stopped)

    def load(self, job: Job, *, store: Store, monitor: ThroughputMonitor, stop: Callable[[], bool] = lambda: False) -> Receipt:
        """Write the export to the job's collection like a run over its sources, without a model. Return the account of it.

        Checks every file before it writes anything. Does not write points that are stored already, so an interrupted
        load is continued by repeating it. Stale chunks of changed documents are deleted at the end, unless the job deletes
        nothing. Documents that are not in the export stay. Vectors, chunking and weights are those of the export. Once `stop`
        returns True, which it must keep returning, the current window is written and nothing is deleted.

        Raises `ConfigurationError` if there is no export, `SourceError` if it is incomplete, `ManifestMismatchError` if
        the collection has other vectors or chunking, and `StoreError`.
        """
        monitor.start()
        export = ExportDirectory.read(self._path)
        export.check()
        name = _normalize_collection_name(job.collection, job.aliases)
        wanted = replace(export.manifest, collection=name, raw_name=job.collection)
        collection = ensure_collection(wanted, job.options, store=store).collection
        points_before = _count_points(store, collection, export.sources)
        tally = Tally()
        with (
            PendingDeletes() as deletes,
            Writer(store, collection) as writer,
            Prefetch(_windows(export), stop=stop) as windows,
        ):
            for documents in windows:
                result = _plan_window(job, store, collection, documents)
                writer.submit(result.effects)
                deletes.add_stale(result.stale)
                tally.add_result(result)
                tally.read += len(documents)
                tally.unchanged += len(documents) - result.written - result.updated
                monitor.log_documents(tally.read, tally.read)
            stopped = stop()
            for ids in () if stopped else deletes.stale_points():
                writer.submit(Effects(deletes=ids))
                tally.chunks_deleted += len(ids)
        store.finalize(collection)
        note_sigmas(store, collection)
        check_still_in_use(wanted, collection, store)
        points_after = _count_points(store, collection, export.sources)
        return close_account(name, tally, monitor, points_before=points_before, points_after=points_after, stopped=stopped)


@dataclass(frozen=True, slots=True)
class _ShardSink:
    """The shards of an export as a sink. A document that changed is written again as a whole, so nothing is ever stale."""

    index: ExportIndex
    fingerprints: Mapping[str, str]
    writer: _ShardWriter

    def look_up(self, doc_keys: Sequence[str]) -> Sequence[Fingerprint]:
        return self.index.look_up(doc_keys, self.fingerprints)

    def write(self, result: WindowResult) -> None:
        self.writer.submit(result.upserts)


class _ShardWriter:
    """A writer of whole documents to one shard after another, in its own thread, while the next documents are encoded.

    Leaving the context waits and finishes the last shard, also after an exception, so that nothing encoded is lost.
    """

    def __init__(self, export: ExportDirectory, index: ExportIndex, shard_bytes: int) -> None:
        self._export = export
        self._index = index
        self._shard_bytes = shard_bytes
        self._file: ShardFile | None = None
        self._pending: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "ingest-shards")

    def __enter__(self) -> Self:
        return self

    def submit(self, points: Sequence[Point]) -> None:
        """Write the points later. Waits for the previous call's points, and raises their error."""
        if self._pending is not None:
            self._pending.result()
        self._pending = self._thread.submit(self._write, points)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown()
        if self._file is not None:
            self._export.add(self._file)
        if error is None and self._pending is not None:
            self._pending.result()

    def _write(self, points: Sequence[Point]) -> None:
        if not points:
            return
        file = self._file or self._export.new_shard()
        self._file = None  # until the write has succeeded
        try:
            with translated(self._export.path):
                file.add(points)
        except BaseException:
            file.discard()
            raise
        self._index.add((point.payload for point in points), self._export.next_name)
        if file.size < self._shard_bytes:
            self._file = file
        else:
            self._export.add(file)


def _missing(run: SourceRun, index: ExportIndex, seen: SeenDocuments, documents_before: int, job: Job) -> list[str]:
    """Return the keys of the exported documents that the source no longer has. Raises `DeletionBrakeError`."""
    name, monitor = run.source.name, run.ensemble.monitor
    if run.read == 0:
        monitor.log_error(name, nothing_read())
    if run.unidentified:
        monitor.log_error(name, deletes_held_back(run.unidentified))
    kept = tuple(run.unidentified)
    missing = [(key, doc_id) for key, doc_id in index.missing(name, seen) if not doc_id.startswith(kept)]
    if is_braked(len(missing), documents_before, job.max_delete, read=run.read):
        doc_ids = sorted(doc_id for _, doc_id in missing)[:MAX_LISTED]
        message = brake_message(name, len(missing), documents_before, job.max_delete, doc_ids, read=run.read)
        raise DeletionBrakeError(message, doc_ids=doc_ids)
    return [key for key, _ in missing]


def _remove_stale_rows(export: ExportDirectory, index: ExportIndex) -> None:
    """Rewrite each shard that has rows of an older version of a document, or of a missing one."""
    for shard in [shard for shard in export.shards if shard.name in index.stale_shards]:
        file = export.new_shard()
        try:
            for table in export.tables(shard):
                keys = [payload[INGEST_FIELD]["doc_key"] for payload in _payloads(export, shard, table)]
                with translated(export.path):
                    file.add_rows(table, [index.is_current(key, shard.name) for key in keys])
        except BaseException:
            file.discard()
            raise
        export.add(file, instead_of=shard)


def _windows(export: ExportDirectory) -> Iterator[list[list[Point]]]:
    """Yield the points of whole documents, about a row group at a time. A document is in one shard, but may span row groups."""
    from ingest.export.shards import table_to_points  # noqa: PLC0415  an extra

    for shard in export.shards:
        points: list[Point] = []
        for table in export.tables(shard):
            try:
                points += table_to_points(table, export.manifest.vectors)
                *whole, points = (list(document) for _, document in groupby(points, lambda point: _made_from(point).doc_key))
            except ValueError as exc:
                raise _foreign(export, shard, exc) from exc
            if whole:
                yield whole
        if points:
            yield [points]


def _plan_window(job: Job, store: Store, collection: str, documents: Sequence[Sequence[Point]]) -> WindowResult:
    wanted = {made[0].doc_key: made for made in ([_made_from(point) for point in points] for points in documents)}
    stored: dict[str, list[Fingerprint]] = {key: [] for key in wanted}
    for fingerprint in store.fingerprints(collection, list(wanted)):
        stored[fingerprint.doc_key].append(fingerprint)
    result = WindowResult()
    for points, (key, made) in zip(documents, wanted.items(), strict=True):
        plan = plan_document(made, stored[key], job.delete)
        rows = [
            {name: point.vectors[name] for name in action.vectors} for point, action in zip(points, plan.actions, strict=True)
        ]
        result.add(plan, [point.payload for point in points], made, rows)
    return result


def _made_from(point: Point) -> Fingerprint:
    made = fingerprint_of(point.id, point.payload)
    if made is None:
        raise ValueError(f"the payload of {point.id} has no fingerprint that this version can read")
    return made


def _payloads(export: ExportDirectory, shard: Shard, table: pa.Table) -> list[Payload]:
    from ingest.export.shards import payloads_of  # noqa: PLC0415  an extra

    try:
        return payloads_of(table)
    except ValueError as exc:
        raise _foreign(export, shard, exc) from exc


def _foreign(export: ExportDirectory, shard: Shard, exc: Exception) -> SourceError:
    return SourceError(f"{export.path / shard.name} was not written by ingest embed ({exc}): make the export again")


def _rows(export: ExportDirectory) -> int:
    return sum(shard.rows for shard in export.shards)


def _count_points(store: Store, collection: str, sources: Sequence[str]) -> int:
    return sum(store.count(collection, [Condition("source", "eq", source)]) for source in sources)
