"""The reports of plans, jobs, evaluations and verifications, as tables for people or as JSON objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingest.cli.output import describe_counts, plain
from ingest.cli.receipts import DOCUMENT_COUNTS, describe_reading
from ingest.cli.terminal import output
from ingest.cluster.capacity import Sizing, describe_sizing
from ingest.reindex.reindex import Reindexed
from ingest.schedule.status import JobStatus
from ingest.search.evaluate import Evaluation, EvaluationRow
from ingest.search.self_test import SelfTest
from ingest.search.tuning import Tuned
from ingest.sync.deletion import deletes_held_back
from ingest.sync.preview import Preview
from ingest.verify.verification import Verification


def print_statuses(statuses: Sequence[JobStatus]) -> None:
    """Print how jobs ended as a table, and their errors on standard error."""
    table = Table("job", "status", "seconds", "documents")
    for status in statuses:
        seconds = "" if status.seconds is None else f"{status.seconds:.1f}"
        table.add_row(status.job, status.status, seconds, describe_counts(status.receipt, DOCUMENT_COUNTS))
    output().print(table)
    errors = Console(stderr=True, soft_wrap=True)
    for status in statuses:
        if status.error:
            errors.print(Text(plain(f"error: job {status.job}: {status.error}"), style="red"))
        for doc_id in status.doc_ids:
            errors.print(Text(f"  would delete {plain(doc_id)}"))


def preview_json(preview: Preview) -> dict[str, Any]:
    """Return the JSON object of a plan."""
    counts = {name: value for name, value in asdict(preview).items() if name not in {"vector_bytes", "rates"}}
    return {**counts, "estimate_seconds": preview.estimate.seconds, "unmeasured": preview.estimate.unmeasured}


def print_preview(preview: Preview) -> None:
    """Print what a run would do, as a table."""
    console, expected = output(), preview.estimate
    state = "" if preview.exists else " (does not exist yet)"
    table = Table(title=f"plan for {preview.collection}{state}", title_justify="left", show_header=False)
    names = (
        "read",
        "added",
        "updated",
        "unchanged",
        "skipped_unread",
        "rejected",
        "deleted",
        "soft_deleted",
        "in_grace_period",
        "stale_chunks",
        "payload_only",
        "copied",
    )
    for name in names:
        if name == "read" or getattr(preview, name):
            table.add_row(name.replace("_", " "), f"{getattr(preview, name):,}")
    for model, chunks in preview.chunks.items():
        table.add_row(f"encode with {model}", f"{chunks:,} chunks")
    for model, cost in preview.costs.items():
        table.add_row(f"cost of {model}", f"about {cost:,.4f}, in the currency of its price")
    if expected.seconds is None:
        table.add_row("estimated time", f"unknown: no run has measured {', '.join(expected.unmeasured)} here yet")
    else:
        table.add_row("estimated time", str(timedelta(seconds=round(expected.seconds))))
    console.print(table)
    for line in describe_reading(preview):
        console.print(line)
    if preview.unidentified:
        console.print(Text(deletes_held_back(preview.unidentified), style="yellow"))
    if preview.brake:
        console.print(Text("the deletion limit would stop this run", style="bold red"))
    for rejected in preview.rejects:
        console.print(Text(plain(f"rejected: {rejected.position}: {rejected.reason}"), style="yellow"))


def print_sizing(sizing: Sizing) -> None:
    """Print what a run takes on Ray as a table."""
    console = output()
    table = Table("chunks", "documents", "workers", "hours", "cost", "Qdrant nodes", title="on Ray", title_justify="left")
    for row in sizing.rows:
        unknown = row.hours is None or row.cost is None
        figures = ("?", "?") if unknown else (f"{row.hours:,.2f}", f"{row.cost:,.2f}")
        table.add_row(f"{row.chunks:,}", f"{row.documents:,}", f"{row.workers}", *figures, f"{row.qdrant_nodes}")
    console.print(table)
    for line in describe_sizing(sizing):
        console.print(Text(line))


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return the JSON object of an evaluation, with `tuned` if weights were tuned."""
    tuned = evaluation.tuned
    return {
        "collection": evaluation.collection,
        "questions": evaluation.queries,
        "rows": [{"name": row.name, **_figures(row)} for row in evaluation.rows],
        **({"tuned": _tuned_json(tuned)} if tuned else {}),
    }


