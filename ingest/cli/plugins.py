"""`ingest plugins`."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.table import Table
from rich.text import Text

from ingest.cli import options
from ingest.cli.output import plain, print_json
from ingest.cli.terminal import output
from ingest.plugin_report import list_plugins


def plugins(as_json: options.Json = False) -> None:
    """List the installed plugins and what each brings. One that cannot be used is listed with the reason."""
    found = list_plugins()
    if as_json:
        print_json({"plugins": [asdict(plugin) for plugin in found]})
        return
    if not found:
        typer.echo("no plugins are installed")
        return
    table = Table()
    for heading in ("kind", "name", "package"):
        table.add_column(heading, no_wrap=True)
    table.add_column("brings")
    for plugin in found:
        brings = Text(plain(plugin.problem or plugin.brings), style="red" if plugin.problem else "")
        table.add_row(plugin.kind, plain(plugin.name), plain(f"{plugin.package} {plugin.version}"), brings)
    output().print(table)
