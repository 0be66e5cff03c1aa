"""The converter of each format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from ingest.plugins import find_plugin
from ingest.records import Document
from ingest.source.convert.book import book_page
from ingest.source.convert.html import html_page
from ingest.source.convert.isolation import convert_apart
from ingest.source.convert.latex import latex_page
from ingest.source.convert.mail import mailbox_page, message_page
from ingest.source.convert.notebook import notebook_page
from ingest.source.convert.opendocument import presentation_page, spreadsheet_page
from ingest.source.convert.opendocument import text_page as opendocument_page
from ingest.source.convert.outlook import check_outlook, outlook_page
from ingest.source.convert.page import Page
from ingest.source.convert.pdf import check_pdf, pdf_page
from ingest.source.convert.plain_markup import asciidoc_page, org_page, rst_page
from ingest.source.convert.plugin_page import plugin_page
from ingest.source.convert.rtf import rtf_page
from ingest.source.convert.sheets import check_workbooks, workbook_page
from ingest.source.convert.slides import slides_page
from ingest.source.convert.subtitles import subtitles_page
from ingest.source.convert.text import text_page
from ingest.source.convert.word import word_page
from ingest.source.convert.xml import xml_page
from ingest.source.fields import Unusable, checked_id, checked_text
from ingest.source.formats import FORMATS, check_parquet
from ingest.source.read_options import AS_FOUND, ReadOptions


@dataclass(frozen=True, slots=True)
class Converter:
    """The way from the bytes of a file to a page.

    Attributes:
        convert: returns the page; raises `Unusable` for content that does not fit the format.
        check: raises `MissingExtraError` if a library is not installed; None: it needs none.
    """

    convert: Callable[[bytes], Page]
    check: Callable[[], None] | None = None


CONVERTERS: Mapping[str, Converter] = {
    "pdf": Converter(pdf_page, check_pdf),
    "docx": Converter(word_page),
    "pptx": Converter(slides_page),
    "xlsx": Converter(workbook_page, check_workbooks),
    "odt": Converter(opendocument_page),
    "odp": Converter(presentation_page),
    "ods": Converter(spreadsheet_page),
    "rtf": Converter(rtf_page),
    "epub": Converter(book_page),
    "eml": Converter(message_page),
    "mbox": Converter(mailbox_page),
    "msg": Converter(outlook_page, check_outlook),
    "ipynb": Converter(notebook_page),
    "xml": Converter(xml_page),
    "rst": Converter(rst_page),
    "org": Converter(org_page),
    "asciidoc": Converter(asciidoc_page),
    "latex": Converter(latex_page),
    "subtitles": Converter(subtitles_page),
}
"""By the name of the format. Web pages are converted by the options for them, and every other format without a plugin is text."""


def _converter(format: str) -> Converter | None:  # noqa: A002  as in `Document.format`
    """Return the converter of a format, built in or of a plugin."""
    if format in FORMATS or format.startswith("code:"):
        return CONVERTERS.get(format)
    plugin = find_plugin("converter", format)
    return None if plugin is None else Converter(partial(plugin_page, plugin))


def check_format(format: str) -> None:  # noqa: A002  as in `Document.format`
    """Raise `MissingExtraError` if the library that reads a format is not installed."""
    if format == "parquet":
        check_parquet("reading .parquet")
    converter = _converter(format)
    if converter is not None and converter.check is not None:
        converter.check()


def is_converted_apart(format: str) -> bool:  # noqa: A002  as above
    """Return whether files of a format are converted in worker processes, several at a time."""
    return format == "html" or _converter(format) is not None


def is_text(format: str) -> bool:  # noqa: A002  as above
    """Return whether files of a format are text in an encoding that the user may name."""
    return _converter(format) is None


def convert_here(data: bytes, format: str, options: ReadOptions = AS_FOUND) -> Page:  # noqa: A002  as above
    """Convert a file in this process."""
    if format == "html":
        return html_page(data, options.html_content)
    converter = _converter(format)
    if converter is None and format not in FORMATS and not format.startswith("code:"):
        raise Unusable(f"no converter reads {format}: install the plugin that brings it")
    return converter.convert(data) if converter else text_page(data, format=format)


def document_from_file(
    data: bytes,
    format: str,  # noqa: A002  as above
    *,
    doc_id: str,
    position: str,
    options: ReadOptions = AS_FOUND,
) -> Document:
    """Return the document in a file.

    Args:
        data: the content of the file, decompressed.
        format: a `FileFormat.name`, but no table.
        doc_id: the document's id; also kept as `metadata.path`.
        position: where the file is, for messages.
        options: how to read files whose content does not tell.

    Raises `Unusable` if the content does not fit the format, `MissingExtraError` if the format requires the extra `formats`.
    """
    checked_id(doc_id)
    check_format(format)
    page = (convert_apart if is_converted_apart(format) else convert_here)(data, format, options)
    return Document(
        id=doc_id,
        text=checked_text(page.text),
        title=page.title,
        metadata={**page.metadata, "path": doc_id},
        format=page.format,
        position=position,
        url=page.url,
        pages=page.pages,
        anchors=page.anchors,
        first_line=page.first_line,
    )
