"""`ingest run` and `ingest plan`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TextIO

import typer

from ingest.cli import options
from ingest.cli.output import print_json, print_preview, print_receipt
from ingest.cli.progress import open_progress
from ingest.cli.session import Invocation, job_of, models_of, rejects_path, runner_of, sources_of, store_of
from ingest.errors import IngestError
from ingest.records import Receipt
from ingest.settings import share_or_number
from ingest.store.schema import _normalize_collection_name
from ingest.sync.job import run_job
from ingest.sync.preview import preview_job
from ingest.sync.rejects import RejectsFile
from ingest.telemetry import ThroughputMonitor, serve_metrics

UNBALANCED = 1
TOO_MANY_REJECTS = 3


def run(
    context: typer.Context,
    sources: options.Sources,
    collection: options.Collection,
    store: options.Store = None,
    dense: options.Dense = None,
    sparse: options.Sparse = None,
    delete: options.Delete = None,
    max_delete: options.MaxDelete = None,
    rejects: Annotated[
        Path | None, typer.Option("--rejects", help="Rejects file. [default: .ingest/rejects/COLLECTION.jsonl]")
    ] = None,
    max_rejects: Annotated[
        str | None, typer.Option("--max-rejects", help="Share or number of rejects above which it exits with 3. [default: 10%]")
    ] = None,
    name: options.Name = None,
    data_format: options.Format = None,
    query: options.SqlQuery = None,
    id_field: options.IdField = None,
    text_field: options.TextField = None,
    title_field: options.TitleField = None,
    chunk_tokens: options.ChunkTokens = None,
    chunk_overlap: options.ChunkOverlap = None,
    telemetry: Annotated[
        Path | None, typer.Option("--telemetry", help="Append lease events, passes and errors here as JSON lines.")
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", min=1, max=65535, help="Serve Prometheus metrics on this loopback port."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a collection equal to its sources.

    New and changed text is encoded and written, the rest is left alone, and the receipt says what was done.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(
        store=store,
        dense=dense,
        sparse=sparse,
        delete=delete,
        max_delete=max_delete,
        rejects=rejects,
        max_rejects=max_rejects,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_overlap,
        fields={"id": id_field, "text": text_field, "title": title_field},
    )
    allowed = share_or_number(settings.max_rejects)
    job = job_of(settings, collection)
    opened = sources_of(settings, sources, name=name, data_format=data_format, query=query)
    rejects_file = rejects_path(settings, _normalize_collection_name(collection, settings.collections.aliases))
    with ExitStack() as stack:
        manager = models_of(settings)
        stream = stack.enter_context(_open_telemetry(telemetry)) if telemetry else None
        progress = open_progress()
        stack.enter_context(progress)
        monitor = ThroughputMonitor(stream=stream, listener=progress)
        if metrics_port:
            stack.enter_context(serve_metrics(monitor, metrics_port))
        opened_store = stack.enter_context(store_of(settings))
        runner = stack.enter_context(runner_of(settings, manager, monitor))
        kept = stack.enter_context(RejectsFile(rejects_file))
        receipt = run_job(job, opened, store=opened_store, models=manager.members, runner=runner, rejects=kept, monitor=monitor)
    if as_json:
        print_json(asdict(receipt))
    else:
        print_receipt(receipt, rejects=str(rejects_file))
    raise typer.Exit(_exit_code(receipt, *allowed))


def plan(
    context: typer.Context,
    sources: options.Sources,
    collection: options.Collection,
    store: options.Store = None,
    dense: options.Dense = None,
    sparse: options.Sparse = None,
    delete: options.Delete = None,
    max_delete: options.MaxDelete = None,
    name: options.Name = None,
    data_format: options.Format = None,
    query: options.SqlQuery = None,
    id_field: options.IdField = None,
    text_field: options.TextField = None,
    title_field: options.TitleField = None,
    chunk_tokens: options.ChunkTokens = None,
    chunk_overlap: options.ChunkOverlap = None,
    as_json: options.Json = False,
) -> None:
    """Say what run would do, without doing it."""
    invocation: Invocation = context.obj
    settings = invocation.settings(
        store=store,
        dense=dense,
        sparse=sparse,
        delete=delete,
        max_delete=max_delete,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_overlap,
        fields={"id": id_field, "text": text_field, "title": title_field},
    )
    job = job_of(settings, collection)
    opened = sources_of(settings, sources, name=name, data_format=data_format, query=query)
    manager = models_of(settings)
    with store_of(settings) as opened_store:
        preview = preview_job(job, opened, store=opened_store, models=manager.members)
    if as_json:
        print_json(asdict(preview))
    else:
        print_preview(preview)


def _open_telemetry(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8")
    except OSError as exc:
        raise IngestError(f"the telemetry file {path} cannot be written ({exc.strerror}): name another with --telemetry") from exc


def _exit_code(receipt: Receipt, max_share: float, max_number: float) -> int:
    if not receipt.balanced:
        return UNBALANCED
    too_many = receipt.rejected > max_number or (max_share <= 1 and receipt.rejected > receipt.read * max_share)
    return TOO_MANY_REJECTS if too_many else 0
