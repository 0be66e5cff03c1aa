"""Repairs of web pages where Markdown would lose what a browser shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ingest.source.convert.numbering import FORMATS, counted

BREAK = "\ufdd4"
"""A character that is never text, and marks where a line ends."""

_XHTML = re.compile(r"\s*<\?xml\b|[^>]*(?:<!DOCTYPE[^>]*XHTML[^>]*>\s*)?<html[^>]*\bxmlns\s*=", re.IGNORECASE)
_SELF_CLOSED = re.compile(r"""<([A-Za-z][\w:.-]*)((?:[^<>"'/]|/(?!>)|"[^"<]*"|'[^'<]*')*)/>""")
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
_EMPHASIS = "b, strong, i, em, mark, u, cite, dfn, var"
_INLINE = "span[style], a[style], b[style], strong[style], i[style], em[style], label[style], small[style]"
_BLOCK_STYLE = re.compile(r"(?:^|;)\s*display\s*:\s*(?:block|flex|grid|table|list-item)", re.IGNORECASE)
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


def repair(tree: LexborHTMLParser) -> None:
    """Repair the tree of a page.

    Emphasis that begins or ends inside a word is dropped, inline elements that a style makes blocks get a line of their own,
    cells of a matrix are parted, code beside line numbers stays a code block, and items of lists keep letters and odd numbers.
    """
    _part_blocks(tree)
    _part_matrices(tree)
    _free_code(tree)
    _nest_lists(tree)
    _label_items(tree)
    for node in tree.css(_EMPHASIS):
        if _is_in_word(node):
            node.unwrap()


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


def _part_matrices(tree: LexborHTMLParser) -> None:
    for selector, sign in (("mtd", ", "), ("mtr", "; ")):
        for node in tree.css(selector):
            if node.next is not None:
                node.insert_after(sign)


def _free_code(tree: LexborHTMLParser) -> None:
    """Replace a table of one row, of line numbers and code, with its code."""
    for table in tree.css("table"):
        blocks = table.css("td pre")
        if len(blocks) not in {1, 2} or len(table.css("tr")) != 1:
            continue
        code = [block for block in blocks if not _LINE_NUMBERS.search(_classes(block, table))]
        if len(code) == 1 and len(table.css("td")) == 2:  # noqa: PLR2004  numbers and code
            table.replace_with(code[0])


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
