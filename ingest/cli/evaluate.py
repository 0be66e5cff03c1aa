"""`ingest eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from ingest.cli import options
from ingest.cli.output import evaluation_json, plain, print_evaluation, print_json
from ingest.cli.session import Invocation, searcher_of, store_of
from ingest.search.evaluate import evaluate
from ingest.search.fusion import FusionMethod


def evaluate_collection(
    context: typer.Context,
    collection: options.CollectionArgument,
    beir_dir: Annotated[
        Path,
        typer.Argument(metavar="BEIR_DIR", help="Folder with queries.jsonl and qrels/test.tsv.", show_default=False),
    ],
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Ask the first so many questions only. [default: all]")
    ] = None,
    depth: Annotated[int, typer.Option("--depth", min=1, max=10_000, help="Chunks that each vector brings.")] = 100,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Ask only the half of the questions that nothing is trained or tuned on.")
    ] = False,
    fusion: options.Fusion = "scores",
    feedback: options.Feedback = True,
    tune: Annotated[
        bool, typer.Option("--tune", help="Find weights on half of the questions, and try them on the other half.")
    ] = False,
    rerank: options.Rerank = None,
    reranker: options.Reranker = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Measure how good a collection answers judged questions: each vector alone, fused, and reranked.

    A document counts at the place of its best chunk. Needs the extra eval.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store, rerank=rerank, reranker=reranker)
    with store_of(settings) as opened_store:
        searcher = searcher_of(settings, opened_store, collection)
        evaluation = evaluate(
            searcher,
            beir_dir,
            depth=depth,
            limit=limit,
            held_out=held_out,
            fusion=cast("FusionMethod", fusion),
            feedback=feedback,
            tuning=tune,
            rerank=settings.rerank,
        )
    if evaluation.note:
        typer.echo(plain(evaluation.note), err=True)
    if as_json:
        print_json(evaluation_json(evaluation))
    else:
        print_evaluation(evaluation)
