"""`Collection`: the product as one object. Composition only: the rooms below decide and do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ingest.adoptable import AdoptableCollection
from ingest.cluster.engine import run_on_ray
from ingest.editable import EditableCollection
from ingest.encode.contract import Model
from ingest.encode.ensemble import EncodingOptions
from ingest.encode.openvino.choice import WORTH_CONVERTING_BYTES, WORTH_CONVERTING_CHUNKS
from ingest.export.directory import exported_manifest
from ingest.export.runtime import ExportRuntime
from ingest.parameters import checked, parse_boolean, parse_callable, parse_path
from ingest.receipt import Receipt
from ingest.records import Source
from ingest.reindex.in_place import StagedStore, reindex_in_place
from ingest.reindex.rebuild import some_texts
from ingest.reindex.reindex import Reindexed, reindex, roll_back
from ingest.search.gate import choose_gate
from ingest.searchable import CheckMode, Delete, Duration, OnProgress, Share
from ingest.source.inputs import SourceLike, reads_once, sources_of
from ingest.source.sampling import SampledSources
from ingest.source.sizes import hold_bytes
from ingest.sync.cancellation import run_in_thread
from ingest.sync.preview import Preview, preview_job
from ingest.sync.rates import load_rates, measured_rates, remember_rates
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.telemetry import ThroughputMonitor
from ingest.verify.verification import Verification, verify_job


class Collection(EditableCollection, AdoptableCollection):
    """One collection: planned, synced, searched, verified, reindexed. See `SearchableCollection.__init__` for its arguments.

    Its store and its models are opened by the first method that needs them. Searches are safe from several threads; of the other
    methods call one at a time. Use it in a `with` block, or `close` it.
    """

    def check(self, source: SourceLike, *, name: str | None = None, delete: Delete = "incremental", **options: Any) -> None:
        """Raise `ConfigurationError` or `SourceError` if `sync` would refuse these arguments. Nothing is opened or read."""
        self._check(source, name, delete=delete, **options)

    def plan(
        self,
        source: SourceLike,
        *,
        name: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        delete: Delete = "incremental",
        delete_after: Duration | None = None,
        max_delete: Share = Fraction(1, 5),
        reuse: Sequence[str] = (),
        check: CheckMode = "version",
    ) -> Preview:
        """Return what `sync` with the same arguments would do, without doing it."""
        options = {"delete": delete, "delete_after": delete_after, "max_delete": max_delete, "reuse": reuse, "check": check}
        sources, stored = self._check(source, name, include, exclude, **options), self._stored()
        worth, sampled = hold_bytes(sources, WORTH_CONVERTING_BYTES), SampledSources(sources)
        encoding = self._encoding_for(stored, self._local_encoding, sampled.texts)
        models = self._model_maker(stored, encoding, worth_converting=worth)()
        preview = preview_job(self._job(stored, **options), sampled.sources, store=self.store, models=models)
        return replace(preview, rates=measured_rates(load_rates(self._rates), self._encoding.places(models)))

    def sync(
        self,
        source: SourceLike,
        *,
        name: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        delete: Delete = "incremental",
        delete_after: Duration | None = None,
        max_delete: Share = Fraction(1, 5),
        accept_fingerprints: bool = False,
        moved_from: str | None = None,
        reuse: Sequence[str] = (),
        check: CheckMode = "version",
        full_check: Duration | None = None,
        rejects: str | Path | None = None,
        on_progress: OnProgress | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Receipt:
        """Make the collection equal to its sources and return the account of it.

        Args:
            source: a path, a URL, a `Source`, several of them, or an iterable of documents or mappings.
            name: the source's name, part of every id. Records need one.
            include, exclude: patterns of the files of a folder to read (none: all) and to leave out, such as `*.md`.
            delete: what may be deleted: `none`, `incremental` (stale chunks) or `full` (also documents missing from the source).
            delete_after: grace period for which `full` soft-deletes documents first: seconds, or text such as `7d`.
            max_delete: share of a source's documents that `full` may delete before the run stops.
            accept_fingerprints: accept the stored vectors as compatible with the models although their fingerprints differ.
            moved_from: former name of the only source, or former path of a folder in it: its points are taken along.
            reuse: other collections in the store, or `["all"]`, whose vectors of equal texts are copied.
            check: `version`: documents whose version is the stored one are not read. `content`: everything is read.
            full_check: time after which everything is read again, such as `7d`. None: never.
            rejects: the rejects file. None: `rejects/NAME.jsonl` in the state folder.
            on_progress: called with each `Progress`, from the run's threads, instead of the monitor's own function.
            stop: called after each window; once it returns True the run ends without deleting missing documents.

        Raises what `run_job` and `run_on_ray` raise. If int8 is not accurate enough and no precision is configured, it runs again
        in float32.
        """
        options: dict[str, Any] = {"delete": delete, "delete_after": delete_after, "max_delete": max_delete, "check": check}
        options |= {"accept_fingerprints": accept_fingerprints, "moved_from": moved_from, "reuse": reuse}
        options["full_check"] = full_check
        sources = self._check(source, name, include, exclude, **options)
        options = {"options": options, "rejects": self._rejects_path(rejects), "monitor": self._monitored(on_progress)}
        run = partial(self._run, sources=sources, **options, stop=checked("stop", parse_callable, stop))
        return self._encoding.or_in_float32(run, repeatable=not any(map(reads_once, sources)))

    async def async_sync(self, source: SourceLike, *, stop: Callable[[], bool] = lambda: False, **options: Any) -> Receipt:
        """Run `sync` in another thread. Cancelling it ends the run after the window in hand, and then raises `CancelledError`."""
        return await run_in_thread(lambda stop: self.sync(source, stop=stop, **options), stop)

    def verify(
        self,
        source: SourceLike,
        *,
        name: str | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        repair: bool = False,
        sample: int | Literal["all"] = 0,
        delete_after: Duration | None = None,
        max_delete: Share = Fraction(1, 5),
        on_progress: OnProgress | None = None,
    ) -> Verification:
        """Compare the sources with what is stored and, with `repair`, repair it. See `verify_job`."""
        options = {"delete": "full", "delete_after": delete_after, "max_delete": max_delete}
        sources, stored = self._check(source, name, include, exclude, **options), self._stored()
        job, sampled = self._job(stored, **options), SampledSources(sources)
        encoding = self._proven_encoding(stored, self._encoding, sampled.texts)
        with self._ensemble(stored, encoding, self._monitored(on_progress)) as ensemble:
            return verify_job(job, sampled.sources, store=self.store, ensemble=ensemble, repair=repair, sample=sample)

    def reindex(
        self,
        models: Sequence[str | Model] | None = None,
        *,
        golden: str | Path | None = None,
        min_ndcg_ratio: float = 0.98,
        self_test: bool = True,
        keep_old: bool = True,
        in_place: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Reindexed:
        """Build the collection again with other models beside itself, and swap it in once it is complete. See `reindex`.

        Args:
            models: None: those of this object.
            golden, min_ndcg_ratio, self_test: what the new collection must pass to be swapped in, see `choose_gate`.
            keep_old: keep the old collection, or the old vectors, for `rollback`.
            in_place: build new vectors in the same collection instead, see `reindex_in_place`. Embedded store only.
        """
        build = reindex_in_place if checked("in_place", parse_boolean, in_place) else reindex
        if models is not None:
            self._chosen = self._encoding.check(models)
            self._given += self._chosen
        stored = self._stored()
        worth = stored is not None and self.store.count(stored.collection) >= WORTH_CONVERTING_CHUNKS
        texts = partial(some_texts, self.store, stored.collection) if stored else list
        encoding = self._proven_encoding(stored, self._encoding, texts)
        with self._ensemble(stored, encoding, self._monitored(on_progress), worth_converting=worth) as ensemble:
            job = self._job(stored, weights=self._weights or {})
            open_searcher = partial(self._open_searcher, store=StagedStore(self.store, self.name))
            gate = choose_gate(open_searcher, self.name, golden, min_ndcg_ratio, self_test=self_test)
            done = build(job, store=self.store, ensemble=ensemble, gate=gate, keep_old=keep_old)
        self._searcher = None  # it would follow only after some seconds
        return done

    def rollback(self) -> Reindexed:
        """Swap the collection or its vectors with those before its last `reindex`; a second time, forward again."""
        done = roll_back(self._raw_name, store=self.store, aliases=self._aliases)
        self._chosen, self._searcher = (), None
        return done

    def export(
        self,
        source: SourceLike,
        directory: str | Path,
        *,
        name: str | None = None,
        max_delete: Share = Fraction(1, 5),
        rejects: str | Path | None = None,
        on_progress: OnProgress | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Receipt:
        """Encode sources into Parquet files in `directory`, for `load` on a machine that reaches Qdrant. Opens no store."""
        path, runtime = checked("directory", parse_path, directory), ExportRuntime(directory)
        stop = checked("stop", parse_callable, stop)
        sources, monitor = sources_of(source, name=name), self._monitored(on_progress)
        kept, stored = self._rejects_path(rejects, path.absolute().name), exported_manifest(path)
        worth, sampled = hold_bytes(sources, WORTH_CONVERTING_BYTES), SampledSources(sources)
        job, encoding = self._job(stored, max_delete=max_delete), self._proven_encoding(stored, self._encoding, sampled.texts)
        with RejectsFile(kept) as file, self._ensemble(stored, encoding, monitor, worth_converting=worth) as ensemble:
            return runtime.embed(job, sampled.sources, ensemble=ensemble, rejects=file, stop=stop)

    def load(
        self,
        directory: str | Path,
        *,
        delete: Delete = "incremental",
        on_progress: OnProgress | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Receipt:
        """Write what `export` made to the collection. No model is needed."""
        job, stop = self._job(None, weights={}, delete=delete), checked("stop", parse_callable, stop)
        return ExportRuntime(directory).load(job, store=self.store, monitor=self._monitored(on_progress), stop=stop)

    def _run(
        self,
        encoding: EncodingOptions,
        *,
        sources: Sequence[Source],
        options: Mapping[str, Any],
        rejects: Path,
        monitor: ThroughputMonitor,
        stop: Callable[[], bool],
    ) -> Receipt:
        stored = self._stored()
        job, worth = self._job(stored, **options), hold_bytes(sources, WORTH_CONVERTING_BYTES)
        sampled = SampledSources([each for each in sources if self._cluster is None or not reads_once(each)])
        encoding = self._proven_encoding(stored, encoding, sampled.texts)
        with RejectsFile(rejects) as file:
            if self._cluster is None:
                with self._ensemble(stored, encoding, monitor, worth_converting=worth) as ensemble:
                    return run_job(job, sampled.sources, store=self.store, ensemble=ensemble, rejects=file, stop=stop)
            setup = self._worker_setup(stored, encoding, worth_converting=worth)
            where: Any = {"cluster": self._cluster, "setup": setup, "monitor": monitor}
            receipt = run_on_ray(job, sources, **where, store=self.store, rejects=file, stop=stop)
        remember_rates(self._rates, self.info().manifest.fingerprints, receipt.models)
        return receipt
