"""`ingest eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from ingest.cli import options
from ingest.cli.invocation import Invocation
from ingest.cli.output import plain, print_json
from ingest.cli.reports import evaluation_json, print_evaluation
from ingest.cli.session import collection_of
from ingest.search.fusion import FusionMethod


def evaluate_collection(
    context: typer.Context,
    collection: options.CollectionArgument,
    beir_dir: Annotated[
        Path,
        typer.Argument(metavar="BEIR_DIR", help="Folder with queries.jsonl and qrels/test.tsv.", show_default=False),
    ],
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Run only the first N queries. [default: all]")
    ] = None,
    depth: Annotated[int, typer.Option("--depth", min=1, max=10_000, help="Number of chunks from each vector.")] = 100,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Run only the half of the queries that is never used for training or tuning.")
    ] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Tune weights on half of the queries, and test them on the other half.")
    ] = False,
    fusion: options.Fusion = "scores",
    feedback: options.Feedback = True,
    rerank: options.Rerank = None,
    reranker: options.Reranker = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Measure the quality of search on judged queries: each vector alone, fused, and reranked.

    A document has the rank of its best chunk. Requires the extra eval.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store, rerank=rerank, reranker=reranker)
    with collection_of(settings, collection) as opened:
        evaluation = opened.evaluate(
            beir_dir,
            depth=depth,
            limit=limit,
            held_out=held_out,
            fusion=cast("FusionMethod", fusion),
            feedback=feedback,
            tune=tune,
            rerank=settings.rerank,
        )
    if evaluation.note:
        typer.echo(plain(evaluation.note), err=True)
    if as_json:
        print_json(evaluation_json(evaluation))
    else:
        print_evaluation(evaluation)
