"""Haystack: a retriever component over a collection, and a source of what converters return. Requires the extra `haystack`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ingest.collection import Collection
from ingest.errors import ConfigurationError, MissingExtraError
from ingest.integrations.exchange import hit_metadata, loaded_source, place_id, record_of
from ingest.records import Hit
from ingest.search.request import SearchRequest
from ingest.search.searcher import DEFAULT_STORE, Searcher
from ingest.source.memory import Record, RecordsSource

try:
    from haystack import Document, component, default_to_dict
    from haystack.utils import Secret
except ModuleNotFoundError as exc:
    raise MissingExtraError(f"ingest.integrations.haystack requires {exc.name}: pip install 'qdrant-ingest[haystack]'") from exc

_PARTS = ("page_number", "split_id")


@component
class IngestRetriever:
    """A Haystack component that searches a collection.

    A document has the chunk's id, text and score; see `hit_metadata` for its `meta`.

    Args:
        collection: name of a collection, which is opened by `warm_up` or the first query, until `close`; or an open collection or
            searcher, which stays open, and with which the component cannot be serialized.
        store: a folder for the embedded engine, or a server's URL.
        api_key: key of the server.
        top_k: most documents to return, 1 to 10,000.
        search_kwargs: options of `Collection.search` for every query, such as `where` and `rerank`.

    Raises `ConfigurationError` for an invalid option; a query raises what `Searcher.open` and `Searcher.search` raise.
    """

    def __init__(
        self,
        collection: str | Collection | Searcher,
        store: str = DEFAULT_STORE,
        api_key: Secret | None = None,
        top_k: int = 10,
        search_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.collection = collection
        self.store = store
        self.api_key = api_key
        self.top_k = top_k
        self.search_kwargs = search_kwargs
        self._opened = None if isinstance(collection, str) else collection
        SearchRequest.of(self._options(None, None))

    def warm_up(self) -> None:
        """Open the collection, unless it is open."""
        self._searching()

    def close(self) -> None:
        """Close the collection if this component opened it. Idempotent."""
        if isinstance(self.collection, str) and self._opened is not None:
            self._opened.close()
            self._opened = None

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dictionary. Raises `ConfigurationError` if it was given an open collection."""
        if not isinstance(self.collection, str):
            raise ConfigurationError("an open collection cannot be serialized: pass its name and its store to IngestRetriever")
        names = ("collection", "store", "api_key", "top_k", "search_kwargs")
        found: dict[str, Any] = default_to_dict(self, **{name: getattr(self, name) for name in names})
        return found

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    def run(self, query: str, where: Any = None, top_k: int | None = None) -> dict[str, list[Document]]:
        """Return the best chunks as `documents`. `where` and `top_k` take the place of those that were given for every query."""
        return {"documents": [_document(hit) for hit in self._searching().search(query, **self._options(where, top_k))]}

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    async def run_async(self, query: str, where: Any = None, top_k: int | None = None) -> dict[str, list[Document]]:
        """Like `run`."""
        answer = await self._searching().asearch(query, **self._options(where, top_k))
        return {"documents": [_document(hit) for hit in answer]}

    def _searching(self) -> Collection | Searcher:
        if self._opened is None:
            key = self.api_key.resolve_value() if self.api_key else None
            self._opened = Searcher.open(str(self.collection), self.store, api_key=key)
        return self._opened

    def _options(self, where: Any, top_k: int | None) -> Any:
        options = {"limit": self.top_k, **(self.search_kwargs or {})}
        given = {"where": where, "limit": top_k}
        return options | {name: value for name, value in given.items() if value is not None}


def documents_source(documents: Callable[[], Iterable[Document]] | Iterable[Document], *, name: str) -> RecordsSource:
    """Return a source for `Collection.sync` of documents, or of a function that returns them, which each run calls anew.

    Args:
        documents: documents, or a function such as `lambda: converter.run(sources=paths)["documents"]`, of a converter with
            `store_full_path=True`. Do not split them: chunks are made of whole documents.
        name: the source's name, part of every id; it must stay the same between runs.

    The id of a document is its `file_path` with its `page_number` and `split_id`, or without a `file_path` its own id. Haystack
    makes that of the content unless it is given, so a changed document is a new one. Reading raises `SourceError` if the function
    fails.
    """
    return loaded_source(documents, Document, _record, name)


def _document(hit: Hit) -> Document:
    return Document(id=hit.id, content=hit.text, meta=hit_metadata(hit), score=hit.score)


def _record(document: Document) -> Record:
    return record_of(place_id(document.meta, "file_path", _PARTS) or document.id, document.content, document.meta)
