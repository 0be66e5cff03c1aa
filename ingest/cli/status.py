"""`ingest status`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ingest.cli import options
from ingest.cli.interruption import StopSignals
from ingest.cli.invocation import Invocation, store_of
from ingest.cli.listing import ListedCollection, listed_collections, listing_json, listing_table
from ingest.cli.output import describe_counts, plain, print_json
from ingest.encode.holder import LeaseHolder, default_lease_directory, lease_holders
from ingest.errors import ConfigurationError, StoreError
from ingest.retry import RetryPolicy
from ingest.schedule.status import JobRecord, JobStatus, status_json
from ingest.settings import Settings

WATCH_SECONDS = 2.0

_COUNTS = ("written", "updated", "unchanged", "deleted", "rejected")

_RETRY = RetryPolicy(attempts=2, seconds=5.0, longest=1.0)
"""Retries of the store. Somebody waits for the screen."""


@dataclass(frozen=True, slots=True)
class _Overview:
    """The collections, the jobs and the leases of this moment. `problem`: why the store cannot be read, or None."""

    collections: Sequence[ListedCollection]
    problem: str | None
    jobs: Sequence[JobStatus]
    leases: Sequence[LeaseHolder]


def status(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and show it again every two seconds.")] = False,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Show the collections, the jobs with their last runs, and the processes that compute now.

    If the store cannot be read, the reason takes the place of the collections.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store)
    if watch and as_json:
        raise ConfigurationError("--watch draws on a terminal and --json prints one object: choose one of them")
    if as_json:
        print_json(_json(settings, _overview(settings)))
        return
    console = Console(markup=False)
    if not watch:
        console.print(_screen(settings, _overview(settings)))
        return
    with StopSignals() as stop, Live(console=console, auto_refresh=False) as live:
        while not stop():
            live.update(_screen(settings, _overview(settings)), refresh=True)
            stop.wait(WATCH_SECONDS)


def _overview(settings: Settings) -> _Overview:
    collections, problem = [], None
    try:
        with store_of(settings, _RETRY) as opened:
            collections = listed_collections(opened)
    except StoreError as exc:
        problem = str(exc)
    jobs = [JobRecord(settings.jobs_dir, name).current() for name in settings.jobs]
    return _Overview(collections, problem, jobs, lease_holders(settings.lease_dir or default_lease_directory()))


def _json(settings: Settings, overview: _Overview) -> dict[str, Any]:
    return {
        "store": settings.store,
        "problem": overview.problem,
        "collections": [listing_json(each) for each in overview.collections],
        "jobs": {job.job: status_json(job) for job in overview.jobs},
        "leases": [{**asdict(holder), "since": holder.since.isoformat()} for holder in overview.leases],
    }


def _screen(settings: Settings, overview: _Overview) -> RenderableType:
    parts: list[RenderableType] = []
    if overview.problem:
        parts.append(Text(plain(overview.problem), style="red"))
    elif overview.collections:
        parts.append(listing_table(overview.collections))
    else:
        parts.append(Text(plain(f"no collections in {settings.store}")))
    if overview.jobs:
        parts.append(_jobs_table(overview.jobs))
    if overview.leases:
        parts.append(_leases_table(overview.leases))
    return Group(*parts)


def _jobs_table(jobs: Sequence[JobStatus]) -> Table:
    table = Table("job", "status", "last run", "next run", "last receipt")
    for job in jobs:
        last = plain(job.error or describe_counts(job.receipt, _COUNTS))
        table.add_row(plain(job.job), job.status, _time(job.started), _time(job.next_run), last)
    return table


def _leases_table(leases: Sequence[LeaseHolder]) -> Table:
    table = Table("device", "model", "process", "since")
    for holder in leases:
        table.add_row(holder.device, plain(holder.model), plain(f"{holder.command} ({holder.pid})"), _time(holder.since))
    return table


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M}"
