"""`ingest doctor`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from ingest.cli import options
from ingest.cli.invocation import Invocation, store_of
from ingest.cli.output import plain, print_json
from ingest.cli.terminal import output
from ingest.diagnosis import Finding, diagnose
from ingest.encode.registry import find_model
from ingest.retry import RetryPolicy

_RETRY = RetryPolicy(attempts=1)


def doctor(context: typer.Context, store: options.Store = None, as_json: options.Json = False) -> None:
    """Check this machine, the store and the models of the settings, for yourself or for the report of a fault.

    Nothing is loaded or downloaded. The exit code is 1 if something that the settings name does not work.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store)
    findings = diagnose(
        open_store=partial(store_of, settings, _RETRY),
        models=[find_model(key, custom=settings.models) for key in (*settings.dense, *settings.sparse, *settings.multivector)],
        folders={"disk of the working directory": Path(), "disk of converted models": settings.cache_dir.expanduser()},
    )
    working = all(finding.ok for finding in findings)
    if as_json:
        print_json({"ok": working, "findings": [asdict(finding) for finding in findings]})
    else:
        output().print(_table(findings))
    raise typer.Exit(0 if working else 1)


def _table(findings: list[Finding]) -> Table:
    table = Table(show_header=False)
    for finding in findings:
        table.add_row(Text(plain(finding.topic)), Text(plain(finding.value), style="" if finding.ok else "red"))
    return table
