"""`ingest plan`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from ingest.cli import option_groups, options
from ingest.cli.invocation import Invocation
from ingest.cli.output import print_json
from ingest.cli.reports import preview_json, print_preview, print_sizing
from ingest.cli.session import cluster_of, collection_of, deletion_of, models_of, sources_of
from ingest.cluster.capacity import Assumptions, size_plan


@options.spread
def plan(
    context: typer.Context,
    source: option_groups.SourceOptions,
    collection: options.Collection,
    models: option_groups.ModelOptions,
    deletion: option_groups.DeleteOptions,
    engine: option_groups.EngineOptions,
    machines: option_groups.MachineOptions,
    reuse: options.Reuse = None,
    check: options.Check = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Print what run would do, without doing it; with --engine ray also what it takes at other sizes."""
    invocation: Invocation = context.obj
    groups = {**source.overrides, **models.overrides, **deletion.overrides, **engine.overrides}
    settings = invocation.settings(**groups, reuse=reuse or None, check=check, store=store)
    keys, cluster = models_of(settings), cluster_of(settings)
    with collection_of(settings, collection, models=keys, cluster=cluster) as opened:
        preview = opened.plan(
            sources_of(settings, **source.given),
            **deletion_of(settings),
            reuse=settings.reuse,
            check=settings.check,
        )
    assumptions = Assumptions(replicas=settings.layout.replicas, **machines.assumed)
    sizing = size_plan(preview, assumptions) if cluster else None
    if as_json:
        print_json({**preview_json(preview), **({"sizing": asdict(sizing)} if sizing else {})})
    else:
        print_preview(preview)
        if sizing:
            print_sizing(sizing)
