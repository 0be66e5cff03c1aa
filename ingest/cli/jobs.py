"""The jobs of the settings file: what each asks of its collection, and one run of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from ingest.cli.monitor import open_monitor
from ingest.cli.session import cluster_of, collection_of, deletion_of, models_of, sources_of
from ingest.cli.watching import sync_parts, watchable_sources
from ingest.collection import Collection
from ingest.errors import ConfigurationError, SourceError
from ingest.parameters import parse_share_or_number
from ingest.receipt import Receipt
from ingest.records import Source
from ingest.run_settings import JobSettings
from ingest.schedule.status import JobRecord, JobStatus, Stop, run_recorded
from ingest.schedule.targets import Target, check_targets, job_targets
from ingest.settings import Settings, job_settings
from ingest.source.pieces import PiecesSource
from ingest.store.schema import _normalize_collection_name


def check_jobs(settings: Settings, names: Sequence[str]) -> None:
    """Raise `ConfigurationError` for anything wrong in the settings of these jobs, before anything runs."""
    check_targets({name: _targets(settings, job) for name, job in settings.jobs.items()})
    for name in names:
        try:
            with suppress(SourceError):  # the source may exist when its turn comes, and concerns this job alone
                request = _request_of(settings, name)
                if settings.jobs[name].watch:
                    watchable_sources(request["source"])
                _collection_of(settings, name).check(**request)
        except ConfigurationError as exc:
            raise type(exc)(f"job {name}: {exc}") from exc


def run_one(
    settings: Settings,
    record: JobRecord,
    stop: Stop,
    next_run: datetime | None = None,
    *,
    parts: Sequence[PiecesSource] | None = None,
    kept: Callable[[], dict[str, Any]] = dict,
) -> JobStatus:
    """Run a job, or with `parts` only the changed files of its folders, and return its status.

    Args:
        kept: returns what the runs of a process share, as arguments of `collection_of`.

    Raises what `run_recorded` raises.
    """
    job, own = settings.jobs[record.job], job_settings(settings, record.job)
    rejects = job.rejects or settings.jobs_dir / f"{record.job}.rejects.jsonl"

    def run(stop_run: Callable[[], bool]) -> Receipt:
        with open_monitor() as monitor, _collection_of(settings, record.job, monitor=monitor, **kept()) as opened:
            if parts is not None:
                monitor.on_progress = None
                return sync_parts(opened, parts, delete=own.delete, reuse=own.reuse, rejects=rejects, stop=stop_run)
            return opened.sync(**_request_of(settings, record.job), rejects=rejects, stop=stop_run)

    return run_recorded(
        record,
        run,
        stop=stop,
        # Of the few files that change at a time, all may be rejected.
        rejects_allowed=parse_share_or_number(own.max_rejects if parts is None else "100%"),
        time_limit=job.time_limit,
        next_run=next_run,
    )


def job_sources(settings: Settings, name: str) -> list[Source]:
    """Open the sources of a job."""
    job, own = settings.jobs[name], job_settings(settings, name)
    return sources_of(own, job.source, name=job.name, data_format=job.format, query=job.query)


def _targets(settings: Settings, job: JobSettings) -> list[Target]:
    collection = _normalize_collection_name(job.collection, settings.collections.aliases)
    return job_targets(collection, job.source, name=job.name, query=job.query)


def _collection_of(settings: Settings, name: str, **options: Any) -> Collection:
    own = job_settings(settings, name)
    return collection_of(own, settings.jobs[name].collection, models=models_of(own), cluster=cluster_of(own), **options)


def _request_of(settings: Settings, name: str) -> dict[str, Any]:
    """Return what a job asks of its collection, as arguments of `Collection.sync`."""
    job, own = settings.jobs[name], job_settings(settings, name)
    found = {"moved_from": job.moved_from, "reuse": own.reuse, "check": own.check, "full_check": job.full_check}
    return {"source": job_sources(settings, name), **deletion_of(own), **found}
