"""Encoding where Qdrant cannot be reached, and writing where it can: `embed` on the one machine, `load` on the other."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from ingest.encode.contract import Model
from ingest.encode.ensemble import vector_bytes
from ingest.encode.runner import BatchRunner
from ingest.errors import DeletionBrakeError, SourceError
from ingest.export.directory import MANIFEST, ExportDirectory, Shard, translated
from ingest.export.index import ExportIndex
from ingest.export.shards import ShardFile, payloads_of, table_to_points
from ingest.parameters import checked, parse_integer, parse_path
from ingest.records import ChunkCounts, Fingerprint, Payload, Point, Receipt, Rejected, Source
from ingest.source.chunking import Chunker
from ingest.store.contract import Condition, Store
from ingest.store.schema import INGEST_FIELD, _normalize_collection_name, fingerprint_of
from ingest.store.writer import Effects, Writer
from ingest.sync.deletion import LISTED, brake_message, deletes_held_back, is_braked, nothing_read
from ingest.sync.effects import Failure, WindowResult, collect_effects, wanted_texts
from ingest.sync.job import Job
from ingest.sync.manifest import check_still_in_use, ensure_collection
from ingest.sync.pipeline import model_fingerprints, token_limits
from ingest.sync.plan import DeleteMode, plan_document
from ingest.sync.prefetch import Prefetch
from ingest.sync.reading import Reader, Window
from ingest.sync.rejects import RejectsFile
from ingest.sync.run_state import PendingDeletes, SeenDocuments
from ingest.sync.sizing import WindowSizing
from ingest.sync.sources import check_sources
from ingest.telemetry import ThroughputMonitor

logger = logging.getLogger(__name__)

SHARD_BYTES = 128 * 2**20
"""A shard ends with the window that reaches this: a power cut costs what was encoded since the last one ended."""


class ExportRuntime:
    """An export: the points of some sources, as Parquet files in the directory `path`, for a collection yet to be named."""

    def __init__(self, path: str | Path, *, shard_bytes: int = SHARD_BYTES) -> None:
        self._path = checked("path", parse_path, path)
        self._shard_bytes = checked("shard_bytes", parse_integer, shard_bytes, least=1)

    def embed(
        self,
        job: Job,
        sources: Sequence[Source],
        *,
        models: Sequence[Model],
        runner: BatchRunner,
        rejects: RejectsFile,
        stop: Callable[[], bool] = lambda: False,
    ) -> Receipt:
        """Makes the export equal to the sources. Neither the job's collection nor its delete mode matters here.

        An export that exists is continued: a document whose very version is in a whole shard is not encoded again, one that
        changed is made again as a whole, and one that is missing from its source is removed, under the brake. Balances where
        every document that was read has an outcome and the shards have exactly the rows that these documents make. Once `stop`
        says True, which it must keep saying, it finishes the window in hand and leaves the export to be continued.

        Raises `ConfigurationError` for sources that `check_sources` refuses (one whose end is uncertain can begin an export, but
        not go on with one), if the directory holds something else, or an export of other sources; `ManifestMismatchError` for one
        with other models or chunking; `DeletionBrakeError`; else what a run does. What was written stays; run it again.
        """
        sources = check_sources(sources, deletes_missing=(self._path / MANIFEST).exists())
        monitor = runner.monitor
        monitor.start()
        with (
            ExportDirectory.writable(self._path, job.manifest(models), [source.name for source in sources]) as export,
            ExportIndex() as index,
            SeenDocuments() as seen,
        ):
            for problem in export.drop_damaged():
                logger.warning("%s; its documents are encoded again", problem)
            for shard in export.shards:
                for table in export.tables(shard):
                    index.add(_payloads(export, shard, table), shard.name)
            rows = _rows(export)
            sizing = WindowSizing(job.bounds, monitor)
            embedding = _Embedding(job, models, runner, rejects, index, seen, sizing, stop, Counter())
            held = {source.name: index.count_documents(source.name) for source in sources}
            with _ShardWriter(export, index, self._shard_bytes) as writer:
                for source in sources:
                    if not stop():
                        embedding.run(source, writer, known_empty=held[source.name] == 0)
            stopped = stop()
            missing = [] if stopped else [key for source in sources for key in embedding.missing(source, held[source.name])]
            index.remove(missing)
            _take_out_what_is_not_current(export, index)
            if not stopped:
                export.finish()
            counts = embedding.counts
            if stopped:  # what was read ahead of the last window is for the next time
                counts["read"] = _done(counts)
            counts["deleted"] = len(missing)
            counts["chunks_deleted"] = rows + counts["chunks_written"] - _rows(export)
            whole = _rows(export) == sum(index.count_chunks(source.name) for source in sources)
            receipt = _receipt(str(export.path), counts, monitor, whole=whole)
            return replace(receipt, window=sizing.bounds.chunks, stopped=stopped)

    def load(self, job: Job, *, store: Store, monitor: ThroughputMonitor, stop: Callable[[], bool] = lambda: False) -> Receipt:
        """Makes the job's collection hold the export: what a run over its sources would have written, without a model.

        Every file is checked before anything is written. What the collection holds already is left alone, so that an interrupted
        load is continued by running it again; stale chunks of changed documents go at the end, unless the job deletes nothing.
        Documents that the export does not have stay. Vectors, chunking and weights are the export's, whatever the job says. Once
        `stop` says True, which it must keep saying, it writes what it has in hand and deletes nothing.

        Raises `ConfigurationError` where there is no export, `SourceError` where it is damaged or not complete,
        `ManifestMismatchError` if the collection was made with something else, `StoreError`.
        """
        monitor.start()
        export = ExportDirectory.read(self._path)
        export.check()
        name = _normalize_collection_name(job.collection, job.aliases)
        wanted = replace(export.manifest, collection=name, raw_name=job.collection)
        collection = ensure_collection(wanted, job.options, store=store).collection
        held = _count_points(store, collection, export.sources)
        counts: Counter[str] = Counter()
        with (
            PendingDeletes() as deletes,
            Writer(store, collection) as writer,
            Prefetch(_windows(export), stop=stop) as windows,
        ):
            for documents in windows:
                result = _plan_window(job, store, collection, documents)
                writer.submit(result.effects)
                deletes.add_stale(result.stale)
                _count_result(counts, result)
                counts["read"] += len(documents)
                counts["unchanged"] += len(documents) - result.written - result.updated
                monitor.log_documents(counts["read"], counts["read"])
            stopped = stop()
            for ids in () if stopped else deletes.stale_points():
                writer.submit(Effects(deletes=ids))
                counts["chunks_deleted"] += len(ids)
        store.finalize(collection)
        check_still_in_use(wanted, collection, store)
        holds = _count_points(store, collection, export.sources)
        expected = held + counts["chunks_inserted"] - counts["chunks_deleted"]
        if holds != expected:
            monitor.log_error(
                name, f"holds {holds} points of these sources where it should be {expected}: is another job writing them?"
            )
        return replace(_receipt(name, counts, monitor, whole=holds == expected), stopped=stopped)


@dataclass(slots=True)
class _Embedding:
    """What the sources of one `embed` have in common."""

    job: Job
    models: Sequence[Model]
    runner: BatchRunner
    rejects: RejectsFile
    index: ExportIndex
    seen: SeenDocuments
    sizing: WindowSizing
    stop: Callable[[], bool]
    counts: Counter[str]

    def run(self, source: Source, writer: _ShardWriter, *, known_empty: bool) -> None:
        """Reads the source to its end; everything it has is handed to the writer."""
        models = model_fingerprints(self.models)
        reader = Reader(
            source,
            look_up=lambda keys: self.index.look_up(keys, models),
            chunker=Chunker(token_limits(self.models), self.job.chunking),
            models=models,
            delete=DeleteMode.INCREMENTAL,
            seen=self.seen,
            reject=self.rejects.add,
            bounds=lambda: self.sizing.bounds,
            vector_bytes=vector_bytes(self.models),
            known_empty=known_empty,
        )
        with Prefetch(reader.windows(), stop=self.stop) as windows:
            for window in windows:
                self._process(source, window, writer)

    def missing(self, source: Source, held: int) -> list[str]:
        """Keys of the documents that the source no longer has, of the `held` there were. Raises `DeletionBrakeError`."""
        if self.counts[f"read in {source.name}"] == 0:
            self.runner.monitor.log_error(source.name, nothing_read())
        if unidentified := self.counts[f"unidentified in {source.name}"]:
            self.runner.monitor.log_error(source.name, deletes_held_back(unidentified))
            return []
        missing = self.index.missing(source.name, self.seen)
        share, read = self.job.max_delete, self.counts[f"read in {source.name}"]
        if is_braked(len(missing), held, share, read=read):
            doc_ids = sorted(doc_id for _, doc_id in missing)[:LISTED]
            raise DeletionBrakeError(brake_message(source.name, len(missing), held, share, doc_ids, read=read), doc_ids=doc_ids)
        return [key for key, _ in missing]

    def _process(self, source: Source, window: Window, writer: _ShardWriter) -> None:
        counts = self.counts
        counts["read"] += window.read
        counts["unchanged"] += window.unchanged
        counts["rejected"] += window.rejected
        counts["chunks_reused"] += window.reused
        counts[f"read in {source.name}"] += window.read
        counts[f"unidentified in {source.name}"] += window.unidentified
        if window.documents:
            encoded = self.runner.run(wanted_texts(window.documents, [model.key for model in self.models]))
            result = collect_effects(window.documents, encoded)
            for failure in result.failures:
                self._reject(source, failure)
            writer.submit(result.upserts)
            _count_result(counts, result)
        self.sizing.observe(window)
        self.runner.monitor.log_documents(counts["read"], _done(counts))

    def _reject(self, source: Source, failure: Failure) -> None:
        document = failure.document.document
        position = f"{document.position} chunk {failure.chunk}"
        self.rejects.add(source.name, Rejected(position, failure.reason, document.text[:1000], document.id))
        self.runner.monitor.log_error(position, failure.reason)
        self.counts["rejected"] += 1


class _ShardWriter:
    """Writes whole documents to one shard after another, on a thread of its own, while the next ones are encoded.

    Leaving the context waits, and ends the last shard: by an exception, too, so that nothing that was encoded is lost.
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
        """Waits for what was submitted before; raises what that failed with."""
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
        self._file = None  # until it has proved writable
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


