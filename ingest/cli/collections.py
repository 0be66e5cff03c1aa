"""`ingest collections`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ingest.cli import options
from ingest.cli.invocation import Invocation, store_of
from ingest.cli.listing import listed_collections, listing_json, listing_table
from ingest.cli.output import plain, print_json
from ingest.cli.terminal import output
from ingest.errors import ConfigurationError
from ingest.store.payload_index import PayloadIndex

if TYPE_CHECKING:
    from ingest.collection import Collection
    from ingest.sync.stored_sources import StoredSource

app = typer.Typer(help="List, describe and drop the collections of a store.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_collections(context: typer.Context, store: options.Store = None, as_json: options.Json = False) -> None:
    """List the collections, with their points and vectors."""
    invocation: Invocation = context.obj
    with store_of(invocation.settings(store=store)) as opened:
        found = listed_collections(opened)
    if as_json:
        print_json({"collections": [listing_json(each) for each in found]})
    else:
        output().print(listing_table(found))  # a problem may contain brackets


@app.command("info")
def info(
    context: typer.Context, collection: options.CollectionArgument, store: options.Store = None, as_json: options.Json = False
) -> None:
    """Print what a collection was made with, and its sources."""
    with _collection(context, collection, store) as opened:
        details, sources = opened.info(), opened.sources()
    name, manifest, points = details.name, details.manifest, details.points
    if as_json:
        made_with = {
            **asdict(manifest.without_canaries()),
            "collection": name,
            "stored_as": manifest.collection,
            "points": points,
        }
        made_with["indexes"] = {field: asdict(index) for field, index in sorted(details.indexes.items())}
        print_json({**made_with, "sources": [asdict(source) for source in sources]})
        return
    table = Table(title=f"{_with_stored(name, manifest.collection)}: {points:,} points", title_justify="left")
    for heading in ("vector", "kind", "dimension", "distance", "weight"):
        table.add_column(heading, no_wrap=True)
    for spec in manifest.vectors:
        dim, distance = ("", "dot") if spec.kind == "sparse" else (str(spec.dim), spec.distance)
        kind = f"{spec.kind}, {spec.options['language']}" if "language" in spec.options else spec.kind
        table.add_row(spec.name, kind, dim, distance, f"{manifest.weights.get(spec.name, 1.0):g}")
    output().print(table)
    _print_indexes(details.indexes)
    _print_sources(sources)


@app.command("drop")
def drop(
    context: typer.Context,
    collection: Annotated[
        str, typer.Argument(metavar="COLLECTION", help="Name of the collection, spelled as it is listed.", show_default=False)
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Delete a collection and everything in it.

    A collection with another alias is in use and is not deleted, unless you name it as it is stored.
    """
    with _collection(context, collection, store) as opened:
        info = opened.droppable()
        called = _with_stored(opened.name, info.name)
        what = called if info.points is None else f"{called} with {info.points:,} points"
        if not yes and (as_json or not typer.confirm(f"Delete {what} in {opened.store.location}?", err=True)):
            raise ConfigurationError(f"{opened.name} was not dropped: pass --yes to drop it without confirmation")
        opened.drop()
    if as_json:
        print_json({"dropped": opened.name, "stored_as": info.name, "points": info.points})
    else:
        typer.echo(f"dropped {what}")


@app.command("forget")
def forget(
    context: typer.Context,
    collection: options.CollectionArgument,
    source: Annotated[
        str, typer.Option("--source", help="Name of the source, as collections info lists it.", show_default=False)
    ],
    delete_after: Annotated[
        str | None,
        typer.Option(
            "--delete-after",
            help="Soft-delete its documents for this time (12h, 7d). Run again afterwards, it deletes them.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Delete all documents of one source, such as a source that was renamed or that no job reads any more."""
    with _collection(context, collection, store) as opened:
        what = f"all documents of the source {source} in {opened.name}"
        if not (yes or delete_after) and (as_json or not typer.confirm(f"Delete {what} in {opened.store.location}?", err=True)):
            raise ConfigurationError(f"{source} was not deleted: pass --yes to delete it without confirmation, or --delete-after")
        forgotten = opened.forget(source, delete_after=delete_after)
    if as_json:
        print_json(asdict(forgotten))
    else:
        typer.echo(
            f"{what}: {forgotten.deleted:,} deleted, {forgotten.soft_deleted:,} soft-deleted now,"
            f" {forgotten.in_grace_period:,} soft-deleted before"
        )


@app.command("undelete")
def undelete_documents(
    context: typer.Context,
    collection: options.CollectionArgument,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="Name of a source whose documents to bring back. Repeatable. [default: all]"),
    ] = None,
    doc_id: Annotated[
        list[str] | None, typer.Option("--doc-id", help="Id of a document to bring back. Repeatable. [default: all]")
    ] = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Bring back soft-deleted documents, so that search finds them again."""
    with _collection(context, collection, store) as opened:
        documents = opened.undelete(sources=source or (), doc_ids=doc_id or ())
    if as_json:
        print_json({"collection": opened.name, "undeleted": documents})
    else:
        typer.echo(f"{documents:,} documents of {opened.name} are back")


def _collection(context: typer.Context, name: str, store: str | None) -> Collection:
    from ingest.cli.session import collection_of  # noqa: PLC0415  most of the package, which a list does not need

    invocation: Invocation = context.obj
    return collection_of(invocation.settings(store=store), name)


def _print_indexes(indexes: Mapping[str, PayloadIndex]) -> None:
    table = Table("payload index", "type", "points")
    for name, index in sorted(indexes.items()):
        table.add_row(plain(name), f"{index.type} tenant" if index.tenant else index.type, f"{index.points or 0:,}")
    if indexes:
        output().print(table)


def _print_sources(sources: Sequence[StoredSource]) -> None:
    table = Table("source", "documents", "soft-deleted", "points", "last run", "location")
    for source in sources:
        counts = ("?" if count is None else f"{count:,}" for count in (source.documents, source.soft_deleted, source.points))
        location = "" if source.location in {None, source.name} else source.location
        table.add_row(plain(source.name), *counts, source.last_run or "", plain(location or ""))
    if sources:
        output().print(table)


def _with_stored(name: str, collection: str) -> str:
    return name if name == collection else f"{name} (stored as {collection})"
