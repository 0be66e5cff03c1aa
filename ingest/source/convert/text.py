"""Plain text, Markdown and source code, in any declared or recognizable encoding."""

from __future__ import annotations

import io
import re
from html import unescape
from typing import Any

from ingest.source.convert.front_matter import split_front_matter
from ingest.source.convert.page import Page
from ingest.source.encodings import BYTE_ORDER_MARKS, Encoding, find_encoding
from ingest.source.fields import Unusable, one_line_end
from ingest.source.outline import outline_of

_FENCE = re.compile(r" {0,3}(```|~~~)")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_RAW_HEADING = re.compile(r" {0,3}<h1\b[^<>]*>(.{1,2000}?)</h1>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile("<[^<>]*>")
_UNDERLINE = re.compile(r" {0,3}=+[ \t]*$")
_COMMENT = re.compile(r" {0,3}<!--")
_DATA_ADDRESS = re.compile(r"(data:[\w.+-]+/[\w.+-]+)(?:;[\w.=+-]+)*;base64,[A-Za-z0-9+/=_%-]{64,}")
_ANCHOR = re.compile(r"""<a\s+(?:name|id)\s*=\s*["']?([^"'\s>]+)[^>\n]*>""", re.IGNORECASE)
_ATTRIBUTES = re.compile(r"[ \t]*\{[^{}\n]*#([\w:.-]+)[^{}\n]*\}[ \t#]*$")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\((?:[^()\n]|\([^()\n]*\))*\)")
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|\][^\x07\x1b\n]*(?:\x07|\x1b\\))")
_STRUCK_OVER = re.compile(r"[^\n\x08]\x08")
_ANCHOR_ABOVE = 300  # characters above a heading in which an anchor of it is looked for


def text_page(data: bytes, *, format: str) -> Page:  # noqa: A002  as in `Document.format`
    """Return the text of a file without front matter, with its title, and as metadata the front matter and a guessed encoding."""
    encoding = find_encoding(data)
    text = decode(data)
    metadata: dict[str, Any] = {"encoding": encoding.name} if encoding is not None and encoding.guessed else {}
    if format == "text":
        text = shown_in_terminal(text)
    if format != "markdown":
        return Page(text, format, metadata=metadata, first_line=1)
    whole = text
    facts, text = split_front_matter(whole)
    first_line = 1 + whole.count("\n", 0, len(whole) - len(text))
    text = without_data_addresses(text)
    title = facts.pop("title", None)
    if title is not None and not (isinstance(title, str) and title.strip()):
        facts["title"], title = title, None
    title = title.strip() if title else markdown_title(text)
    return Page(text, format, title, {**facts, **metadata}, anchors=markdown_anchors(text), first_line=first_line)


def shown_in_terminal(text: str) -> str:
    """Return what a terminal shows of a text: without control sequences, and letters once that were struck over others."""
    if "\x1b" in text:
        text = _SEQUENCE.sub("", text)
    return _STRUCK_OVER.sub("", text) if "\b" in text else text


def without_data_addresses(text: str) -> str:
    """Return a Markdown text without the payload of the `data:` addresses in it, which are pictures."""
    return _DATA_ADDRESS.sub(r"\1", text) if ";base64," in text else text


def markdown_anchors(text: str) -> tuple[tuple[str, int], ...]:
    """Return the name and start of each heading with an id: `{#id}` behind it, or `<a id=id>` in it or on the line above."""
    if "{" not in text and "<a" not in text:
        return ()
    anchors = []
    for heading in outline_of(text).headings:
        line = text[heading.start : heading.end].strip().partition("\n")[0]
        above = text[max(0, heading.start - _ANCHOR_ABOVE) : heading.start].rstrip().rpartition("\n")[2].strip()
        found = _ATTRIBUTES.search(line) or _ANCHOR.search(line) or (_ANCHOR.match(above) if above.startswith("<a") else None)
        if found:
            anchors.append((found[1], heading.start))
    return tuple(anchors)


def decode(data: bytes, declared: str | None = None) -> str:
    """Return bytes as text: by byte order mark, else as declared, else as UTF-8 or UTF-16, else in the encoding that is likely.

    Lines end with a line feed. Raises `Unusable` if the bytes are binary, or are not in that encoding.
    """
    marked = next((name for mark, name in BYTE_ORDER_MARKS if data.startswith(mark)), None)
    encoding = Encoding(marked or declared or "") if marked or declared else find_encoding(data)
    if encoding is None:
        raise Unusable("the file is binary: it contains NUL bytes")
    try:
        text = data.decode(encoding.name)
    except UnicodeDecodeError as exc:
        name = "UTF-8" if encoding.name in ("utf-8", "utf-8-sig") else encoding.name
        raise Unusable(f"the file is not {name} (byte {exc.start + 1}): --encoding names another encoding") from None
    if "\0" in text:
        raise Unusable("the file is binary: it contains NUL bytes")
    return one_line_end(text)


def markdown_title(text: str) -> str | None:
    """Return the first heading of a Markdown text, outside of fenced code and comments, with the text of its links."""
    fence: str | None = None
    comment = False
    before = ""
    at = 0
    for line in io.StringIO(text):
        if comment:
            comment = "-->" not in line
        elif marker := _FENCE.match(line):
            fence = None if fence == marker[1] else fence or marker[1]
        elif fence is None:
            if opened := _COMMENT.match(line):
                comment = "-->" not in line[opened.end() :]
            elif heading := _HEADING.match(line):
                return _without_links(_ATTRIBUTES.sub("", heading[1])) or None
            elif before.strip() and _UNDERLINE.match(line):
                return _without_links(before)
            elif (raw := _RAW_HEADING.match(text, at)) and (title := " ".join(unescape(_TAG.sub(" ", raw[1])).split())):
                return title
        at += len(line)
        before = line if fence is None and not comment else ""
    return None


def _without_links(heading: str) -> str:
    return _LINK.sub(r"\1", heading).strip()
