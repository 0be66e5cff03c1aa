"""The converter of each format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ingest.records import Document
from ingest.source.convert.html import html_page
from ingest.source.convert.office import office_page
from ingest.source.convert.page import Page
from ingest.source.convert.text import text_page
from ingest.source.fields import checked_id, checked_text
from ingest.source.formats import OFFICE

_CONVERTERS: Mapping[str, Callable[[bytes], Page]] = {
    "html": html_page,
    **{name: partial(office_page, format=name) for name in OFFICE},
}


def document_from_file(data: bytes, format: str, *, doc_id: str, position: str) -> Document:  # noqa: A002  as in `Document.format`
    """Return the document in a file.

    Args:
        data: the content of the file, decompressed.
        format: a `FileFormat.name`, but no table.
        doc_id: the document's id; also kept as `metadata.path`.
        position: where the file is, for messages.

    Raises `Unusable` if the content does not fit the format, `MissingExtraError` if the format requires the extra `formats`.
    """
    checked_id(doc_id)
    convert = _CONVERTERS.get(format)
    page = convert(data) if convert else text_page(data, format=format)
    return Document(doc_id, checked_text(page.text), page.title, {**page.metadata, "path": doc_id}, page.format, position)
