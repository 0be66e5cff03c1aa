"""Web pages, parsed as browsers parse them.

Everything a reader of the content can reach becomes text: forms and hidden panels too. Left out are scripts, style sheets,
templates, comments, SVG drawings, permalinks of headings and the payload of `data:` addresses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from ingest.source.convert.page import Page
from ingest.source.convert.text import decode, markdown_title
from ingest.source.convert.web_page import (
    ANCHOR,
    ANCHOR_END,
    LEFT_OUT,
    MARKS,
    base_of,
    facts_of,
    leave_out_frame,
    mark_anchors,
    mark_struck_out,
    parse,
    title_of,
    with_marks,
)
from ingest.source.convert.web_repairs import as_html, repair
from ingest.source.encodings import find_encoding, web_encoding
from ingest.source.fields import Unusable
from ingest.source.read_options import HtmlContent
from ingest.source.streams import first_line

if TYPE_CHECKING:
    from html_to_markdown import ConversionOptions

_PRESCAN = 1024  # bytes in which a browser looks for the declared encoding
_DECLARED = re.compile(rb"""<(?:meta\b[^>]*?\bcharset|\?xml\b[^>]*?\bencoding)\s*=\s*["']?\s*([\w.:+-]+)""", re.IGNORECASE)
_LEFT_OUT = ("svg", "a.headerlink", f"[{LEFT_OUT}]")
_MARK = re.compile(f"{ANCHOR}([0-9]+){ANCHOR_END} *")


def html_page(data: bytes, content: HtmlContent = "all") -> Page:
    """Return the content of an HTML file as Markdown, with its title, anchors and what it states about itself.

    Args:
        data: the file.
        content: `main` leaves out what frames the main content, see `web_page.leave_out_frame`, unless nothing else is there.
    """
    declared = declared_encoding(data)
    guessed = None if declared else find_encoding(data)
    markup = as_html(decode(data, declared))
    whole = _markdown(markup)  # checks the depth of the markup, before the tree is built
    tree = parse(markup)
    facts = facts_of(tree)
    metadata = {**facts, **({"encoding": guessed.name} if guessed is not None and guessed.guessed else {})}
    names: list[str] = []
    markable = MARKS.isdisjoint(markup)
    if markable:
        repair(tree, markup)
        mark_struck_out(tree)
        names = mark_anchors(tree)
    if content == "main":
        leave_out_frame(tree)
    cleaned = with_marks(tree.html or "") if markable else tree.html or ""
    text, anchors = _without_marks(_markdown(cleaned, base_of(tree)) or whole, names)
    return Page(text, title=title_of(tree) or markdown_title(text), metadata=metadata, url=facts.get("url"), anchors=anchors)


def _markdown(markup: str, base: str | None = None) -> str:
    from html_to_markdown import ConversionError, WarningKind, convert  # noqa: PLC0415  slow to import

    try:
        page = convert(markup, _options(base))
    except ConversionError as exc:
        raise Unusable(f"the file cannot be read as HTML: {first_line(exc)}") from None
    if any(warning.kind == WarningKind.DEPTH_LIMIT_EXCEEDED for warning in page.warnings):
        raise Unusable("the HTML is nested too deeply")
    return (page.content or "").strip()


def _without_marks(text: str, names: Sequence[str]) -> tuple[str, tuple[tuple[str, int], ...]]:
    """Return a text without the marks of anchors, and the name of each anchor with the start of its line."""
    first, *rest = _MARK.split(text) if names else [text]
    parts, anchors = [first], []
    length, line = len(first), first.rfind("\n") + 1
    for index, part in zip(rest[::2], rest[1::2], strict=True):
        anchors.append((names[int(index)], line))
        line = length + part.rfind("\n") + 1 if "\n" in part else line
        length += len(part)
        parts.append(part)
    return "".join(parts), tuple(anchors)


def declared_encoding(data: bytes) -> str | None:
    """Return the encoding declared in the markup, or None if there is none, or an unknown one."""
    match = _DECLARED.search(data, 0, _PRESCAN)
    return web_encoding(match[1].decode()) if match else None


@lru_cache(maxsize=16)
def _options(base: str | None) -> ConversionOptions:
    from html_to_markdown import ConversionOptions, PreprocessingOptions  # noqa: PLC0415  slow to import

    return ConversionOptions(
        autolinks=False,
        base_url=base,
        compact_tables=True,
        exclude_selectors=list(_LEFT_OUT),
        extract_metadata=False,  # otherwise the text begins with it
        hidden_content="reachable",
        include_blockquote_citations=False,
        inline_data_media="alt_text_only",
        preprocessing=PreprocessingOptions(enabled=False, remove_navigation=False, remove_forms=False),
        sub_symbol="~",
        sup_symbol="^",
        tier_strategy="tier2",  # the other tier does not parse like a browser
    )
