"""`ingest search`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from ingest.cli import options
from ingest.cli.output import print_hits, print_json
from ingest.cli.session import Invocation, searcher_of, store_of
from ingest.store.filters import parse_expression


def search(
    context: typer.Context,
    collection: options.CollectionArgument,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question.", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Hits at most.")] = 10,
    where: Annotated[
        list[str] | None, typer.Option("--where", help="A condition such as 'metadata.year>=2020'; may be repeated.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show each hit's rank in every vector.")] = False,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Ask a collection. Every vector answers, and the answers are fused."""
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store)
    started = time.perf_counter()
    with store_of(settings) as opened_store:
        searcher = searcher_of(settings, opened_store, collection)
        conditions = [condition for expression in where or () for condition in parse_expression(expression)]
        hits = searcher.search(query, limit=limit, where=conditions)
    if as_json:
        seconds = round(time.perf_counter() - started, 3)
        print_json({"query": query, "hits": [asdict(hit) for hit in hits], "reranked": False, "seconds": seconds})
    else:
        print_hits(hits, explain=explain)
