"""`ingest load`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ingest.cli import options
from ingest.cli.interruption import StopSignals
from ingest.cli.invocation import Invocation
from ingest.cli.monitor import open_monitor
from ingest.cli.output import print_json
from ingest.cli.receipts import print_receipt
from ingest.cli.session import collection_of
from ingest.parameters import parse_share_or_number
from ingest.schedule.status import judge


def load(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory that ingest embed wrote.", show_default=False)],
    collection: options.Collection,
    store: options.Store = None,
    verbose: options.Detailed = False,
    as_json: options.Json = False,
) -> None:
    """Write an export of ingest embed to a collection. No model is needed.

    Every file is checked before anything is written. Run again with the same directory, it continues after an interruption.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store)
    with StopSignals() as stop, open_monitor() as monitor, collection_of(settings, collection, monitor=monitor) as opened:
        receipt = opened.load(directory, delete=settings.delete, stop=stop)
    if as_json:
        print_json(asdict(receipt))
    else:
        print_receipt(receipt, rejects="", verbose=verbose)
    raise typer.Exit(judge(receipt, parse_share_or_number(settings.max_rejects)).exit_code)
