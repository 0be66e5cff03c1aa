"""The answer to a query: hits for people, or one JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ingest.cli.output import Part, plain, print_line, printable
from ingest.records import Hit
from ingest.search.answer import Answer, RerankResult

SNIPPET_CHARACTERS = 300

INDENT = "    "


def print_hits(hits: Sequence[Hit], *, explain: bool) -> None:
    """Print search results: title and section, then where and how well, then the passage with its matches in bold."""
    if not hits:
        print_line(("nothing found", ""))
    for number, hit in enumerate(hits, start=1):
        print_line((f"{number:2}. {_heading(hit)}", "bold"))
        print_line((f"{plain(hit.place)}  score {hit.score:#.3g}".rstrip("."), "cyan"), indent=INDENT)
        if explain:
            print_line((_explanation(hit), "dim"), indent=INDENT)
        for text in hit.before:
            print_line((_shortened(text), "dim"), indent=INDENT)
        print_line(*_highlighted(hit), indent=INDENT)
        for text in hit.after:
            print_line((_shortened(text), "dim"), indent=INDENT)


def print_facets(facets: Mapping[str, Mapping[str, int]]) -> None:
    """Print the counted values of each field."""
    for name, counts in facets.items():
        values = ", ".join(f"{plain(value)} {count:,}" for value, count in counts.items())
        print_line((f"{plain(name)}: {values or 'no values'}", ""))


def _heading(hit: Hit) -> str:
    """Return the title of a hit and the headings of its section: `Handbook › Refunds › Limits`."""
    title = hit.title or hit.doc_id
    section = hit.section[1:] if hit.section[:1] == (title,) else hit.section
    return plain(" › ".join([title, *section]))


def _highlighted(hit: Hit) -> list[Part]:
    """Return the snippet of a hit on one line, with its matches in bold."""
    if hit.snippet is None:
        return [(_shortened(hit.text), "")]
    parts, at = list[Part](), 0
    for start, end in hit.highlights:
        parts += [(printable(hit.snippet[at:start]), ""), (printable(hit.snippet[start:end]), "bold")]
        at = end
    return [*parts, (printable(hit.snippet[at:]), "")]


def _explanation(hit: Hit) -> str:
    """Return what each vector says of a hit: rank, score in that vector, and what that adds to the fused score.

    A multivector that ordered the fused hits adds nothing.
    """
    vectors = ", ".join(
        f"{name} #{rank} {hit.vector_scores[name]:.4f}"
        + (f" → {hit.contributions[name]:.4f}" if name in hit.contributions else " (late)")
        for name, rank in hit.ranks.items()
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
        "missing_reranker": answer.missing_reranker,
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


def _shortened(text: str) -> str:
    line = plain(text)
    return line if len(line) <= SNIPPET_CHARACTERS else f"{line[:SNIPPET_CHARACTERS]}…"
