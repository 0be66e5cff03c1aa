"""The server store: a Qdrant server over REST or gRPC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from qdrant_client import grpc, models

from ingest.errors import ConfigurationError, RequestTooLargeError, StoreError
from ingest.parameters import checked, optional, parse_boolean, parse_instance, parse_integer, parse_number, parse_path
from ingest.records import Fingerprint, Payload, Point, ScoredPoint, StoredPoint, Vector
from ingest.retry import RetryPolicy
from ingest.store.contract import MAX_FACETS, Condition, Filter, VectorQuery
from ingest.store.layout import OVERSAMPLING
from ingest.store.schema import DOC_KEY_FIELD, INGEST_FIELD, VERSION_FIELD, fingerprint_of
from ingest.store.server.clients import Clients
from ingest.store.server.collections import ServerCollections
from ingest.store.server.connection import Connection
from ingest.store.server.errors import BAD_REQUEST, has_status
from ingest.store.server.messages import payload_messages, point_messages, vector_messages
from ingest.store.server.wire import ServerQuery, point_to, search_params, stored_point, vector_to
from ingest.store.wire import following, point_id_to, selection_to

_PAGE = 5_000
"""Fingerprints fetched at a time."""

STREAMS = 2
"""One request is prepared while the server processes another; more are not faster."""


class ServerStore(ServerCollections):
    """The collections of the Qdrant server at `url`, version 1.16 or later.

    A write returns once the server has applied it, so its queue never has more than one request of a writer.

    Args:
        url: `http://host:port` or `https://…`; the default port is 6333.
        api_key: sent over plain HTTP only to this machine, because others could read it. Never shown.
        allow_plain_http_key: whether to send the key over plain HTTP to any host.
        ca_file: PEM file of the authority that signed the server's certificate, if the system does not trust it.
        prefer_grpc: whether to send points over gRPC instead of REST; None: if the same server answers at `grpc_port` or, beside
            port 6333, at the default gRPC port. Queries and reads by id use REST, which costs a server less.
        grpc_port: gRPC port on the same host; the default is the URL's port plus one.
        timeout: seconds for one request.
        retry: limits on the retries of each request that opens the connection or concerns a whole collection. Requests for
            points are made once: see `RetryingStore`.

    Raises `ConfigurationError` for conflicting arguments (also if a server of another version answers at the gRPC port),
    `StoreUnavailableError` if no server answers, `StoreError` if the server is too old or refuses the key.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        ca_file: str | Path | None = None,
        prefer_grpc: bool | None = None,
        grpc_port: int | None = None,
        timeout: float = 60.0,
        allow_plain_http_key: bool = False,
        retry: RetryPolicy = RetryPolicy(attempts=1),
    ) -> None:
        if not isinstance(api_key, str | None):
            raise ConfigurationError(f"api_key: a {type(api_key).__name__} is not a text")  # and is not shown
        prefer_grpc = checked("prefer_grpc", optional(parse_boolean), prefer_grpc)
        clients = Clients.of(
            url,
            api_key=api_key,
            ca_file=checked("ca_file", optional(parse_path), ca_file),
            prefer_grpc=prefer_grpc,
            grpc_port=checked("grpc_port", optional(parse_integer), grpc_port, least=1, most=65_535),
            allow_plain_http_key=checked("allow_plain_http_key", parse_boolean, allow_plain_http_key),
        )
        super().__init__(
            Connection(
                clients,
                prefer_grpc=prefer_grpc,
                timeout=checked("timeout", parse_number, timeout, positive=True),
                retry=checked("retry", parse_instance, retry, RetryPolicy),
            )
        )
        self._pages: dict[str, int] = {}  # by collection, if its strict mode allows fewer than `_PAGE` fingerprints
        self._oversampling: dict[str, float] = {}  # by collection, if its strict mode allows less than `OVERSAMPLING`

    @property
    def engine(self) -> str:
        return f"Qdrant {self._connection.version}"

    @property
    def streams(self) -> int:
        return STREAMS

    def fingerprints(self, collection: str, doc_keys: Sequence[str]) -> list[Fingerprint]:
        if not doc_keys:
            return []
        conditions = [Condition(DOC_KEY_FIELD, "any", tuple(doc_keys))]
        page = self._pages.get(collection, _PAGE)
        while True:
            try:
                with self._limited(collection, condition_max_size=len(doc_keys)):
                    stored = list(self.scroll(collection, conditions, payload=[INGEST_FIELD], page=page))
            except RequestTooLargeError as exc:
                if exc.most is None or exc.most < len(doc_keys) or exc.most >= page:
                    raise
                page = self._pages[collection] = exc.most
            else:
                fingerprints = (fingerprint_of(point.id, point.payload) for point in stored)
                return [fingerprint for fingerprint in fingerprints if fingerprint is not None]

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        if not points:
            return  # the server refuses to do nothing
        send: Callable[[], object]
        if self._connection.grpc:
            request = grpc.UpsertPoints(collection_name=collection, points=point_messages(points), wait=True)
            send = partial(self._client.grpc_points.Upsert, request, timeout=self._connection.timeout)
        else:
            send = partial(self._client.upsert, collection, [point_to(point) for point in points], wait=True)
        with self._limited(collection, upsert_max_batchsize=len(points)):
            send()

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        if not vectors:
            return  # the server refuses to do nothing
        send: Callable[[], object]
        if self._connection.grpc:
            request = grpc.UpdatePointVectors(collection_name=collection, points=vector_messages(vectors), wait=True)
            send = partial(self._client.grpc_points.UpdateVectors, request, timeout=self._connection.timeout)
        else:
            changes = [
                models.PointVectors(id=point_id_to(point_id), vector={name: vector_to(value) for name, value in named.items()})
                for point_id, named in vectors.items()
            ]
            send = partial(self._client.update_vectors, collection, changes, wait=True)
        with self._limited(collection, upsert_max_batchsize=len(vectors)), self._connection.translated_points(collection):
            send()

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        if not payloads:
            return  # the server refuses to do nothing
        send: Callable[[], object]
        if self._connection.grpc:
            request = grpc.UpdateBatchPoints(collection_name=collection, operations=payload_messages(payloads), wait=True)
            send = partial(self._client.grpc_points.UpdateBatch, request, timeout=self._connection.timeout)
        else:
            operations = [
                models.OverwritePayloadOperation(
                    overwrite_payload=models.SetPayload(points=[point_id_to(point_id)], payload=payload)
                )
                for point_id, payload in payloads.items()
            ]
            send = partial(self._client.batch_update_points, collection, operations, wait=True)
        with self._connection.translated_points(collection):
            send()

    def set_versions(self, collection: str, versions: Mapping[str, str | None]) -> None:
        if not versions:
            return  # the server refuses to do nothing
        operations = [_version_operation(point_id, version) for point_id, version in versions.items()]
        with self._connection.translated(collection):
            self._client.batch_update_points(collection, operations, wait=True)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        if not ids:
            return  # the server refuses to do nothing
        selector = models.PointIdsList(points=[*map(point_id_to, ids)])
        with self._connection.translated(collection):
            self._client.delete(collection, selector, wait=True)

    def scroll(
        self,
        collection: str,
        conditions: Sequence[Filter] = (),
        *,
        payload: Sequence[str] | bool = True,
        vectors: Sequence[str] | bool = False,
        page: int = 1000,
        after: str | None = None,
    ) -> Iterator[StoredPoint]:
        offset: Any = None if after is None else point_id_to(after)
        limit = page if after is None else page + 1  # the server begins with the point at `offset`
        selected = self._filter(collection, conditions)
        while True:
            with self._limited(collection, max_query_limit=limit, spare=limit - page):
                records, offset = self._client.scroll(
                    collection,
                    scroll_filter=selected,
                    limit=limit,
                    offset=offset,
                    with_payload=selection_to(payload),
                    with_vectors=selection_to(vectors),
                )
            yield from following(map(stored_point, records), after)
            if offset is None:
                return
            limit, after = page, None

    def retrieve(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: Sequence[str] | bool = True,
        vectors: Sequence[str] | bool = False,
    ) -> list[StoredPoint]:
        with self._connection.translated(collection):
            return self._connection.rest.retrieve(collection, ids, payload, vectors)

    def query(
        self, collection: str, queries: Sequence[VectorQuery], *, payload: Sequence[str] | bool = True
    ) -> list[list[ScoredPoint]]:
        oversampling = self._oversampling.get(collection, OVERSAMPLING)
        try:
            return self._query(collection, queries, payload, oversampling)
        except StoreError as exc:
            limits = self._strict_mode(collection) if has_status(exc, BAD_REQUEST) else {}
            allowed = limits.get("search_max_oversampling", oversampling)
            if allowed >= oversampling:
                raise
        self._oversampling[collection] = allowed
        return self._query(collection, queries, payload, allowed)

    def _query(
        self, collection: str, queries: Sequence[VectorQuery], payload: Sequence[str] | bool, oversampling: float
    ) -> list[list[ScoredPoint]]:
        prepared = [
            ServerQuery(query, self._filter(collection, query.conditions, query.among), search_params(query, oversampling))
            for query in queries
        ]
        with self._limited(collection, max_query_limit=max((query.limit for query in queries), default=0)):
            return self._connection.rest.query(collection, prepared, payload)

    def facet(self, collection: str, field: str, conditions: Sequence[Filter] = (), *, limit: int = MAX_FACETS) -> dict[str, int]:
        selected = self._filter(collection, conditions)
        with self._limited(collection, max_query_limit=limit):
            response = self._client.facet(collection, field, selected, limit=limit, exact=True)
        return {str(hit.value): hit.count for hit in response.hits if hit.count}  # a value that no point has any more counts 0

    @contextmanager
    def _limited(self, collection: str, *, spare: int = 0, **requested: int) -> Iterator[None]:
        """Translate errors, to `RequestTooLargeError` if the request exceeds a limit of the collection's strict mode.

        Args:
            spare: how many of the requested points the caller does not want.
            requested: the limits that apply, by the server's names for them, and the number requested.
        """
        try:
            with self._connection.translated(collection):
                yield
        except StoreError as exc:
            limits = self._strict_mode(collection) if has_status(exc, BAD_REQUEST) else {}
            for limit, number in requested.items():
                most = limits.get(limit, number) - spare
                if 0 < most < number - spare:
                    raise RequestTooLargeError(f"{exc} ({limit} of its strict mode)", most=most) from exc
            raise

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _version_operation(point_id: str, version: str | None) -> models.SetPayloadOperation | models.DeletePayloadOperation:
    """Return the change of one version. It selects its point by a filter, because the server refuses the id of a missing one."""
    point = models.Filter(must=[models.HasIdCondition(has_id=[point_id_to(point_id)])])
    if version is None:
        return models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=[VERSION_FIELD], filter=point))
    return models.SetPayloadOperation(set_payload=models.SetPayload(payload={"version": version}, filter=point, key=INGEST_FIELD))
