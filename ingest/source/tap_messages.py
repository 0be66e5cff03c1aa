"""The messages of Singer taps and Airbyte sources → documents. The last version of a record counts, so all are read first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar

from ingest.errors import SourceError
from ingest.records import Document, Rejected
from ingest.redaction import without_secrets
from ingest.source.fields import FieldMap, Unusable, document_from, raw_of
from ingest.source.reading_report import ReadingReport
from ingest.temporary_database import TemporaryDatabase

_T = TypeVar("_T")

_KEY = "\0key"
"""The field that gets the id of a record which its key properties make."""

_ESCAPED = str.maketrans({"%": "%25", "/": "%2F", ":": "%3A"})
_BROKEN_OFF = "the program that wrote it may have broken off, so no document counts as missing"


class ParsedLine(NamedTuple):
    """A parsed line: its value, its position for people, and the line itself."""

    value: Any
    position: str
    data: bytes


class _Record(NamedTuple):
    """A record: the stream with its namespace, if any, in front; the paths of its key; and the version of the table."""

    stream: tuple[str, ...]
    keys: Sequence[Sequence[str]]
    data: dict[str, Any]
    version: int | None = None


class _Activated(NamedTuple):
    """The end of a stream whose records of other versions do not count."""

    stream: tuple[str, ...]
    version: int


class _Format(Protocol):
    """The state of one output.

    Attributes:
        deleted: the field that has a value in a record that was deleted.
    """

    deleted: str

    def take(self, message: Mapping[str, Any]) -> _Record | _Activated | None:
        """Return what a message says. Raises `Unusable`, and `SourceError` for an error of the program."""

    def unfinished(self) -> Iterator[str]:
        """Yield why the output may not be whole."""


@dataclass(slots=True)
class _Singer:
    deleted: str = "_sdc_deleted_at"
    _keys: dict[str, list[list[str]]] = field(default_factory=dict)
    _last: object = None

    def take(self, message: Mapping[str, Any]) -> _Record | _Activated | None:
        kind = _part(message, "type", str)
        if kind not in ("SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION"):
            refused = "its records are in files: configure the tap without batches" if kind == "BATCH" else "Singer has none"
            raise Unusable(f"the message has the type {kind!r}: {refused}")
        self._last = kind
        if kind == "STATE":
            return None
        stream = _part(message, "stream", str)
        if kind == "SCHEMA":
            self._keys[stream] = [[name] for name in _names(message.get("key_properties"))]
            return None
        version = message.get("version")
        if kind == "ACTIVATE_VERSION":
            return _Activated((stream,), _part(message, "version", int))
        if stream not in self._keys:
            raise Unusable(f"the record is before the SCHEMA of its stream {stream}")
        return _Record(
            (stream,), self._keys[stream], _part(message, "record", dict), version if isinstance(version, int) else None
        )

    def unfinished(self) -> Iterator[str]:
        if self._last == "RECORD":
            yield f"the output ends with a record and no STATE: {_BROKEN_OFF}"


@dataclass(slots=True)
class _Airbyte:
    deleted: str = "_ab_cdc_deleted_at"
    _keys: dict[tuple[str, ...], list[list[str]]] = field(default_factory=dict)
    _status: dict[tuple[str, ...], object] = field(default_factory=dict)
    _last: object = None

    def take(self, message: Mapping[str, Any]) -> _Record | None:
        kind = _part(message, "type", str)
        if kind == "RECORD":
            record = _part(message, "record", dict)
            stream = _stream(record, "stream")
            self._last = kind
            return _Record(stream, self._keys.get(stream, ()), _part(record, "data", dict))
        if kind == "TRACE":
            self._trace(_part(message, "trace", dict))
        elif kind == "CATALOG":
            if self._last is not None:
                raise Unusable("the CATALOG is behind records, whose ids need its keys: write it in front of them")
            self._catalog(_part(message, "catalog", dict))
        elif kind == "STATE":
            self._last = kind
        elif kind not in ("LOG", "SPEC", "CONNECTION_STATUS", "CONTROL"):
            raise Unusable(f"the message has the type {kind!r}: no Airbyte source sends one")
        return None

    def _catalog(self, catalog: Mapping[str, Any]) -> None:
        for each in _part(catalog, "streams", list):
            stream = each.get("stream", each) if isinstance(each, dict) else each
            if not isinstance(stream, dict):
                raise Unusable("a stream of the CATALOG is no object")
            paths = each.get("primary_key") or stream.get("source_defined_primary_key") or []
            self._keys[_stream(stream, "name")] = [_names(path) for path in paths]

    def _trace(self, trace: Mapping[str, Any]) -> None:
        if trace.get("type") == "ERROR":
            error = _part(trace, "error", dict)
            message = without_secrets(" ".join(str(error.get("message") or "without a message").split()))
            raise SourceError(f"the Airbyte source failed: {message}; fix it and run again")
        if trace.get("type") == "STREAM_STATUS":
            status = _part(trace, "stream_status", dict)
            self._status[_stream(_part(status, "stream_descriptor", dict), "name")] = status.get("status")

    def unfinished(self) -> Iterator[str]:
        for stream, status in self._status.items():
            if status != "COMPLETE":
                yield f"the stream {'.'.join(stream)} has the status {status} at the end: {_BROKEN_OFF}"
        if not self._status and self._last == "RECORD":
            yield f"the output ends with a record and no STATE: {_BROKEN_OFF}"


_FORMATS: Mapping[str, type[_Singer | _Airbyte]] = {"singer": _Singer, "airbyte": _Airbyte}


@dataclass(frozen=True, slots=True)
class TapReader:
    """A reader of the output of a tap.

    Attributes:
        fields, max_bytes, prefix, report: see `Table`.
    """

    fields: FieldMap
    max_bytes: int
    prefix: str
    report: ReadingReport

    def read(self, format: str, messages: Iterable[ParsedLine | Rejected], where: str) -> Iterator[Document | Rejected]:  # noqa: A002
        """Yield rejects, and at the end the documents of the records that count.

        A record has the id `stream/key`, or `namespace:stream/key`. A record that is marked as deleted removes those before it.
        """
        output: _Format = _FORMATS[format]()
        with _LastVersions() as last:
            for line in messages:
                if isinstance(line, Rejected):
                    yield line
                    continue
                try:
                    taken = output.take(line.value)
                except Unusable as exc:
                    yield Rejected(line.position, str(exc), raw_of(line.data))
                    continue
                if isinstance(taken, _Activated):
                    last.activate(taken)
                elif taken is not None:
                    yield from self._keep(taken, line, output.deleted, last)
            yield from (Rejected(where, reason) for reason in output.unfinished())
            if last.deleted:
                self.report.note(
                    f"{where}: {last.deleted:,} records are marked as deleted and were left out (deleted by full alone)"
                )
            yield from last.documents()

    def _keep(self, record: _Record, line: ParsedLine, deleted: str, last: _LastVersions) -> Iterator[Rejected]:
        """Keep a record as the last version of its document, or yield why it cannot be used. Then no version counts."""
        is_deleted = record.data.pop(deleted, None) is not None
        item = self._document(record, line)
        if isinstance(item, Document) and not is_deleted:
            last.add(item, record)
            return
        doc_id = item.id if isinstance(item, Document) else item.doc_id
        if doc_id is not None:
            last.remove(doc_id)
        if is_deleted and doc_id is not None:
            last.deleted += 1
        elif isinstance(item, Rejected):
            yield item

    def _document(self, record: _Record, line: ParsedLine) -> Document | Rejected:
        fields, values = self.fields, dict(record.data)
        if fields.id is None and record.keys:
            fields = replace(fields, id=_KEY)
            try:
                values[_KEY] = _joined([_key_part(values, path) for path in record.keys])
            except Unusable as exc:
                return Rejected(line.position, str(exc), raw_of(line.data))
        item = document_from(
            values,
            fields=fields,
            position=line.position,
            max_bytes=self.max_bytes,
            raw=lambda: raw_of(line.data),
            prefix=f"{self.prefix}{':'.join(name.translate(_ESCAPED) for name in record.stream)}/",
        )
        if isinstance(item, Rejected):
            return item
        facts = dict(zip(("stream", "namespace"), reversed(record.stream), strict=False))
        return replace(item, metadata={**facts, **item.metadata})


class _LastVersions(TemporaryDatabase):
    """The documents of the records that were read last, on disk.

    Attributes:
        deleted: number of records that are marked as deleted.
    """

    def __init__(self) -> None:
        super().__init__("CREATE TABLE documents (id TEXT PRIMARY KEY, stream TEXT, version TEXT, document TEXT);")
        self.deleted = 0

    def add(self, document: Document, record: _Record) -> None:
        stored = json.dumps([document.text, document.title, document.metadata, document.position])
        row = document.id, _joined(record.stream), _version(record.version), stored
        self._database.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)", row)

    def remove(self, doc_id: str) -> None:
        self._database.execute("DELETE FROM documents WHERE id = ?", (doc_id,))

    def activate(self, activated: _Activated) -> None:
        row = _joined(activated.stream), _version(activated.version)
        self._database.execute("DELETE FROM documents WHERE stream = ? AND version IS NOT ?", row)

    def documents(self) -> Iterator[Document]:
        for doc_id, stored in self._database.execute("SELECT id, document FROM documents ORDER BY rowid"):
            text, title, metadata, position = json.loads(stored)
            yield Document(doc_id, text, title, metadata, position=position)


def _part(message: object, name: str, expected: type[_T]) -> _T:
    """Return a part of a message. Raises `Unusable` if it is not there, or of another type."""
    part = message.get(name) if isinstance(message, dict) else None
    if not isinstance(part, expected) or isinstance(part, bool):
        raise Unusable(f"the message has no {name}: it is not of the given format, or the program that wrote it is at fault")
    return part


def _stream(message: Mapping[str, Any], name: str) -> tuple[str, ...]:
    namespace = message.get("namespace")
    stream = _part(message, name, str)
    return (namespace, stream) if isinstance(namespace, str) and namespace else (stream,)


def _version(version: int | None) -> str | None:
    """Return a version as text: a tap may count beyond 64 bits, where SQLite has no integers."""
    return None if version is None else str(version)


def _names(names: object) -> list[str]:
    """Return a list of names, none for null. Raises `Unusable`."""
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Unusable("the key of a stream is not a list of names")
    return names


def _key_part(values: Mapping[str, Any], path: Sequence[str]) -> str:
    """Return the value of one field of a key as text. Raises `Unusable`."""
    value: Any = values
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int | float):
        return json.dumps(value)
    raise Unusable(f"the record has no value for {'.'.join(path)} of its key")


def _joined(parts: Sequence[str]) -> str:
    """Return one part as it is, several with a slash between them so that no two lists give the same text."""
    return parts[0] if len(parts) == 1 else "/".join(part.translate(_ESCAPED) for part in parts)
