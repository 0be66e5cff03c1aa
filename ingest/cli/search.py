"""`ingest search`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, cast

import typer

from ingest.cli import options
from ingest.cli.output import plain, print_hits, print_json, rerank_json
from ingest.cli.session import Invocation, searcher_of, store_of
from ingest.search.fusion import FusionMethod


def search(
    context: typer.Context,
    collection: options.CollectionArgument,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="The question.", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Hits at most.")] = 10,
    where: Annotated[
        list[str] | None, typer.Option("--where", help="A condition such as 'metadata.year>=2020'; may be repeated.")
    ] = None,
    vectors: Annotated[str | None, typer.Option("--vectors", help="Ask these vectors only, joined by commas.")] = None,
    fusion: options.Fusion = "scores",
    feedback: options.Feedback = True,
    group: Annotated[bool, typer.Option("--group", help="Show the best chunk of each document only.")] = False,
    neighbours: Annotated[int, typer.Option("--context", min=0, help="Chunks before and after each hit to show with it.")] = 0,
    rerank: options.Rerank = None,
    reranker: options.Reranker = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show each vector's rank, score and share of every hit."),
    ] = False,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Ask a collection. Every vector answers, the answers are fused, and a reranker reads the best again."""
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store, rerank=rerank, reranker=reranker)
    started = time.perf_counter()
    with store_of(settings) as opened_store:
        searcher = searcher_of(settings, opened_store, collection)
        answer = searcher.search(
            query,
            limit=limit,
            where=where,
            vectors=vectors.split(",") if vectors else None,
            fusion=cast("FusionMethod", fusion),
            feedback=feedback,
            group_by="doc_id" if group else None,
            context=neighbours,
            rerank=settings.rerank,
        )
    for sentence in (*answer.warnings, *filter(None, [answer.note])):
        typer.echo(plain(sentence), err=True)
    if as_json:
        print_json(
            {
                "query": query,
                "hits": [asdict(hit) for hit in answer],
                "reranked": answer.reranked,
                "rerank": rerank_json(answer.details),
                "note": answer.note,
                "warnings": answer.warnings,
                "feedback_seconds": answer.feedback_seconds,
                "seconds": round(time.perf_counter() - started, 3),
            }
        )
    else:
        print_hits(answer, explain=explain)
        if explain and answer.feedback_seconds is not None:
            typer.echo(f"feedback took {answer.feedback_seconds * 1000:.1f} ms", err=True)
