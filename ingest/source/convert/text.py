"""Plain text, Markdown and source code."""

from __future__ import annotations

import io
import re

from ingest.source.convert.page import Page
from ingest.source.fields import Unusable

_FENCE = re.compile(r" {0,3}(```|~~~)")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}=+[ \t]*$")


def text_page(data: bytes, *, format: str) -> Page:  # noqa: A002  as in `Document.format`
    """Return the text of a file, and the title of Markdown."""
    text = decode(data)
    return Page(text, format, markdown_title(text) if format == "markdown" else None)


def decode(data: bytes) -> str:
    """Return the bytes as text. Raise `Unusable` if they are binary or not UTF-8."""
    if b"\0" in data:
        raise Unusable("the file is binary: it contains NUL bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Unusable(f"the file is not UTF-8 (byte {exc.start + 1})") from None


def markdown_title(text: str) -> str | None:
    """Return the first heading of a Markdown text, outside of fenced code."""
    fence: str | None = None
    before = ""
    for line in io.StringIO(text):
        if marker := _FENCE.match(line):
            fence = None if fence == marker[1] else fence or marker[1]
        elif fence is None:
            if heading := _HEADING.match(line):
                return heading[1].strip() or None
            if before.strip() and _UNDERLINE.match(line):
                return before.strip()
        before = line if fence is None else ""
    return None