def _take_out_what_is_not_current(export: ExportDirectory, index: ExportIndex) -> None:
    """Writes anew each shard that holds an older version of a document, or one that is missing."""
    for shard in [shard for shard in export.shards if shard.name in index.stale_shards]:
        file = export.new_shard()
        try:
            for table in export.tables(shard):
                keys = [payload[INGEST_FIELD]["doc_key"] for payload in _payloads(export, shard, table)]
                with translated(export.path):
                    file.add_table(table.filter(pa.array([index.is_current(key, shard.name) for key in keys])))
        except BaseException:
            file.discard()
            raise
        export.add(file, instead_of=shard)


def _windows(export: ExportDirectory) -> Iterator[list[list[Point]]]:
    """The points of whole documents, about a row group at a time. A document never crosses shards, but row groups."""
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
            {name: point.vectors[name] for name in action.columns} for point, action in zip(points, plan.actions, strict=True)
        ]
        result.add(plan, [point.payload for point in points], made, rows)
    return result


def _made_from(point: Point) -> Fingerprint:
    made = fingerprint_of(point.id, point.payload)
    if made is None:
        raise ValueError(f"the payload of {point.id} has no fingerprint that this version can read")
    return made


def _payloads(export: ExportDirectory, shard: Shard, table: pa.Table) -> list[Payload]:
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


