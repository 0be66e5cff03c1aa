"""A stored document with its chunks, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ingest.errors import ConflictError
from ingest.parameters import shown
from ingest.records import Metadata, Payload, StoredPoint
from ingest.search.shown import is_shown
from ingest.store.contract import Condition, Filter, Store
from ingest.store.schema import SOFT_DELETED_FIELD

_FIELDS = (
    "text",
    "doc_id",
    "source",
    "chunk",
    "start",
    "end",
    "title",
    "metadata",
    "section",
    "table_header",
    "page",
    "url",
    "anchor",
    "line",
    SOFT_DELETED_FIELD,
)


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A stored chunk. `id` is its UUID string; the others are those of `Chunk`."""

    id: str
    chunk: int
    start: int
    end: int
    text: str
    section: tuple[str, ...] = ()
    table_header: str | None = None
    page: int | None = None
    anchor: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it is stored.

    Attributes:
        source: name of its source.
        chunks: its chunks, in the order of the text.
    """

    doc_id: str
    source: str
    title: str | None
    url: str | None
    chunks: tuple[StoredChunk, ...]
    metadata: Metadata = field(default_factory=dict)


def read_document(
    store: Store, collection: str, doc_id: str, source: str | None = None, filters: Sequence[Filter] = ()
) -> StoredDocument | None:
    """Return a document with all its chunks, or None if it is not stored or soft-deleted.

    Args:
        source: name of its source. None: the only one that has this id.
        filters: filters that its chunks meet.

    Raises `ConflictError` if several sources have the id.
    """
    wanted = [*filters, Condition("doc_id", "eq", doc_id)]
    if source is not None:
        wanted.append(Condition("source", "eq", source))
    points = [point for point in store.scroll(collection, wanted, payload=list(_FIELDS)) if is_shown(point.payload)]
    sources = sorted({point.payload["source"] for point in points})
    if len(sources) > 1:
        raise ConflictError(f"source: {', '.join(sources)} have a document {shown(doc_id)}: name one of them")
    if not points:
        return None
    chunks = tuple(sorted(map(_chunk, points), key=lambda each: each.chunk))
    first: Payload = min(points, key=lambda point: point.payload["chunk"]).payload
    return StoredDocument(doc_id, sources[0], first.get("title"), first.get("url"), chunks, first.get("metadata", {}))


def _chunk(point: StoredPoint) -> StoredChunk:
    payload = point.payload
    return StoredChunk(
        id=point.id,
        chunk=payload["chunk"],
        start=payload["start"],
        end=payload["end"],
        text=payload["text"],
        section=tuple(payload.get("section", ())),
        table_header=payload.get("table_header"),
        page=payload.get("page"),
        anchor=payload.get("anchor"),
        line=payload.get("line"),
    )
