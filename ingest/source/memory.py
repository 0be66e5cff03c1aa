"""A source of records from Python: documents or mappings, in any iterable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.errors import ConfigurationError, SourceError
from ingest.records import Document, DocumentPart, Rejected
from ingest.source.fields import GUESSED, MAX_RECORD_BYTES, FieldMap, Unusable, document_from, plain_metadata, raw_json
from ingest.source.usable import check_url

Record = Document | Mapping[str, Any]
"""A document, or a mapping with at least a text: see `FieldMap` for the names that are recognized."""

_OF_DOCUMENTS = FieldMap(id="id", text="text", title="title")


@dataclass(slots=True)
class RecordsSource:
    """A source over the records of an iterable. Create one with `records_source`.

    An iterator can be read once; a second `read` raises `SourceError`, because an empty second read would look as if every
    document had been removed.
    """

    name: str
    records: Iterable[Record | Rejected]
    fields: FieldMap = GUESSED
    max_record_bytes: int = MAX_RECORD_BYTES
    _spent: bool = field(default=False, init=False)

    @property
    def reads_once(self) -> bool:
        return iter(self.records) is self.records

    def read(self) -> Iterator[Document | Rejected]:
        if self._spent:
            raise SourceError(f"the records of {self.name} come from an iterator that was read already: pass a list instead")
        self._spent = self.reads_once
        for number, record in enumerate(self.records, start=1):
            yield record if isinstance(record, Rejected) else self._document(record, f"{self.name} record {number}")

    def _document(self, record: Record, position: str) -> Document | Rejected:
        if not isinstance(record, Document):
            return self._checked(dict(record) if isinstance(record, Mapping) else record, self.fields, position)
        own = record.metadata
        metadata = dict(own) if isinstance(own, Mapping) else own
        plain = {"id": record.id, "text": record.text, "title": record.title, "metadata": metadata}
        checked = self._checked(plain, _OF_DOCUMENTS, record.position or position)
        if isinstance(checked, Rejected):
            return checked
        try:
            if not isinstance(own, Mapping):
                raise Unusable(f"the metadata is a {type(own).__name__}, not a mapping")  # noqa: TRY301
            check_url(record.url)
            parts = tuple(_part(part, record.text, self.max_record_bytes) for part in record.parts)
        except Unusable as exc:
            return Rejected(checked.position, str(exc), raw_json(plain), checked.id)
        same = checked.text == record.text  # other line ends have other offsets
        return replace(
            checked,
            format=record.format,
            url=record.url,
            pages=record.pages if same else (),
            anchors=record.anchors if same else (),
            first_line=record.first_line,
            file=record.file,
            parts=parts,
        )

    def _checked(self, record: Any, fields: FieldMap, position: str) -> Document | Rejected:
        return document_from(
            record, fields=fields, position=position, max_bytes=self.max_record_bytes, raw=lambda: raw_json(record)
        )


def _part(part: DocumentPart, text: str, max_bytes: int) -> DocumentPart:
    """Return a part of a text by its offsets in the text with one kind of line end. Raises `Unusable` for its metadata."""
    start, end = (offset - text.count("\r\n", 0, offset) for offset in (part.start, part.end))
    return DocumentPart(start, end, plain_metadata(part.metadata, max_bytes))


def records_source(
    records: Iterable[Record | Rejected],
    *,
    name: str,
    fields: FieldMap = GUESSED,
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> RecordsSource:
    """Return a source of the records in an iterable.

    Args:
        records: documents or mappings. A list can be read any number of times; an iterator, such as a generator, once.
        name: the source's name, part of every id; it must stay the same between runs.
        fields: which field of a mapping holds the id, the text and the title; the other fields become metadata.
        max_record_bytes: a larger record is rejected.

    A record that cannot be a document is `Rejected` with a reason. Raises `ConfigurationError` for an empty name and for
    `records` that are a single text or mapping.
    """
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"the source name is {name!r}: pass name= with a text that stays the same between runs")
    if isinstance(records, str | bytes | Mapping | Document) or not isinstance(records, Iterable):
        raise ConfigurationError(
            f"records is a {type(records).__name__}: pass an iterable of documents or mappings, such as [{{'id': …, 'text': …}}]"
        )
    return RecordsSource(name, records, fields, max_record_bytes)
