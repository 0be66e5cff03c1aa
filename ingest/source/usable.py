"""The check of what a source of your own yields: documents that a store can hold, or rejected records."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ingest.errors import SourceError
from ingest.records import Document, Rejected, Source
from ingest.source.fields import ImpossibleId, Unusable, checked_id, checked_string, checked_text, plain_metadata, raw_json

_TEXTS = ("id", "text", "title", "format", "position", "version")
_OPTIONAL = frozenset({"title", "version"})

_CHECKED_ALREADY = "ingest.source."


def usable_records(records: Iterator[Any], source: Source) -> Iterator[Any]:
    """Return what a source yields, checked unless the source is one of this package, which checks it as it reads."""
    if type(source).__module__.startswith(_CHECKED_ALREADY):
        return records
    name = source.name
    return (usable(record, name) for record in records)


def usable(record: Any, source: str) -> Any:
    """Return a record that a source yielded, or a `Rejected` in place of a document that no store can hold.

    Raises `SourceError` for a value that is no record at all.
    """
    if not isinstance(record, Document):
        if type(record).__module__.partition(".")[0] != "ingest" and not isinstance(record, Rejected):
            raise SourceError(
                f"the source {source} yielded a {type(record).__name__}, not a Document or Rejected: mend that source"
            )
        return record
    try:
        return _plain(record)
    except Unusable as exc:
        return _rejected(record, source, exc)


def _plain(document: Document) -> Document:
    """Return the document with metadata as JSON has it. Raise `Unusable` for a field that no store accepts."""
    for name in _TEXTS:
        value = getattr(document, name)
        if not isinstance(value, str) and not (value is None and name in _OPTIONAL):
            raise Unusable(f"the {name} is of type {type(value).__name__}, not a string")
    checked_id(document.id)
    checked_text(document.text)
    checked_string(document.title or "", "the title")
    check_url(document.url)
    metadata = _plain_metadata(document.metadata)
    if any(_plain_metadata(part.metadata) is not part.metadata for part in document.parts):
        parts = tuple(replace(part, metadata=_plain_metadata(part.metadata)) for part in document.parts)
        return replace(document, metadata=metadata, parts=parts)
    return document if metadata is document.metadata else replace(document, metadata=metadata)


def check_url(url: object) -> None:
    """Raise `Unusable` unless it is None or a text that a store accepts."""
    if url is None:
        return
    if not isinstance(url, str):
        raise Unusable(f"the url is of type {type(url).__name__}, not a string")
    checked_string(url, "the url")


def _plain_metadata(metadata: Any) -> Any:
    """Return the same object if nothing in it changes."""
    if not isinstance(metadata, Mapping):
        raise Unusable(f"the metadata is of type {type(metadata).__name__}, not a mapping")
    plain = plain_metadata(metadata, sys.maxsize)
    return metadata if plain == metadata else plain


def _rejected(document: Document, source: str, exc: Unusable) -> Rejected:
    doc_id: str | None = None
    with suppress(Unusable):
        doc_id = checked_id(document.id) if isinstance(document.id, str) else None
    raw = raw_json({"id": document.id, "text": document.text, "title": document.title, "metadata": document.metadata})
    return Rejected(str(document.position) or source, str(exc), raw, doc_id, isinstance(exc, ImpossibleId))