def _tuned_json(tuned: Tuned) -> dict[str, Any]:
    halves = {"training": tuned.training, "held_out": tuned.held_out}
    figures = {name: {"questions": half.queries, "equal": half.equal, "tuned": half.tuned} for name, half in halves.items()}
    return {"weights": dict(tuned.weights), **figures, "toml": tuned.toml}


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the quality of a collection as a table."""
    console = output()
    table = Table(title=f"{evaluation.collection}: {evaluation.queries:,} queries", title_justify="left")
    table.add_column("vector", no_wrap=True)
    for heading in _figures(evaluation.rows[0]):
        table.add_column(heading.replace("_", " "), justify="right", no_wrap=True)
    for row in evaluation.rows:
        table.add_row(row.name, *(f"{value:.1f}" if "ms" in name else f"{value:.3f}" for name, value in _figures(row).items()))
    console.print(table)
    if tuned := evaluation.tuned:
        for half, which in ((tuned.training, "the weights were found on"), (tuned.held_out, "were held out")):
            console.print(f"ndcg@10 of the {half.queries} queries that {which}: {half.equal:.3f} → {half.tuned:.3f}")
        console.print(Text(f"in ingest.toml:\n\n{tuned.toml}\n"))


def _figures(row: EvaluationRow) -> dict[str, float]:
    return {
        "ndcg@10": row.scores.ndcg_10,
        "recall@100": row.scores.recall_100,
        "mrr@10": row.scores.mrr_10,
        "p50_ms": row.p50_ms,
        "p95_ms": row.p95_ms,
    }


def self_test_json(tested: SelfTest) -> dict[str, Any]:
    """Return the JSON object of a self-test, with `overlap` and `change` if another collection was asked, too."""
    return {
        "collection": tested.collection,
        "queries": tested.queries,
        "rows": [{"name": row.name, "recall@10": asdict(row.recall_10), "mrr@10": asdict(row.mrr_10)} for row in tested.rows],
        **(
            {"against": tested.against, "overlap": asdict(tested.overlap), "change": asdict(tested.change)}
            if tested.overlap and tested.change
            else {}
        ),
    }


def print_self_test(tested: SelfTest) -> None:
    """Print how well a collection finds its own chunks as a table."""
    console = output()
    table = Table(title=f"{tested.collection}: {tested.queries:,} queries of its own", title_justify="left")
    table.add_column("vector", no_wrap=True)
    for heading in ("recall@10", "mrr@10"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in tested.rows:
        table.add_row(row.name, *(f"{figure.value:.3f} ± {figure.error:.3f}" for figure in (row.recall_10, row.mrr_10)))
    console.print(table)
    if tested.overlap and tested.change:
        console.print(f"overlap with {tested.against}: {tested.overlap.value:.3f} ± {tested.overlap.error:.3f}")
        console.print(f"mrr@10 there: {tested.change.value:+.3f} ± {tested.change.error:.3f}")


def print_verification(found: Verification) -> None:
    """Print the findings of a verification."""
    console = output()
    table = Table(title=f"{found.collection}: {found.seconds:.1f} s", title_justify="left", show_header=False)
    for name in ("read", "rejected", "points", "sampled", "soft_deleted", "others"):
        table.add_row(name.replace("_", "-"), f"{getattr(found, name):,}")
    for kind, finding in found.findings.items():
        table.add_row(Text(kind.replace("_", " "), style="bold red"), f"{finding.count:,}")
    console.print(table)
    for kind, finding in found.findings.items():
        for example in finding.examples:
            console.print(Text(plain(f"{kind.replace('_', ' ')}: {example}")))
        if finding.count > len(finding.examples):
            console.print(Text(f"{kind.replace('_', ' ')}: … and {finding.count - len(finding.examples):,} more"))
    for error in found.errors:
        console.print(Text(plain(error), style="red"))
    console.print(Text(_conclusion(found), style="bold"))


def _conclusion(found: Verification) -> str:
    if found.clean and found.rejected:
        records = "1 rejected record" if found.rejected == 1 else f"{found.rejected:,} rejected records"
        return f"clean, apart from {records}: what may be stored of that was not compared"
    if found.clean:
        return "clean: the collection equals its sources"
    if found.repaired:
        done = found.repairs
        return (
            f"repaired: {done.points:,} points, {done.vectors:,} vectors and {done.payloads:,} payloads written, "
            f"{done.deleted:,} points deleted, {done.soft_deleted:,} soft-deleted"
        )
    return (
        "NOT clean: repair it with --repair"
        if found.findings and not any(asdict(found.repairs).values())
        else "NOT clean: see above"
    )


def print_reindexed(done: Reindexed) -> None:
    """Print what a reindex or a rollback did as a table."""
    table = Table(title=f"{done.collection}: {done.seconds:.1f} s", title_justify="left", show_header=False)
    table.add_row("points", f"{done.points:,}")
    for name, chunks in done.copied.items():
        table.add_row(name, f"{chunks:,} copied")
    for name, chunks in done.encoded.items():
        table.add_row(name, f"{chunks:,} encoded")
    table.add_row("stored as", done.stored_as)
    table.add_row("kept for --rollback", done.previous or ", ".join(done.previous_vectors) or "nothing")
    for name in (*done.dropped, *done.dropped_vectors):
        table.add_row("dropped", name)
    for name, reason in done.kept.items():
        table.add_row("not dropped", f"{name} ({reason})")
    output().print(table)
