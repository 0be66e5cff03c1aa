"""Printing: one JSON object, or something a person can read."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ingest.records import Hit, Receipt
from ingest.sync.preview import Preview

SNIPPET_CHARACTERS = 300


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    json.dump(value, sys.stdout, ensure_ascii=False)
    sys.stdout.write("\n")


def print_receipt(receipt: Receipt, *, rejects: str) -> None:
    """The account of a run, for people."""
    console = Console()
    table = Table(title=f"{receipt.collection}: {receipt.seconds:.1f} s", title_justify="left", show_header=False)
    for name in ("read", "written", "updated", "unchanged", "deleted", "rejected"):
        table.add_row(name, f"{getattr(receipt, name):,}")
    chunks = receipt.chunks
    table.add_row("chunks", f"{chunks.written:,} written, {chunks.reused:,} reused, {chunks.deleted:,} deleted")
    for model in receipt.models:
        rate = model.chunks / model.seconds if model.seconds else 0.0
        table.add_row(model.key, f"{model.chunks:,} chunks on {model.device} in {model.seconds:.1f} s ({rate:,.0f}/s)")
    table.add_row("balanced", "yes" if receipt.balanced else "[bold red]NO[/]")
    console.print(table)
    if receipt.rejected:
        console.print(Text(f"{receipt.rejected:,} rejected records are in {rejects}"))
    for error in receipt.errors:
        console.print(Text(error, style="red"))


def print_preview(preview: Preview) -> None:
    """What a run would do, for people."""
    console = Console()
    state = "" if preview.exists else " (does not exist yet)"
    table = Table(title=f"plan for {preview.collection}{state}", title_justify="left", show_header=False)
    for name in ("read", "added", "updated", "unchanged", "rejected", "gone", "stale_chunks", "payload_only"):
        table.add_row(name.replace("_", " "), f"{getattr(preview, name):,}")
    for model, chunks in preview.chunks.items():
        table.add_row(f"encode with {model}", f"{chunks:,} chunks")
    console.print(table)
    if preview.brake:
        console.print(Text("the deletion brake would stop this run", style="bold red"))
    for rejected in preview.rejects:
        console.print(Text(f"rejected: {rejected.position}: {rejected.reason}", style="yellow"))


def print_hits(hits: list[Hit], *, explain: bool) -> None:
    """Search results, for people."""
    console = Console()
    if not hits:
        console.print("nothing found")
    for number, hit in enumerate(hits, start=1):
        line = Text(f"{number:2}. ", style="bold")
        line.append(hit.title or hit.doc_id, style="bold")
        line.append(f"  [{hit.doc_id}:{hit.start}-{hit.end}]  {hit.score:.4f}", style="dim")
        console.print(line)
        if explain:
            ranks = ", ".join(f"{name} #{rank}" for name, rank in hit.ranks.items())
            console.print(Text(f"    found by {ranks}", style="cyan"))
        snippet = " ".join(hit.text.split())
        more = "…" if len(snippet) > SNIPPET_CHARACTERS else ""
        console.print(Text(f"    {snippet[:SNIPPET_CHARACTERS]}{more}"))
