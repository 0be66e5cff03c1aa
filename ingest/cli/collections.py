"""`ingest collections`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ingest.cli import options
from ingest.cli.output import print_json
from ingest.cli.session import Invocation, store_of
from ingest.errors import CollectionNotFoundError, ConfigurationError, StoreError
from ingest.store.contract import CollectionInfo, Store
from ingest.store.schema import _normalize_collection_name

app = typer.Typer(help="The collections of a store.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_collections(context: typer.Context, store: options.Store = None, as_json: options.Json = False) -> None:
    """List the collections, with their points and vectors."""
    invocation: Invocation = context.obj
    with store_of(invocation.settings(store=store)) as opened:
        found = opened.collections()
    if as_json:
        print_json({"collections": [asdict(info) for info in found]})
        return
    table = Table("collection", "points", "vectors")
    for info in found:
        table.add_row(info.name, "?" if info.points is None else f"{info.points:,}", _vectors(info))
    Console(markup=False).print(table)  # a problem may hold brackets


@app.command("info")
def info(
    context: typer.Context, collection: options.CollectionArgument, store: options.Store = None, as_json: options.Json = False
) -> None:
    """Show what a collection was made with."""
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store)
    with store_of(settings) as opened:
        manifest = opened.manifest(_normalize_collection_name(collection, settings.collections.aliases))
        points = opened.count(manifest.collection)
    if as_json:
        print_json({**asdict(manifest), "points": points})
        return
    table = Table(title=f"{manifest.collection}: {points:,} points", title_justify="left")
    for heading in ("vector", "kind", "dimension", "distance", "weight"):
        table.add_column(heading, no_wrap=True)
    for spec in manifest.vectors:
        kind, dim, distance = ("sparse", "", "dot") if spec.sparse else ("dense", str(spec.dim), spec.distance)
        table.add_row(spec.name, kind, dim, distance, f"{manifest.weights.get(spec.name, 1.0):g}")
    Console().print(table)


@app.command("drop")
def drop(
    context: typer.Context,
    collection: Annotated[
        str, typer.Argument(metavar="COLLECTION", help="The collection, spelled as it is listed.", show_default=False)
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Delete a collection and everything in it."""
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store)
    name = _normalize_collection_name(collection, settings.collections.aliases)
    if name != collection:
        raise ConfigurationError(f"{collection} is another spelling of {name}: to drop the collection {name}, call it that")
    with store_of(settings) as opened:
        info = _ours(opened, name)
        what = name if info.points is None else f"{name} with {info.points:,} points"
        if not yes and (as_json or not typer.confirm(f"Delete {what} in {opened.location}?", err=True)):
            raise ConfigurationError(f"{name} was not dropped: say --yes to drop it without being asked")
        opened.drop(name)
    if as_json:
        print_json({"dropped": name, "points": info.points})
    else:
        typer.echo(f"dropped {what}")


def _ours(store: Store, name: str) -> CollectionInfo:
    """As it is listed: what is damaged must be named, and dropped, without being opened."""
    for info in store.collections():
        if info.name == name:
            if info.ours:
                return info
            raise StoreError(
                f"the collection {name} in {store.location} was not dropped, because"
                f" {info.problem or 'it was not made by ingest: drop it with the tool that made it'}"
            )
    raise CollectionNotFoundError(f"there is no collection {name} in {store.location}: see ingest collections list")


def _vectors(info: CollectionInfo) -> str:
    if info.problem is not None:
        return info.problem
    if info.manifest is None:
        return "(not made by ingest)"
    return ", ".join(spec.name for spec in info.manifest.vectors)
