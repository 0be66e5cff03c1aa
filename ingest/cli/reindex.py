"""`ingest reindex`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ingest.cli import option_groups, options
from ingest.cli.invocation import Invocation
from ingest.cli.monitor import open_monitor
from ingest.cli.output import print_json
from ingest.cli.reports import print_reindexed
from ingest.cli.session import collection_of, models_of
from ingest.errors import ConfigurationError


@options.spread
def reindex_collection(
    context: typer.Context,
    collection: options.CollectionArgument,
    models: option_groups.ModelOptions,
    store: options.Store = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Swap with the collection before the last swap; a second time, forward again.")
    ] = False,
    golden: Annotated[
        Path | None,
        typer.Option(
            "--golden", metavar="BEIR_DIR", help="Judged queries that the new collection must rank as well. Requires eval."
        ),
    ] = None,
    min_ndcg_ratio: Annotated[
        float,
        typer.Option("--min-ndcg-ratio", min=0.0, help="Share of the present fused nDCG@10 that it must reach on --golden."),
    ] = 0.98,
    self_test: Annotated[
        bool,
        typer.Option(
            "--self/--no-self", help="Without --golden: the new collection must find its own chunks as well, see eval --self."
        ),
    ] = True,
    keep_old: Annotated[
        bool, typer.Option("--keep-old/--drop-old", help="Keep the old collection or vectors for --rollback.")
    ] = True,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place", help="Build vectors of new names in the same collection: no second copy. Embedded store only."
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Build a collection again with other models, beside itself, and swap it in at once.

    It is built from its own chunks: only vectors whose model changed are encoded. The old one is searched until the swap.
    Run again after an interruption, it continues.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(**models.overrides, store=store)
    if rollback:
        if any(value is not None for value in models.overrides.values()) or golden or not keep_old or in_place:
            raise ConfigurationError("--rollback takes what was kept as it is: give no models, chunks or other options with it")
        with collection_of(settings, collection) as opened:
            done = opened.rollback()
    else:
        keys = models_of(settings)
        with open_monitor() as monitor, collection_of(settings, collection, models=keys, monitor=monitor) as opened:
            done = opened.reindex(
                golden=golden, min_ndcg_ratio=min_ndcg_ratio, self_test=self_test, keep_old=keep_old, in_place=in_place
            )
    if as_json:
        print_json(asdict(done))
    else:
        print_reindexed(done)
