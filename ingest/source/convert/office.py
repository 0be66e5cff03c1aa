"""PDF and Office files, converted by MarkItDown."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ingest.errors import MissingExtraError
from ingest.source.convert.page import Page
from ingest.source.convert.text import markdown_title
from ingest.source.fields import Unusable
from ingest.source.formats import OFFICE
from ingest.source.streams import first_line

if TYPE_CHECKING:
    from markitdown import MarkItDown

_UNPACKED = 2**29  # most bytes of an Office file, a ZIP archive, after unpacking


def check_office(format: str) -> None:  # noqa: A002  as in `Document.format`
    """Raise `MissingExtraError` if the converter for Office files is not installed."""
    if find_spec("markitdown") is None:
        raise MissingExtraError(f"reading .{format} requires the extra formats: pip install 'qdrant-ingest[formats]'")


def office_page(data: bytes, *, format: str) -> Page:  # noqa: A002  as above
    """Return the content of a PDF or Office file as Markdown, with its first heading as title."""
    check_office(format)
    text = _markdown(data, format)
    return Page(text, title=markdown_title(text))


def _markdown(data: bytes, format: str) -> str:  # noqa: A002  as above
    from markitdown import MarkItDownException  # noqa: PLC0415  see _converter

    logging.getLogger("pdfminer").setLevel(logging.ERROR)  # its warnings about fonts and boxes do not concern the user
    try:
        if format != "pdf":
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(part.file_size for part in archive.infolist()) > _UNPACKED:
                    raise Unusable(f"the {format} unpacks to more than {_UNPACKED:,} bytes")
        return str(_converter(format).convert_stream(io.BytesIO(data), file_extension=f".{format}").markdown)
    except (MarkItDownException, zipfile.BadZipFile, NotImplementedError, ValueError) as exc:  # zipfile raises the last three
        lines = str(exc).strip().splitlines() or [first_line(exc)]
        raise Unusable(f"the file cannot be read as {format}: {lines[-1].strip(' -')}") from None
    except RecursionError:
        raise Unusable(f"the {format} is nested too deeply") from None


@lru_cache(maxsize=len(OFFICE))
def _converter(format: str) -> MarkItDown:  # noqa: A002  as above
    from markitdown import DocumentConverter, MarkItDown, converters  # noqa: PLC0415  an extra, and slow to import

    known: Mapping[str, Callable[[], DocumentConverter]] = {
        "pdf": converters.PdfConverter,
        "docx": converters.DocxConverter,
        "pptx": converters.PptxConverter,
        "xlsx": converters.XlsxConverter,
    }
    # Its other converters would read any file as text, even a damaged PDF.
    converter = MarkItDown(enable_builtins=False, enable_plugins=False)
    converter.register_converter(known[format]())
    return converter
