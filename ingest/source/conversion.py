"""A whole file into one document: decoded, converted to Markdown where it is marked up, with its title."""

from __future__ import annotations

import io
import logging
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ingest.errors import MissingExtraError
from ingest.records import Document
from ingest.source.fields import Unusable, checked_id, checked_string, checked_text
from ingest.source.kinds import OFFICE
from ingest.source.streams import first_line

if TYPE_CHECKING:
    from markitdown import MarkItDown

_UNPACKED = 2**29  # bytes an office document, which is an archive, may hold
_DROPPED = ("script", "style", "noscript", "template", "svg", "head")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}=+[ \t]*$")


def document_from_file(data: bytes, format: str, *, doc_id: str, position: str) -> Document:  # noqa: A002  the users' word
    """The file's one document.

    Args:
        data: the file, decompressed.
        format: as in `Kind.format`, no table.
        doc_id: also kept as `metadata.path`.

    Raises `Unusable` where it is not what its name says, `MissingExtraError` where it needs the extra `formats`.
    """
    checked_id(doc_id)
    title: str | None = None
    if format in OFFICE:
        check_office(format)
        text, kind = _office_text(data, format), "markdown"
    elif format == "html":
        (text, title), kind = _html_text(_decoded(data)), "markdown"
    else:
        text, kind = _decoded(data), format
    checked_text(text)
    if kind == "markdown":
        title = title or markdown_title(text)
    return Document(doc_id, text, title, {"path": doc_id}, kind, position)


def check_office(format: str) -> None:  # noqa: A002  as above
    """Raises `MissingExtraError` where office documents cannot be read."""
    if find_spec("markitdown") is None:
        raise MissingExtraError(f"reading .{format} needs the extra formats: pip install 'qdrant-ingest[formats]'")


def markdown_title(text: str) -> str | None:
    """The first heading outside of fenced code."""
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


def _decoded(data: bytes) -> str:
    if b"\0" in data:
        raise Unusable("the file is binary: it contains NUL bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Unusable(f"the file is not UTF-8 (byte {exc.start + 1})") from None


def _html_text(markup: str) -> tuple[str, str | None]:
    """As Markdown, and its title."""
    from bs4 import BeautifulSoup  # noqa: PLC0415  what markdownify itself parses with: a tenth of every command's start
    from markdownify import MarkdownConverter  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # opinions about what looks like XML or a file name
            soup = BeautifulSoup(markup, "html.parser")
        title = soup.title.get_text(" ", strip=True) if soup.title else ""
        for dropped in soup(_DROPPED):
            dropped.decompose()
        return MarkdownConverter(heading_style="atx").convert_soup(soup).strip(), checked_string(title, "the title") or None
    except RecursionError:
        raise Unusable("the HTML is nested too deeply") from None


def _office_text(data: bytes, format: str) -> str:  # noqa: A002  as above
    from markitdown import MarkItDownException  # noqa: PLC0415  see _office

    logging.getLogger("pdfminer").setLevel(logging.ERROR)  # its opinions about fonts and boxes concern no reader
    try:
        if format != "pdf":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(part.file_size for part in archive.infolist()) > _UNPACKED:
                    raise Unusable(f"the {format} unpacks to more than {_UNPACKED:,} bytes")
        return str(_office(format).convert_stream(io.BytesIO(data), file_extension=f".{format}").markdown)
    except (MarkItDownException, zipfile.BadZipFile, NotImplementedError, ValueError) as exc:  # zipfile raises all of the latter
        lines = str(exc).strip().splitlines() or [first_line(exc)]
        raise Unusable(f"the file cannot be read as {format}: {lines[-1].strip(' -')}") from None
    except RecursionError:
        raise Unusable(f"the {format} is nested too deeply") from None


@lru_cache(maxsize=len(OFFICE))
def _office(format: str) -> MarkItDown:  # noqa: A002  as above
    from markitdown import DocumentConverter, MarkItDown, converters  # noqa: PLC0415  an extra, and slow to import

    known: Mapping[str, Callable[[], DocumentConverter]] = {
        "pdf": converters.PdfConverter,
        "docx": converters.DocxConverter,
        "pptx": converters.PptxConverter,
        "xlsx": converters.XlsxConverter,
    }
    # Its other converters would take anything for text, a broken PDF included.
    office = MarkItDown(enable_builtins=False, enable_plugins=False)
    office.register_converter(known[format]())
    return office
