"""Plain text, Markdown and source code, in any declared or recognizable encoding."""

from __future__ import annotations

import codecs
import io
import re

from ingest.source.convert.page import Page
from ingest.source.fields import Unusable

_BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_UTF16_ASCII_SHARE = 4  # UTF-16 without a mark: at least one character in this many is ASCII
_FENCE = re.compile(r" {0,3}(```|~~~)")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}=+[ \t]*$")
_COMMENT = re.compile(r" {0,3}<!--")


def text_page(data: bytes, *, format: str) -> Page:  # noqa: A002  as in `Document.format`
    """Return the text of a file, and the title of Markdown."""
    text = decode(data)
    return Page(text, format, markdown_title(text) if format == "markdown" else None)


def decode(data: bytes, declared: str | None = None) -> str:
    """Return bytes as text: by byte order mark, else as declared, else as UTF-8, or UTF-16 if every other byte of ASCII is NUL.

    Raises `Unusable` if the bytes are binary, or are not in that encoding.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), None) or declared
    if encoding is None and b"\0" in data:
        encoding = _utf16_without_mark(data)
        if encoding is None:
            raise Unusable("the file is binary: it contains NUL bytes")
    try:
        text = data.decode(encoding or "utf-8")
    except UnicodeDecodeError as exc:
        name = "UTF-8" if encoding in (None, "utf-8", "utf-8-sig") else encoding
        raise Unusable(f"the file is not {name} (byte {exc.start + 1})") from None
    if "\0" in text:
        raise Unusable("the file is binary: it contains NUL bytes")
    return text


def markdown_title(text: str) -> str | None:
    """Return the first heading of a Markdown text, outside of fenced code and comments."""
    fence: str | None = None
    comment = False
    before = ""
    for line in io.StringIO(text):
        if comment:
            comment = "-->" not in line
        elif marker := _FENCE.match(line):
            fence = None if fence == marker[1] else fence or marker[1]
        elif fence is None:
            if opened := _COMMENT.match(line):
                comment = "-->" not in line[opened.end() :]
            elif heading := _HEADING.match(line):
                return heading[1].strip() or None
            elif before.strip() and _UNDERLINE.match(line):
                return before.strip()
        before = line if fence is None and not comment else ""
    return None


def _utf16_without_mark(data: bytes) -> str | None:
    """Return the byte order of UTF-16 text without a mark, or None if the bytes are not that."""
    if len(data) % 2:
        return None
    first, second = data[::2].count(0), data[1::2].count(0)
    if first and second:
        return None
    enough = len(data) // 2 // _UTF16_ASCII_SHARE
    return "utf-16-le" if second > enough else "utf-16-be" if first > enough else None
