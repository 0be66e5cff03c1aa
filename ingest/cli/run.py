"""`ingest run` and `ingest plan`."""

from __future__ import annotations

from dataclasses import asdict, replace

import typer

from ingest.cli import options
from ingest.cli.interruption import StopSignals
from ingest.cli.output import preview_json, print_json, print_preview, print_receipt, print_sizing
from ingest.cli.running import execute, measured, prepare
from ingest.cli.session import Invocation, models_of, store_of, stored_manifest
from ingest.cluster.capacity import Assumptions, size_plan
from ingest.encode.openvino.choice import WORTH_CONVERTING_BYTES
from ingest.schedule.status import judge
from ingest.source.sizes import hold_bytes
from ingest.sync.preview import preview_job


@options.spread
def run(
    context: typer.Context,
    wanted: options.Wanted,
    where: options.Where,
    rejects: options.Rejects = None,
    max_rejects: options.MaxRejects = None,
    telemetry: options.Telemetry = None,
    metrics_port: options.MetricsPort = None,
    accept_fingerprints: options.Accept = False,
    moved_from: options.MovedFrom = None,
    as_json: options.Json = False,
) -> None:
    """Make a collection equal to its sources.

    New and changed text is encoded and written, the rest is left alone, and the receipt says what was done.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(**wanted.overrides, **where.overrides, rejects=rejects, max_rejects=max_rejects)
    prepared = prepare(
        settings,
        wanted.collection,
        wanted.sources,
        name=wanted.name,
        data_format=wanted.data_format,
        query=wanted.query,
        moved_from=moved_from,
    )
    prepared = replace(prepared, job=replace(prepared.job, accept_fingerprints=accept_fingerprints))
    with StopSignals() as stop:
        receipt = execute(prepared, stop=stop, telemetry=telemetry, metrics_port=metrics_port)
    if as_json:
        print_json(asdict(receipt))
    else:
        print_receipt(receipt, rejects=str(prepared.rejects_file))
    raise typer.Exit(judge(receipt, prepared.rejects_allowed).exit_code)


@options.spread
def plan(
    context: typer.Context,
    wanted: options.Wanted,
    where: options.Where,
    machines: options.Machines,
    as_json: options.Json = False,
) -> None:
    """Say what run would do, without doing it; with --engine ray also what it takes at other sizes."""
    invocation: Invocation = context.obj
    settings = invocation.settings(**wanted.overrides, **where.overrides)
    prepared = prepare(
        settings,
        wanted.collection,
        wanted.sources,
        name=wanted.name,
        data_format=wanted.data_format,
        query=wanted.query,
    )
    with store_of(settings) as store:
        stored = stored_manifest(settings, store, wanted.collection)
        models = models_of(settings, stored, worth_converting=hold_bytes(prepared.sources, WORTH_CONVERTING_BYTES)).members
        preview = preview_job(prepared.job, prepared.sources, store=store, models=models)
    preview = replace(preview, rates=measured(settings, models))
    assumed = replace(Assumptions(replicas=settings.layout.replicas), **machines.assumed)
    sizing = size_plan(preview, assumed) if settings.engine == "ray" else None
    if as_json:
        print_json({**preview_json(preview), **({"sizing": asdict(sizing)} if sizing else {})})
    else:
        print_preview(preview)
        if sizing:
            print_sizing(sizing)
