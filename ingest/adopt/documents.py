"""The points of a collection that another tool made, as documents."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from ingest.context import in_context, title_line
from ingest.errors import ConfigurationError
from ingest.parameters import normalize, optional, parse_text
from ingest.records import Document, DocumentPart, Rejected, StoredPoint, Vector
from ingest.source.fields import (
    MAX_RECORD_BYTES,
    TEXT_FIELDS,
    TITLE_FIELDS,
    FieldMap,
    ImpossibleId,
    Unusable,
    checked_id,
    document_from,
    raw_json,
)
from ingest.store.contract import Store
from ingest.store.wire import UNNAMED
from ingest.temporary_database import TemporaryDatabase

PAGE_POINTS = 256
"""Points read at a time with payload and vectors."""

USUAL_TEXTS = (*TEXT_FIELDS, "document", "_node_content.text")
"""The payload fields in which other tools store the text: LangChain, Haystack, the client's own, LlamaIndex."""

USUAL_TITLES = (*TITLE_FIELDS, "metadata.title", "meta.title")
"""The payload fields in which other tools store the title, if their documents have one."""

_INT64 = 2**63
"""SQLite keeps integers below it."""

_SEPARATOR = "\n\n"
_FIELDS = FieldMap(id="id", text="text")


@dataclass(frozen=True, slots=True)
class PayloadFields:
    """The payload fields of a collection that another tool made. `metadata.page` is the field `page` of the object `metadata`;
    an object that is stored as JSON text is read as one.

    Attributes:
        text: the text of a chunk. None: the first of `USUAL_TEXTS` that the first points have.
        id: the id of the document that a chunk is a part of. None: each point is a document.
        order: the position of a chunk in its document, a number or a text. None: the chunks are in the order of their points.
        metadata: an object whose fields are metadata beside the other payload fields.
        title: the title of the document, which encoders read in front of its chunks; it stays in the metadata. If the chunks of a
            document have several, it has none. None: no document has a title.

    Raises `ConfigurationError`.
    """

    text: str | None = None
    id: str | None = None
    order: str | None = None
    metadata: str | None = None
    title: str | None = None

    def __post_init__(self) -> None:
        for name in ("text", "id", "order", "metadata", "title"):
            normalize(self, name, optional(parse_text))
        if self.order is not None and self.id is None:
            raise ConfigurationError(
                "the order of chunks requires the field with the id of their document: name it, too (id_field)"
            )


class ForeignPoint(NamedTuple):
    """A point as a document of its own, and its vectors by the names of the models that they are kept for."""

    document: Document | Rejected
    vectors: Mapping[str, Vector]


class _Place(NamedTuple):
    """The place of a point: its document, whether the point alone is that document, its position in it, and its id."""

    doc_id: str
    alone: bool
    position: str | int | float | None
    point_id: str


