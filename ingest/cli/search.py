"""`ingest search`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated

import typer

from ingest.cli import options
from ingest.cli.answers import answer_json, print_facets, print_hits
from ingest.cli.invocation import Invocation
from ingest.cli.notes import shown_note
from ingest.cli.output import plain, print_json
from ingest.cli.search_options import QueryOptions
from ingest.cli.searchers import searcher_of
from ingest.errors import ConfigurationError
from ingest.search.answer import Answer
from ingest.search.request import SearchOptions
from ingest.search.together import search_together
from ingest.serve.client import search_served
from ingest.settings import Settings
from ingest.store.schema import _normalize_collection_name


@options.spread
def search(
    context: typer.Context,
    collection: Annotated[
        str,
        typer.Argument(metavar="COLLECTION", help="Name of a collection, or several separated by commas.", show_default=False),
    ],
    which: QueryOptions,
    query: Annotated[
        str | None, typer.Argument(metavar="[QUERY]", help="Text to search for, unless --like is given.", show_default=False)
    ] = None,
    tenant: options.Tenant = None,
    like: Annotated[
        str | None, typer.Option("--like", help="Id of a document or chunk to find others like it.", show_default=False)
    ] = None,
    facets: Annotated[
        list[str] | None, typer.Option("--facets", help="Field whose values to count over what --where allows. Repeatable.")
    ] = None,
    neighbours: Annotated[
        int, typer.Option("--context", help="Number of chunks before and after each hit to print with it.")
    ] = 0,
    rerank: options.Rerank = None,
    reranker: options.Reranker = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the rank, score and share of every vector for each hit.")
    ] = False,
    device: options.Device = None,
    store: options.Store = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say in full why the hits are not reranked, each time.")] = False,
    as_json: options.Json = False,
) -> None:
    """Search a collection: query every vector, fuse the results, and rerank the best."""
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store, rerank=rerank, reranker=reranker, device=device)
    started = time.perf_counter()
    chosen: SearchOptions = {
        **which.chosen(settings.rerank),
        "like": like,
        "facets": facets or (),
        "snippets": True,
        "context": neighbours,
    }
    own = any(given is not None for given in (tenant, reranker, device))  # what a server would not know
    answer = None if own else search_served(settings.store, collection, query, chosen)
    if answer is None:
        answer = _search(settings, collection.split(","), query, chosen, tenant)
    note = answer.note if verbose else shown_note(answer, settings.cache_dir.expanduser())
    for sentence in (*answer.warnings, *filter(None, [note])):
        typer.echo(plain(sentence), err=True)
    if as_json:
        print_json(answer_json(query, answer, time.perf_counter() - started))
    else:
        print_hits(answer, explain=explain)
        print_facets(answer.facets)
        if explain and answer.feedback_seconds is not None:
            typer.echo(f"feedback took {answer.feedback_seconds * 1000:.1f} ms", err=True)


def _search(settings: Settings, names: Sequence[str], query: str | None, chosen: SearchOptions, tenant: str | None) -> Answer:
    if len({_normalize_collection_name(name, settings.collections.aliases) for name in names}) < len(names):
        raise ConfigurationError(f"COLLECTION: {', '.join(names)} names a collection twice: name different ones")
    with ExitStack() as closing:
        opened = [closing.enter_context(searcher_of(settings, name, tenant=tenant)) for name in names]
        return opened[0].search(query, **chosen) if len(opened) == 1 else search_together(opened, query or "", **chosen)
