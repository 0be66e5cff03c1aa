"""LangChain: a retriever over a collection, and a source of what a document loader loads. Requires the extra `langchain`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ingest.collection import Collection
from ingest.errors import MissingExtraError
from ingest.integrations.exchange import hit_metadata, loaded_source, place_id, record_of
from ingest.records import Hit
from ingest.search.request import SearchRequest
from ingest.search.searcher import Searcher
from ingest.source.memory import Record, RecordsSource

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.document_loaders import BaseLoader
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import Field
except ModuleNotFoundError as exc:
    raise MissingExtraError(f"ingest.integrations.langchain requires {exc.name}: pip install 'qdrant-ingest[langchain]'") from exc

_PARTS = ("page", "row", "seq_num")


class IngestRetriever(BaseRetriever):  # type: ignore[misc]  # its types are not read
    """A LangChain retriever that searches a collection.

    `invoke(query)` returns the best chunks as documents, best first. `invoke(query, k=3, where="metadata.lang=en")` takes any
    option of `Collection.search` for one query.

    Attributes:
        collection: an open collection or searcher, which stays open.
        k: most documents to return, 1 to 10,000.
        search_kwargs: options of `Collection.search` for every query, such as `where` and `rerank`.

    A document has the chunk's id and text; see `hit_metadata` for its metadata, to which `relevance_score`, the hit's score, is
    added. Raises what `Collection.search` raises, and `ConfigurationError` for an invalid option when it is created.
    """

    collection: Collection | Searcher
    k: int = 10
    search_kwargs: dict[str, Any] = Field(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        super().model_post_init(context)
        SearchRequest.of(self._options({}))

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002  the name is fixed
        **options: Any,
    ) -> list[Document]:
        return [_document(hit) for hit in self.collection.search(query, **self._options(options))]

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002  as above
        **options: Any,
    ) -> list[Document]:
        return [_document(hit) for hit in await self.collection.asearch(query, **self._options(options))]

    def _options(self, given: dict[str, Any]) -> Any:
        """Return the options of one search: those that its caller gave, then those of every query."""
        options = {"k": self.k, **self.search_kwargs, **given}
        return {"limit": options.pop("k"), **options}


def documents_source(documents: BaseLoader | Iterable[Document], *, name: str) -> RecordsSource:
    """Return a source for `Collection.sync` of a loader, which each run loads anew, or of documents.

    Args:
        documents: a loader, or documents as a loader returns them; do not split them: chunks are made of whole documents.
        name: the source's name, part of every id; it must stay the same between runs.

    The id of a document is its own, or its `source` with its `page`, `row` or `seq_num`: `report.pdf#page=3`. One without any of
    these has an id that is made of its text. Reading raises `SourceError` if the loader fails.
    """
    load = documents.lazy_load if isinstance(documents, BaseLoader) else documents
    return loaded_source(load, Document, _record, name)


def _document(hit: Hit) -> Document:
    return Document(hit.text, id=hit.id, metadata={**hit_metadata(hit), "relevance_score": hit.score})


def _record(document: Document) -> Record:
    doc_id = document.id or place_id(document.metadata, "source", _PARTS)
    return record_of(doc_id, document.page_content, document.metadata)
