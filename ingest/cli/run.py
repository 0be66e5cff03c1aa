"""`ingest run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from ingest.cli import option_groups, options
from ingest.cli.interruption import StopSignals
from ingest.cli.invocation import Invocation
from ingest.cli.monitor import open_monitor
from ingest.cli.output import print_json
from ingest.cli.receipts import print_receipt, tell_error, tell_receipt
from ingest.cli.session import cluster_of, collection_of, deletion_of, models_of, rejects_path, search_command, sources_of
from ingest.cli.watching import JOB, open_watches, run_again, sync_parts
from ingest.errors import ConfigurationError, IngestError
from ingest.parameters import checked, parse_duration, parse_share_or_number
from ingest.receipt import Receipt
from ingest.schedule.status import judge
from ingest.schedule.watching import EVERY
from ingest.search.models import ModelPool
from ingest.source.inputs import reads_once
from ingest.source.pieces import PiecesSource


@options.spread
def run(
    context: typer.Context,
    source: option_groups.SourceOptions,
    collection: options.Collection,
    models: option_groups.ModelOptions,
    deletion: option_groups.DeleteOptions,
    engine: option_groups.EngineOptions,
    store: options.Store = None,
    rejects: options.Rejects = None,
    max_rejects: options.MaxRejects = None,
    telemetry: options.Telemetry = None,
    metrics_port: options.MetricsPort = None,
    accept_fingerprints: options.Accept = False,
    moved_from: options.MovedFrom = None,
    reuse: options.Reuse = None,
    check: options.Check = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and write changes of folders and PostgreSQL as they happen.")
    ] = False,
    every: Annotated[
        str | None,
        typer.Option("--every", help="Stay, and read the whole sources this often, such as 15m. [default with --watch: 1h]"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a collection equal to its sources.

    Encodes and writes new and changed text, leaves everything else alone, and prints the account of it.
    """
    invocation: Invocation = context.obj
    groups = {**source.overrides, **models.overrides, **deletion.overrides, **engine.overrides}
    given = {"rejects": rejects, "max_rejects": max_rejects, "reuse": reuse or None, "check": check}
    settings = invocation.settings(**groups, **given, store=store)
    path = rejects_path(settings, collection)
    keys, cluster = models_of(settings), cluster_of(settings)
    seconds, stays = _interval(every), watch or every is not None
    sources = sources_of(settings, **source.given)
    if stays and any(map(reads_once, sources)):
        raise ConfigurationError("standard input can be read only once: leave --watch and --every out, or name a file")
    with (
        StopSignals() as stop,
        open_monitor(telemetry=telemetry, metrics_port=metrics_port) as monitor,
        collection_of(
            settings, collection, models=keys, cluster=cluster, monitor=monitor, pool=ModelPool() if stays else None
        ) as opened,
    ):
        # Changes are collected from here on, so that none falls between the first run and the next.
        watches = open_watches({JOB: (sources if watch else [], settings.delete)}, stop)
        always: dict[str, Any] = {"reuse": settings.reuse, "rejects": path, "stop": stop}
        always |= {"accept_fingerprints": accept_fingerprints}

        def sync(parts: Sequence[PiecesSource] | None) -> Receipt:
            if parts is not None:
                return sync_parts(opened, parts, delete=settings.delete, **always)
            once: dict[str, Any] = {"moved_from": moved_from, "check": settings.check}
            return opened.sync(sources, **deletion_of(settings), **once, **always)

        def tell(outcome: Receipt | IngestError) -> None:
            if isinstance(outcome, IngestError):
                tell_error(outcome, as_json=as_json)
            else:
                tell_receipt(outcome, as_json=as_json)

        receipt = sync(None)
        if as_json:
            print_json(asdict(receipt))
        else:
            next_step = search_command(receipt.collection, store)
            print_receipt(receipt, rejects=str(path), verbose=source.verbose, next_step=next_step)
        if stays:
            monitor.on_progress = None  # of many short runs, their accounts tell enough
            monitor.freshness = lambda: watches.freshness(JOB) or 0.0
            run_again(sync, every=seconds, watches=watches, stop=stop, tell=tell)
            raise typer.Exit
    raise typer.Exit(judge(receipt, parse_share_or_number(settings.max_rejects)).exit_code)


def _interval(every: str | None) -> float:
    """Return the seconds from one reading of the whole sources to the next. Raises `ConfigurationError`."""
    seconds = EVERY if every is None else checked("--every", parse_duration, every)
    if seconds < 1:
        raise ConfigurationError(f"--every: {every} is less than a second: write, say, 30s or 15m")
    return seconds
