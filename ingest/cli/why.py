"""`ingest why`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from ingest.cli import options
from ingest.cli.invocation import Invocation
from ingest.cli.output import plain, print_json
from ingest.cli.search_options import QueryOptions
from ingest.cli.session import collection_of
from ingest.store.contract import Filter
from ingest.store.filters import as_where


@options.spread
def why(
    context: typer.Context,
    collection: options.CollectionArgument,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Text that was searched for.", show_default=False)],
    doc_id: Annotated[str, typer.Option("--doc-id", help="Id of the document that is missing.", show_default=False)],
    which: QueryOptions,
    tenant: options.Tenant = None,
    rerank: options.Rerank = None,
    reranker: options.Reranker = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Say why a document is not in an answer, and what would bring it in.

    Takes the options of the search as `ingest search` does.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store, rerank=rerank, reranker=reranker)
    with collection_of(settings, collection, tenant=tenant) as opened:
        found = opened.why(query, doc_id, **which.chosen(settings.rerank))
    if as_json:
        print_json({**asdict(found), "change": {name: _json(value) for name, value in found.change.items()}})
        return
    typer.echo(plain(f"{found.doc_id}: {found.sentence}"))
    for name, place in found.vectors.items():
        rank = "not found" if place.rank is None else f"#{place.rank:,}"
        score = "" if place.score is None else f" {place.score:.4f}"
        typer.echo(f"  {name}: {rank}{score}")


def _json(value: Any) -> Any:
    """Return a changed option as JSON, filters as `where` of a request takes them."""
    return [as_where(each) if isinstance(each, Filter) else each for each in value] if isinstance(value, list) else value
