"""OpenDocument text, spreadsheets and presentations (odt, ods, odp), by way of HTML.

Text as the reader sees it, footnotes in brackets where they are referred to, speaker notes after their slide. Left out: deleted
and hidden text, hidden sheets, comments, headers and footers, tables of contents, emphasis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from xml.etree.ElementTree import Element, tostring

from ingest.source.convert.archives import Archive, attribute, child, local, opened, stated
from ingest.source.convert.html import html_page
from ingest.source.convert.markup import Block, Item, Paragraph, Table, TableCell, markup_of
from ingest.source.convert.numbering import FORMATS, counted
from ingest.source.convert.page import Page
from ingest.source.convert.sheets import Sheet, plain_number, sheets_page
from ingest.source.fields import Unusable

_LEFT_OUT = {
    "tracked-changes",
    "annotation",
    "annotation-end",
    "table-of-content",
    "hidden-text",
    "hidden-paragraph",
    "title",
    "desc",
    "forms",
    "sequence-decls",
    "variable-decls",
    "covered-table-cell",
    "event-listeners",
    "settings",
}
_SHAPES = {
    "text-box",
    "table",
    "custom-shape",
    "rect",
    "ellipse",
    "circle",
    "line",
    "polyline",
    "polygon",
    "path",
    "connector",
    "caption",
}
_ROW_GROUPS = {"table-header-rows", "table-row-group", "table-rows"}
_MOST_REPEATED = 10_000  # a row or cell repeated more often only fills the sheet
_MOST_CELLS = 2**21
_MOST_SPACES = 100
_CODE = "Preformatted_20_Text"  # the style of code


def text_page(data: bytes) -> Page:
    """Return the content of an OpenDocument text as Markdown, with its title and metadata."""
    return _page(data, "odt")


def presentation_page(data: bytes) -> Page:
    """Return the content of an OpenDocument presentation as Markdown, with its title and metadata."""
    return _page(data, "odp")


def spreadsheet_page(data: bytes) -> Page:
    """Return the sheets of an OpenDocument spreadsheet as Markdown tables, with its title and metadata."""
    with opened(data, "ods") as archive:
        title, facts = stated(archive.xml("meta.xml"))
        root = archive.xml("content.xml")
        body, reader = child(root, "body", "spreadsheet"), _Reader(_styles(root))
        if body is None:
            raise Unusable("the file cannot be read as ods: it has no sheets")
        sheets = [
            Sheet(attribute(table, "name") or "", reader.values(table))
            for table in body
            if local(table) == "table" and not reader.is_hidden(table)
        ]
        return sheets_page(sheets, title, facts)


def _page(data: bytes, format: str) -> Page:  # noqa: A002  as in `Document.format`
    with opened(data, format) as archive:
        title, facts = stated(archive.xml("meta.xml"))
        root = archive.xml("content.xml")
        body = child(root, "body", "text" if format == "odt" else "presentation")
        if root is None or body is None:
            raise Unusable(f"the file cannot be read as {format}: it has no content")
        page = html_page(markup_of(_Reader(_styles(root, archive.xml("styles.xml")), archive).blocks(body)).encode())
    return Page(page.text, title=title or page.title, metadata=facts)


@dataclass(slots=True)
class _Style:
    """The formatting of a style, as Markdown marks around its text."""

    before: str = ""
    after: str = ""
    hidden: bool = False
    code: bool = False
    levels: dict[int, Element] = field(default_factory=dict)  # of a list: those with numbers


def _styles(*roots: Element | None) -> dict[str, _Style]:
    styles: dict[str, _Style] = {}
    for root in roots:
        for each in root.iter() if root is not None else ():
            if local(each) not in {"style", "list-style"}:
                continue
            style = styles.setdefault(attribute(each, "name") or "", _Style())
            style.code = _CODE in {attribute(each, "name"), attribute(each, "parent-style-name")}
            text = child(each, "text-properties")
            position = attribute(text, "text-position") or ""
            if position.startswith(("super", "sub")):
                tag = "sup" if position.startswith("super") else "sub"
                style.before, style.after = f"<{tag}>", f"</{tag}>"
            if (attribute(text, "text-line-through-style") or "none") != "none":
                style.before, style.after = f"<s>{style.before}", f"{style.after}</s>"
            table, section = child(each, "table-properties"), child(each, "drawing-page-properties")
            style.hidden = (
                attribute(text, "display") == "none"
                or attribute(table, "display") == "false"
                or attribute(section, "visibility") == "hidden"
            )
            for level in each:
                if local(level) == "list-level-style-number":
                    style.levels[_integer(attribute(level, "level"), 1)] = level
    return styles


@dataclass(slots=True)
class _Reader:
    """A walk through the content of a file."""

    styles: dict[str, _Style]
    archive: Archive | None = None
    boxes: list[Block] = field(default_factory=list)
    slides: int = 0
    counts: dict[tuple[str, int], int] = field(default_factory=dict)

    def style(self, element: Element) -> _Style:
        return self.styles.get(attribute(element, "style-name") or "", _Style())

    def is_hidden(self, element: Element) -> bool:
        return self.style(element).hidden or attribute(element, "display") in {"none", "false"}

    def blocks(self, parent: Iterable[Element]) -> Iterator[Block]:
        for element in parent:
            name = local(element)
            if name in _LEFT_OUT or self.is_hidden(element):
                continue
            if name in {"p", "h"}:
                text = self.inline(element)
                level = _integer(attribute(element, "outline-level"), 1) if name == "h" else None
                yield Paragraph(text, level, code=self.style(element).code)
                boxes, self.boxes = self.boxes, []
                yield from boxes
            elif name == "list":
                yield from self.items(element, 0)
            elif name == "table":
                yield Table([list(self.cells(row)) for row in _rows(element)])
            elif name == "page":
                yield from self.slide(element)
            else:
                yield from self.blocks(element)

    def slide(self, page: Element) -> Iterator[Block]:
        self.slides += 1
        titles = [frame for frame in page if attribute(frame, "class") == "title"]
        title = " ".join(block.html for block in self.blocks(titles) if isinstance(block, Paragraph)).strip()
        yield Paragraph(title or f"Slide {self.slides}", 2)
        notes = [each for each in page if local(each) == "notes"]
        yield from self.blocks(each for each in page if each not in titles and each not in notes)
        for block in self.blocks(frame for note in notes for frame in note if attribute(frame, "class") not in _PLACES):
            yield Paragraph(f"Notes: {block.html}") if isinstance(block, Paragraph) and block.html.strip() else block

    def items(self, element: Element, depth: int, style: _Style | None = None, name: str = "") -> Iterator[Block]:
        if attribute(element, "style-name"):
            style, name = self.style(element), attribute(element, "style-name") or ""
        level = style.levels.get(depth + 1) if style else None
        continues = attribute(element, "continue-numbering") == "true" or attribute(element, "continue-list")
        count = self.counts.get((name, depth), 0) if continues else _integer(attribute(level, "start-value"), 1) - 1
        for item in element:
            if local(item) not in {"list-item", "list-header"}:
                continue
            first = True
            count = _integer(attribute(item, "start-value"), count + 1)
            self.counts[name, depth] = count
            for block in item:
                if local(block) == "list":
                    yield from self.items(block, depth + 1, style, name)
                elif local(block) in {"p", "h"} and first:
                    first = False
                    text = self.inline(block)
                    if local(block) == "h":
                        yield Paragraph(text, _integer(attribute(block, "outline-level"), 1))
                    elif level is not None and local(item) == "list-item":
                        yield Item(text, depth, *_label(level, count))
                    else:
                        yield Item(text, depth)
                else:
                    yield from (
                        Item(each.html, depth + 1) if isinstance(each, Paragraph) else each for each in self.blocks([block])
                    )
            boxes, self.boxes = self.boxes, []
            yield from boxes

    def cells(self, row: Element) -> Iterator[TableCell]:
        spanned = 0  # cells that the one before covers in this row; a cell covered from above follows that
        for cell in row:
            times = min(_integer(attribute(cell, "number-columns-repeated"), 1), _MOST_REPEATED)
            if local(cell) == "table-cell":
                span = min(_integer(attribute(cell, "number-columns-spanned"), 1), _MOST_REPEATED)
                spanned = span - 1
                yield from [TableCell(list(self.blocks(cell)), span)] * times
            elif local(cell) == "covered-table-cell":
                yield from [TableCell([], follows=True)] * max(0, times - spanned)
                spanned = max(0, spanned - times)

    def inline(self, parent: Element) -> str:
        style = self.style(parent)
        text = escape(parent.text or "", quote=False) + "".join(
            self._inline(each) + escape(each.tail or "", quote=False) for each in parent
        )
        return f"{style.before}{text}{style.after}" if text.strip() else text

    def _inline(self, element: Element) -> str:  # noqa: PLR0911  one branch a kind of element
        name = local(element)
        if name in _LEFT_OUT or (name not in {"p", "h"} and self.is_hidden(element)):
            return ""
        if name in {"s", "tab"}:
            return " " * min(_integer(attribute(element, "c"), 1), _MOST_SPACES)
        if name == "line-break":
            return "<br>"
        if name == "note":
            outer, self.boxes = self.boxes, []
            body = child(element, "note-body")
            text = " ".join(each.html for each in self.blocks(body if body is not None else ()) if not isinstance(each, Table))
            self.boxes = outer
            return f" [{text.strip()}]" if text.strip() else ""
        if name == "a":
            text, target = self.inline(element), attribute(element, "href") or ""
            return f'<a href="{escape(target)}">{text}</a>' if "://" in target and text.strip() else text
        if name in _SHAPES:
            outer, self.boxes = self.boxes, []
            self.boxes = outer + list(self.blocks([element] if name == "table" else element))
            return ""
        if name == "object":
            return self.formula(attribute(element, "href") or "")
        if name == "ruby":
            base, above = child(element, "ruby-base"), child(element, "ruby-text")
            return (self.inline(base) if base is not None else "") + (f" ({self.inline(above)})" if above is not None else "")
        described = child(element, "desc") if name == "frame" else None
        if described is not None and described.text:
            return f" {escape(described.text, quote=False)} {self.inline(element)}"
        return self.inline(element)

    def formula(self, target: str) -> str:
        """Return a formula that is an object of its own."""
        root = self.archive.xml(f"{target.removeprefix('./')}/content.xml") if self.archive is not None else None
        if root is None or local(root) != "math":
            return ""
        for each in root.iter():
            each.tag = local(each)
        return tostring(root, encoding="unicode")

    def values(self, table: Element) -> Iterator[list[str]]:
        """Yield the rows of a sheet."""
        budget = _MOST_CELLS
        for row in _rows(table):
            values: list[str] = []
            for cell in row:
                times = _integer(attribute(cell, "number-columns-repeated"), 1)
                value = self.value(cell) if local(cell) == "table-cell" else ""
                if value or times < _MOST_REPEATED:
                    values += [value] * min(times, _MOST_REPEATED)
            while values and not values[-1]:
                values.pop()
            times = _integer(attribute(row, "number-rows-repeated"), 1)
            times = min(times, _MOST_REPEATED) if values or times < _MOST_REPEATED else 0
            budget -= times * max(1, len(values))
            if budget < 0:
                raise Unusable(f"the ods has a sheet of more than {_MOST_CELLS:,} cells")
            yield from [values] * times

    def value(self, cell: Element) -> str:
        shown = "\n".join(self._plain(each) for each in cell if local(each) == "p")
        kind = attribute(cell, "value-type")
        if kind == "date":
            return attribute(cell, "date-value") or shown
        if kind == "boolean":
            return attribute(cell, "boolean-value") or shown
        if kind == "float" and not (shown.isdigit() and shown.startswith("0")):
            return _number(attribute(cell, "value") or shown)
        return shown

    def _plain(self, element: Element) -> str:
        name = local(element)
        if name in _LEFT_OUT:
            return ""
        if name in {"s", "tab", "line-break"}:
            return " "
        return (element.text or "") + "".join(self._plain(each) + (each.tail or "") for each in element)


_PLACES = {"page", "date-time", "footer", "header", "page-number"}


def _label(level: Element, count: int) -> tuple[str, str]:
    """Return the format of a number of a list, and the number with the signs around it."""
    kind = FORMATS.get(attribute(level, "num-format") or "1", "decimal")
    before, after = attribute(level, "num-prefix") or "", attribute(level, "num-suffix") or ""
    return kind, f"{before}{counted(count, kind)}{after or '.'}"


def _rows(table: Element) -> Iterator[Element]:
    for each in table:
        if local(each) == "table-row":
            yield each
        elif local(each) in _ROW_GROUPS:
            yield from _rows(each)


def _number(text: str) -> str:
    try:
        return plain_number(int(text) if text.lstrip("-").isdigit() else float(text))
    except (ValueError, OverflowError):
        return text


def _integer(value: str | None, default: int) -> int:
    return int(value) if value and value.isdigit() and len(value) < 9 else default  # noqa: PLR2004  no count is that long
