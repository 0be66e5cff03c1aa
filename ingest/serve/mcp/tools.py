"""The tools. The docstring of each is what a language model reads about it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ingest.errors import ConfigurationError
from ingest.parameters import shown
from ingest.serve.mcp.results import (
    Collections,
    Excerpt,
    Facets,
    Found,
    ListedCollection,
    Status,
    SyncedSource,
    document_text,
    freshness,
)

if TYPE_CHECKING:
    from ingest.collection import Collection
    from ingest.search.answer import Answer
    from ingest.search.document import StoredDocument
    from ingest.serve.served import ReadableCollections

Name = Annotated[str | None, Field(description="Collection, by its name. May be left out if there is only one.")]
Where = Annotated[
    str | None,
    Field(
        description=(
            "Filter that every result meets, such as: metadata.year>=2020 and metadata.lang=en; doc_id in (a, b); "
            "not metadata.draft=true. status lists the fields that are indexed, facets their values."
        )
    ),
]
Limit = Annotated[int, Field(ge=1, le=50, description="Most results to return.")]
DocId = Annotated[str, Field(description="Document, by the doc_id of a result.")]
SourceName = Annotated[str | None, Field(description="Source of the document, only needed if several have this doc_id.")]


class Tools:
    """The tools, over collections that the first call opens.

    Args:
        served: returns the collections that may be read.
        now: returns the time.
    """

    def __init__(
        self, served: Callable[[], ReadableCollections], now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._served = served
        self._now = now

    def search(
        self,
        query: Annotated[str, Field(description="What to look for: a question, or words that the text should contain.")],
        collection: Name = None,
        where: Where = None,
        limit: Limit = 10,
    ) -> Found:
        """Search a collection of documents by meaning and by words, and return the passages that fit best.

        Each result has its document, section, page or link for citing, and its rank in each vector: trust those that several
        vectors found (agreement: strong) more than others. Scores compare within one answer only, and the best result may still
        be off the topic: read it. For more of the text around a result call expand, for the whole document read_document.
        """
        found = self._collection(collection)
        return self._found(found, found.search(query, where=where, limit=limit))

    def find_similar(
        self,
        like: Annotated[str, Field(description="What to compare with: the doc_id of a result, or the id of its chunk.")],
        collection: Name = None,
        where: Where = None,
        limit: Limit = 10,
    ) -> Found:
        """Find passages of other documents that are similar to a document or to a chunk."""
        found = self._collection(collection)
        return self._found(found, found.search(like=like, where=where, limit=limit))

    def expand(  # noqa: PLR0917  each is a parameter of the tool
        self,
        doc_id: DocId,
        chunk: Annotated[int, Field(ge=0, description="The chunk of the result.")],
        collection: Name = None,
        source: SourceName = None,
        before: Annotated[int, Field(ge=0, le=20, description="Chunks before it to return.")] = 1,
        after: Annotated[int, Field(ge=0, le=20, description="Chunks after it to return.")] = 1,
    ) -> Excerpt:
        """Return the text around a result: its chunk with the chunks before and after it."""
        found, document = self._document(collection, doc_id, source)
        return Excerpt.of(found.name, document, chunk - before, chunk + after)

    def read_document(
        self,
        doc_id: DocId,
        collection: Name = None,
        source: SourceName = None,
        first_chunk: Annotated[int, Field(ge=0, description="Chunk to begin with: the next_chunk of the answer before.")] = 0,
    ) -> Excerpt:
        """Read a document from its beginning, chunk by chunk, with its metadata.

        A long document takes several calls: next_chunk is where the next one begins.
        """
        found, document = self._document(collection, doc_id, source)
        return Excerpt.of(found.name, document, first_chunk, sys.maxsize)

    def list_collections(self) -> Collections:
        """List the collections that can be searched."""
        found = self._served().summaries()
        return Collections(collections=[ListedCollection(each.name, each.points, each.vectors, each.problem) for each in found])

    def facets(
        self,
        fields: Annotated[list[str], Field(description="Fields such as metadata.lang or source. Empty: all indexed ones.")] = [],  # noqa: B006  never changed
        collection: Name = None,
        where: Where = None,
    ) -> Facets:
        """Count the values of metadata fields: what there is to filter by."""
        found = self._collection(collection)
        return Facets(collection=found.name, facets=found.facets(fields or _filterable(found), where=where))

    def status(self, collection: Name = None) -> Status:
        """Describe a collection: its size, its sources with their last successful sync, and the fields to filter by."""
        found = self._collection(collection)
        info, sources = found.info(), found.sources()
        return Status(
            collection=found.name,
            freshness=freshness(sources, self._now()),
            chunks=info.points,
            vectors=[spec.name for spec in info.vectors],
            filterable=_filterable(found),
            sources=[SyncedSource(each.name, each.documents, each.points, each.last_run) for each in sources],
        )

    def document_text(self, collection: str, doc_id: str) -> str:
        """Return the text of a document."""
        return document_text(self._document(collection, doc_id, None)[1])

    def _collection(self, name: str | None) -> Collection:
        served = self._served()
        if name is not None:
            return served.get(name)
        names = [each.name for each in served.summaries()]
        if len(names) != 1:
            raise ConfigurationError(f"collection: name one of {', '.join(names)}" if names else "there is no collection yet")
        return served.get(names[0])

    def _document(self, name: str | None, doc_id: str, source: str | None) -> tuple[Collection, StoredDocument]:
        found = self._collection(name)
        document = found.document(doc_id, source=source)
        if document is None:
            raise ConfigurationError(f"doc_id: {found.name} has no document {shown(doc_id)}: take the doc_id of a result")
        return found, document

    def _found(self, collection: Collection, answer: Answer) -> Found:
        vectors = [spec.name for spec in collection.searcher.manifest.vectors]
        return Found.of(collection.name, vectors, answer, freshness(collection.sources(), self._now()))


def _filterable(collection: Collection) -> list[str]:
    return sorted(name for name in collection.info().indexes if name.startswith("metadata."))
