"""PowerPoint presentations (pptx), by way of HTML.

A section per slide: its title, the text of its shapes, its tables, charts and diagrams, and its speaker notes. Left out: hidden
slides, slide numbers, dates and footers, text of the slide master, comments, emphasis.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from xml.etree.ElementTree import Element

from ingest.source.convert.archives import (
    Archive,
    attribute,
    child,
    children,
    core_properties,
    local,
    main_part,
    opened,
    unescaped,
)
from ingest.source.convert.drawings import drawn
from ingest.source.convert.formulas import formula
from ingest.source.convert.html import html_page
from ingest.source.convert.markup import Block, Item, Paragraph, Table, TableCell, markup_of
from ingest.source.convert.numbering import counted
from ingest.source.convert.page import Page, joined_pages

_PLACEHOLDERS_LEFT_OUT = {"sldNum", "dt", "ftr", "hdr", "sldImg"}
_TITLES = {"title", "ctrTitle"}
_NUMBERS = {"alphaLc": "lowerLetter", "alphaUc": "upperLetter", "romanLc": "lowerRoman", "romanUc": "upperRoman"}


def slides_page(data: bytes) -> Page:
    """Return the slides of a presentation as Markdown, with its title and metadata."""
    with opened(data, "pptx") as archive:
        title, facts = core_properties(archive)
        pages = [(number, html_page(markup_of(slide).encode())) for number, slide in _slides(archive)]
    text, starts = joined_pages((number, page.text) for number, page in pages)
    return Page(text, title=title or next((page.title for _, page in pages), None), metadata=facts, pages=starts)


def _slides(archive: Archive) -> Iterator[tuple[int, Iterator[Block]]]:
    """Yield the number and the blocks of each slide that is shown."""
    part, root = main_part(archive, "presentation")
    targets = archive.relations(part)
    listed = child(root, "sldIdLst")
    for number, each in enumerate(listed if listed is not None else (), 1):
        _, name = targets.get(next((value for key, value in each.items() if key.endswith("}id")), ""), ("", ""))
        slide = archive.xml(name)
        if slide is not None and attribute(slide, "show") not in {"0", "false"}:
            yield number, _slide(archive, name, slide, number)


def _slide(archive: Archive, name: str, slide: Element, number: int) -> Iterator[Block]:
    links = archive.relations(name)
    shapes = list(_shapes(child(slide, "cSld", "spTree")))
    titles = [shape for shape in shapes if _placeholder(shape) in _TITLES]
    title = " ".join(" ".join(block.html for block in _paragraphs(shape, {})) for shape in titles).replace("<br>", " ").strip()
    yield Paragraph(title or f"Slide {number}", 2)
    for shape in shapes:
        if shape not in titles and _placeholder(shape) not in _PLACEHOLDERS_LEFT_OUT:
            yield from _blocks(archive, shape, links)
    for kind, target in links.values():
        notes = archive.xml(target) if kind == "notesSlide" else None
        for shape in _shapes(child(notes, "cSld", "spTree")):
            if _placeholder(shape) not in _PLACEHOLDERS_LEFT_OUT:
                for block in _paragraphs(shape, {}):
                    if block.html.strip():
                        yield Paragraph(f"Notes: {block.html}")


def _shapes(tree: Element | None) -> Iterator[Element]:
    for each in tree if tree is not None else ():
        name = local(each)
        if name == "grpSp":
            yield from _shapes(each)
        elif name == "AlternateContent":
            yield from _shapes(each[0] if len(each) else None)
        elif name in {"sp", "graphicFrame", "pic", "cxnSp"} and not _is_hidden(each):
            yield each


def _is_hidden(shape: Element) -> bool:
    return any(attribute(child(each, "cNvPr"), "hidden") in {"1", "true"} for each in shape)


def _placeholder(shape: Element) -> str | None:
    """Return the type of a placeholder, or None for any other shape."""
    for each in shape:
        placeholder = child(each, "nvPr", "ph")
        if placeholder is not None:
            return attribute(placeholder, "type") or "body"
    return None


def _blocks(archive: Archive, shape: Element, links: dict[str, tuple[str, str]]) -> Iterator[Block]:
    if local(shape) == "pic":
        described = attribute(child(shape, "nvPicPr", "cNvPr"), "descr")
        if described:
            yield Paragraph(escape(described, quote=False))
        return
    table = child(shape, "graphic", "graphicData", "tbl")
    if table is None:
        yield from _paragraphs(shape, links)
        for each in children(shape, "graphic", "graphicData"):
            yield from drawn(archive, each, links)
        return
    yield Table([list(_cells(row, links)) for row in table if local(row) == "tr"])


def _cells(row: Element, links: dict[str, tuple[str, str]]) -> Iterator[TableCell]:
    for cell in row:
        if local(cell) == "tc" and attribute(cell, "hMerge") not in {"1", "true"}:
            span = attribute(cell, "gridSpan") or "1"
            follows = attribute(cell, "vMerge") in {"1", "true"}
            blocks: list[Block] = list(_paragraphs(cell, links))
            yield TableCell(blocks, int(span) if span.isdigit() and len(span) < 4 else 1, follows)  # noqa: PLR2004  slides are narrow


def _paragraphs(shape: Element, links: dict[str, tuple[str, str]]) -> Iterator[Paragraph | Item]:
    body = child(shape, "txBody")
    counts: dict[int, int] = {}  # items so far in the numbered list of each level
    for paragraph in body if body is not None else ():
        if local(paragraph) != "p":
            continue
        text = "".join(_inline(each, links) for each in paragraph)
        properties = child(paragraph, "pPr")
        stated = attribute(properties, "lvl") or "0"
        level = int(stated) if stated.isdigit() and len(stated) == 1 else 0
        numbered = child(properties, "buAutoNum")
        counts = {each: count for each, count in counts.items() if each < level or (each == level and numbered is not None)}
        if numbered is not None and text.strip():
            start = attribute(numbered, "startAt") or "1"
            counts[level] = counts.get(level, int(start[:5]) - 1 if start.isdigit() else 0) + 1
            kind = attribute(numbered, "type") or "arabicPeriod"
            style = next((style for prefix, style in _NUMBERS.items() if kind.startswith(prefix)), "decimal")
            yield Item(text, max(0, level - 1), style, f"{counted(counts[level], style)}.")
        elif level:
            yield Item(text, level - 1)
        else:
            yield Paragraph(text)


def _inline(element: Element, links: dict[str, tuple[str, str]]) -> str:
    name = local(element)
    if name == "br":
        return "<br>"
    if name in {"AlternateContent", "Choice"}:
        return "".join(_inline(each, links) for each in element[: 1 if name == "AlternateContent" else None])
    if name == "m":
        return escape("".join(formula(each) for each in element), quote=False)
    if name not in {"r", "fld"} or attribute(element, "type") == "slidenum":
        return ""
    text = unescaped("".join(each.text or "" for each in element if local(each) == "t"))
    text = escape(text, quote=False).replace("\v", "<br>")
    properties = child(element, "rPr")
    if not text or text.isspace() or properties is None:
        return text
    raised = attribute(properties, "baseline") or "0"
    if raised.lstrip("-").isdigit() and int(raised):
        tag = "sub" if raised.startswith("-") else "sup"
        text = f"<{tag}>{text}</{tag}>"
    if (attribute(properties, "strike") or "noStrike") != "noStrike":
        text = f"<s>{text}</s>"
    kind, target = links.get(attribute(child(properties, "hlinkClick"), "id") or "", ("", ""))
    return f'<a href="{escape(target)}">{text}</a>' if kind == "hyperlink" else text
