"""Queries and reads of points over REST. The client's own requests would take longer than the server does.

The client converts every request and response to its models, and its HTTP client handles cookies, redirects and authentication,
which Qdrant does not use. Together they take about a millisecond, several times in a search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic_core import from_json, to_json
from qdrant_client import models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from ingest.records import ScoredPoint, StoredPoint, Vector
from ingest.store.server.errors import reason_of
from ingest.store.server.wire import ServerQuery, vector_to
from ingest.store.wire import named_vectors, point_id_to, selection_to, ties_by_id

Json = dict[str, Any]

T = TypeVar("T")

_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "qdrant-ingest"}


class RestPoints:
    """Reads points of a server. Raises the client's exceptions, so use it inside `Connection.translated` only.

    Args:
        transport: the connections to the server.
        url: address of the server, without a slash at the end.
        headers: headers of every request.
        timeout: seconds for one request.
    """

    def __init__(self, transport: httpx.BaseTransport, url: str, *, headers: Mapping[str, str], timeout: float) -> None:
        self._transport = transport
        self._url = url
        self._headers = httpx.Headers({**headers, **_HEADERS})
        self._extensions = {"timeout": httpx.Timeout(timeout).as_dict()}

    def query(self, collection: str, queries: Sequence[ServerQuery], payload: Sequence[str] | bool) -> list[list[ScoredPoint]]:
        """Return the results of each query."""
        return self._post(
            collection, "points/query/batch", {"searches": [_search(each, payload) for each in queries]}, _scored_points
        )

    def retrieve(
        self, collection: str, ids: Sequence[str], payload: Sequence[str] | bool, vectors: Sequence[str] | bool
    ) -> list[StoredPoint]:
        """Return the points with these ids."""
        selected = {"with_payload": selection_to(payload), "with_vector": selection_to(vectors)}
        return self._post(collection, "points", {"ids": [*map(point_id_to, ids)], **selected}, _stored_points)

    def _post(self, collection: str, path: str, body: Json, convert: Callable[[Any], T]) -> T:
        """Return the converted result of one request."""
        request = httpx.Request(
            "POST",
            _address(self._url, collection, path),
            content=to_json(body, exclude_none=True),
            headers=self._headers,
            extensions=self._extensions,
        )
        try:
            response = self._transport.handle_request(request)
            try:
                content = response.read()
            finally:
                response.close()
        except httpx.HTTPError as exc:
            raise ResponseHandlingException(exc) from exc
        _check_status(response)
        try:
            return convert(from_json(content)["result"])
        except (ValueError, LookupError, TypeError, AttributeError) as exc:  # it is not Qdrant that answers
            raise ResponseHandlingException(httpx.DecodingError(str(exc))) from exc


@lru_cache(maxsize=64)
def _address(url: str, collection: str, path: str) -> httpx.URL:
    """Return the address of a request. Parsing it takes a tenth of the client's time for a request."""
    return httpx.URL(f"{url}/collections/{quote(collection, safe='')}/{path}")


def _check_status(response: httpx.Response) -> None:
    """Raise the client's exception for a response that is not a success."""
    if response.status_code == httpx.codes.OK:
        return
    refusal = UnexpectedResponse.for_response(response)
    retry_after = response.headers.get("Retry-After")
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS and retry_after:
        raise ResourceExhaustedResponse(reason_of(refusal), retry_after)
    raise refusal


def _search(each: ServerQuery, payload: Sequence[str] | bool) -> Json:
    """Return a query as the server reads it. None stands for a field that is left out."""
    query = each.query
    return {
        "query": vector_to(query.value),
        "using": query.vector,
        "limit": query.limit,
        "offset": query.offset or None,
        "filter": each.filter,
        "with_payload": selection_to(payload),
        "params": each.params,
    }


def _scored_points(result: Any) -> list[list[ScoredPoint]]:
    return [
        ties_by_id([ScoredPoint(str(hit["id"]), hit["score"], hit.get("payload") or {}) for hit in each["points"]])
        for each in result
    ]


def _stored_points(result: Any) -> list[StoredPoint]:
    return [StoredPoint(str(each["id"]), each.get("payload") or {}, _vectors(each.get("vector"))) for each in result]


def _vectors(vectors: Any) -> dict[str, Vector]:
    if isinstance(vectors, dict):
        vectors = {
            name: models.SparseVector.model_construct(**value) if isinstance(value, dict) else value
            for name, value in vectors.items()
        }
    return named_vectors(vectors, models.SparseVector)
