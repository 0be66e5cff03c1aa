"""`ingest embed` and `ingest load`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from ingest.cli import options
from ingest.cli.interruption import StopSignals
from ingest.cli.output import print_json, print_receipt
from ingest.cli.progress import open_progress
from ingest.cli.running import encoding, prepare
from ingest.cli.session import Invocation, job_of, rejects_path, store_of
from ingest.encode.ensemble import Ensemble
from ingest.export.directory import MANIFEST, ExportDirectory
from ingest.export.runtime import ExportRuntime
from ingest.parameters import parse_share_or_number
from ingest.schedule.status import judge
from ingest.sync.sources import check_sources
from ingest.telemetry import ThroughputMonitor


def embed(
    context: typer.Context,
    sources: options.Sources,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="DIR", help="Where to: a new directory, or one to go on with.", show_default=False),
    ],
    dense: options.Dense = None,
    sparse: options.Sparse = None,
    backend: options.Backend = None,
    precision: options.Precision = None,
    max_delete: Annotated[
        str | None,
        typer.Option(
            "--max-delete", help="Share of DIR's documents that may be removed as missing from the source. [default: 20%]"
        ),
    ] = None,
    rejects: Annotated[Path | None, typer.Option("--rejects", help="Rejects file. [default: .ingest/rejects/DIR.jsonl]")] = None,
    max_rejects: options.MaxRejects = None,
    name: options.Name = None,
    data_format: options.Format = None,
    query: options.SqlQuery = None,
    id_field: options.IdField = None,
    text_field: options.TextField = None,
    title_field: options.TitleField = None,
    chunk_tokens: options.ChunkTokens = None,
    chunk_overlap: options.ChunkOverlap = None,
    telemetry: options.Telemetry = None,
    metrics_port: options.MetricsPort = None,
    as_json: options.Json = False,
) -> None:
    """Encode sources into Parquet files, where Qdrant cannot be reached.

    Again with the same directory, it goes on where it was interrupted, or encodes what has changed since.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(
        dense=dense,
        sparse=sparse,
        backend=backend,
        precision=precision,
        max_delete=max_delete,
        rejects=rejects,
        max_rejects=max_rejects,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_overlap,
        fields={"id": id_field, "text": text_field, "title": title_field},
    )
    prepared = prepare(settings, "export", sources, name=name, data_format=data_format, query=query)
    prepared = replace(prepared, rejects_file=rejects_path(settings, out.absolute().name))
    continued = (out / MANIFEST).exists()
    check_sources(prepared.sources, deletes_missing=continued)
    stored = ExportDirectory.read(out).manifest if continued else None
    with StopSignals() as stop, encoding(prepared, stored, telemetry=telemetry, metrics_port=metrics_port) as made:
        receipt = ExportRuntime(out).embed(
            prepared.job,
            prepared.sources,
            ensemble=Ensemble(made.runner),
            rejects=made.rejects,
            stop=stop,
        )
    if as_json:
        print_json(asdict(receipt))
    else:
        print_receipt(receipt, rejects=str(prepared.rejects_file))
    raise typer.Exit(judge(receipt, prepared.rejects_allowed).exit_code)


def load(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What ingest embed made.", show_default=False)],
    collection: options.Collection,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Write what embed made to a collection: no model is needed.

    Every file is checked before anything is written. Again with the same directory, it goes on where it was interrupted.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store)
    job = job_of(settings, collection)
    with StopSignals() as stop, store_of(settings) as opened, open_progress() as progress:
        receipt = ExportRuntime(directory).load(job, store=opened, monitor=ThroughputMonitor(on_progress=progress), stop=stop)
    if as_json:
        print_json(asdict(receipt))
    else:
        print_receipt(receipt, rejects="")
    raise typer.Exit(judge(receipt, parse_share_or_number(settings.max_rejects)).exit_code)
