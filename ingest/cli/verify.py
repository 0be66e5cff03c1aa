"""`ingest verify`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from ingest.cli import option_groups, options
from ingest.cli.invocation import Invocation
from ingest.cli.monitor import open_monitor
from ingest.cli.output import print_json
from ingest.cli.reports import print_verification
from ingest.cli.session import collection_of, models_of, sources_of
from ingest.errors import ConfigurationError

NOT_CLEAN = 1


@options.spread
def verify(
    context: typer.Context,
    source: option_groups.SourceOptions,
    collection: options.Collection,
    models: option_groups.ModelOptions,
    repair: Annotated[bool, typer.Option("--repair", help="Repair every finding, and change nothing else.")] = False,
    sample: Annotated[
        str,
        typer.Option("--sample", metavar="N|all", help="Number of random chunks whose vectors are encoded again and compared."),
    ] = "0",
    store: options.Store = None,
    delete_after: options.DeleteAfter = None,
    max_delete: options.MaxDelete = None,
    as_json: options.Json = False,
) -> None:
    """Compare the sources with the collection and, with --repair, repair it.

    Finds points that are missing, damaged, from other models, outdated, or whose document is missing from the source.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(
        **source.overrides, **models.overrides, store=store, delete_after=delete_after, max_delete=max_delete
    )
    size, keys = _sample_size(sample), models_of(settings)
    with open_monitor() as monitor, collection_of(settings, collection, models=keys, monitor=monitor) as opened:
        found = opened.verify(
            sources_of(settings, **source.given),
            repair=repair,
            sample=size,
            delete_after=settings.delete_after,
            max_delete=settings.max_delete,
        )
    if as_json:
        print_json(asdict(found))
    else:
        print_verification(found)
    raise typer.Exit(0 if found.clean or found.repaired else NOT_CLEAN)


def _sample_size(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if not text.isdecimal():
        raise ConfigurationError(f"--sample takes a number of chunks, or all, not {text!r}")
    return int(text)
