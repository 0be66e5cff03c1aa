"""`ingest verify`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingest.cli import options
from ingest.cli.output import plain, print_json
from ingest.cli.running import watched_runner
from ingest.cli.session import Invocation, job_of, models_of, sources_of, store_of, stored_manifest
from ingest.encode.ensemble import Ensemble
from ingest.errors import ConfigurationError
from ingest.sync.sources import check_sources
from ingest.verify.verification import Verification, verify_job

NOT_CLEAN = 1


def verify(
    context: typer.Context,
    sources: options.Sources,
    collection: options.Collection,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is found, and nothing else.")] = False,
    sample: Annotated[
        str,
        typer.Option("--sample", metavar="N|all", help="Chunks, chosen by chance, whose vectors are encoded again and compared."),
    ] = "0",
    store: options.Store = None,
    dense: options.Dense = None,
    sparse: options.Sparse = None,
    delete_after: options.DeleteAfter = None,
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
    """Compare the sources with what is stored, and mend it if asked to.

    Finds what is missing, damaged, made by other models, changed since, or no longer in the source.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(
        store=store,
        dense=dense,
        sparse=sparse,
        delete_after=delete_after,
        max_delete=max_delete,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_overlap,
        fields={"id": id_field, "text": text_field, "title": title_field},
    )
    size = _sample_size(sample)
    job = job_of(settings, collection)
    opened = check_sources(sources_of(settings, sources, name=name, data_format=data_format, query=query), deletes_missing=True)
    with store_of(settings) as opened_store:
        manager = models_of(settings, stored_manifest(settings, opened_store, collection))
        with watched_runner(settings, manager) as runner:
            found = verify_job(
                job,
                opened,
                store=opened_store,
                ensemble=Ensemble(runner),
                repair=repair,
                sample=size,
            )
    if as_json:
        print_json(asdict(found))
    else:
        _print(found)
    raise typer.Exit(0 if found.clean or found.repaired else NOT_CLEAN)


def _sample_size(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if not text.isdecimal():
        raise ConfigurationError(f"--sample takes a number of chunks, or all, not {text!r}")
    return int(text)


def _print(found: Verification) -> None:
    """What was found, for people."""
    console = Console()
    table = Table(title=f"{found.collection}: {found.seconds:.1f} s", title_justify="left", show_header=False)
    for name in ("read", "rejected", "points", "sampled", "soft_deleted", "others"):
        table.add_row(name.replace("_", "-"), f"{getattr(found, name):,}")
    for kind, finding in found.findings.items():
        table.add_row(Text(kind.replace("_", " "), style="bold red"), f"{finding.count:,}")
    console.print(table)
    for kind, finding in found.findings.items():
        for example in finding.examples:
            console.print(Text(plain(f"{kind.replace('_', ' ')}: {example}")))
        if finding.count > len(finding.examples):
            console.print(Text(f"{kind.replace('_', ' ')}: … and {finding.count - len(finding.examples):,} more"))
    for error in found.errors:
        console.print(Text(plain(error), style="red"))
    console.print(Text(_conclusion(found), style="bold"))


def _conclusion(found: Verification) -> str:
    if found.clean:
        return "clean: what is stored is what the sources say"
    if found.repaired:
        done = found.repairs
        return (
            f"repaired: {done.points:,} points, {done.vectors:,} vectors and {done.payloads:,} payloads written, "
            f"{done.deleted:,} points deleted, {done.soft_deleted:,} soft-deleted"
        )
    return (
        "NOT clean: mend it with --repair"
        if found.findings and not any(asdict(found.repairs).values())
        else "NOT clean: see above"
    )