def _count_result(counts: Counter[str], result: WindowResult) -> None:
    counts["written"] += result.written
    counts["updated"] += result.updated
    counts["chunks_inserted"] += result.chunks_inserted
    counts["chunks_written"] += result.chunks_written
    counts["chunks_reused"] += result.chunks_reused


def _done(counts: Counter[str]) -> int:
    return sum(counts[outcome] for outcome in ("written", "updated", "unchanged", "rejected"))


def _receipt(collection: str, counts: Counter[str], monitor: ThroughputMonitor, *, whole: bool) -> Receipt:
    """`whole`: what is stored is what it should be."""
    seconds = monitor.elapsed()
    return Receipt(
        collection=collection,
        read=counts["read"],
        written=counts["written"],
        updated=counts["updated"],
        unchanged=counts["unchanged"],
        deleted=counts["deleted"],
        rejected=counts["rejected"],
        chunks=ChunkCounts(counts["chunks_written"], counts["chunks_reused"], counts["chunks_deleted"]),
        balanced=whole and counts["read"] == _done(counts),
        seconds=round(seconds, 3),
        models=monitor.model_reports(),
        lease_events=monitor.lease_events,
        errors=monitor.errors,
        swap_share=round(monitor.swap_seconds / seconds, 4) if seconds else 0.0,
    )
