"""`ingest sync`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import cache
from typing import Annotated, Any

import typer

from ingest.cli import options
from ingest.cli.interruption import StopSignals
from ingest.cli.invocation import Invocation, store_of
from ingest.cli.monitor import open_monitor
from ingest.cli.output import print_json
from ingest.cli.reports import print_statuses
from ingest.cli.session import cluster_of, collection_of, deletion_of, models_of, sources_of
from ingest.cli.watching import open_watches, sync_parts
from ingest.collection import Collection
from ingest.errors import ConfigurationError, SourceError
from ingest.parameters import checked, parse_choice, parse_share_or_number
from ingest.receipt import Receipt
from ingest.records import Source
from ingest.run_settings import JobSettings
from ingest.schedule.health import JobsHealth, Limits
from ingest.schedule.status import JobRecord, JobStatus, run_recorded, status_json, wall_clock
from ingest.schedule.targets import Target, check_targets, job_targets
from ingest.schedule.timetable import (
    Timetable,
    Trigger,
    announce,
    job_trigger,
    run_in_turn,
    run_on_schedule,
    worst_exit_code,
)
from ingest.schedule.watching import EVERY, Watches
from ingest.search.models import ModelPool
from ingest.settings import Settings, job_settings, nearest_hint, with_jobs_changed
from ingest.source.pieces import PiecesSource
from ingest.source.watching import watchable_folders
from ingest.store.schema import _normalize_collection_name
from ingest.sync.versions import Check

logger = logging.getLogger(__name__)


def sync(
    context: typer.Context,
    jobs: Annotated[
        list[str] | None,
        typer.Argument(help="Jobs of the settings file to run. [default: all]", metavar="[JOB]...", show_default=False),
    ] = None,
    daemon: Annotated[bool, typer.Option("--daemon", help="Keep running, and run each job on its schedule.")] = False,
    max_delete: Annotated[
        str | None,
        typer.Option("--max-delete", help="Share that may be deleted, such as 50%, in this run of the named jobs."),
    ] = None,
    check: options.Check = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Run the jobs of the settings file, one after another.

    A job that fails does not stop the others. The exit code is the worst of theirs.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store)
    names = _chosen(settings, jobs or [])
    if max_delete is not None:
        if daemon or not jobs:
            raise ConfigurationError(
                "--max-delete lifts the deletion limit once, for the jobs that you name: ingest sync JOB --max-delete"
                f" {max_delete}; for every run, set max_delete in the table of the job"
            )
        settings = with_jobs_changed(settings, names, max_delete=max_delete)
    if check is not None:
        settings = with_jobs_changed(settings, names, check=checked("--check", parse_choice, check, list(Check)))
    _check(settings, names)
    records = {name: JobRecord(settings.jobs_dir, name) for name in names}
    with StopSignals() as stop:
        if daemon:
            _stay(settings, records, stop)
            statuses = [record.read() for record in records.values()]
        else:
            statuses = list(run_in_turn(records, lambda name: _run(settings, records[name], stop), stop=stop))
    if as_json:
        print_json({"jobs": {status.job: status_json(status) for status in statuses}})
    else:
        print_statuses(statuses)
    raise typer.Exit(0 if daemon else worst_exit_code(statuses))


def _chosen(settings: Settings, names: Sequence[str]) -> list[str]:
    if not settings.jobs:
        raise ConfigurationError("there are no jobs: add a table [jobs.NAME] with a source and a collection to ingest.toml")
    for name in names:
        if name not in settings.jobs:
            raise ConfigurationError(f"there is no job {name}{nearest_hint(name, settings.jobs)}")
    return list(dict.fromkeys(names)) or list(settings.jobs)


def _check(settings: Settings, names: Sequence[str]) -> None:
    """Raise `ConfigurationError` for anything wrong in the settings of these jobs, before anything runs."""
    check_targets({name: _targets(settings, job) for name, job in settings.jobs.items()})
    for name in names:
        try:
            with suppress(SourceError):  # the source may exist when its turn comes, and concerns this job alone
                request = _request_of(settings, name)
                if settings.jobs[name].watch:
                    watchable_folders(request["source"])
                _collection_of(settings, name).check(**request)
        except ConfigurationError as exc:
            raise type(exc)(f"job {name}: {exc}") from exc


def _targets(settings: Settings, job: JobSettings) -> list[Target]:
    collection = _normalize_collection_name(job.collection, settings.collections.aliases)
    return job_targets(collection, job.source, name=job.name, query=job.query)


def _run(
    settings: Settings,
    record: JobRecord,
    stop: StopSignals,
    next_run: datetime | None = None,
    *,
    parts: Sequence[PiecesSource] | None = None,
    kept: Callable[[], dict[str, Any]] = dict,
) -> JobStatus:
    """Run a job, or with `parts` only the changed files of its folders. `kept`: returns what its runs share, for a collection."""
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


def _collection_of(settings: Settings, name: str, **options: Any) -> Collection:
    own = job_settings(settings, name)
    return collection_of(own, settings.jobs[name].collection, models=models_of(own), cluster=cluster_of(own), **options)


def _request_of(settings: Settings, name: str) -> dict[str, Any]:
    """Return what a job asks of its collection, as arguments of `Collection.sync`."""
    job, own = settings.jobs[name], job_settings(settings, name)
    found = {"moved_from": job.moved_from, "reuse": own.reuse, "check": own.check, "full_check": job.full_check}
    return {"source": _sources_of(settings, name), **deletion_of(own), **found}


def _sources_of(settings: Settings, name: str) -> list[Source]:
    job, own = settings.jobs[name], job_settings(settings, name)
    return sources_of(own, job.source, name=job.name, data_format=job.format, query=job.query)


def _stay(settings: Settings, records: Mapping[str, JobRecord], stop: StopSignals) -> None:
    """Run the jobs on their schedules until told to stop."""
    jobs = {name: settings.jobs[name] for name in records}
    triggers = {name: _trigger(name, job) for name, job in jobs.items()}
    timetable = Timetable(triggers, {name: record.read() for name, record in records.items()}, wall_clock())
    watched = [name for name, job in jobs.items() if job.watch]
    watches = open_watches({name: (_sources_of(settings, name), job_settings(settings, name).delete) for name in watched}, stop)
    for name in watched:  # what changed while no daemon ran
        watches.expect_all(name)

    def run(name: str, next_run: datetime) -> None:
        with watches.batch(name) as batch:
            if batch.is_empty:
                return
            logger.info("%s: started%s", name, "" if batch.parts is None else " with what has changed")
            status = _run(settings, records[name], stop, next_run, parts=batch.parts, kept=kept)
            batch.failed = status.status == "failed"
        level = logging.INFO if status.exit_code == 0 or stop() else logging.ERROR
        logger.log(level, "%s: %s%s", name, status.status, f": {status.error}" if status.error else "")

    with ExitStack() as stack:
        kept = _kept(settings, stack) if watched else dict
        stack.enter_context(_observed(settings, records, timetable, watches))
        announce(records, timetable, watched)
        run_on_schedule(timetable, run, stop=stop, watches=watches)


def _trigger(name: str, job: JobSettings) -> Trigger:
    every = EVERY if job.watch and job.schedule is None and job.every is None else job.every
    return job_trigger(name, every=every, schedule=job.schedule)


def _kept(settings: Settings, stack: ExitStack) -> Callable[[], dict[str, Any]]:
    """Return a function that opens the store, which then stays open until the stack ends, and keeps models loaded."""
    pool = ModelPool()

    @cache
    def kept() -> dict[str, Any]:
        return {"store": stack.enter_context(store_of(settings)), "pool": pool}

    return kept


@contextmanager
def _observed(settings: Settings, records: Mapping[str, JobRecord], timetable: Timetable, watches: Watches) -> Iterator[None]:
    """Serve `/healthz` and `/metrics`, unless the port is 0."""
    from ingest.metrics_server import serve_observations  # noqa: PLC0415  only the daemon serves

    if settings.daemon_port == 0:
        yield
        return
    time_limits = {name: limit for name in records if (limit := settings.jobs[name].time_limit) is not None}
    limits = Limits(settings.daemon_max_failures, settings.daemon_grace, time_limits, settings.daemon_freshness)
    health = JobsHealth(records, timetable, limits, freshness=watches.freshness)
    with serve_observations(health, settings.daemon_port, settings.daemon_host, health=health.report) as port:
        logger.info("health and metrics are at http://%s:%d/healthz and /metrics", settings.daemon_host, port)
        yield
