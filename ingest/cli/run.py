"""`ingest run`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from ingest.cli import options
from ingest.cli.interruption import StopSignals
from ingest.cli.invocation import Invocation
from ingest.cli.monitor import open_monitor
from ingest.cli.output import print_json
from ingest.cli.receipts import print_receipt
from ingest.cli.session import cluster_of, collection_of, deletion_of, models_of, rejects_path, search_command, sources_of
from ingest.parameters import parse_share_or_number
from ingest.schedule.status import judge


@options.spread
def run(
    context: typer.Context,
    source: options.SourceOptions,
    collection: options.Collection,
    models: options.ModelOptions,
    deletion: options.DeleteOptions,
    engine: options.EngineOptions,
    store: options.Store = None,
    rejects: options.Rejects = None,
    max_rejects: options.MaxRejects = None,
    telemetry: options.Telemetry = None,
    metrics_port: options.MetricsPort = None,
    accept_fingerprints: options.Accept = False,
    moved_from: options.MovedFrom = None,
    reuse: options.Reuse = None,
    check: options.Check = None,
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
    with (
        StopSignals() as stop,
        open_monitor(telemetry=telemetry, metrics_port=metrics_port) as monitor,
        collection_of(settings, collection, models=keys, cluster=cluster, monitor=monitor) as opened,
    ):
        receipt = opened.sync(
            sources_of(settings, **source.given),
            **deletion_of(settings),
            accept_fingerprints=accept_fingerprints,
            moved_from=moved_from,
            reuse=settings.reuse,
            check=settings.check,
            rejects=path,
            stop=stop,
        )
    if as_json:
        print_json(asdict(receipt))
    else:
        print_receipt(receipt, rejects=str(path), verbose=source.verbose, next_step=search_command(receipt.collection, store))
    raise typer.Exit(judge(receipt, parse_share_or_number(settings.max_rejects)).exit_code)
