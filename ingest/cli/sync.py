"""`ingest sync`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Annotated, Any

import typer

from ingest.cli import options
from ingest.cli.daemon import open_daemon
from ingest.cli.interruption import StopSignals
from ingest.cli.invocation import Invocation, store_of
from ingest.cli.jobs import check_jobs, run_one
from ingest.cli.output import print_json
from ingest.cli.reports import print_statuses
from ingest.errors import ConfigurationError
from ingest.parameters import checked, parse_choice
from ingest.schedule.status import JobRecord, status_json
from ingest.schedule.timetable import run_in_turn, worst_exit_code
from ingest.search.models import ModelPool
from ingest.settings import Settings, nearest_hint, with_jobs_changed
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
    check_jobs(settings, names)
    records = {name: JobRecord(settings.jobs_dir, name) for name in names}
    with StopSignals() as stop:
        if daemon:
            _stay(settings, names, stop)
            statuses = [record.read() for record in records.values()]
        else:
            statuses = list(run_in_turn(records, lambda name: run_one(settings, records[name], stop), stop=stop))
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


def _stay(settings: Settings, names: Sequence[str], stop: StopSignals) -> None:
    """Run the jobs on their schedules until told to stop, and serve `/healthz` and `/metrics`, unless the port is 0."""
    from ingest.metrics_server import serve_observations  # noqa: PLC0415  only the daemon serves

    with ExitStack() as stack:
        kept = _kept(settings, stack) if any(settings.jobs[name].watch for name in names) else dict
        daemon = open_daemon(settings, names, stop, kept=kept)
        if settings.daemon_port != 0:
            health, host = daemon.health, settings.daemon_host
            port = stack.enter_context(serve_observations(health, settings.daemon_port, host, health=health.report))
            logger.info("health and metrics are at http://%s:%d/healthz and /metrics", host, port)
        daemon.run()


def _kept(settings: Settings, stack: ExitStack) -> Callable[[], dict[str, Any]]:
    """Return a function that opens the store, which then stays open until the stack ends, and keeps models loaded."""
    pool = ModelPool()

    @cache
    def kept() -> dict[str, Any]:
        return {"store": stack.enter_context(store_of(settings)), "pool": pool}

    return kept
