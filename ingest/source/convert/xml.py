"""XML documents: the text of their elements, a line each where an element has no text of its own. Attributes are left out."""

from __future__ import annotations

import re
from xml.parsers import expat

from ingest.source.convert.html import declared_encoding
from ingest.source.convert.page import Page
from ingest.source.convert.text import decode
from ingest.source.fields import Unusable
from ingest.source.xml_parser import XmlReader

_DEEPEST = 10_000
_SPACES = re.compile(r"[ \t\r\n]+")
_UNKNOWN = {"gb18030", "big5hkscs", "cp932", "euc_jp", "euc_kr", "cp949", "iso2022_jp"}
_TITLES = ("title", "name")


def xml_page(data: bytes) -> Page:
    """Return the text of an XML document, and its first title. Raise `Unusable` if it is malformed or declares entities."""
    reader = _Reader()
    encoding = _unknown_encoding(data)
    if encoding is not None:
        data = decode(data, encoding).encode()
    parser = reader.parser("utf-8" if encoding is not None else None)
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as exc:
        raise Unusable(f"the file cannot be read as xml: {exc}") from None
    return Page(reader.whole, "text", reader.title)


def _unknown_encoding(data: bytes) -> str | None:
    """Return the declared encoding of a document if its parser cannot read it, such as those of several bytes a letter."""
    declared = declared_encoding(data)
    return declared if declared in _UNKNOWN else None


class _Reader(XmlReader):
    """A builder of text. Each open element has its parts: text and the results of elements in it.

    Attributes:
        whole: the text of the root.
        title: the text of the first element named like a title.
    """

    def __init__(self) -> None:
        self.whole = ""
        self.title: str | None = None
        self._open: list[list[str]] = []
        self._mixed: list[bool] = []

    def start(self, _name: str, _attributes: dict[str, str]) -> None:
        if len(self._open) >= _DEEPEST:
            raise Unusable("the xml is nested too deeply")
        self._open.append([])
        self._mixed.append(False)

    def text(self, data: str) -> None:
        if self._open:
            self._open[-1].append(data)
            self._mixed[-1] = self._mixed[-1] or not data.isspace()

    def end(self, name: str) -> None:
        parts, mixed = self._open.pop(), self._mixed.pop()
        if mixed:
            text = "\n".join(_SPACES.sub(" ", line).strip() for line in "".join(parts).split("\0"))
        else:
            text = "\n".join(stripped for part in parts if (stripped := part.strip("\0 \t\r\n")))
        text = text.strip()
        if self.title is None and name.rpartition(":")[2] in _TITLES and "\n" not in text:
            self.title = text or None
        if not self._open:
            self.whole = text.replace("\0", "\n")
        elif text:
            lines = text.replace("\n", "\0")
            self._open[-1].append(f"\0{lines}\0" if "\0" in lines or not mixed else lines)
