"""Word documents (docx), by way of HTML.

Text as the reader sees it: results of fields, inserted text, text boxes, footnotes in brackets where they are referred to, labels
of numbered headings. Left out: deleted and hidden text, comments, headers and footers, tables of contents, emphasis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from xml.etree.ElementTree import Element

from ingest.source.convert.archives import Archive, attribute, child, core_properties, local, main_part, opened
from ingest.source.convert.drawings import drawn
from ingest.source.convert.formulas import formula
from ingest.source.convert.html import declared_encoding, html_page
from ingest.source.convert.mail import markup_of_message
from ingest.source.convert.markup import Block, Item, Paragraph, Table, TableCell, markup_of
from ingest.source.convert.page import Page
from ingest.source.convert.rtf import rtf_markup
from ingest.source.convert.symbols import in_font, symbol
from ingest.source.convert.text import decode
from ingest.source.convert.web_repairs import as_html
from ingest.source.convert.word_lists import Lists, small_number

_WRAPPERS = {
    "sdt",
    "sdtContent",
    "ins",
    "moveTo",
    "customXml",
    "smartTag",
    "hyperlink",
    "fldSimple",
    "dir",
    "bdo",
    "r",
    "drawing",
}
_LEFT_OUT = {"del", "moveFrom", "rPr", "pPr", "instrText", "delText", "sdtPr", "sdtEndPr", "tblPr", "tblGrid"}
_DELETED = ("del", "moveFrom")
_PLAIN = {"tab": " ", "ptab": " ", "br": "<br>", "cr": "<br>", "noBreakHyphen": "-", "softHyphen": ""}
_OPEN, _CLOSE = {"superscript": "<sup>", "subscript": "<sub>"}, {"superscript": "</sup>", "subscript": "</sub>"}
_HEADING_LEVELS = 6
_DEEPEST_PASTED = 3
_CODE = {"code", "source code", "code block", "html preformatted", "preformatted text"}  # names of styles
_SHOWN_OBJECTS = {"Word.Document.12", "Word.DocumentMacroEnabled.12"}


def word_page(data: bytes) -> Page:
    """Return the content of a Word document as Markdown, with its title and metadata."""
    with opened(data, "docx") as archive:
        title, facts = core_properties(archive)
        markup = _Reader(archive).markup()
    page = html_page(markup.encode())
    return Page(page.text, title=title or page.title, metadata=facts)


@dataclass(slots=True)
class _Style:
    """A style: its name, heading level, list, and the looks of a character style, as far as it has them. `code`: of code."""

    name: str = ""
    code: bool = False
    level: int | None = None
    runs: list[Element] = field(default_factory=list)
    list: tuple[str, int] | None = None


@dataclass(slots=True)
class _Reader:
    """A walk through the parts of a document."""

    archive: Archive
    part: str = ""
    styles: dict[str, _Style] = field(default_factory=dict)
    lists: Lists = field(default_factory=lambda: Lists(None))
    notes: dict[str, dict[str, Element]] = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    fields: list[str] = field(default_factory=list)
    boxes: list[Block] = field(default_factory=list)
    font: str | None = None
    joined: str = ""  # paragraphs whose mark was deleted, which the next one continues
    depth: int = 0

    def markup(self) -> str:
        self.part, document = main_part(self.archive, "document")
        body = child(document, "body")
        self.links = self.archive.relations(self.part)
        parts = {kind: self.archive.xml(target) for kind, target in self.links.values() if kind in _PARTS}
        self.styles = _styles(parts.get("styles"))
        self.lists = Lists(parts.get("numbering"))
        for kind in ("footnotes", "endnotes"):
            root = parts.get(kind)
            self.notes[kind] = {attribute(note, "id") or "": note for note in root} if root is not None else {}
        return markup_of(self.blocks(body if body is not None else ()))

    def blocks(self, parent: Iterable[Element]) -> Iterator[Block]:
        for element in parent:
            name = local(element)
            if name == "p":
                yield from self.paragraph(element)
                yield from self._boxed()
            elif name == "tbl":
                yield from self._rest()
                yield Table([list(self._cells(row)) for row in _rows(element)])
            elif name == "AlternateContent":
                yield from self.blocks(_choice(element))
            elif name == "altChunk":
                yield from self._pasted(element)
            elif name == "sdt" and _is_contents(element):
                continue
            elif name not in _LEFT_OUT:
                yield from self.blocks(element)
        yield from self._rest()

    def _rest(self) -> Iterator[Block]:
        if self.joined:
            rest, self.joined = self.joined, ""
            yield Paragraph(rest)

    def paragraph(self, element: Element) -> Iterator[Block]:
        properties = child(element, "pPr")
        key = attribute(child(properties, "pStyle"), "val") or ""
        style = self.styles.get(key) or _undefined(key)
        if style.name.startswith("toc "):
            return
        self.fields = [part for part in self.fields if part != "code"]  # of a field that was not completed
        before, self.joined = self.joined, ""
        text = before + self.inline(element)
        if any(child(properties, "rPr", change) is not None for change in _DELETED):
            self.joined = text
            return
        outline = attribute(child(properties, "outlineLvl"), "val")
        level = int(outline) if outline and outline.isdigit() else style.level
        if level is not None and level >= _HEADING_LEVELS:
            level = None
        listed = _list_of(properties) or style.list
        label = self.lists.label(*listed) if listed else None
        if label is None or listed is None:
            yield Paragraph(text, None if level is None else level + 1, code=level is None and style.code)
        elif level is not None:
            yield Paragraph(f"{escape(label[1])} {text}".strip(), level + 1)
        else:
            yield Item(text, listed[1], *label)

    def inline(self, parent: Element) -> str:
        return "".join(self._inline(element) for element in parent)

    def _inline(self, element: Element) -> str:  # noqa: C901, PLR0911, PLR0912  one branch a kind of element
        name = local(element)
        if name == "r":
            return self._run(element)
        if name == "t":
            text = element.text or "" if "code" not in self.fields else ""
            kept = attribute(element, "space") == "preserve"
            return escape(in_font(text if kept else text.strip(" \t\r\n"), self.font), quote=False)
        if name in _PLAIN:
            return _PLAIN[name]
        if name == "sym":
            return "" if "code" in self.fields else _symbol(element)
        if name in {"footnoteReference", "endnoteReference"}:
            return self._note(name.removesuffix("Reference") + "s", attribute(element, "id") or "")
        if name == "fldChar":
            return self._field(element)
        if name == "hyperlink":
            return self._link(element)
        if name == "AlternateContent":
            return "".join(self._inline(each) for each in _choice(element))
        if name == "txbxContent":
            outer, self.boxes = self.boxes, []
            self.boxes = outer + list(self.blocks(element))
            return ""
        if name == "docPr":
            described = attribute(element, "descr")
            return f" {escape(described, quote=False)} " if described else ""
        if name == "oMath":
            return escape(formula(element), quote=False)
        if name == "OLEObject":
            self.boxes += self._pasted(element) if attribute(element, "ProgID") in _SHOWN_OBJECTS else ()
            return ""
        if name == "ruby":
            base, above = child(element, "rubyBase"), child(element, "rt")
            return "".join(self.inline(each) for each in (base,) if each is not None) + (
                f" ({self.inline(above)})" if above is not None else ""
            )
        if name in _DELETED:  # a field may begin or end in there
            outer, self.boxes = self.boxes, []
            self.inline(element)
            self.boxes = outer
            return ""
        if name == "textpath":
            return escape(f" {attribute(element, 'string') or ''} ", quote=False)
        self.boxes += drawn(self.archive, element, self.links)
        return "" if name in _LEFT_OUT else self.inline(element)

    def _field(self, element: Element) -> str:
        """Follow a field: its code is not shown, nor are fields in that. Return what an old form field shows."""
        kind = attribute(element, "fldCharType")
        if kind == "begin":
            shown = "" if "code" in self.fields else _form_field(child(element, "ffData"))
            self.fields.append("code")
            return shown
        if self.fields and kind == "separate":
            self.fields[-1] = "result"
        elif self.fields and kind == "end":
            self.fields.pop()
        return ""

    def _run(self, run: Element) -> str:
        own = child(run, "rPr")
        style = self.styles.get(attribute(child(own, "rStyle"), "val") or "", _Style())
        looks = [each for each in (own, *style.runs) if each is not None]

        def look(name: str) -> Element | None:
            return next((found for each in looks if (found := child(each, name)) is not None), None)

        outer, self.font = self.font, attribute(look("rFonts"), "ascii")
        text = self.inline(run)  # also of hidden text, in which a field may begin
        self.font = outer
        if _is_on(look("vanish")):
            return ""
        if not text or text.isspace():
            return text
        position = attribute(look("vertAlign"), "val") or ""
        text = f"{_OPEN.get(position, '')}{text}{_CLOSE.get(position, '')}"
        return f"<s>{text}</s>" if _is_on(look("strike")) or _is_on(look("dstrike")) else text

    def _note(self, kind: str, number: str) -> str:
        note = self.notes[kind].pop(number, None)  # popped: a note that refers to itself ends here
        if note is None:
            return ""
        text = " ".join(self.inline(paragraph).strip() for paragraph in note.iter() if local(paragraph) == "p")
        return f" [{text}]" if text else ""

    def _link(self, element: Element) -> str:
        text = self.inline(element)
        kind, target = self.links.get(attribute(element, "id") or "", ("", ""))
        return f'<a href="{escape(target)}">{text}</a>' if kind == "hyperlink" and text.strip() else text

    def _pasted(self, element: Element) -> Iterator[Block]:
        """Yield the text of a part in another format that Word shows in place: a document, a web page or plain text."""
        _, target = self.links.get(attribute(element, "id") or "", ("", ""))
        part = (self.archive.read(target) or b"") if target else b""
        suffix = target.lower().rpartition(".")[2]
        if suffix in {"docx", "docm"} and self.depth < _DEEPEST_PASTED:
            with opened(part, "docx") as archive:
                yield Paragraph(_Reader(archive, depth=self.depth + 1).markup())
        elif suffix == "rtf":
            yield Paragraph(rtf_markup(part)[0])
        elif suffix in {"mht", "mhtml"}:
            yield Paragraph(markup_of_message(part))
        elif suffix in {"htm", "html", "xhtml"}:
            yield Paragraph(as_html(decode(part, declared_encoding(part))))
        elif suffix == "txt":
            yield from (Paragraph(escape(line, quote=False)) for line in decode(part).split("\n"))

    def _boxed(self) -> Iterator[Block]:
        boxes, self.boxes = self.boxes, []
        yield from boxes

    def _cells(self, row: Element) -> Iterator[TableCell]:
        before = child(row, "trPr", "gridBefore")
        if before is not None:
            yield TableCell([], small_number(attribute(before, "val"), 1))
        for cell in _elements(row, "tc"):
            properties = child(cell, "tcPr")
            merged = child(properties, "vMerge")
            follows = merged is not None and attribute(merged, "val") in (None, "continue")
            span = small_number(attribute(child(properties, "gridSpan"), "val"), 1)
            yield TableCell(list(self.blocks(cell)), span, follows=follows)


_PARTS = {"styles", "numbering", "footnotes", "endnotes"}


def _elements(parent: Element, name: str) -> Iterator[Element]:
    """Yield the children of a name, also those in content controls and insertions."""
    for element in parent:
        if local(element) == name:
            yield element
        elif local(element) in _WRAPPERS:
            yield from _elements(element, name)


def _rows(table: Element) -> Iterator[Element]:
    for row in _elements(table, "tr"):
        properties = child(row, "trPr")
        if child(properties, "del") is None and not _is_on(child(properties, "hidden")):
            yield row


def _choice(element: Element) -> Element | tuple[()]:
    """Return the version of alternate content that has text."""
    versions = [each for each in element if local(each) in {"Choice", "Fallback"}]
    return next((each for each in versions if any(local(node) in {"t", "docPr"} for node in each.iter())), ())


def _is_contents(control: Element) -> bool:
    return attribute(child(control, "sdtPr", "docPartObj", "docPartGallery"), "val") == "Table of Contents"


def _is_on(element: Element | None) -> bool:
    return element is not None and attribute(element, "val") not in {"0", "false", "off"}


def _list_of(properties: Element | None) -> tuple[str, int] | None:
    listed = child(properties, "numPr")
    number = attribute(child(listed, "numId"), "val")
    return (number, small_number(attribute(child(listed, "ilvl"), "val"), 0)) if number else None


def _styles(root: Element | None) -> dict[str, _Style]:
    """Return the paragraph styles by id, each with what it takes over from the style it is based on."""
    elements = {attribute(each, "styleId") or "": each for each in root if local(each) == "style"} if root is not None else {}
    styles: dict[str, _Style] = {}
    for key, element in elements.items():
        style = _Style((attribute(child(element, "name"), "val") or "").lower())
        seen: set[str] = set()
        base, at = key, element
        while base not in seen:
            seen.add(base)
            name = (attribute(child(at, "name"), "val") or "").lower()
            looks = child(at, "rPr") if attribute(element, "type") == "character" else None
            style.runs += [looks] if looks is not None else []
            properties = child(at, "pPr")
            outline = attribute(child(properties, "outlineLvl"), "val")
            if style.level is None and outline and outline.isdigit():
                style.level = int(outline)
            if style.level is None and name.startswith("heading ") and name[8:].isdigit():
                style.level = int(name[8:]) - 1
            style.code = style.code or name in _CODE
            if style.level is None and name == "title":
                style.level = 0
            style.list = style.list or _list_of(properties)
            base = attribute(child(at, "basedOn"), "val") or ""
            if base not in elements:
                break
            at = elements[base]
        styles[key] = style
    return styles


def _undefined(key: str) -> _Style:
    """Return a style that the document uses but does not define: what Word names so is a title or a heading."""
    number = key.removeprefix("Heading")
    return _Style(level=0 if key == "Title" else int(number) - 1 if number in set("123456") else None)


def _symbol(element: Element) -> str:
    """Return a character that is given by its font and code."""
    try:
        code = int(attribute(element, "char") or "", 16)
    except ValueError:
        return "□"
    return escape(symbol(attribute(element, "font") or "", code), quote=False)


def _form_field(data: Element | None) -> str:
    """Return what an old form field shows: a box, or the chosen entry of a list. Texts are the result of their field."""
    box, choice = child(data, "checkBox"), child(data, "ddList")
    if box is not None:
        checked = child(box, "checked")
        return "☒" if _is_on(child(box, "default") if checked is None else checked) else "☐"
    entries = [attribute(each, "val") or "" for each in choice if local(each) == "listEntry"] if choice is not None else []
    chosen = small_number(attribute(child(choice, "result"), "val"), 0)
    return escape(entries[chosen], quote=False) if chosen < len(entries) else ""
