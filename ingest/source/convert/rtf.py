"""Rich Text Format, by way of HTML.

Left out: hidden and deleted text, comments, headers and footers, pictures, emphasis. Footnotes stand in brackets where they are
referred to, text boxes below their paragraph.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field, replace
from html import escape

from ingest.source.convert.html import html_page
from ingest.source.convert.markup import Block, Paragraph, Table, TableCell, markup_of
from ingest.source.convert.page import Page
from ingest.source.convert.symbols import in_font
from ingest.source.fields import Unusable

_TOKEN = re.compile(
    rb"\\([a-z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-z])|([{}])|([^\\{}\r\n]+)|[\r\n]+", re.IGNORECASE
)
_LEFT_OUT = {
    "fonttbl", "colortbl", "stylesheet", "pict", "object", "header", "headerl", "headerr", "headerf", "footer", "footerl",
    "footerr", "footerf", "annotation", "atnid", "atnauthor", "atntime", "atnref", "atndate", "fldinst", "xe", "tc",
    "listtable", "listoverridetable", "revtbl", "rsidtbl", "generator", "themedata", "colorschememapping", "datastore",
    "latentstyles", "nonshppict", "bkmkstart", "bkmkend", "mmathPr", "filetbl", "pgdsctbl", "operator", "company", "category",
}  # fmt: skip
_FACTS = {"title": "title", "author": "author", "subject": "subject", "keywords": "keywords", "info": ""}
_SIGNS = {
    "tab": " ", "line": "\n", "emdash": "—", "endash": "–", "bullet": "•", "lquote": "‘", "rquote": "’", "ldblquote": "“",
    "rdblquote": "”", "emspace": " ", "enspace": " ", "qmspace": " ",
}  # fmt: skip
_CHARSETS = {
    77: "mac_roman",
    128: "cp932",
    129: "cp949",
    134: "gb18030",
    136: "big5hkscs",
    161: "cp1253",
    162: "cp1254",
    163: "cp1258",
}
_CHARSETS |= {177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250"}
_DEEPEST = 1_000


@dataclass(frozen=True, slots=True)
class _State:
    """The formatting in force until the end of a group."""

    place: str = "text"
    raised: str = ""
    struck: bool = False
    hidden: bool = False
    skip: int = 1
    font: int = 0


@dataclass(slots=True)
class _Reader:
    """A walk through the tokens of a file."""

    state: _State = field(default_factory=_State)
    stack: list[_State] = field(default_factory=list)
    encoding: str = "cp1252"
    fonts: dict[int, str] = field(default_factory=dict)
    font: int = 0
    level: int | None = None
    in_table: bool = False
    pieces: list[tuple[str, str, bool]] = field(default_factory=list)
    outer: list[tuple[int, list[tuple[str, str, bool]], bool]] = field(default_factory=list)
    boxes: list[Block] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    unicode_place: str = "text"
    pending: bytes = b""
    cell: list[Block] = field(default_factory=list)
    row: list[TableCell] = field(default_factory=list)
    rows: list[list[TableCell]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    left: int = 0


def rtf_page(data: bytes) -> Page:
    """Return the content of a Rich Text file as Markdown, with its title and metadata."""
    markup, facts = rtf_markup(data)
    page = html_page(markup.encode())
    return Page(page.text, title=facts.pop("title", None) or page.title, metadata=facts)


def rtf_markup(data: bytes) -> tuple[str, dict[str, str]]:
    """Return the content of a Rich Text file as HTML, and what it states about itself."""
    if not data.lstrip()[:5] == b"{\\rtf":
        raise Unusable("the file cannot be read as rtf: it does not begin like one")
    reader = _Reader()
    _walk(reader, data)
    if reader.stack:
        raise Unusable("the file cannot be read as rtf: it is cut off")
    _end_paragraph(reader)
    _end_table(reader)
    return markup_of(reader.blocks), {name: " ".join(value.split()) for name, value in reader.facts.items() if value.strip()}


def _walk(reader: _Reader, data: bytes) -> None:  # noqa: C901, PLR0912  one branch a kind of token
    at = 0
    while match := _TOKEN.match(data, at):
        at = match.end()
        word, number, code, sign, brace, text = match.groups()
        if code:
            _byte(reader, bytes([int(code, 16)]))
        elif text:
            _byte(reader, text)
        elif word:
            name = word.decode().lower()
            if name == "bin":
                at += max(0, int(number or 0))
            else:
                _word(reader, name, int(number) if number else None)
        elif brace == b"{":
            _flush(reader)
            reader.stack.append(reader.state)
            if len(reader.stack) > _DEEPEST:
                raise Unusable("the rtf is nested too deeply")
        elif brace:
            _flush(reader)
            _close(reader)
        elif sign == b"*":
            reader.state = replace(reader.state, place="")
        elif sign in {b"\n", b"\r"}:
            _word(reader, "par", None)
        elif sign:
            _write(reader, {b"~": " ", b"_": "-", b"-": ""}.get(sign, sign.decode("latin-1")))
    if at < len(data) and data[at:].strip(b"\0 \r\n"):
        raise Unusable("the file cannot be read as rtf: it ends in a backslash")


def _close(reader: _Reader) -> None:
    if not reader.stack:
        raise Unusable("the file cannot be read as rtf: it closes more groups than it opens")
    if reader.outer and reader.outer[-1][0] == len(reader.stack):
        text = _inline(reader.pieces).strip()
        _, reader.pieces, is_box = reader.outer.pop()
        if is_box:
            reader.boxes.append(Paragraph(text))
        else:
            reader.pieces.append((f" [{text}]" if text else "", "html", False))
    reader.state = reader.stack.pop()


def _word(reader: _Reader, name: str, number: int | None) -> None:  # noqa: C901, PLR0912, PLR0915  one branch a control word
    _flush(reader)
    state = reader.state
    if name == "u" and number is not None:
        _write(reader, chr(number % 65_536))
        reader.left = state.skip
        return
    on = number != 0
    if name in _LEFT_OUT:
        reader.state = replace(state, place="fonts" if name == "fonttbl" else "")
    elif name in _FACTS and (name == "info" or state.place == "info"):
        reader.state = replace(state, place=_FACTS[name] or "info")
    elif name == "ansicpg" and number:
        reader.encoding = _known(f"cp{number}") or reader.encoding
    elif name in {"mac", "pc"}:
        reader.encoding = "mac_roman" if name == "mac" else "cp437"
    elif name == "f":
        reader.state = replace(state, font=number or 0)
        reader.font = number or 0
    elif name == "fcharset" and state.place in {"fonts", ""}:
        if number in _CHARSETS:
            reader.fonts[reader.font] = _CHARSETS[number]
    elif name == "uc":
        reader.state = replace(state, skip=max(0, number or 0))
    elif name in {"super", "sub", "nosupersub"}:
        reader.state = replace(state, raised="" if name == "nosupersub" or not on else name[:3])
    elif name in {"strike", "striked"}:
        reader.state = replace(state, struck=on)
    elif name in {"v", "deleted"}:
        reader.state = replace(state, hidden=on)
    elif name == "plain":
        reader.state = replace(state, raised="", struck=False, hidden=False)
    elif name in {"footnote", "shptxt"}:  # shptxt: the text of a box
        reader.outer.append((len(reader.stack), reader.pieces, name == "shptxt"))
        reader.pieces = []
        reader.state = replace(state, place="text", raised="")
    elif name == "upr":  # the same text twice: in the codepage, as far as that has it, and as `ud` in Unicode
        reader.unicode_place = state.place
        reader.state = replace(state, place="")
    elif name == "ud":
        reader.state = replace(state, place=reader.unicode_place)
    elif name in _SIGNS:
        _write(reader, _SIGNS[name])
    elif state.place != "text":
        return
    elif name == "pard":
        reader.level, reader.in_table = None, False
    elif name == "intbl":
        reader.in_table = True
    elif name == "outlinelevel" and number is not None:
        reader.level = number + 1 if number < 6 else None  # noqa: PLR2004  the levels of Markdown
    elif name in {"par", "sect", "page", "column"}:
        if reader.outer:
            _write(reader, " ")
        else:
            _end_paragraph(reader)
    elif name == "nestcell":
        _end_paragraph(reader, to_cell=True)
    elif name == "cell":
        _end_paragraph(reader, to_cell=True)
        reader.row.append(TableCell(reader.cell))
        reader.cell = []
    elif name == "row":
        reader.rows.append(reader.row)
        reader.row = []
    elif name == "trowd":
        reader.in_table = True


def _byte(reader: _Reader, data: bytes) -> None:
    if reader.left:
        skipped = min(reader.left, len(data))
        reader.left -= skipped
        data = data[skipped:]
    reader.pending += data


def _flush(reader: _Reader) -> None:
    """Decode the bytes since the last control word."""
    if reader.pending:
        data, reader.pending = reader.pending, b""
        state = reader.state
        if state.place == "fonts":
            reader.names[reader.font] = reader.names.get(reader.font, "") + data.decode("latin-1").rstrip(";")
        elif state.place:
            text = data.decode(reader.fonts.get(state.font, reader.encoding), errors="replace")
            _write(reader, in_font(text, reader.names.get(state.font)))
    reader.left = 0


def _write(reader: _Reader, text: str) -> None:
    if reader.pending:
        _flush(reader)
    state = reader.state
    if state.place in _FACTS.values() and state.place:
        reader.facts[state.place] = reader.facts.get(state.place, "") + text
    elif state.place == "text" and not state.hidden:
        reader.pieces.append((text, state.raised, state.struck))


def _inline(pieces: list[tuple[str, str, bool]]) -> str:
    joined: list[tuple[str, str, bool]] = []
    for text, raised, struck in pieces:
        if joined and raised != "html" and joined[-1][1:] == (raised, struck):
            joined[-1] = (joined[-1][0] + text, raised, struck)
        else:
            joined.append((text, raised, struck))
    return "".join(_styled(*each) for each in joined)


def _styled(text: str, raised: str, struck: bool) -> str:
    if raised == "html":
        return text
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    html = escape(text, quote=False).replace("\n", "<br>")
    if raised and text.strip():
        html = f"<{raised}>{html}</{raised}>"
    return f"<s>{html}</s>" if struck and text.strip() else html


def _end_paragraph(reader: _Reader, *, to_cell: bool = False) -> None:
    _flush(reader)
    html = _inline(reader.pieces)
    reader.pieces = []
    block = Paragraph(html, reader.level)
    boxes, reader.boxes = reader.boxes, []
    if to_cell or reader.in_table:
        reader.cell += [block, *boxes]
        return
    _end_table(reader)
    reader.blocks += [block, *boxes]


def _end_table(reader: _Reader) -> None:
    if reader.rows:
        reader.blocks.append(Table(reader.rows))
        reader.rows = []
    reader.blocks += reader.cell
    reader.cell = []


def _known(name: str) -> str | None:
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None
