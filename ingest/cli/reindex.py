"""`ingest reindex`."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ingest.cli import options
from ingest.cli.output import print_json
from ingest.cli.running import watched_runner
from ingest.cli.session import Invocation, job_of, models_of, searcher_of, store_of, stored_manifest
from ingest.encode.ensemble import Ensemble
from ingest.encode.openvino.choice import WORTH_CONVERTING_CHUNKS
from ingest.errors import ConfigurationError
from ingest.reindex.reindex import Reindexed, reindex, roll_back
from ingest.search.gate import QualityGate
from ingest.settings import Settings


def reindex_collection(
    context: typer.Context,
    collection: options.CollectionArgument,
    store: options.Store = None,
    dense: options.Dense = None,
    sparse: options.Sparse = None,
    backend: options.Backend = None,
    precision: options.Precision = None,
    chunk_tokens: options.ChunkTokens = None,
    chunk_overlap: options.ChunkOverlap = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Swap with what it was before the last swap; again, and it is forward.")
    ] = False,
    golden: Annotated[
        Path | None,
        typer.Option("--golden", metavar="BEIR_DIR", help="Judged questions that the new one must answer as well. Needs eval."),
    ] = None,
    min_ndcg_ratio: Annotated[
        float, typer.Option("--min-ndcg-ratio", min=0.0, help="Of the fused nDCG@10 that it has now, what it must reach.")
    ] = 0.98,
    keep_old: Annotated[
        bool, typer.Option("--keep-old/--drop-old", help="Keep the collection as it was, for --rollback.")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Make a collection anew with other models, beside itself, and swap it in at once.

    It is made of its own chunks: only vectors whose model changed are encoded. It answers as before until the swap.
    Interrupted, it goes on when run again.
    """
    invocation: Invocation = context.obj
    settings = invocation.settings(
        store=store,
        dense=dense,
        sparse=sparse,
        backend=backend,
        precision=precision,
        chunk_tokens=chunk_tokens,
        chunk_overlap=chunk_overlap,
    )
    if rollback:
        if dense or sparse or backend or precision or golden or chunk_tokens or chunk_overlap or not keep_old:
            raise ConfigurationError("--rollback takes what was kept as it is: give no models, chunks or --golden with it")
        with store_of(settings) as opened:
            done = roll_back(collection, store=opened, aliases=settings.collections.aliases)
    else:
        done = _reindexed(settings, collection, golden, min_ndcg_ratio, keep_old=keep_old)
    if as_json:
        print_json(asdict(done))
    else:
        _print(done)


def _reindexed(settings: Settings, collection: str, golden: Path | None, ratio: float, *, keep_old: bool) -> Reindexed:
    job = job_of(settings, collection)
    with store_of(settings) as store:
        stored = stored_manifest(settings, store, collection)
        worth_converting = stored is not None and store.count(stored.collection) >= WORTH_CONVERTING_CHUNKS
        manager = models_of(settings, stored, worth_converting=worth_converting)
        with watched_runner(settings, manager) as runner:
            return reindex(
                job,
                store=store,
                ensemble=Ensemble(runner),
                gate=QualityGate(partial(searcher_of, settings, store), collection, golden, ratio) if golden else None,
                keep_old=keep_old,
            )


def _print(done: Reindexed) -> None:
    """What was done, for people."""
    table = Table(title=f"{done.collection}: {done.seconds:.1f} s", title_justify="left", show_header=False)
    table.add_row("points", f"{done.points:,}")
    for name, chunks in done.copied.items():
        table.add_row(name, f"{chunks:,} copied")
    for name, chunks in done.encoded.items():
        table.add_row(name, f"{chunks:,} encoded")
    table.add_row("stored as", done.stored_as)
    table.add_row("kept for --rollback", done.previous or "nothing")
    for name in done.dropped:
        table.add_row("dropped", name)
    for name, reason in done.kept.items():
        table.add_row("not dropped", f"{name} ({reason})")
    Console(markup=False).print(table)
