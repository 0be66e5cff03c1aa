"""`ingest embed`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ingest.cli import option_groups, options
from ingest.cli.interruption import StopSignals
from ingest.cli.invocation import Invocation
from ingest.cli.monitor import open_monitor
from ingest.cli.output import print_json
from ingest.cli.receipts import print_receipt
from ingest.cli.session import collection_of, models_of, rejects_path, sources_of
from ingest.parameters import parse_share_or_number
from ingest.schedule.status import judge


@options.spread
def embed(
    context: typer.Context,
    source: option_groups.SourceOptions,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Directory of the export: a new one, or one to continue.", show_default=False
        ),
    ],
    models: option_groups.ModelOptions,
    max_delete: Annotated[
        str | None,
        typer.Option("--max-delete", help="Share of the documents in DIR that may be removed as missing. [default: 20%]"),
    ] = None,
    rejects: Annotated[Path | None, typer.Option("--rejects", help="Rejects file. [default: .ingest/rejects/DIR.jsonl]")] = None,
    max_rejects: options.MaxRejects = None,
    telemetry: options.Telemetry = None,
    metrics_port: options.MetricsPort = None,
    as_json: options.Json = False,
) -> None:
    """Encode sources into Parquet files, on a machine that cannot reach Qdrant.

    Run again with the same directory, it continues after an interruption, or encodes what has changed since.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(
        **source.overrides, **models.overrides, max_delete=max_delete, rejects=rejects, max_rejects=max_rejects
    )
    path = rejects_path(settings, out.absolute().name)
    keys = models_of(settings)
    with (
        StopSignals() as stop,
        open_monitor(telemetry=telemetry, metrics_port=metrics_port) as monitor,
        collection_of(settings, "export", models=keys, monitor=monitor) as opened,
    ):
        receipt = opened.export(
            sources_of(settings, **source.given), out, max_delete=settings.max_delete, rejects=path, stop=stop
        )
    if as_json:
        print_json(asdict(receipt))
    else:
        print_receipt(receipt, rejects=str(path), verbose=source.verbose)
    raise typer.Exit(judge(receipt, parse_share_or_number(settings.max_rejects)).exit_code)
