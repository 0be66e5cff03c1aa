"""`ingest eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ingest.cli import options
from ingest.cli.invocation import Invocation
from ingest.cli.output import plain, print_json
from ingest.cli.reports import evaluation_json, print_evaluation, print_self_test, self_test_json
from ingest.cli.session import collection_of
from ingest.errors import ConfigurationError
from ingest.search.fusion import CANDIDATES, FusionMethod
from ingest.search.self_test import SELF_TEST_QUERIES


def evaluate_collection(
    context: typer.Context,
    collection: options.CollectionArgument,
    beir_dir: Annotated[
        Path | None,
        typer.Argument(metavar="BEIR_DIR", help="Folder with queries.jsonl and qrels/test.tsv.", show_default=False),
    ] = None,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self", help="In place of BEIR_DIR: make queries from the collection, each of which should find its chunk."
        ),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option("--against", help="With --self: another collection of the same documents to compare results with."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Run only the first N queries. [default: all; with --self 300]")
    ] = None,
    depth: Annotated[int, typer.Option("--depth", min=1, max=10_000, help="Number of chunks from each vector.")] = CANDIDATES,
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

    A document has the rank of its best chunk. Requires the extra eval. Without judged queries, --self tells a working collection
    from a broken one.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(store=store, rerank=rerank, reranker=reranker)
    how: dict[str, Any] = {"fusion": cast("FusionMethod", fusion), "feedback": feedback}
    if self_test:
        if beir_dir is not None or held_out or tune or depth != CANDIDATES or rerank or reranker:
            raise ConfigurationError(
                "--self: takes no BEIR_DIR, --depth, --held-out, --tune, --rerank or --reranker: leave it out"
            )
        with collection_of(settings, collection) as opened:
            tested = opened.self_test(queries=limit or SELF_TEST_QUERIES, against=against, **how)
        print_json(self_test_json(tested)) if as_json else print_self_test(tested)
        return
    if beir_dir is None or against is not None:
        raise ConfigurationError("name a BEIR_DIR with judged queries, or pass --self, with which --against compares")
    with collection_of(settings, collection) as opened:
        evaluation = opened.evaluate(
            beir_dir,
            depth=depth,
            limit=limit,
            held_out=held_out,
            tune=tune,
            rerank=settings.rerank,
            **how,
        )
    if evaluation.note:
        typer.echo(plain(evaluation.note), err=True)
    print_json(evaluation_json(evaluation)) if as_json else print_evaluation(evaluation)
