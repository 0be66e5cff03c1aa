"""LlamaIndex: a retriever over a collection, and a source of what a reader loads. Requires the extra `llamaindex`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from ingest.collection import Collection
from ingest.errors import MissingExtraError
from ingest.integrations.exchange import hit_metadata, loaded_source, place_id, record_of
from ingest.records import Hit
from ingest.search.request import SearchOptions, SearchRequest
from ingest.search.searcher import Searcher
from ingest.source.memory import Record, RecordsSource

try:
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.readers.base import BaseReader
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import Document, NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
except ModuleNotFoundError as exc:
    raise MissingExtraError(
        f"ingest.integrations.llamaindex requires {exc.name}: pip install 'qdrant-ingest[llamaindex]'"
    ) from exc

_PARTS = ("page_label",)
_READ_BY_MODELS = {"title", "url", "section", "page"}


class IngestRetriever(BaseRetriever):  # type: ignore[misc]  # its types are not read
    """A LlamaIndex retriever that searches a collection.

    A node has the chunk's id, text and score, and its document as `ref_doc_id`; see `hit_metadata` for its metadata. A language
    model reads the document's own metadata, and the title, URL, section and page of the chunk, but not its ranks and offsets.

    Args:
        collection: an open collection or searcher, which stays open.
        similarity_top_k: most nodes to return, 1 to 10,000.
        search_kwargs: options of `Collection.search` for every query, such as `where` and `rerank`.
        callback_manager: see `BaseRetriever`.

    Raises `ConfigurationError` for an invalid option; a query raises what `Collection.search` raises.
    """

    def __init__(
        self,
        collection: Collection | Searcher,
        similarity_top_k: int = 10,
        *,
        search_kwargs: Mapping[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(callback_manager)
        self._collection = collection
        self._options: Any = {"limit": similarity_top_k, **(search_kwargs or {})}  # checked by the next line
        SearchRequest.of(cast("SearchOptions", self._options))

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(hit) for hit in self._collection.search(query_bundle.query_str, **self._options)]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [_node(hit) for hit in await self._collection.asearch(query_bundle.query_str, **self._options)]


def documents_source(
    documents: BaseReader | Callable[[], Iterable[Document]] | Iterable[Document], *, name: str
) -> RecordsSource:
    """Return a source for `Collection.sync` of a reader, which each run loads anew, or of documents.

    Args:
        documents: a reader that loads without arguments, a function such as `lambda: reader.load_data(urls=[…])`, or documents.
        name: the source's name, part of every id; it must stay the same between runs.

    The id of a document is its `file_path` with its `page_label`: `report.pdf#page_label=3`; without a `file_path` its own id.
    That must then be given, because LlamaIndex otherwise makes a new one for each load. Reading raises `SourceError` if the
    reader fails.
    """
    load = documents.load_data if isinstance(documents, BaseReader) else documents
    return loaded_source(load, Document, _record, name)


def _node(hit: Hit) -> NodeWithScore:
    found = hit_metadata(hit)
    unread = [name for name in found if name not in hit.metadata and name not in _READ_BY_MODELS]
    node = TextNode(
        id_=hit.id,
        text=hit.text,
        metadata=found,
        excluded_llm_metadata_keys=unread,
        excluded_embed_metadata_keys=unread,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.doc_id)},
        start_char_idx=hit.start,
        end_char_idx=hit.end,
    )
    return NodeWithScore(node=node, score=hit.score)


def _record(document: Document) -> Record:
    doc_id = place_id(document.metadata, "file_path", _PARTS) or document.id_
    return record_of(doc_id, document.text, document.metadata)
