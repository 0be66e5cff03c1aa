"""Word documents (docx), by way of HTML.

Text as the reader sees it: results of fields, inserted text, text boxes, footnotes in brackets where they are referred to, labels
of numbered headings. Left out: deleted and hidden text, comments, headers and footers, tables of contents, emphasis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from xml.etree.ElementTree import Element

from ingest.source.convert.archives import Archive, attribute, child, core_properties, local, main_part, opened
from ingest.source.convert.html import html_page
from ingest.source.convert.markup import Block, Item, Paragraph, Table, TableCell, markup_of
from ingest.source.convert.page import Page

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
_PLAIN = {"tab": " ", "ptab": " ", "br": "<br>", "cr": "<br>", "noBreakHyphen": "-", "softHyphen": ""}
_SYMBOLS = {"F0E0": "→", "F0DF": "←", "F0FC": "✓", "F0FB": "✗", "F0A7": "▪", "F0B7": "•", "F0A8": "☐", "F0FE": "☑", "F06F": "☐"}
_OPEN, _CLOSE = {"superscript": "<sup>", "subscript": "<sub>"}, {"superscript": "</sup>", "subscript": "</sub>"}
_HEADING_LEVELS = 6
_ROMAN = ((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))


def word_page(data: bytes) -> Page:
    """Return the content of a Word document as Markdown, with its title and metadata."""
    with opened(data, "docx") as archive:
        title, facts = core_properties(archive)
        markup = _Reader(archive).markup()
    page = html_page(markup.encode())
    return Page(page.text, title=title or page.title, metadata=facts)


@dataclass(slots=True)
class _Style:
    """A paragraph style: its name, heading level and list, as far as it has them."""

    name: str = ""
    level: int | None = None
    list: tuple[str, int] | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class _Level:
    """A level of a numbered list."""

    format: str
    text: str
    start: int


@dataclass(slots=True)
class _Reader:
    """A walk through the parts of a document."""

    archive: Archive
    part: str = ""
    styles: dict[str, _Style] = field(default_factory=dict)
    lists: dict[str, dict[int, _Level]] = field(default_factory=dict)
    notes: dict[str, dict[str, Element]] = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    boxes: list[Block] = field(default_factory=list)

    def markup(self) -> str:
        self.part, document = main_part(self.archive, "document")
        body = child(document, "body")
        self.links = self.archive.relations(self.part)
        parts = {kind: self.archive.xml(target) for kind, target in self.links.values() if kind in _PARTS}
        self.styles = _styles(parts.get("styles"))
        self.lists = _lists(parts.get("numbering"))
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
                yield Table([list(self._cells(row)) for row in _rows(element)])
            elif name == "AlternateContent":
                yield from self.blocks(_choice(element))
            elif name == "sdt" and _is_contents(element):
                continue
            elif name not in _LEFT_OUT:
                yield from self.blocks(element)

    def paragraph(self, element: Element) -> Iterator[Block]:
        properties = child(element, "pPr")
        style = self.styles.get(attribute(child(properties, "pStyle"), "val") or "", _Style())
        if style.name.startswith("toc "):
            return
        text = self.inline(element)
        outline = attribute(child(properties, "outlineLvl"), "val")
        level = int(outline) if outline and outline.isdigit() else style.level
        if level is not None and level >= _HEADING_LEVELS:
            level = None
        listed = _list_of(properties) or style.list
        label = self._label(listed) if listed and listed[0] in self.lists else None
        if label is None or listed is None:
            yield Paragraph(text, None if level is None else level + 1)
        elif level is not None:
            yield Paragraph(f"{escape(label[1])} {text}".strip(), level + 1)
        else:
            yield Item(text, listed[1], *label)

    def inline(self, parent: Element) -> str:
        return "".join(self._inline(element) for element in parent)

    def _inline(self, element: Element) -> str:  # noqa: C901, PLR0911  one branch a kind of element
        name = local(element)
        if name == "r":
            return self._run(element)
        if name == "t":
            text = element.text or ""
            kept = attribute(element, "space") == "preserve"
            return escape(text if kept else text.strip(" \t\r\n"), quote=False)
        if name in _PLAIN:
            return _PLAIN[name]
        if name == "sym":
            return _SYMBOLS.get((attribute(element, "char") or "").upper(), "□")
        if name in {"footnoteReference", "endnoteReference"}:
            return self._note(name.removesuffix("Reference") + "s", attribute(element, "id") or "")
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
            return escape(_formula(element), quote=False)
        if name == "ruby":
            base, above = child(element, "rubyBase"), child(element, "rt")
            return "".join(self.inline(each) for each in (base,) if each is not None) + (
                f" ({self.inline(above)})" if above is not None else ""
            )
        return "" if name in _LEFT_OUT else self.inline(element)

    def _run(self, run: Element) -> str:
        properties = child(run, "rPr")
        if _is_on(child(properties, "vanish")):
            return ""
        text = self.inline(run)
        if not text or text.isspace():
            return text
        position = attribute(child(properties, "vertAlign"), "val") or ""
        text = f"{_OPEN.get(position, '')}{text}{_CLOSE.get(position, '')}"
        return f"<s>{text}</s>" if _is_on(child(properties, "strike")) or _is_on(child(properties, "dstrike")) else text

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

    def _boxed(self) -> Iterator[Block]:
        boxes, self.boxes = self.boxes, []
        yield from boxes

    def _cells(self, row: Element) -> Iterator[TableCell]:
        before = child(row, "trPr", "gridBefore")
        if before is not None:
            yield TableCell([], _number(attribute(before, "val"), 1))
        for cell in _elements(row, "tc"):
            properties = child(cell, "tcPr")
            merged = child(properties, "vMerge")
            follows = merged is not None and attribute(merged, "val") in (None, "continue")
            span = _number(attribute(child(properties, "gridSpan"), "val"), 1)
            yield TableCell(list(self.blocks(cell)), span, follows=follows)

    def _label(self, listed: tuple[str, int]) -> tuple[str, str]:
        """Count a list item. Return the format of its number, and its label."""
        number, depth = listed
        levels = self.lists[number]
        level = levels.get(depth)
        if level is None or level.format in {"bullet", "none"}:
            return ("bullet", "")
        self.counts[number, depth] += 1
        for key in list(self.counts):
            if key[0] == number and key[1] > depth:
                del self.counts[key]
        label = level.text
        for at in range(depth + 1):
            own = levels.get(at, level)
            count = own.start + max(self.counts[number, at], 1) - 1
            label = label.replace(f"%{at + 1}", _counted(count, own.format))
        return (level.format, label)


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


def _number(value: str | None, default: int) -> int:
    return int(value) if value and value.isdigit() and len(value) < 6 else default  # noqa: PLR2004  no table is that wide


def _list_of(properties: Element | None) -> tuple[str, int] | None:
    listed = child(properties, "numPr")
    number = attribute(child(listed, "numId"), "val")
    return (number, _number(attribute(child(listed, "ilvl"), "val"), 0)) if number else None


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
            properties = child(at, "pPr")
            outline = attribute(child(properties, "outlineLvl"), "val")
            if style.level is None and outline and outline.isdigit():
                style.level = int(outline)
            if style.level is None and name.startswith("heading ") and name[8:].isdigit():
                style.level = int(name[8:]) - 1
            if style.level is None and name == "title":
                style.level = 0
            style.list = style.list or _list_of(properties)
            base = attribute(child(at, "basedOn"), "val") or ""
            if base not in elements:
                break
            at = elements[base]
        styles[key] = style
    return styles


def _lists(root: Element | None) -> dict[str, dict[int, _Level]]:
    """Return the levels of each list by its id."""
    if root is None:
        return {}
    abstract = {}
    for each in root:
        if local(each) == "abstractNum":
            abstract[attribute(each, "abstractNumId")] = {
                _number(attribute(level, "ilvl"), 0): _Level(
                    attribute(child(level, "numFmt"), "val") or "decimal",
                    attribute(child(level, "lvlText"), "val") or "",
                    _number(attribute(child(level, "start"), "val"), 1),
                )
                for level in each
                if local(level) == "lvl"
            }
    lists = {}
    for each in root:
        if local(each) == "num":
            levels = dict(abstract.get(attribute(child(each, "abstractNumId"), "val"), {}))
            for override in each:
                start, depth = attribute(child(override, "startOverride"), "val"), _number(attribute(override, "ilvl"), 0)
                if start and depth in levels:
                    levels[depth] = _Level(levels[depth].format, levels[depth].text, _number(start, 1))
            lists[attribute(each, "numId") or ""] = levels
    return lists


def _counted(count: int, style: str) -> str:
    if style in {"lowerLetter", "upperLetter"}:
        letters = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 + 1)
        return letters.upper() if style == "upperLetter" else letters
    if style in {"lowerRoman", "upperRoman"} and 0 < count < 40:  # noqa: PLR2004  longer lists are not numbered in Roman
        text = ""
        for value, sign in _ROMAN:
            text += sign * (count // value)
            count %= value
        return text.upper() if style == "upperRoman" else text
    return str(count).zfill(2) if style == "decimalZero" else str(count)


def _formula(element: Element) -> str:
    """Return a formula on one line: `(a)/(b)`, `x^(2)`, `x_(i)`."""
    name = local(element)
    if name == "t":
        return element.text or ""
    parts = {local(each): _formula(each) for each in element}
    if name == "f":
        return f"({parts.get('num', '')})/({parts.get('den', '')})"
    if name in {"sSup", "sSub", "sSubSup"}:
        low, high = parts.get("sub"), parts.get("sup")
        return parts.get("e", "") + (f"_({low})" if low else "") + (f"^({high})" if high else "")
    if name == "rad":
        return f"√{parts.get('deg', '')}({parts.get('e', '')})"
    return "".join(_formula(each) for each in element)
