"""The commands by name, and a group that imports the module of a command when the command is used, not when it is listed."""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "run": ("ingest.cli.run:run", "Make a collection equal to its sources."),
        "plan": ("ingest.cli.plan:plan", "Print what run would do, without doing it."),
        "sync": ("ingest.cli.sync:sync", "Run the jobs of the settings file."),
        "status": ("ingest.cli.status:status", "Show collections, jobs, and what runs now."),
        "doctor": ("ingest.cli.doctor:doctor", "Check this machine, the store and the models."),
        "verify": ("ingest.cli.verify:verify", "Compare a collection with its sources, and repair it."),
        "reindex": ("ingest.cli.reindex:reindex_collection", "Build a collection again with other models, and swap."),
        "adopt": ("ingest.cli.adopt:adopt", "Take over a collection that another tool made."),
        "search": ("ingest.cli.search:search", "Search a collection."),
        "why": ("ingest.cli.why:why", "Say why a document is not in an answer."),
        "serve": ("ingest.cli.serve:serve", "Serve collections over HTTP."),
        "mcp": ("ingest.cli.mcp:mcp", "Serve collections to language models."),
        "eval": ("ingest.cli.evaluate:evaluate_collection", "Measure the quality of search on judged queries."),
        "embed": ("ingest.cli.embed:embed", "Encode sources into Parquet files, without Qdrant."),
        "load": ("ingest.cli.load:load", "Write an export of ingest embed to a collection."),
        "bench": ("ingest.cli.bench:bench", "Measure how fast this machine encodes."),
        "collections": ("ingest.cli.collections:app", "List, describe and drop the collections of a store."),
        "models": ("ingest.cli.models:app", "List, check, convert and download models."),
        "plugins": ("ingest.cli.plugins:plugins", "List the installed plugins and what each brings."),
    }
)
"""Name of a command → its function or group, as `module:name`, and its line in the list of commands."""


class LazyGroup(TyperGroup):
    """A group of `COMMANDS`. Listing them imports none of their modules."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, line) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that the arguments name, imported, and the arguments left for it."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else load_command(name), rest


def load_command(name: str) -> Any:
    """Import one of `COMMANDS` and return it as click has it."""
    found = resolve_name(COMMANDS[name][0])
    if isinstance(found, typer.Typer):
        return typer.main.get_group(found)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name)(found)
    return typer.main.get_command(app)
