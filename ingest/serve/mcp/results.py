"""What tools return: records whose texts are cut where they are too long for the context of a language model. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:  # what they import takes a second
    from ingest.records import Hit
    from ingest.search.answer import Answer
    from ingest.search.document import StoredChunk, StoredDocument
    from ingest.sync.stored_sources import StoredSource

MAX_HIT = 2_000
"""Most characters of the text of a hit, and of its metadata as JSON."""

MAX_ANSWER = 30_000
"""Most characters of all texts of an answer."""

STRONG_RANK = 10

_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"))


@dataclass(frozen=True, slots=True)
class FoundChunk:
    """A chunk that was found.

    Attributes:
        id: the chunk, for `find_similar`.
        uri: resource with the whole document.
        chunk: position in its document, from 0, for `expand`.
        truncated: the text is longer: `expand` returns all of it.
        score: comparable within one answer only.
        ranks: vector → rank among its own results, from 1; a vector that did not find the chunk is absent.
        agreement: strong if all of several vectors (meaning, words) have it among their best ten, else weak; null for one vector.
        metadata: null if it is too long: `read_document` returns it.
    """

    id: str
    doc_id: str
    source: str
    title: str | None
    section: Sequence[str]
    page: int | None
    url: str | None
    uri: str
    chunk: int
    text: str
    truncated: bool
    score: float
    ranks: Mapping[str, int]
    agreement: Literal["strong", "weak"] | None
    metadata: Mapping[str, Any] | None


class Result(BaseModel):
    """What a tool returns: a model, of which the SDK makes the schema that a client sees."""

    model_config = ConfigDict(frozen=True)


class Found(Result):
    """The results of a search, best first.

    Attributes:
        freshness: when the collection was last made equal to its sources.
        warnings: likely mistakes in the request, such as a filter on a field that no chunk has.
        omitted: number of results that were left out, because the answer would have been too long.
    """

    collection: str
    freshness: str
    hits: Sequence[FoundChunk]
    warnings: Sequence[str]
    note: str | None
    omitted: int

    @classmethod
    def of(cls, collection: str, vectors: Iterable[str], answer: Answer, freshness: str) -> Self:
        """Return an answer, with as many of its first hits as fit."""
        names, hits, left = frozenset(vectors), list[FoundChunk](), MAX_ANSWER
        for hit in answer:
            if len(text := hit.text[:MAX_HIT]) > left:
                break
            left -= len(text)
            hits.append(_found(collection, names, hit, text))
        return cls(
            collection=collection,
            freshness=freshness,
            hits=hits,
            warnings=answer.warnings,
            note=answer.note,
            omitted=len(answer) - len(hits),
        )


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A chunk of a document: a `StoredChunk`, whose module imports all that searches. `id` is for `find_similar`."""

    id: str
    chunk: int
    start: int
    end: int
    text: str
    section: Sequence[str]
    table_header: str | None
    page: int | None
    anchor: str | None
    line: int | None

    @classmethod
    def of(cls, stored: StoredChunk) -> Self:
        return cls(**{each.name: getattr(stored, each.name) for each in fields(cls)})


class Excerpt(Result):
    """Chunks of a document, in the order of the text.

    Attributes:
        total_chunks: number of chunks of the document.
        next_chunk: the chunk with which `read_document` goes on if the text was too long for one answer, or null at its end.
    """

    collection: str
    doc_id: str
    source: str
    title: str | None
    url: str | None
    metadata: Mapping[str, Any]
    chunks: Sequence[TextChunk]
    total_chunks: int
    next_chunk: int | None

    @classmethod
    def of(cls, collection: str, document: StoredDocument, first: int, last: int) -> Self:
        """Return the chunks from `first` to `last`, both included, as far as they fit; at least one."""
        wanted = [each for each in document.chunks if first <= each.chunk <= last]
        chunks, left = list[TextChunk](), MAX_ANSWER
        for each in wanted:
            if chunks and len(each.text) > left:
                break
            left -= len(each.text)
            chunks.append(TextChunk.of(each))
        after = [each.chunk for each in document.chunks if chunks and each.chunk > chunks[-1].chunk]
        return cls(
            collection=collection,
            doc_id=document.doc_id,
            source=document.source,
            title=document.title,
            url=document.url,
            metadata=document.metadata,
            chunks=chunks,
            total_chunks=len(document.chunks),
            next_chunk=min(after, default=None),
        )


@dataclass(frozen=True, slots=True)
class ListedCollection:
    """A collection. `chunks` is null if they cannot be counted, and `problem` says why it cannot be read, if so."""

    name: str
    chunks: int | None
    vectors: Sequence[str]
    problem: str | None


class Collections(Result):
    """The collections that can be searched."""

    collections: Sequence[ListedCollection]


class Facets(Result):
    """The values of fields: field → value as text → number of chunks, the most frequent first."""

    collection: str
    facets: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class SyncedSource:
    """A source of a collection. `last_sync` is when a sync last read it to its end, ISO 8601; null if unknown."""

    name: str
    documents: int | None
    chunks: int
    last_sync: str | None


class Status(Result):
    """The state of a collection.

    Attributes:
        freshness: when it was last made equal to its sources.
        filterable: metadata fields with an index.
    """

    collection: str
    freshness: str
    chunks: int
    vectors: Sequence[str]
    filterable: Sequence[str]
    sources: Sequence[SyncedSource]


def freshness(sources: Sequence[StoredSource], now: datetime) -> str:
    """Return when the sources were last read to their ends: one sentence."""
    times = sorted(datetime.fromisoformat(each.last_run) for each in sources if each.last_run is not None)
    if not times:
        return "unknown: no sync has finished yet"
    latest = f"last successful sync {_ago(now, times[-1])}"
    oldest = _ago(now, times[0])
    return latest if _ago(now, times[-1]) == oldest else f"{latest}; the source that waits longest was synced {oldest}"


def document_uri(collection: str, doc_id: str) -> str:
    """Return the URI of the resource of a document."""
    return f"ingest://{collection}/{quote(doc_id, safe='')}"


def document_text(document: StoredDocument) -> str:
    """Return a document as text: its title and its chunks, cut with a note if they are too long."""
    parts = [*([document.title] if document.title else []), *(each.text for each in document.chunks)]
    text = "\n\n".join(parts)
    return text if len(text) <= MAX_ANSWER else f"{text[:MAX_ANSWER]}\n\n[cut: read_document returns the rest]"


def _found(collection: str, vectors: frozenset[str], hit: Hit, text: str) -> FoundChunk:
    long = len(json.dumps(hit.metadata, default=str)) > MAX_HIT
    return FoundChunk(
        hit.id,
        hit.doc_id,
        hit.source,
        hit.title,
        hit.section,
        hit.page,
        hit.url,
        document_uri(collection, hit.doc_id),
        hit.chunk,
        text,
        len(text) < len(hit.text),
        hit.score,
        hit.ranks,
        _agreement(vectors, hit),
        None if long else hit.metadata,
    )


def _agreement(vectors: frozenset[str], hit: Hit) -> Literal["strong", "weak"] | None:
    if len(vectors) == 1 or not hit.ranks:
        return None
    return "strong" if all(hit.ranks.get(name, STRONG_RANK + 1) <= STRONG_RANK for name in vectors) else "weak"


def _ago(now: datetime, then: datetime) -> str:
    seconds = max(0.0, (now - then).total_seconds())
    for size, unit in _UNITS:
        if (count := int(seconds // size)) > 0:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a minute ago"
