"""Web pages, parsed as browsers parse them.

Everything a reader of the page can reach becomes text: navigation, forms and hidden panels too. Left out are scripts, style
sheets, templates, comments, SVG drawings, permalinks of headings and the payload of `data:` addresses.
"""

from __future__ import annotations

import codecs
import re
from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from ingest.source.convert.page import Page
from ingest.source.convert.text import decode, markdown_title
from ingest.source.fields import Unusable
from ingest.source.streams import first_line

if TYPE_CHECKING:
    from html_to_markdown import ConversionOptions

_PRESCAN = 1024  # bytes in which a browser looks for the declared encoding
_DECLARED = re.compile(rb"""<(?:meta\b[^>]*?\bcharset|\?xml\b[^>]*?\bencoding)\s*=\s*["']?\s*([\w.:+-]+)""", re.IGNORECASE)
_ENCODINGS = {  # Python's name of a declared encoding → the encoding browsers read it in
    **{name: name for name in ("utf-8", "koi8-r", "koi8-u", "mac-roman", "cp866", "euc_jp", "iso2022_jp", "gb18030")},
    **{f"cp125{number}": f"cp125{number}" for number in range(9)},
    **{f"iso8859-{number}": f"iso8859-{number}" for number in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    **dict.fromkeys(("ascii", "iso8859-1"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    **dict.fromkeys(("big5", "big5hkscs"), "big5hkscs"),
    **dict.fromkeys(("shift_jis", "cp932"), "cp932"),
    **dict.fromkeys(("euc_kr", "cp949"), "cp949"),
    **dict.fromkeys(("iso8859-11", "tis-620", "cp874"), "cp874"),
    "iso8859-9": "cp1254",
}
_LEFT_OUT = ("svg", "a.headerlink")
_RAW_TEXT = re.compile(r"<(/?)(script|style)\b", re.IGNORECASE)
_STRUCK_OUT = re.compile(r"text-decoration[^;]*:[^;]*line-through", re.IGNORECASE)


def html_page(data: bytes) -> Page:
    """Return the content of an HTML file as Markdown, with its title and the metadata of its head."""
    from html_to_markdown import ConversionError, WarningKind, convert  # noqa: PLC0415  slow to import

    markup = mark_struck_out(_close_raw_text(decode(data, _declared_encoding(data))))
    try:
        page = convert(markup, _options(head=False))
        head = convert(markup, _options(head=True)).metadata.document
    except ConversionError as exc:
        raise Unusable(f"the file cannot be read as HTML: {first_line(exc)}") from None
    if any(warning.kind == WarningKind.DEPTH_LIMIT_EXCEEDED for warning in page.warnings):
        raise Unusable("the HTML is nested too deeply")
    text = (page.content or "").strip()
    facts = {"language": head.language, "description": head.description, "author": head.author, "url": head.canonical_url}
    metadata = {name: " ".join(value.split()) for name, value in facts.items() if value and not value.isspace()}
    return Page(
        text, title=" ".join((head.title or "").split()) or markdown_title(text), metadata=metadata, url=metadata.get("url")
    )


def mark_struck_out(markup: str) -> str:
    """Return the markup with `<s>` inside every element whose style is `line-through`."""
    if "line-through" not in markup:
        return markup
    finder = _StruckOut(markup)
    finder.feed(markup)
    parts, last = [], 0
    for offset, tag in sorted(finder.marks):
        parts += [markup[last:offset], tag]
        last = offset
    return "".join([*parts, markup[last:]])


def _close_raw_text(markup: str) -> str:
    """Return the markup with an end tag for a last script or style sheet without one, which the parser would take for text."""
    unclosed = ""
    for match in _RAW_TEXT.finditer(markup):
        name = match[2].lower()
        if not match[1]:
            unclosed = unclosed or name
        elif name == unclosed:
            unclosed = ""
    return f"{markup}</{unclosed}>" if unclosed else markup


class _StruckOut(HTMLParser):
    """A scanner for elements with struck-out text. An element without an end tag is left as it is.

    Attributes:
        marks: offsets in the markup, and the tag to insert there.
    """

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=False)
        self.marks: list[tuple[int, str]] = []
        self._lines = [0, *(match.end() for match in re.finditer("\n", markup))]
        self._open: dict[str, list[int | None]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        struck = any(name == "style" and _STRUCK_OUT.search(value or "") for name, value in attrs)
        end = self._offset() + len(self.get_starttag_text() or "")
        if tag == "p":  # which ends an open one
            self._open.pop(tag, None)
        self._open.setdefault(tag, []).append(end if struck else None)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Skip an element without content."""

    def handle_endtag(self, tag: str) -> None:
        start = self._open[tag].pop() if self._open.get(tag) else None
        if start is not None:
            self.marks += [(start, "<s>"), (self._offset(), "</s>")]

    def _offset(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column


def _declared_encoding(data: bytes) -> str | None:
    """Return the encoding declared in the markup, or None if there is none, or an unknown one."""
    match = _DECLARED.search(data, 0, _PRESCAN)
    if match is None:
        return None
    try:
        return _ENCODINGS.get(codecs.lookup(match[1].decode().lower().removeprefix("x-").replace("windows-", "cp")).name)
    except LookupError:
        return None


@cache
def _options(*, head: bool) -> ConversionOptions:
    """Return the options for the metadata in the head of a page, or for its text."""
    from html_to_markdown import ConversionOptions, PreprocessingOptions  # noqa: PLC0415  slow to import

    return ConversionOptions(
        autolinks=False,
        compact_tables=True,
        exclude_selectors=[*_LEFT_OUT, *(("body",) if head else ())],
        extract_metadata=head,  # otherwise the text begins with it
        hidden_content="reachable",
        include_blockquote_citations=False,
        inline_data_media="alt_text_only",
        preprocessing=PreprocessingOptions(enabled=False, remove_navigation=False, remove_forms=False),
        sub_symbol="~",
        sup_symbol="^",
        tier_strategy="tier2",  # the other tier does not parse like a browser
    )
