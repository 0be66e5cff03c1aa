"""Repairs of web pages where Markdown would lose what a browser shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ingest.source.convert.numbering import FORMATS, counted
from ingest.source.convert.web_formulas import repair_formulas

BREAK = "\ufdd4"
"""A character that is never text, and marks where a line ends."""

_XHTML = re.compile(r"\s*<\?xml\b|[^>]*(?:<!DOCTYPE[^>]*XHTML[^>]*>\s*)?<html[^>]*\bxmlns\s*=", re.IGNORECASE)
_SELF_CLOSED = re.compile(r"""<([A-Za-z][\w:.-]*)((?:[^<>"'/]|/(?!>)|"[^"<]*"|'[^'<]*')*)/>""")
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
_EMPHASIS = "b, strong, i, em, mark, u, cite, dfn, var"
_INLINE = "span[style], a[style], b[style], strong[style], i[style], em[style], label[style], small[style]"
_BLOCK_STYLE = re.compile(r"(?:^|;)\s*display\s*:\s*(?:block|flex|grid|table|list-item)", re.IGNORECASE)
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_LINKED = (
    "h1, h2, h3, h4, h5, h6, p, li, dt, dd, td, th, blockquote, div:not(:has(div, p, ul, ol, table, h1, h2, h3, h4, h5, h6))"
)
_FRAMED = "h1, h2, h3, h4, h5, h6, p, div, ul, ol, table"
_SHOWN_FIELDS = {"text", "search", "email", "url", "tel", "number", "date", "time", "submit", "button", "reset"}
_TAG = re.compile(r"<([a-z][a-z0-9-]*)", re.IGNORECASE)
_MOST_TAGS = 200
_BOXES = ("object", "canvas", "audio", "video", "marquee")
_KNOWN = """
a abbr acronym address area article aside audio b base basefont bdi bdo big blockquote body br button canvas caption center
cite code col colgroup data datalist dd del details dfn dialog dir div dl dt em embed fieldset figcaption figure font footer
form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe image img input ins kbd label legend li link listing
main map mark marquee math menu meta meter nav nobr noembed noframes noscript object ol optgroup option output p param picture
plaintext pre progress q rb rp rt rtc ruby s samp script search section select slot small source span strike strong style sub
summary sup svg table tbody td template textarea tfoot th thead time title tr track tt u ul var video wbr xmp annotation
maction menclose merror mfenced mfrac mglyph mi mmultiscripts mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle
msub msubsup msup mtable mtd mtext mtr munder munderover semantics
"""
_KNOWN_TAGS = frozenset(_KNOWN.split())
_LINE_NUMBERS = re.compile(r"line-?n|gutter", re.IGNORECASE)


def as_html(markup: str) -> str:
    """Return the markup of an XHTML page as HTML: without self-closed elements and CDATA. Any other page stays as it is."""
    if not _XHTML.match(markup[:2000]):
        return markup
    first, *sections = markup.split("<![CDATA[")
    parts = [first]
    for section in sections:
        text, end, rest = section.partition("]]>")
        parts.append(f"{escape(text, quote=False)}{rest}" if end else section)
    return _SELF_CLOSED.sub(lambda tag: tag[0] if tag[1].lower() in _VOID else f"<{tag[1]}{tag[2]}></{tag[1]}>", "".join(parts))


def repair(tree: LexborHTMLParser, markup: str) -> None:
    """Repair the tree of a page that was parsed from some markup.

    Emphasis that begins or ends inside a word is dropped, inline elements that a style makes blocks get a line of their own,
    code beside line numbers stays a code block, items of lists keep letters and odd numbers, a link around blocks becomes a link
    in the first of them, a table of one column of blocks is a frame, and what stands in fields of a form is text. Elements that a
    page defines itself, and boxes such as `canvas`, are kept apart from each other; `xmp`, `listing` and `plaintext` are code.
    Formulas are repaired by `web_formulas`.
    """
    _free_raw_text(tree)
    _part_boxes(tree, markup)
    _show_frames(tree)
    _show_fields(tree)
    _part_blocks(tree)
    repair_formulas(tree)
    _free_code(tree)
    _free_content(tree)
    _measure_cells(tree)
    _move_links(tree)
    _nest_lists(tree)
    _label_items(tree)
    for node in tree.css(_EMPHASIS):
        if _is_in_word(node):
            node.unwrap()


def _free_raw_text(tree: LexborHTMLParser) -> None:
    """Replace obsolete elements for text as it is typed with blocks of code."""
    for node in tree.css("xmp, listing, plaintext"):
        block = tree.create_node("pre")
        if node.tag == "listing":
            for each in list(node.iter(include_text=True)):
                block.insert_child(each, move=True)
        else:
            block.insert_child(node.text())
        node.replace_with(block)


def _part_boxes(tree: LexborHTMLParser, markup: str) -> None:
    """Keep elements apart that are boxes of their own, or that the page itself defines: a line end between these is lost."""
    own = {tag[1].lower() for tag in _TAG.finditer(markup)} - _KNOWN_TAGS
    names = {*_BOXES, *sorted(own)[:_MOST_TAGS]}
    for node in tree.css(", ".join(sorted(names))):
        before, after = node.prev, node.next
        if before is not None and before.is_text_node and before.text().isspace():
            before.replace_with(" ")
        if after is not None and after.is_text_node and after.text().isspace():
            after.replace_with(" ")
        elif after is not None and after.tag in names:
            node.insert_after(" ")


def _is_in_word(node: LexborNode) -> bool:
    text, before, after = node.text(), node.prev, node.next
    return bool(text) and (
        (before is not None and text[0].isalnum() and before.text()[-1:].isalnum())
        or (after is not None and text[-1].isalnum() and after.text()[:1].isalnum())
    )


def _part_blocks(tree: LexborHTMLParser) -> None:
    for node in tree.css(_INLINE):
        if _BLOCK_STYLE.search(node.attributes.get("style") or ""):
            if node.prev is not None:
                node.insert_before(BREAK)
            if node.next is not None and node.next.is_text_node:
                node.insert_after(BREAK)


def _free_code(tree: LexborHTMLParser) -> None:
    """Replace a table of one row, of line numbers and code, with its code."""
    for table in tree.css("table"):
        blocks = table.css("td pre")
        if len(blocks) not in {1, 2} or len(table.css("tr")) != 1:
            continue
        code = [block for block in blocks if not _LINE_NUMBERS.search(_classes(block, table))]
        if len(code) == 1 and len(table.css("td")) == 2:  # noqa: PLR2004  numbers and code
            table.replace_with(code[0])


def _free_content(tree: LexborHTMLParser) -> None:
    """Replace a table of one column that holds blocks, or one that says that it is only layout, with its content."""
    for table in reversed(tree.css("table")):  # inner ones first
        cells = [cell for cell in table.css("td, th") if _table_of(cell) == table.mem_id]
        alone = not any(_is_cell(each) for cell in cells for each in _siblings(cell))
        framed = alone and any(cell.css_first(_FRAMED) is not None for cell in cells)
        if not framed and (table.attributes.get("role") or "").lower() not in {"presentation", "none"}:
            continue
        for cell in cells:
            block = tree.create_node("div")
            for each in list(cell.iter(include_text=True)):
                block.insert_child(each, move=True)
            table.insert_before(block, move=True)
        table.decompose()


def _is_cell(node: LexborNode) -> bool:
    return node.tag in {"td", "th"}


def _siblings(node: LexborNode) -> Iterator[LexborNode]:
    return (each for each in (node.parent.iter() if node.parent is not None else ()) if each.mem_id != node.mem_id)


def _table_of(cell: LexborNode) -> int | None:
    """Return the identity of the table of a cell."""
    at = cell.parent
    while at is not None and at.tag != "table":
        at = at.parent
    return at.mem_id if at is not None else None


def _measure_cells(tree: LexborHTMLParser) -> None:
    """Give a cell that spans the rest of its table the rows and columns that there are."""
    heights: dict[int, int] = {}  # the number of rows from each row to the end of its part of the table
    for cell in tree.css("tr > [rowspan='0']"):
        parent = cell.parent
        if parent is None or parent.parent is None:
            continue
        if parent.mem_id not in heights:
            rows = [each.mem_id for each in parent.parent.iter() if each.tag == "tr"]
            heights |= zip(rows, range(len(rows), 0, -1), strict=True)
        cell.attrs["rowspan"] = str(heights[parent.mem_id])
    for table in tree.css("table:has([colspan])"):
        rows_of_cells = [[each for each in row.iter() if _is_cell(each)] for row in table.css("tr")]
        widths = [sum(_integer(each.attributes.get("colspan"), 1) for each in row) for row in rows_of_cells if len(row) > 1]
        for row in rows_of_cells:
            if len(row) == 1 and _integer(row[0].attributes.get("colspan"), 1) > max(widths, default=1):
                row[0].attrs["colspan"] = str(max(widths, default=1))


def _move_links(tree: LexborHTMLParser) -> None:
    """Move a link around blocks into its first heading, or else its first block."""
    for link in tree.css("a[href]"):
        blocks = [each for each in link.css(_LINKED) if each.text().strip()]
        if not blocks:
            continue
        block = next((each for each in blocks if each.tag in _HEADINGS), blocks[0])
        inner = tree.create_node("a")
        inner.attrs["href"] = link.attributes.get("href") or ""
        for each in list(block.iter(include_text=True)):
            inner.insert_child(each, move=True)
        block.insert_child(inner, move=True)
        link.unwrap()


def _show_frames(tree: LexborHTMLParser) -> None:
    """Replace a frame whose page stands in an attribute with that page."""
    for frame in tree.css("iframe[srcdoc]"):
        page = LexborHTMLParser(frame.attributes.get("srcdoc") or "").body
        block = tree.create_node("div")
        for each in list(page.iter(include_text=True)) if page is not None else ():
            block.insert_child(each)
        frame.replace_with(block)


def _show_fields(tree: LexborHTMLParser) -> None:
    """Put what a field of a form shows, or what its button says, in its place."""
    for field in tree.css("input"):
        kind = (field.attributes.get("type") or "text").lower()
        shown = field.attributes.get("value") or field.attributes.get("placeholder") or ""
        if kind in _SHOWN_FIELDS and shown.strip():
            field.insert_before(f" {' '.join(shown.split())} ")
        elif kind in {"radio", "checkbox"} and (field.parent is None or field.parent.tag != "li"):  # whose box Markdown has
            labelled = field.parent is not None and field.parent.tag == "label" and field.prev is None
            place = field.parent if labelled and field.parent is not None else field
            place.insert_before(" ☒ " if "checked" in field.attributes else " ☐ ")
    for group in tree.css("optgroup[label]"):
        group.insert_before(f" {' '.join((group.attributes.get('label') or '').split())}: ")


def _classes(node: LexborNode, until: LexborNode) -> str:
    classes = ""
    at: LexborNode | None = node
    while at is not None and at.mem_id != until.mem_id:
        classes += f" {at.attributes.get('class') or ''}"
        at = at.parent
    return classes


def _nest_lists(tree: LexborHTMLParser) -> None:
    """Move a list directly in a list into the item before it."""
    for inner in tree.css("ul > ul, ul > ol, ol > ul, ol > ol"):
        item = inner.prev
        while item is not None and not item.is_element_node:
            item = item.prev
        if item is not None and item.tag == "li":
            item.insert_child(inner, move=True)


def _label_items(tree: LexborHTMLParser) -> None:
    """Give the items of a list that Markdown cannot number their numbers as text."""
    for numbered in tree.css("ol[type], ol[reversed], ol:has(> li[value])"):
        items = [each for each in numbered.iter() if each.tag == "li"]
        kind = numbered.attributes.get("type") or "1"
        plain = "reversed" not in numbered.attributes and not any("value" in each.attributes for each in items)
        if kind not in FORMATS or (kind == "1" and plain):
            continue
        for item, label in zip(items, _labels(numbered, items, FORMATS[kind]), strict=True):
            if item.child is not None:
                item.child.insert_before(f"{label}. ")
        bullets = tree.create_node("ul")
        numbered.insert_before(bullets, move=True)
        for each in list(numbered.iter(include_text=True)):
            bullets.insert_child(each, move=True)
        numbered.decompose()


def _labels(numbered: LexborNode, items: Sequence[LexborNode], style: str) -> Iterator[str]:
    backwards = "reversed" in numbered.attributes
    count = _integer(numbered.attributes.get("start"), len(items) if backwards else 1)
    for item in items:
        count = _integer(item.attributes.get("value"), count)
        yield counted(count, style)
        count += -1 if backwards else 1


def _integer(value: str | None, default: int) -> int:
    return int(value) if value and re.fullmatch(r"-?[0-9]{1,9}", value) else default
