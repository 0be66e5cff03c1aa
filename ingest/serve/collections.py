"""Operations on collections. Each is one call of `Collection`."""

from __future__ import annotations

import time

from starlette.exceptions import HTTPException

from ingest.search.document import StoredDocument
from ingest.serve.endpoint import Call, Endpoint
from ingest.serve.schemas import (
    CollectionInfo,
    CollectionList,
    DocumentQuery,
    FacetQuery,
    Facets,
    SearchAnswer,
    SearchBody,
    SearchParameters,
    SearchQuery,
)


async def search(call: Call) -> SearchAnswer:
    """Answer a query in the body."""
    return await _search(call, call.body.query, call.body)


async def search_by_url(call: Call) -> SearchAnswer:
    """Answer a query in the URL."""
    return await _search(call, call.query.q, call.query)


async def _search(call: Call, query: str | None, parameters: SearchParameters) -> SearchAnswer:
    started, options = time.perf_counter(), parameters.options()

    def answer() -> SearchAnswer:
        collection = call.service.served.get(call.path["name"])
        found = collection.search(query, **options)
        return SearchAnswer.of(collection.name, query, found, time.perf_counter() - started)

    return await call.service.workers.run(answer)


async def list_collections(call: Call) -> CollectionList:
    """List the collections that the token allows."""
    found = await call.service.workers.run(call.service.served.summaries)
    return CollectionList(tuple(each for each in found if call.grant.allows(each.name, "read")))


async def describe(call: Call) -> CollectionInfo:
    """Describe a collection."""
    return await call.service.workers.run(lambda: CollectionInfo.of(call.service.served.get(call.path["name"]).info()))


async def facets(call: Call) -> Facets:
    """Count the values of fields."""

    def count() -> Facets:
        collection = call.service.served.get(call.path["name"])
        fields = call.query.field or sorted(name for name in collection.info().indexes if name.startswith("metadata."))
        return Facets(collection.facets(fields, where=call.query.where))

    return await call.service.workers.run(count)


async def read_document(call: Call) -> StoredDocument:
    """Read a document."""
    doc_id = call.path["doc_id"]

    def read() -> StoredDocument | None:
        return call.service.served.get(call.path["name"]).document(doc_id, source=call.query.source)

    found = await call.service.workers.run(read)
    if found is None:
        raise HTTPException(404, "the collection has no such document")
    return found


_COLLECTION = "/v1/collections/{name}"

ENDPOINTS = (
    Endpoint("GET", "/v1/collections", "List the collections", list_collections, CollectionList, access="token"),
    Endpoint("GET", _COLLECTION, "Describe a collection", describe, CollectionInfo),
    Endpoint("POST", f"{_COLLECTION}/search", "Search a collection", search, SearchAnswer, body=SearchBody),
    Endpoint("GET", f"{_COLLECTION}/search", "Search a collection", search_by_url, SearchAnswer, query=SearchQuery),
    Endpoint("GET", f"{_COLLECTION}/facets", "Count the values of fields", facets, Facets, query=FacetQuery),
    Endpoint(
        "GET",
        f"{_COLLECTION}/documents/{{doc_id:path}}",
        "Read a document with its chunks in order",
        read_document,
        StoredDocument,
        query=DocumentQuery,
    ),
)
