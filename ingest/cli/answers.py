"""The answer to a query: hits for people, or one JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text

from ingest.cli.output import plain
from ingest.records import Hit
from ingest.search.answer import Answer, RerankResult

SNIPPET_CHARACTERS = 300


def print_hits(hits: Sequence[Hit], *, explain: bool) -> None:
    """Print search results."""
    console = Console()
    if not hits:
        console.print("nothing found")
    for number, hit in enumerate(hits, start=1):
        line = Text(f"{number:2}. {_heading(hit)}", style="bold")
        line.append(f"  [{plain(hit.place)}]  {hit.score:.4f}", style="dim")
        console.print(line)
        if explain:
            console.print(Text(f"    {_explanation(hit)}", style="cyan"))
        for text in hit.before:
            console.print(Text(f"    {_snippet(text)}", style="dim"))
        console.print(_highlighted(hit))
        for text in hit.after:
            console.print(Text(f"    {_snippet(text)}", style="dim"))


def print_facets(facets: Mapping[str, Mapping[str, int]]) -> None:
    """Print the counted values of each field."""
    for name, counts in facets.items():
        values = ", ".join(f"{plain(value)} {count:,}" for value, count in counts.items())
        Console(markup=False).print(Text(f"{plain(name)}: {values or 'no values'}"))


def _heading(hit: Hit) -> str:
    """Return the title of a hit and the headings of its section: `Handbook › Refunds › Limits`."""
    title = hit.title or hit.doc_id
    section = hit.section[1:] if hit.section[:1] == (title,) else hit.section
    return plain(" › ".join([title, *section]))


def _highlighted(hit: Hit) -> Text:
    """Return the snippet of a hit with its matches in bold."""
    if hit.snippet is None or plain(hit.snippet) != hit.snippet:
        return Text(f"    {_snippet(hit.snippet or hit.text)}")
    text = Text(f"    {hit.snippet}")
    for start, end in hit.highlights:
        text.stylize("bold", start + 4, end + 4)
    return text


def _explanation(hit: Hit) -> str:
    """Return what each vector says of a hit: rank, score in that vector, and what that adds to the fused score."""
    vectors = ", ".join(
        f"{name} #{rank} {hit.vector_scores[name]:.4f} → {hit.contributions[name]:.4f}" for name, rank in hit.ranks.items()
    )
    reranked = "" if hit.rerank_score is None else f", reranked {hit.rerank_score:.4f}"
    return f"found by {vectors}; fused {hit.fused_score:.4f}{reranked}"


def answer_json(query: str | None, answer: Answer, seconds: float) -> dict[str, Any]:
    """Return the JSON object of a search."""
    return {
        "query": query,
        "hits": [{**asdict(hit), "place": hit.place} for hit in answer],
        "reranked": answer.reranked,
        "rerank": _rerank_json(answer.details),
        "note": answer.note,
        "warnings": answer.warnings,
        "facets": answer.facets,
        "feedback_seconds": answer.feedback_seconds,
        "seconds": round(seconds, 3),
    }


def _rerank_json(result: RerankResult | None) -> dict[str, Any] | None:
    if result is None:
        return None
    details = {name: getattr(result, name) for name in ("model", "device", "fallback", "candidates")}
    return {**details, "seconds": round(result.seconds, 3)}


def _snippet(text: str) -> str:
    line = plain(text)
    return line if len(line) <= SNIPPET_CHARACTERS else f"{line[:SNIPPET_CHARACTERS]}…"
