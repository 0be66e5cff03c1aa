"""`ingest search`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Annotated, cast

import typer

from ingest.cli import options
from ingest.cli.answers import answer_json, print_facets, print_hits
from ingest.cli.invocation import Invocation
from ingest.cli.output import plain, print_json
from ingest.cli.session import collection_of
from ingest.search.fusion import FusionMethod
from ingest.search.request import SearchOptions
from ingest.search.together import search_together


def search(
    context: typer.Context,
    collection: Annotated[
        str,
        typer.Argument(metavar="COLLECTION", help="Name of a collection, or several separated by commas.", show_default=False),
    ],
    query: Annotated[
        str | None, typer.Argument(metavar="[QUERY]", help="Text to search for, unless --like is given.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Most hits to print.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", help="Filter that every hit meets, such as 'metadata.year>=2020 and not metadata.lang=en'. Repeatable."
        ),
    ] = None,
    vectors: options.Vectors = None,
    fusion: options.Fusion = "scores",
    feedback: options.Feedback = True,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Number of hits to skip: 10 begins with the second ten.")] = 0,
    score_threshold: Annotated[
        float | None, typer.Option("--score-threshold", help="Least score of a hit.", show_default=False)
    ] = None,
    min_rank_vectors: Annotated[
        int, typer.Option("--min-rank-vectors", min=1, help="Least number of vectors that found a hit among their best hundred.")
    ] = 1,
    group: Annotated[
        bool, typer.Option("--group", help="Print only the best chunk of each document: the same as --group-by doc_id.")
    ] = False,
    group_by: Annotated[
        str | None,
        typer.Option("--group-by", help="Group hits by a payload field: doc_id, metadata.author. --limit counts groups."),
    ] = None,
    group_size: Annotated[int, typer.Option("--group-size", min=1, max=100, help="Most hits of a group.")] = 1,
    boost: Annotated[
        list[str] | None,
        typer.Option(
            "--boost",
            help="Field that raises scores: metadata.date:30d (half-life), metadata.stars:0..5*0.5 (range, weight). Repeatable.",
        ),
    ] = None,
    diversity: Annotated[
        float, typer.Option("--diversity", min=0.0, max=1.0, help="How much hits like those before them go down, 0 to 1.")
    ] = 0.0,
    like: Annotated[
        str | None, typer.Option("--like", help="Id of a document or chunk to find others like it.", show_default=False)
    ] = None,
    facets: Annotated[
        list[str] | None, typer.Option("--facets", help="Field whose values to count over what --where allows. Repeatable.")
    ] = None,
    neighbours: Annotated[
        int, typer.Option("--context", min=0, help="Number of chunks before and after each hit to print with it.")
    ] = 0,
    rerank: options.Rerank = None,
    reranker: options.Reranker = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the rank, score and share of every vector for each hit.")
    ] = False,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Search a collection: query every vector, fuse the results, and rerank the best."""
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store, rerank=rerank, reranker=reranker)
    started = time.perf_counter()
    chosen: SearchOptions = {
        "limit": limit,
        "where": where,
        "vectors": vectors.split(",") if vectors else None,
        "fusion": cast("FusionMethod", fusion),
        "feedback": feedback,
        "offset": offset,
        "score_threshold": score_threshold,
        "min_rank_vectors": min_rank_vectors,
        "group_by": "doc_id" if group and group_by is None else group_by,
        "group_size": group_size,
        "boost": boost or (),
        "diversity": diversity,
        "like": like,
        "facets": facets or (),
        "snippets": True,
        "context": neighbours,
        "rerank": settings.rerank,
    }
    with ExitStack() as closing:
        opened = [closing.enter_context(collection_of(settings, name)) for name in collection.split(",")]
        if len(opened) == 1:
            answer = opened[0].search(query, **chosen)
        else:
            answer = search_together([each.searcher for each in opened], query or "", **chosen)
    for sentence in (*answer.warnings, *filter(None, [answer.note])):
        typer.echo(plain(sentence), err=True)
    if as_json:
        print_json(answer_json(query, answer, time.perf_counter() - started))
    else:
        print_hits(answer, explain=explain)
        print_facets(answer.facets)
        if explain and answer.feedback_seconds is not None:
            typer.echo(f"feedback took {answer.feedback_seconds * 1000:.1f} ms", err=True)
