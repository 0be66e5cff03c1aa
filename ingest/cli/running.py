"""One run, for whoever asks for it: `ingest run` or a job."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TextIO

from ingest.atomic_files import append_private
from ingest.cli.progress import open_progress
from ingest.cli.session import (
    cluster_of,
    job_of,
    models_of,
    rejects_path,
    runner_of,
    setup_of,
    sources_of,
    store_of,
    stored_manifest,
)
from ingest.cluster.engine import run_on_ray
from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble, fingerprints
from ingest.encode.lease import devices_of, places_of
from ingest.encode.models import ModelManager
from ingest.encode.openvino.choice import WORTH_CONVERTING_BYTES
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError, IngestError, PrecisionError
from ingest.parameters import parse_share_or_number
from ingest.records import Receipt, Source
from ingest.settings import Settings
from ingest.source.files import StdinSource
from ingest.source.sizes import hold_bytes
from ingest.store.contract import Manifest, Store
from ingest.store.schema import _normalize_collection_name
from ingest.sync.job import Job
from ingest.sync.moving import check_move
from ingest.sync.plan import DeleteMode
from ingest.sync.rates import load_rates, measured_rates, remember_rates
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.sync.sources import check_sources
from ingest.telemetry import ThroughputMonitor, serve_metrics

logger = logging.getLogger(__name__)

MEASURED_RATES = Path(".ingest/rates.json")


@dataclass(frozen=True, slots=True)
class Run:
    """A run that could be started: settings understood, sources found, nothing loaded or opened for writing.

    Attributes:
        rejects_allowed: a share of the records read, or a number of them; see `judge`.
    """

    settings: Settings
    job: Job
    sources: Sequence[Source]
    rejects_file: Path
    rejects_allowed: Fraction | int


def prepare(
    settings: Settings,
    collection: str,
    locations: Sequence[str],
    *,
    name: str | None,
    data_format: str | None,
    query: str | None,
    moved_from: str | None = None,
) -> Run:
    """Raises `ConfigurationError` for what cannot be meant, `SourceError` for a source that is not there."""
    models_of(settings)
    if settings.engine == "ray" and not settings.store.lower().startswith(("http://", "https://")):
        raise ConfigurationError(
            f"engine ray needs a Qdrant server, since the embedded store at {settings.store} serves one process at a time: give"
            " --store http://…"
        )
    job = job_of(settings, collection, moved_from=moved_from)
    sources = sources_of(settings, locations, name=name, data_format=data_format, query=query)
    check_move(moved_from, sources)
    return Run(
        settings=settings,
        job=job,
        rejects_allowed=parse_share_or_number(settings.max_rejects),
        rejects_file=rejects_path(settings, _normalize_collection_name(collection, settings.collections.aliases)),
        sources=check_sources(sources, deletes_missing=job.delete == DeleteMode.FULL),
    )


@dataclass(frozen=True, slots=True)
class Encoding:
    """What encodes, and what is kept of it."""

    models: Sequence[Model]
    runner: BatchRunner
    rejects: RejectsFile


@contextmanager
def encoding(
    run: Run, stored: Manifest | None = None, *, telemetry: Path | None = None, metrics_port: int | None = None
) -> Iterator[Encoding]:
    """Observed in every way that was asked for; what it measures is kept for estimates if the block ends well.

    Args:
        stored: what there is already of what is to be made.
    """
    with _observed(run, telemetry=telemetry, metrics_port=metrics_port) as (monitor, rejects):
        manager = models_of(run.settings, stored, worth_converting=hold_bytes(run.sources, WORTH_CONVERTING_BYTES))
        with runner_of(run.settings, manager, monitor) as runner:
            yield Encoding(manager.members, runner, rejects)
    remember_rates(MEASURED_RATES, fingerprints(manager.members), monitor.model_reports())


@contextmanager
def _observed(run: Run, *, telemetry: Path | None, metrics_port: int | None) -> Iterator[tuple[ThroughputMonitor, RejectsFile]]:
    with ExitStack() as stack:
        stream = stack.enter_context(open_telemetry(telemetry)) if telemetry else None
        progress = open_progress()
        stack.enter_context(progress)
        monitor = ThroughputMonitor(stream=stream, on_progress=progress)
        if metrics_port:
            stack.enter_context(serve_metrics(monitor, metrics_port))
        yield monitor, stack.enter_context(RejectsFile(run.rejects_file))


@contextmanager
def watched_runner(settings: Settings, manager: ModelManager) -> Iterator[BatchRunner]:
    """For a command that is no run: what it encodes shows as progress, and is kept nowhere."""
    with open_progress() as progress, runner_of(settings, manager, ThroughputMonitor(on_progress=progress)) as runner:
        yield runner


def execute(run: Run, *, stop: Callable[[], bool], telemetry: Path | None = None, metrics_port: int | None = None) -> Receipt:
    """Raises what `run_job` does. Where nobody asked for a precision that will not do, it is done in float32."""
    try:
        return _execute(run, stop=stop, telemetry=telemetry, metrics_port=metrics_port)
    except PrecisionError as exc:
        if run.settings.precision is not None or any(isinstance(source, StdinSource) for source in run.sources):
            raise
        logger.warning("%s: so it is done, from the start", exc)
        in_float32 = run.settings.model_copy(update={"precision": "float32"})
        return _execute(replace(run, settings=in_float32), stop=stop, telemetry=telemetry, metrics_port=metrics_port)


def _execute(run: Run, *, stop: Callable[[], bool], telemetry: Path | None, metrics_port: int | None) -> Receipt:
    with ExitStack() as stack:
        store = stack.enter_context(store_of(run.settings))
        stored = stored_manifest(run.settings, store, run.job.collection)
        if run.settings.engine == "ray":
            return _execute_on_ray(run, store, stored, stop=stop, telemetry=telemetry, metrics_port=metrics_port)
        made = stack.enter_context(encoding(run, stored, telemetry=telemetry, metrics_port=metrics_port))
        return run_job(
            run.job,
            run.sources,
            store=store,
            ensemble=Ensemble(made.runner),
            rejects=made.rejects,
            stop=stop,
        )


def _execute_on_ray(
    run: Run, store: Store, stored: Manifest | None, *, stop: Callable[[], bool], telemetry: Path | None, metrics_port: int | None
) -> Receipt:
    with _observed(run, telemetry=telemetry, metrics_port=metrics_port) as (monitor, rejects):
        receipt = run_on_ray(
            run.job,
            run.sources,
            cluster=cluster_of(run.settings),
            setup=setup_of(run.settings, stored, worth_converting=hold_bytes(run.sources, WORTH_CONVERTING_BYTES)),
            store=store,
            rejects=rejects,
            monitor=monitor,
            stop=stop,
        )
    made = stored_manifest(run.settings, store, run.job.collection)
    remember_rates(
        MEASURED_RATES, {spec.name: spec.fingerprint for spec in made.vectors} if made else {}, monitor.model_reports()
    )
    return receipt


def measured(settings: Settings, models: Sequence[Model]) -> dict[str, float]:
    """Return model key → chunks per second that earlier runs here measured."""
    places = {
        model.key: (model.fingerprint, ",".join(places_of(model, devices_of(model, settings.device or None)))) for model in models
    }
    return measured_rates(load_rates(MEASURED_RATES), places)


def open_telemetry(path: Path) -> TextIO:
    """Raises `IngestError` where it cannot be written."""
    try:
        return append_private(path)
    except OSError as exc:
        raise IngestError(f"the telemetry file {path} cannot be written ({exc.strerror}): name another with --telemetry") from exc
