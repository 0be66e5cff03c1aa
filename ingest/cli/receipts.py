"""The account of a run: a few lines for people, or all of it as a table."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from ingest.cli.output import describe_counts, error_json, plain, print_json
from ingest.cli.terminal import output
from ingest.errors import IngestError
from ingest.receipt import ModelReport, Receipt
from ingest.sync.preview import Preview
from ingest.sync.rejects import common_reasons

logger = logging.getLogger(__name__)

DOCUMENT_COUNTS = ("read", "written", "updated", "unchanged", "deleted", "soft_deleted", "rejected")

MAX_REASONS = 3
"""Reasons of rejects that a summary names."""

_WORDS = {"written": "new", "soft_deleted": "soft-deleted"}
"""Counts of a receipt that the summary calls otherwise."""


def print_receipt(receipt: Receipt, *, rejects: str, verbose: bool = False, next_step: str | None = None) -> None:
    """Print the account of a run.

    Args:
        rejects: path of the rejects file.
        verbose: print every count and the rates of the models, too.
        next_step: a command to propose after the first run.
    """
    console = output()
    if verbose:
        console.print(_table(receipt))
    for line in summarize(receipt, rejects=rejects):
        console.print(line)
    for line in describe_reading(receipt):
        console.print(line)
    if next_step is not None and receipt.balanced and receipt.written and not (receipt.updated or receipt.unchanged):
        console.print(Text(f"next: {next_step}"))


def tell_receipt(receipt: Receipt, *, as_json: bool) -> None:
    """Print the account of one run of many: a JSON object on one line, or one short line if something has changed."""
    if as_json:
        print_json(asdict(receipt))
        return
    changed = any(getattr(receipt, name) for name in DOCUMENT_COUNTS if name not in {"read", "unchanged"})
    for line in summarize(receipt, rejects=""):
        if line.plain.startswith("  ") or not (changed or receipt.errors or not receipt.balanced):
            continue
        output().print(Text(f"{datetime.now():%H:%M:%S} ").append_text(line))  # noqa: DTZ005  for people, in local time


def tell_error(error: IngestError, *, as_json: bool) -> None:
    """Print the error of one run of many, after which the others go on: as a JSON object on one line, or as a log message."""
    if as_json:
        print_json(error_json(error))
    else:
        logger.error("%s", plain(str(error)))


def summarize(receipt: Receipt, *, rejects: str) -> Iterator[Text]:
    """Yield the lines of a summary: what changed, what was encoded, and what needs attention. Zeros are left out."""
    counts = {_WORDS.get(name, name): getattr(receipt, name) for name in DOCUMENT_COUNTS[1:]}
    documents = describe_counts(counts, list(counts)) or "no documents"
    yield Text(f"{receipt.collection}: {documents} in {describe_seconds(receipt.seconds)}", style="bold")
    if chunks := _describe_chunks(receipt):
        yield Text(f"  chunks: {chunks}")
    if receipt.moved:
        yield Text(f"  {receipt.moved:,} points moved from the source's former name")
    if receipt.rejected:
        yield from _describe_rejects(rejects)
    if receipt.stopped:
        yield Text("stopped before the end: run it again to continue", style="yellow")
    for error in receipt.errors:
        yield Text(plain(error), style="red")
    if not receipt.balanced:
        yield Text("NOT balanced: Qdrant does not hold what the plan says; run it again, or ingest verify", style="bold red")


def _describe_rejects(rejects: str) -> Iterator[Text]:
    """Yield the most frequent reasons of rejects: `rejected: reading .pdf requires … (a.pdf and 2 more)`."""
    if not rejects:
        return
    for reason, number, position in common_reasons(Path(rejects), MAX_REASONS):
        where = position if number == 1 else f"{position} and {number - 1:,} more"
        yield Text(plain(f"rejected: {reason} ({where})"), style="yellow")
    yield Text(plain(f"rejected records are in {rejects}"), style="yellow")


def _describe_chunks(receipt: Receipt) -> str:
    """Return what happened to chunks: `3,817 encoded, 235 identical, 40 copied, 12 deleted`. Empty if nothing did."""
    identical = max((model.identical for model in receipt.models), default=0)
    counts = {
        "written": 0 if receipt.models or receipt.chunks.copied else receipt.chunks.written,
        "encoded": max((model.chunks for model in receipt.models), default=0) - identical,
        "identical": identical,
        "copied": receipt.chunks.copied,
        "deleted": receipt.chunks.deleted,
    }
    return describe_counts(counts, list(counts))


def describe_seconds(seconds: float) -> str:
    """Return a duration as people say it: `1.4 s`, `3 min 24 s`, `2 h 5 min`."""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004


def describe_reading(found: Receipt | Preview) -> Iterator[Text]:
    """Yield what reading found out: the types of columns, the files that were not read, and notes."""
    if found.types:
        yield Text(plain("columns: " + ", ".join(f"{name} {kind}" for name, kind in found.types.items())))
    if found.skipped:
        yield Text(plain(f"not read, of unknown format: {describe_skipped(found.skipped)}"), style="yellow")
    for note in found.notes:
        yield Text(plain(note), style="yellow")


def describe_skipped(skipped: Mapping[str, int]) -> str:
    """Return the numbers of files that were not read: `12 .png, 1 .svg`."""
    return ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(skipped.items()))


def _table(receipt: Receipt) -> Table:
    table = Table(title=f"{receipt.collection}: {receipt.seconds:.1f} s", title_justify="left", show_header=False)
    for name in DOCUMENT_COUNTS:
        table.add_row(name.replace("_", "-"), f"{getattr(receipt, name):,}")
    table.add_row("not read", f"{receipt.skipped_unread:,} unchanged documents")
    chunks = receipt.chunks
    table.add_row("chunks", f"{chunks.written:,} written, {chunks.reused:,} reused, {chunks.deleted:,} deleted")
    if chunks.copied:
        table.add_row("", f"{chunks.copied:,} of those written with vectors of an equal text")
    for model in receipt.models:
        rate = model.chunks / model.seconds if model.seconds else 0.0
        table.add_row(model.key, f"{model.chunks:,} chunks on {model.device} in {model.seconds:.1f} s ({rate:,.0f}/s)")
        if model.tokens:
            table.add_row("", _describe_speed(model))
    table.add_row("balanced", "yes" if receipt.balanced else "NO")
    return table


def _describe_speed(model: ModelReport) -> str:
    shares = f"computing {model.computing_share:.0%}, waiting {model.waiting_share:.0%}, moving {model.moving_share:.0%}"
    return f"{model.tokens_per_second:,.0f} tokens/s, {model.padding_share:.0%} padding; {shares} of the time"
