"""The embedded store: the Qdrant engine in this process, one shard per collection under one directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Self

import qdrant_edge as engine
from qdrant_edge import UpdateOperation

from ingest.records import Fingerprint, Payload, Point, ScoredPoint, StoredPoint
from ingest.store.contract import MAX_FACETS, Condition, Filter, VectorQuery
from ingest.store.edge.collections import EdgeCollections, OpenCollection
from ingest.store.edge.filters import filter_to
from ingest.store.edge.pages import release_pages
from ingest.store.edge.wire import search_params, stored_point, vector_to
from ingest.store.schema import DOC_KEY_FIELD, INGEST_FIELD, VECTORS_FIELD, VERSION_FIELD, fingerprint_of
from ingest.store.wire import following, point_id_to, scored_point, selection_to, ties_by_id

if TYPE_CHECKING:
    from ingest.records import Vector

_PAGE = 5_000
"""Fingerprints fetched at a time."""

_FLUSH_POINTS = 40_000
"""Points written after which the engine's buffers are flushed and their pages released, so a load of any size fits in memory."""


class EdgeStore(EdgeCollections):
    """Collections under the directory `root`, which is created with the first one.

    A collection is opened, and locked against other processes, when it is first used, and stays so until `close`. The engine
    keeps the interpreter's lock while it works, so threads take turns.

    Args:
        reserve: bytes of the disk that stay free: a write that finds fewer raises `StoreError` and changes nothing.
    """

    @property
    def engine(self) -> str:
        return f"qdrant-edge-py {version('qdrant-edge-py')}"

    @property
    def streams(self) -> int:
        return 1

    def fingerprints(self, collection: str, doc_keys: Sequence[str]) -> list[Fingerprint]:
        if not doc_keys:
            return []
        stored = self.scroll(collection, [Condition(DOC_KEY_FIELD, "any", tuple(doc_keys))], payload=[INGEST_FIELD], page=_PAGE)
        fingerprints = (fingerprint_of(point.id, point.payload) for point in stored)
        return [fingerprint for fingerprint in fingerprints if fingerprint is not None]

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        with self._changing(collection) as opened:
            converted = [
                engine.Point(
                    point_id_to(point.id), {name: vector_to(value) for name, value in point.vectors.items()}, point.payload
                )
                for point in points
            ]
            opened.shard.update(UpdateOperation.upsert_points(converted))
            self._wrote(opened, len(converted))

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        with self._changing(collection) as opened:
            converted = [
                engine.PointVectors(point_id_to(point_id), {name: vector_to(value) for name, value in named.items()})
                for point_id, named in vectors.items()
            ]
            opened.shard.update(UpdateOperation.update_vectors(converted))
            self._wrote(opened, len(converted))

    def fill_vectors(self, collection: str, filled: Sequence[tuple[Fingerprint, Mapping[str, Vector]]]) -> None:
        with self._changing(collection) as opened:  # no other write comes between the reads and the writes
            records = opened.shard.retrieve([point_id_to(made.id) for made, _ in filled], [INGEST_FIELD], with_vector=False)
            stored = {
                made.id: made for record in map(stored_point, records) if (made := fingerprint_of(record.id, record.payload))
            }
            current = [(made, new) for made, new in filled if made.id in stored and stored[made.id].text_fp == made.text_fp]
            points = [
                engine.PointVectors(point_id_to(made.id), {name: vector_to(value) for name, value in new.items()})
                for made, new in current
            ]
            if points:
                opened.shard.update(UpdateOperation.update_vectors(points))
            for made, new in current:
                record = {name: made.vectors[name] for name in new}
                opened.shard.update(UpdateOperation.set_payload([point_id_to(made.id)], record, VECTORS_FIELD))
            self._wrote(opened, len(points))

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        with self._changing(collection) as opened:
            for point_id, payload in payloads.items():
                opened.shard.update(UpdateOperation.overwrite_payload([point_id_to(point_id)], payload))
            self._wrote(opened, len(payloads))

    def set_versions(self, collection: str, versions: Mapping[str, str | None]) -> None:
        with self._changing(collection) as opened:  # no other write comes between the read and the writes
            for record in opened.shard.retrieve([*map(point_id_to, versions)], with_payload=False, with_vector=False):
                version = versions[stored_point(record).id]
                if version is None:
                    change = UpdateOperation.delete_payload([record.id], [VERSION_FIELD])
                else:
                    change = UpdateOperation.set_payload([record.id], {"version": version}, INGEST_FIELD)
                opened.shard.update(change)
            self._wrote(opened, len(versions))

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        with self._changing(collection) as opened:
            opened.shard.update(UpdateOperation.delete_points([*map(point_id_to, ids)]))

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
        offset: engine.PointId | None = None if after is None else point_id_to(after)
        limit = page if after is None else page + 1  # the engine begins with the point at `offset`
        while True:
            with self._using(collection) as opened:
                records, offset = opened.shard.scroll(
                    engine.ScrollRequest(
                        offset=offset,
                        limit=limit,
                        filter=filter_to(conditions),
                        with_payload=selection_to(payload),
                        with_vector=selection_to(vectors),
                    )
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
        with self._using(collection) as opened:
            records = opened.shard.retrieve([*map(point_id_to, ids)], selection_to(payload), selection_to(vectors))
        return [stored_point(record) for record in records]

    def query(
        self, collection: str, queries: Sequence[VectorQuery], *, payload: Sequence[str] | bool = True
    ) -> list[list[ScoredPoint]]:
        with self._using(collection) as opened:
            requests = [
                engine.QueryRequest(
                    limit=query.limit,
                    offset=query.offset or None,
                    query=engine.Query.Nearest(vector_to(query.value), using=query.vector),
                    filter=filter_to(query.conditions, query.among),
                    with_payload=selection_to(payload),
                    params=search_params(query),
                )
                for query in queries
            ]
            responses = opened.shard.query_batch(engine.QueryBatchRequest(requests))
        return [ties_by_id([scored_point(hit) for hit in response]) for response in responses]

    def facet(self, collection: str, field: str, conditions: Sequence[Filter] = (), *, limit: int = MAX_FACETS) -> dict[str, int]:
        with self._using(collection) as opened:
            response = opened.shard.facet(engine.FacetRequest(field, limit=limit, exact=True, filter=filter_to(conditions)))
        return {str(hit.value): hit.count for hit in response.hits if hit.count}  # a value that no point has any more counts 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _wrote(self, opened: OpenCollection, points: int) -> None:
        opened.written += points
        if opened.written >= _FLUSH_POINTS:
            opened.written = 0
            opened.shard.flush()
            release_pages(opened.directory.path)