class ForeignDocuments:
    """A source of the documents of a collection that another tool made.

    Args:
        store, collection: the collection itself, not an alias. It is only read.
        fields: with `text` given.
        have: model key → name of the vector that it made.
        keep: receives model key, text with its title and vector of each chunk before its document is yielded. None: nothing does.
    """

    def __init__(
        self,
        store: Store,
        collection: str,
        fields: PayloadFields,
        have: Mapping[str, str] = MappingProxyType({}),
        keep: Callable[[str, str, Vector], None] | None = None,
    ) -> None:
        self.name = collection
        self._store = store
        self._fields = fields
        self._have = have
        self._keep = keep
        self._vectors: Sequence[str] | bool = True if UNNAMED in have.values() else list(have.values()) or False

    def read(self) -> Iterator[Document | Rejected]:
        """Yield the documents. Those of several chunks have them as their parts."""
        if self._fields.id is None:
            for point in self._store.scroll(self.name, vectors=self._vectors, page=PAGE_POINTS):
                yield self._document(str(point.id), [self._converted(point)])
            return
        with _Groups() as groups:
            groups.fill(self._places())
            for batch in _batches(groups.documents()):
                ids = [point_id for _, point_ids in batch for point_id in point_ids]
                found = {point.id: self._converted(point) for point in self._retrieve(ids)}
                for doc_id, point_ids in batch:  # a point that was deleted meanwhile is left out
                    if chunks := [found[point_id] for point_id in point_ids if point_id in found]:
                        yield self._document(doc_id, chunks)

    def samples(self, count: int) -> Iterator[ForeignPoint]:
        """Yield the first points."""
        for point in islice(self._store.scroll(self.name, vectors=True, page=count), count):
            yield self._converted(point)

    def _retrieve(self, ids: Sequence[str]) -> Iterator[StoredPoint]:
        for start in range(0, len(ids), PAGE_POINTS):
            yield from self._store.retrieve(self.name, ids[start : start + PAGE_POINTS], vectors=self._vectors)

    def _places(self) -> Iterator[_Place]:
        """Yield the place of each point. A point without a document id is a document of its own."""
        fields = self._fields
        paths = [path for path in (fields.id, fields.order) if path is not None]
        for point in self._store.scroll(self.name, payload=sorted({_first(path) for path in paths})):
            doc_id = _document_id(field_of(point.payload, str(fields.id)))
            order = None if fields.order is None else field_of(point.payload, fields.order)
            if isinstance(order, int) and abs(order) >= _INT64:
                order = float(order)
            position = order if isinstance(order, str | int | float) else None
            yield _Place(doc_id or point.id, doc_id is None, position, point.id)

    def _converted(self, point: StoredPoint) -> ForeignPoint:
        title = None if self._fields.title is None else field_of(point.payload, self._fields.title)
        record = {
            "id": point.id,
            "text": field_of(point.payload, str(self._fields.text)),
            "title": title if isinstance(title, str) else None,
            "metadata": self._metadata(point.payload),
        }
        document = document_from(
            record,
            fields=_FIELDS,
            position=f"point {point.id} of {self.name}",
            max_bytes=MAX_RECORD_BYTES,
            raw=lambda: raw_json(point.payload),
        )
        vectors = {model: point.vectors[name] for model, name in self._have.items() if name in point.vectors}
        return ForeignPoint(document, vectors)

    def _metadata(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Return everything in a payload but the text. A field that the metadata object has as well is called `payload_…`."""
        text, metadata = str(self._fields.text), self._fields.metadata
        nested = None if metadata is None else _object_in(payload, metadata)
        own = dict(nested or {})
        if text.startswith(f"{metadata}."):
            own = _without(own, text.removeprefix(f"{metadata}."))
        left_out = metadata if nested is not None else None
        rest = {name: value for name, value in _without(payload, text).items() if name != left_out}
        return {**{f"payload_{name}" if name in own else name: value for name, value in rest.items()}, **own}

    def _document(self, doc_id: str, chunks: Sequence[ForeignPoint]) -> Document | Rejected:
        """Return the document of these chunks, or the first one of them that cannot be used, under the id of the document."""
        try:
            checked_id(doc_id)
        except Unusable as exc:
            reason = f"the id of the document in {self._fields.id} cannot be used: {exc}"
            return Rejected(chunks[0].document.position, reason, impossible_id=isinstance(exc, ImpossibleId))
        documents = [chunk.document for chunk in chunks if isinstance(chunk.document, Document)]
        for chunk in chunks:
            if isinstance(chunk.document, Rejected):
                return replace(chunk.document, doc_id=doc_id)
        if self._keep is not None:
            for document, chunk in zip(documents, chunks, strict=True):
                for model, vector in chunk.vectors.items():
                    self._keep(model, encoded_text(document), vector)
        if len(documents) == 1:
            return replace(documents[0], id=doc_id)
        starts = [0]
        for document in documents:
            starts.append(starts[-1] + len(document.text) + len(_SEPARATOR))
        parts = tuple(
            DocumentPart(start, start + len(document.text), document.metadata)
            for start, document in zip(starts, documents, strict=False)
        )
        text = _SEPARATOR.join(document.text for document in documents)
        titles = {document.title for document in documents} - {None}
        return Document(doc_id, text, titles.pop() if len(titles) == 1 else None, position=documents[0].position, parts=parts)


def encoded_text(chunk: Document) -> str:
    """Return the text that encoders read for a chunk whose title is not cut."""
    return in_context(title_line(chunk.title), chunk.text.strip())


def field_of(payload: Mapping[str, Any], path: str) -> Any:
    """Return the value of a payload field, or None. `a.b` is the field `b` of `a`, which may be an object or JSON text of one."""
    if path in payload:
        return payload[path]
    value: Any = payload
    for name in path.split("."):
        if isinstance(value, str):
            value = _object(value)
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def _object_in(payload: Mapping[str, Any], path: str) -> Mapping[str, Any] | None:
    """Return the object in a payload field, which may be JSON text of one, or None."""
    value = field_of(payload, path)
    value = _object(value) if isinstance(value, str) else value
    return value if isinstance(value, Mapping) else None


def _without(payload: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the fields without the one at a path, and without JSON text that has it: that is the whole chunk once more."""
    name, _, inner = path.partition(".")
    kept = {each: value for each, value in payload.items() if each != path}
    if path not in payload and inner and name in kept:
        value = kept.pop(name)
        if isinstance(value, Mapping):
            kept[name] = _without(value, inner)
        elif not isinstance(value, str) or field_of(payload, path) is None:
            kept[name] = value
    return kept


def _document_id(value: Any) -> str | None:
    """Return the document id in a payload field, or None. 17.0 is 17: tables with missing numbers make such ids."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None


def text_field(payloads: Sequence[Mapping[str, Any]]) -> str:
    """Return the field of some payloads that has the text. Raises `ConfigurationError`, which names their fields."""
    found = _most_frequent(payloads, USUAL_TEXTS)
    if found is None:
        names = ", ".join(_names(payloads)) or "none"
        raise ConfigurationError(f"no payload field has a usual name of a text: name the one with --text-field (fields: {names})")
    return found


def title_field(payloads: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the field of some payloads that has the title, or None if no usual one has a text."""
    return _most_frequent(payloads, USUAL_TITLES)


def check_title_field(payloads: Sequence[Mapping[str, Any]], path: str, collection: str) -> None:
    """Raise `ConfigurationError` if none of some payloads has a text in a field for the title."""
    if _most_frequent(payloads, (path,)) is None:
        raise _nothing_in("title", path, "--title-field", payloads, collection)


def check_places(payloads: Sequence[Mapping[str, Any]], fields: PayloadFields, collection: str) -> None:
    """Raise `ConfigurationError` if none of some payloads has a value in a field for the text, or one that says its place."""
    for what, path, option, read in (
        ("text", fields.text, "--text-field", field_of),
        ("document id", fields.id, "--id-field", lambda payload, path: _document_id(field_of(payload, path))),
        ("position of a chunk", fields.order, "--order-field", field_of),
        ("object", fields.metadata, "--metadata-field", _object_in),
    ):
        if path is not None and all(read(payload, path) is None for payload in payloads):
            raise _nothing_in(what, path, option, payloads, collection)


def _nothing_in(what: str, path: str, option: str, payloads: Sequence[Mapping[str, Any]], collection: str) -> ConfigurationError:
    return ConfigurationError(
        f"no {what} is in {path} of the first {len(payloads)} points of {collection}: name another field ({option})"
        f" (fields: {', '.join(_names(payloads))})"
    )


def _most_frequent(payloads: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> str | None:
    """Return the path at which most payloads have a text, the first one of equals, or None if none has."""
    found = Counter(path for payload in payloads for path in paths if isinstance(text := field_of(payload, path), str) and text)
    return max(paths, key=lambda path: found[path]) if found else None


def _names(payloads: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the fields of some payloads, those of an object behind its name."""
    names: set[str] = set()
    for payload in payloads:
        for name, value in payload.items():
            names |= {f"{name}.{inner}" for inner in value} if isinstance(value, Mapping) else {name}
    return sorted(names)


def _object(text: str) -> Any:
    try:
        return json.loads(text) if text.startswith("{") else None
    except ValueError:
        return None


def _first(path: str) -> str:
    return path.partition(".")[0]


def _batches(documents: Iterable[tuple[str, list[str]]]) -> Iterator[list[tuple[str, list[str]]]]:
    """Yield documents together until they have `PAGE_POINTS` points."""
    batch: list[tuple[str, list[str]]] = []
    points = 0
    for document in documents:
        batch.append(document)
        points += len(document[1])
        if points >= PAGE_POINTS:
            yield batch
            batch, points = [], 0
    if batch:
        yield batch


class _Groups(TemporaryDatabase):
    """The points of each document, in order."""

    def __init__(self) -> None:
        super().__init__("CREATE TABLE points (doc_id TEXT, alone, position, point_id TEXT);")

    def fill(self, places: Iterable[_Place]) -> None:
        self._database.executemany("INSERT INTO points VALUES (?, ?, ?, ?)", places)

    def documents(self) -> Iterator[tuple[str, list[str]]]:
        rows = self._database.execute("SELECT doc_id, alone, point_id FROM points ORDER BY doc_id, alone, position, rowid")
        for (doc_id, _), points in groupby(rows, key=itemgetter(0, 1)):
            yield doc_id, [point_id for *_, point_id in points]
