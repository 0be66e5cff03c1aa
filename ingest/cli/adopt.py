"""`ingest adopt`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ingest.adopt.adoption import Adopted
from ingest.cli import option_groups, options
from ingest.cli.interruption import StopSignals
from ingest.cli.invocation import Invocation
from ingest.cli.monitor import open_monitor
from ingest.cli.output import plain, print_json
from ingest.cli.receipts import print_receipt
from ingest.cli.reports import preview_json, print_preview
from ingest.cli.session import collection_of, models_of, rejects_path
from ingest.errors import ConfigurationError

REJECTED = 3
"""The exit code if documents cannot be adopted, as of a run with too many rejects."""


@options.spread
def adopt(
    context: typer.Context,
    collection: Annotated[
        str, typer.Argument(metavar="COLLECTION", help="The collection of the other tool, or its alias.", show_default=False)
    ],
    models: option_groups.ModelOptions,
    into: Annotated[
        str | None, typer.Option("--into", help="Name of the new collection. [default: COLLECTION, which must be an alias]")
    ] = None,
    text_field: Annotated[
        str | None, typer.Option("--text-field", help="Payload field with the text. [default: the usual one that it has]")
    ] = None,
    id_field: Annotated[
        str | None,
        typer.Option("--id-field", help="Payload field with the id of the document of a chunk. [default: a chunk is a document]"),
    ] = None,
    order_field: Annotated[
        str | None,
        typer.Option("--order-field", help="Payload field with the position of a chunk. [default: order of the points]"),
    ] = None,
    metadata_field: Annotated[
        str | None, typer.Option("--metadata-field", help="Payload field whose fields are metadata, beside all others.")
    ] = None,
    title_field: Annotated[
        str | None,
        typer.Option("--title-field", help="Payload field with the title. [default: the usual one; none with --have]"),
    ] = None,
    have: Annotated[
        list[str] | None,
        typer.Option(
            "--have", metavar="MODEL=VECTOR", help="Model that made a vector, which is kept. MODEL= for an unnamed one."
        ),
    ] = None,
    max_delete: options.MaxDelete = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do not do it.")] = False,
    accept_rejects: Annotated[
        bool, typer.Option("--accept-rejects", help="Take the alias even if some documents cannot be adopted.")
    ] = False,
    store: options.Store = None,
    rejects: options.Rejects = None,
    as_json: options.Json = False,
) -> None:
    """Make a collection that another tool made one of ours, from its payloads.

    It is built beside the other one, which is only read and stays: with --into under a new name, else it takes its alias once it
    is complete, and ingest reindex --rollback gives it back. Run again after an interruption, it continues.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(**models.overrides, store=store, rejects=rejects, max_delete=max_delete)
    name = into or collection
    path = rejects_path(settings, name)
    with (
        StopSignals() as stop,
        open_monitor() as monitor,
        collection_of(settings, name, models=models_of(settings), monitor=monitor) as opened,
    ):
        done = opened.adopt(
            collection,
            text_field=text_field,
            id_field=id_field,
            order_field=order_field,
            metadata_field=metadata_field,
            title_field=title_field,
            have=_have(have or []),
            max_delete=settings.max_delete,
            dry_run=dry_run,
            accept_rejects=accept_rejects,
            rejects=path,
            stop=stop,
        )
    if as_json:
        print_json({**asdict(done), "preview": None if done.preview is None else preview_json(done.preview)})
    else:
        _print(done, str(path))
    if done.receipt is not None and done.problem is not None:
        raise typer.Exit(REJECTED if done.receipt.rejected else 1)


def _print(done: Adopted, rejects: str) -> None:
    title = f", title in {done.title_field}" if done.title_field else ""
    typer.echo(plain(f"{done.adopted_from}: {done.points:,} points, text in {done.text_field}{title}"))
    for model, least in done.kept.items():
        rest = f"; {count:,} chunks were encoded for lack of one that fits" if (count := done.encoded.get(model)) else ""
        typer.echo(plain(f"  vectors of {model} are kept (least cosine of a sample {least:.4f}){rest}"))
    if done.preview is not None:
        print_preview(done.preview)
    if done.receipt is not None:
        print_receipt(done.receipt, rejects=rejects)
    if done.swapped:
        typer.echo(plain(f"{done.collection} now stands for the new collection; {done.adopted_from} is unchanged"))
    elif done.receipt is not None and done.problem is None:
        typer.echo(plain(f"search the new collection as {done.collection}; {done.adopted_from} and its aliases are unchanged"))
    if done.problem is not None:
        typer.echo(plain(f"{done.collection} is not complete: {done.problem}"), err=True)


def _have(given: list[str]) -> dict[str, str]:
    """Return model → vector. Raises `ConfigurationError` for an option without a model."""
    found = {}
    for each in given:
        model, separator, vector = each.partition("=")
        if not (model and separator):
            raise ConfigurationError(f"--have {each} has no model and vector: write --have all-miniLM-l6=NAME")
        found[model] = vector
    return found
