"""`Collection`: the product as one object. Composition only: the rooms below decide and do.

with ingest.Collection("handbook", models=["all-miniLM-l6", "bm25"]) as handbook:
receipt = handbook.sync("handbook/", delete="full")
hits = handbook.search("who may approve a refund?", limit=5)
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from ingest.encode.contract import Model
from ingest.encode.ensemble import DEFAULT_ENCODING, DEFAULT_MODELS, EncodingOptions, Ensemble, open_ensemble
from ingest.encode.openvino.choice import WORTH_CONVERTING_BYTES, WORTH_CONVERTING_CHUNKS
from ingest.errors import CollectionNotFoundError, PrecisionError
from ingest.export.directory import exported_manifest
from ingest.export.runtime import ExportRuntime
from ingest.records import Progress, Receipt, Source
from ingest.reindex.reindex import Reindexed, reindex, roll_back
from ingest.retry import RetryPolicy
from ingest.search.evaluate import Evaluation, evaluate
from ingest.search.fusion import FusionMethod
from ingest.search.request import Where
from ingest.search.rerank import DEFAULT_RERANKER, Answer, RerankMode, RerankPipeline
from ingest.search.searcher import DEFAULT_STORE, Searcher
from ingest.source.chunking import ChunkingOptions
from ingest.source.inputs import SourceLike, reads_once, sources_of
from ingest.source.sizes import hold_bytes
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Distance, Manifest, Store
from ingest.store.schema import _normalize_collection_name
from ingest.sync.deletion import undelete
from ingest.sync.job import Job
from ingest.sync.manifest import CollectionDetails, describe_collection, stored_options
from ingest.sync.plan import DeleteMode
from ingest.sync.preview import Preview, preview_job
from ingest.sync.rates import remember_rates
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.telemetry import ThroughputMonitor
from ingest.verify.verification import Verification, verify_job

OnProgress = Callable[[Progress], object]
Delete = DeleteMode | Literal["none", "incremental", "full"]
Duration = float | str | timedelta
Share = float | str | Fraction

logger = logging.getLogger(__name__)


class Collection:
    """One collection: planned, synced, searched, verified, reindexed. It opens its store at once, models when they are needed.

    Searches are safe from several threads; of the other operations run one at a time. Use it in a `with` block, or `close` it.

    Args:
        name: name of the collection, in any spelling; it is normalized.
        store: a folder for the embedded engine, a server's URL, or an open store, which stays open.
        models: registry keys or models, in the order of their passes. None: those of the stored manifest, for a new collection
            `all-miniLM-l6` and `bm25`.
        chunking, weights, distance: None: those of the stored manifest, for a new collection the defaults.
        layout: layout of the collection if it has to be created.
        reranker: registry key, folder or hub id of the reranker, or a pipeline.
        encoding: devices, backend and limits for the models.
        aliases: normalized name → name of the collection it stands for.
        state: folder for rejects, learned batch sizes and measured rates.
        api_key, ca_file, timeout, retry: connection to a store that is given as a location; see `open_store`.

    Raises `UnknownModelError` and `ConfigurationError` before anything is opened, and what `open_store` raises.
    """

    def __init__(
        self,
        name: str,
        *,
        store: Store | str | Path = DEFAULT_STORE,
        models: Sequence[str | Model] | None = None,
        chunking: ChunkingOptions | None = None,
        weights: Mapping[str, float] | None = None,
        distance: Distance | None = None,
        layout: CollectionOptions = CollectionOptions(),
        reranker: str | Path | RerankPipeline = DEFAULT_RERANKER,
        encoding: EncodingOptions = DEFAULT_ENCODING,
        aliases: Mapping[str, str] | None = None,
        state: str | Path = ".ingest",
        api_key: str | None = None,
        ca_file: str | Path | None = None,
        timeout: float = 60.0,
        retry: RetryPolicy = RetryPolicy(),
    ) -> None:
        self._raw_name, self._aliases = name, dict(aliases or {})
        self.name = _normalize_collection_name(name, self._aliases)
        self._chosen = self._given = () if models is None else encoding.check(models)
        self._chunking, self._weights, self._distance, self._layout = chunking, weights, distance, layout
        self._encoding, self._state = encoding, Path(state)
        self._reranker = reranker if isinstance(reranker, RerankPipeline) else _reranker(reranker, encoding)
        self._searcher: Searcher | None = None
        self._opening_searcher = threading.Lock()
        self._closing = ExitStack()
        self._store = (
            self._closing.enter_context(open_store(store, api_key=api_key, ca_file=ca_file, timeout=timeout, retry=retry))
            if isinstance(store, str | Path)
            else store
        )

    def close(self) -> None:
        """Close the store, unless it was given open. Idempotent."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def plan(self, source: SourceLike, *, name: str | None = None, delete: Delete = "incremental", **limits: Any) -> Preview:
        """Return what `sync` with the same arguments would do, without doing it."""
        sources, stored = sources_of(source, name=name), self._stored()
        models = self._models(stored, self._encoding, worth_converting=hold_bytes(sources, WORTH_CONVERTING_BYTES))
        return preview_job(self._job(stored, delete=delete, **limits), sources, store=self._store, models=models)

    def sync(
        self,
        source: SourceLike,
        *,
        name: str | None = None,
        delete: Delete = "incremental",
        delete_after: Duration | None = None,
        max_delete: Share = Fraction(1, 5),
        accept_fingerprints: bool = False,
        rejects: str | Path | None = None,
        on_progress: OnProgress | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Receipt:
        """Make the collection equal to its sources and return the account of it.

        Args:
            source: a path, a URL, a `Source`, several of them, or an iterable of documents or mappings.
            name: the source's name, part of every id. Records need one.
            delete: what may be deleted: `none`, `incremental` (stale chunks) or `full` (also documents missing from the source).
            delete_after: grace period for which `full` keeps missing documents soft-deleted: seconds, or text such as `7d`.
            max_delete: share of a source's documents that `full` may delete before the run stops.
            accept_fingerprints: accept the stored vectors as compatible with the models although their fingerprints differ.
            rejects: the rejects file. None: `rejects/NAME.jsonl` in the state folder.
            on_progress: called with each `Progress`, from the run's threads.
            stop: asked after each window; once it returns True the run ends, and no missing document is deleted.

        Raises what `run_job` raises. Text that int8 cannot encode well enough is encoded in float32, unless int8 was asked for.
        """
        sources = sources_of(source, name=name)
        given = {
            "delete": delete,
            "delete_after": delete_after,
            "max_delete": max_delete,
            "accept_fingerprints": accept_fingerprints,
        }
        kept = Path(rejects) if rejects else self._state / "rejects" / f"{self.name}.jsonl"
        try:
            return self._run(sources, kept, self._encoding, on_progress, stop, **given)
        except PrecisionError as exc:
            if self._encoding.backend_options.precision is not None or any(map(reads_once, sources)):
                raise
            logger.warning("%s; starting again in float32", exc)
        return self._run(sources, kept, self._encoding.in_float32(), on_progress, stop, **given)

    async def async_sync(self, source: SourceLike, *, stop: Callable[[], bool] = lambda: False, **options: Any) -> Receipt:
        """Run `sync` in another thread. Cancelling it ends the run after the window in hand, and then raises `CancelledError`."""
        cancelled = threading.Event()
        run = asyncio.ensure_future(asyncio.to_thread(self.sync, source, stop=lambda: cancelled.is_set() or stop(), **options))
        try:
            return await asyncio.shield(run)
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.wait([run])
            raise

    def verify(
        self,
        source: SourceLike,
        *,
        name: str | None = None,
        repair: bool = False,
        sample: int | Literal["all"] = 0,
        on_progress: OnProgress | None = None,
        **limits: Any,
    ) -> Verification:
        """Compare the sources with what is stored and, with `repair`, repair it. See `verify_job`."""
        sources, stored = sources_of(source, name=name), self._stored()
        job = self._job(stored, delete="full", **limits)
        with self._ensemble(stored, self._encoding, on_progress) as made:
            return verify_job(job, sources, store=self._store, ensemble=made, repair=repair, sample=sample)

    def reindex(
        self, models: Sequence[str | Model] | None = None, *, keep_old: bool = True, on_progress: OnProgress | None = None
    ) -> Reindexed:
        """Make the collection again with other models beside itself, and swap it in once it is complete. See `reindex`.

        Args:
            models: None: those of this object.
            keep_old: keep the old collection for `rollback`.
        """
        if models is not None:
            self._chosen = self._encoding.check(models)
            self._given += self._chosen
        stored = self._stored()
        worth = stored is not None and self._store.count(stored.collection) >= WORTH_CONVERTING_CHUNKS
        with self._ensemble(stored, self._encoding, on_progress, worth_converting=worth) as made:
            weights = {key: weight for key, weight in stored_options(stored).weights.items() if key in made.fingerprints}
            done = reindex(self._job(stored, weights=weights), store=self._store, ensemble=made, keep_old=keep_old)
        self._searcher = None  # it would follow in a moment
        return done

    def rollback(self) -> Reindexed:
        """Swap the collection with what it was before its last `reindex`; a second time, forward again."""
        done = roll_back(self._raw_name, store=self._store, aliases=self._aliases)
        self._chosen, self._searcher = (), None
        return done

    def undelete(self, *, sources: Sequence[str] = (), doc_ids: Sequence[str] = ()) -> int:
        """Bring back soft-deleted documents, of these sources and ids or of all, and return how many."""
        return undelete(self._store, self.name, sources, doc_ids)

    def export(
        self, source: SourceLike, directory: str | Path, *, name: str | None = None, on_progress: OnProgress | None = None
    ) -> Receipt:
        """Encode sources into Parquet files in `directory`, for `load` on a machine that reaches Qdrant."""
        sources, path = sources_of(source, name=name), Path(directory)
        stored = exported_manifest(path)
        with (
            RejectsFile(self._state / "rejects" / f"{path.absolute().name}.jsonl") as kept,
            self._ensemble(stored, self._encoding, on_progress) as made,
        ):
            return ExportRuntime(path).embed(self._job(stored), sources, ensemble=made, rejects=kept)

    def load(self, directory: str | Path, *, delete: Delete = "incremental", on_progress: OnProgress | None = None) -> Receipt:
        """Write to the collection what `export` made. No model is needed."""
        job = Job(self._raw_name, aliases=self._aliases, options=self._layout, delete=delete)
        return ExportRuntime(Path(directory)).load(job, store=self._store, monitor=ThroughputMonitor(on_progress=on_progress))

    def evaluate(self, beir_dir: str | Path, *, limit: int | None = None, rerank: bool = False) -> Evaluation:
        """Measure how well the collection answers judged queries: each vector alone, fused, and reranked."""
        return evaluate(self.searcher, beir_dir, limit=limit, rerank=rerank)

    def info(self) -> CollectionDetails:
        """Return what is stored and what it was made with. Raises `CollectionNotFoundError`."""
        return describe_collection(self._store, self.name)

    @property
    def searcher(self) -> Searcher:
        """The searcher of the collection, open as long as this object. It follows a reindex."""
        with self._opening_searcher:
            if self._searcher is None:
                devices, leases = self._encoding.devices, self._encoding.lease_directory
                self._searcher = Searcher(
                    self._store,
                    self.name,
                    models=self._stored_models,
                    devices=devices,
                    lease_directory=leases,
                    reranker=self._reranker,
                )
            return self._searcher

    def search(
        self,
        query: str,
        *,
        limit: int = 10,
        where: Where = None,
        weights: Mapping[str, float] | None = None,
        vectors: Sequence[str] | None = None,
        fusion: FusionMethod = "scores",
        feedback: bool = True,
        group_by: Literal["doc_id"] | None = None,
        context: int = 0,
        rerank: RerankMode | bool = "off",
    ) -> Answer:
        """Return the best chunks for a query, best first. See `Searcher.search`."""
        return self.searcher.search(
            query,
            limit=limit,
            where=where,
            weights=weights,
            vectors=vectors,
            fusion=fusion,
            feedback=feedback,
            group_by=group_by,
            context=context,
            rerank=rerank,
        )

    async def asearch(self, query: str, **controls: Any) -> Answer:
        """Run `search` in another thread. Safe to await many at once."""
        return await asyncio.to_thread(self.search, query, **controls)

    def _stored(self) -> Manifest | None:
        try:
            return self._store.manifest(self.name)
        except CollectionNotFoundError:
            return None

    def _job(self, stored: Manifest | None, **given: Any) -> Job:
        """Return a job with what this object was given, else what the stored manifest says, else the defaults."""
        found = stored_options(stored)
        kept = {
            "chunking": self._chunking or found.chunking,
            "weights": found.weights if self._weights is None else self._weights,
            "distance": self._distance or found.distance,
        }
        return Job(self._raw_name, aliases=self._aliases, options=self._layout, **{**kept, **given})

    def _models(self, stored: Manifest | None, encoding: EncodingOptions, *, worth_converting: bool) -> tuple[Model, ...]:
        chosen = self._chosen or ([spec.name for spec in stored.vectors] if stored else DEFAULT_MODELS)
        precisions = stored.precisions if stored else {}
        return encoding.models(chosen, stored_precisions=precisions, worth_converting=worth_converting)

    def _stored_models(self, keys: Sequence[str]) -> Sequence[Model]:
        """Return the models of the collection that is searched, for its searcher."""
        own = {each.key: each for each in self._given if not isinstance(each, str)}
        stored = self._store.manifest(self.name)
        return self._encoding.models([own.get(key, key) for key in keys], stored_precisions=stored.precisions)

    def _ensemble(
        self,
        stored: Manifest | None,
        encoding: EncodingOptions,
        on_progress: OnProgress | None,
        *,
        worth_converting: bool = False,
    ) -> AbstractContextManager[Ensemble]:
        models = self._models(stored, encoding, worth_converting=worth_converting)
        monitor = ThroughputMonitor(on_progress=on_progress)
        return open_ensemble(models, encoding, monitor=monitor, learned_batches=self._state / "batches.json")

    def _run(
        self,
        sources: Sequence[Source],
        rejects: Path,
        encoding: EncodingOptions,
        on_progress: OnProgress | None,
        stop: Callable[[], bool],
        **given: Any,
    ) -> Receipt:
        stored = self._stored()
        job = self._job(stored, **given)
        with (
            RejectsFile(rejects) as kept,
            self._ensemble(stored, encoding, on_progress, worth_converting=hold_bytes(sources, WORTH_CONVERTING_BYTES)) as made,
        ):
            receipt = run_job(job, sources, store=self._store, ensemble=made, rejects=kept, stop=stop)
        remember_rates(self._state / "rates.json", made.fingerprints, receipt.models)
        return receipt


def _reranker(model: str | Path, encoding: EncodingOptions) -> RerankPipeline:
    return RerankPipeline(
        model,
        devices=encoding.devices,
        lease_directory=encoding.lease_directory,
        exclusive=encoding.exclusive_mode,
        custom_models=encoding.custom_models,
        trust_remote_code=encoding.trust_remote_code,
        cache_directory=encoding.backend_options.cache_directory if encoding.backend_options.backend != "torch" else None,
    )
