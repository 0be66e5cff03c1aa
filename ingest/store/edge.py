"""The embedded store: the Qdrant engine in this process, one shard per collection under one directory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import qdrant_edge as engine
from qdrant_edge import FieldCondition, Filter, UpdateOperation

from ingest.errors import CollectionNotFoundError, StoreError
from ingest.records import Fingerprint, Payload, Point, ScoredPoint, SparseVector, StoredPoint, Vector
from ingest.store.contract import CollectionInfo, CollectionOptions, Condition, Manifest, VectorQuery
from ingest.store.directory import CollectionDirectory, collection_names
from ingest.store.pages import release_pages
from ingest.store.schema import DOC_KEY_FIELD, INDEXED_FIELDS, INGEST_FIELD, check_same_columns, fingerprint_of

INDEXING_THRESHOLD = 1_000_000
"""Kilobytes of one dense vector's column from which `finalize` builds an HNSW graph. Below, a search compares with all of them:
exact, some 60 ms at the threshold, and a load is not followed by minutes of graph building."""

FULL_SCAN_THRESHOLD = 10_000
"""Kilobytes that a filter must leave for the graph to be used rather than a scan: the server's default."""

_PAGE = 5_000
"""Fingerprints fetched at a time."""

_SETTLE_EVERY = 40_000
"""Points written after which the engine's buffers go to its files, and their pages out of memory: a load of any size fits."""

_DISTANCES = {
    "cosine": engine.Distance.Cosine,
    "dot": engine.Distance.Dot,
    "euclid": engine.Distance.Euclid,
    "manhattan": engine.Distance.Manhattan,
}
_INDEX_TYPES = {"keyword": engine.PayloadSchemaType.Keyword, "uuid": engine.PayloadSchemaType.Uuid}

_EXACT_INTEGER = 2**53
"""Beyond this, floats skip integers."""


@dataclass(slots=True)
class _Open:
    directory: CollectionDirectory
    shard: engine.EdgeShard
    written: int = 0


class EdgeStore:
    """Collections under the directory `root`, which is made when the first one is.

    A collection is opened, and locked against other processes, when it is first used, and stays so until `close`. The engine
    holds the interpreter's lock while it works, so threads take turns.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root).expanduser().absolute()
        self._mutex = threading.RLock()
        self._open: dict[str, _Open] = {}
        self._closed = False

    @property
    def location(self) -> str:
        return str(self._root)

    def ensure(self, manifest: Manifest, options: CollectionOptions) -> Manifest:
        with self._mutex:
            if manifest.collection not in self._open:
                self._check_open()
                directory = CollectionDirectory(self._root, manifest.collection)
                directory.create()
                self._load(directory, make=(manifest, options))
            opened = self._open[manifest.collection]
            stored = opened.directory.read_manifest()
            with _translated(manifest.collection):
                present = opened.shard.info().payload_schema
                for field, kind in INDEXED_FIELDS.items():
                    if field not in present:
                        opened.shard.update(UpdateOperation.create_field_index(field, _INDEX_TYPES[kind]))
            return stored

    def manifest(self, collection: str) -> Manifest:
        with self._mutex:
            return self._opened(collection).directory.read_manifest()

    def write_manifest(self, manifest: Manifest) -> None:
        with self._mutex:
            directory = self._opened(manifest.collection).directory
            check_same_columns(directory.read_manifest(), manifest)
            directory.write_manifest(manifest)

    def collections(self) -> list[CollectionInfo]:
        with self._mutex:
            self._check_open()
            infos = []
            for name in collection_names(self._root):
                with suppress(CollectionNotFoundError):  # dropped by somebody meanwhile
                    infos.append(self._info(name))
            return infos

    def drop(self, collection: str) -> None:
        with self._mutex:
            self._check_open()
            directory = CollectionDirectory(self._root, collection)
            if opened := self._open.pop(collection, None):
                directory = opened.directory
                with _translated(collection):
                    opened.shard.close()
            else:  # not loaded for this: a damaged shard must go, too
                _check_exists(directory)
                directory.lock()
            directory.discard()

    def fingerprints(self, collection: str, doc_keys: Sequence[str]) -> list[Fingerprint]:
        if not doc_keys:
            return []
        stored = self.scroll(collection, [Condition(DOC_KEY_FIELD, "any", tuple(doc_keys))], payload=[INGEST_FIELD], page=_PAGE)
        return [made for point in stored if (made := fingerprint_of(point.id, point.payload)) is not None]

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        with self._using(collection) as opened:
            made = [
                engine.Point(point.id, {name: _vector(value) for name, value in point.vectors.items()}, point.payload)
                for point in points
            ]
            opened.shard.update(UpdateOperation.upsert_points(made))
            self._wrote(opened, len(made))

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        with self._using(collection) as opened:
            made = [
                engine.PointVectors(point_id, {name: _vector(value) for name, value in columns.items()})
                for point_id, columns in vectors.items()
            ]
            opened.shard.update(UpdateOperation.update_vectors(made))
            self._wrote(opened, len(made))

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        with self._using(collection) as opened:
            for point_id, payload in payloads.items():
                opened.shard.update(UpdateOperation.overwrite_payload([point_id], payload))
            self._wrote(opened, len(payloads))

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        with self._using(collection) as opened:
            opened.shard.update(UpdateOperation.delete_points(list(ids)))

    def scroll(
        self,
        collection: str,
        conditions: Sequence[Condition] = (),
        *,
        payload: Sequence[str] | bool = True,
        vectors: Sequence[str] | bool = False,
        page: int = 1000,
    ) -> Iterator[StoredPoint]:
        offset: engine.PointId | None = None
        while True:
            with self._using(collection) as opened:
                records, offset = opened.shard.scroll(
                    engine.ScrollRequest(
                        offset=offset,
                        limit=page,
                        filter=_filter(conditions),
                        with_payload=_selection(payload),
                        with_vector=_selection(vectors),
                    )
                )
            for record in records:
                yield StoredPoint(str(record.id), record.payload or {}, _vectors(record.vector))
            if offset is None:
                return

    def query(
        self, collection: str, queries: Sequence[VectorQuery], *, payload: Sequence[str] | bool = True
    ) -> list[list[ScoredPoint]]:
        with self._using(collection) as opened:
            requests = [
                engine.QueryRequest(
                    limit=query.limit,
                    query=engine.Query.Nearest(_vector(query.value), using=query.vector),
                    filter=_filter(query.conditions),
                    with_payload=_selection(payload),
                )
                for query in queries
            ]
            answers = opened.shard.query_batch(engine.QueryBatchRequest(requests))
        return [[ScoredPoint(str(found.id), found.score, found.payload or {}) for found in answer] for answer in answers]

    def count(self, collection: str, conditions: Sequence[Condition] = ()) -> int:
        with self._using(collection) as opened:
            return opened.shard.count(engine.CountRequest(exact=True, filter=_filter(conditions)))

    def finalize(self, collection: str) -> None:
        with self._using(collection) as opened:
            opened.shard.flush()
            opened.shard.optimize()
            release_pages(opened.directory.path)

    def close(self) -> None:
        with self._mutex:
            self._closed = True
            for collection in list(self._open):
                self._release(collection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _using(self, collection: str) -> Iterator[_Open]:
        with self._mutex:
            opened = self._opened(collection)
            with _translated(collection):
                yield opened

    def _opened(self, collection: str) -> _Open:
        self._check_open()
        if collection not in self._open:
            directory = CollectionDirectory(self._root, collection)
            _check_exists(directory)
            self._load(directory)
        return self._open[collection]

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self._root} has been closed: open it again")

    def _load(self, directory: CollectionDirectory, *, make: tuple[Manifest, CollectionOptions] | None = None) -> None:
        """Takes the lock and opens the shard, which is made first if it is missing and `make` says how."""
        directory.lock()
        try:
            if make is not None and not directory.exists:  # under the lock: what a crash left is nobody's work in progress
                directory.write_manifest(make[0])
                with directory.new_shard() as path, _translated(directory.name):
                    engine.EdgeShard.create(str(path), _config(*make)).close()
            with _translated(directory.name):
                shard = engine.EdgeShard.load(str(directory.shard))
        except BaseException:
            directory.unlock()
            raise
        self._open[directory.name] = _Open(directory, shard)

    def _info(self, collection: str) -> CollectionInfo:
        directory = CollectionDirectory(self._root, collection)
        ours, manifest = False, None
        try:
            ours = directory.ours
            manifest = directory.read_manifest() if ours else None
            return CollectionInfo(collection, self._count_and_let_go(collection), manifest, ours)
        except CollectionNotFoundError:
            raise
        except StoreError as exc:
            return CollectionInfo(collection, None, manifest, ours, str(exc))

    def _count_and_let_go(self, collection: str) -> int:
        already_open = collection in self._open
        try:
            return self.count(collection)
        finally:
            if not already_open and collection in self._open:
                self._release(collection)

    def _release(self, collection: str) -> None:
        opened = self._open.pop(collection)
        try:
            with _translated(collection):
                opened.shard.close()
        finally:
            opened.directory.unlock()

    def _wrote(self, opened: _Open, points: int) -> None:
        opened.written += points
        if opened.written >= _SETTLE_EVERY:
            opened.written = 0
            opened.shard.flush()
            release_pages(opened.directory.path)


@contextmanager
def _translated(collection: str) -> Iterator[None]:
    """The one border where the engine's exceptions become ours."""
    try:
        yield
    except StoreError:
        raise
    except BaseException as exc:  # the engine raises nothing more specific than Exception …
        if not isinstance(exc, Exception) and type(exc).__name__ != "PanicException":  # … and panics, of a type nobody can import
            raise
        reason = (str(exc) or type(exc).__name__).splitlines()[0]
        raise StoreError(f"the embedded Qdrant refused a request on the collection {collection}: {reason}") from exc


def _check_exists(directory: CollectionDirectory) -> None:
    if not directory.exists:
        raise CollectionNotFoundError(f"there is no collection {directory.name} in {directory.root}: ingest into it first")


def _config(manifest: Manifest, options: CollectionOptions) -> engine.EdgeConfig:
    memory = engine.Memory.Cold if options.on_disk else None
    quantization = {
        "none": None,
        "scalar": engine.ScalarQuantizationConfig(engine.ScalarType.Int8),
        "binary": engine.BinaryQuantizationConfig(),
    }[options.quantization]
    return engine.EdgeConfig(
        vectors={
            vector.name: engine.EdgeVectorParams(vector.dim, _DISTANCES[vector.distance], memory=memory)
            for vector in manifest.vectors
            if vector.dim is not None
        },
        sparse_vectors={
            vector.name: engine.EdgeSparseVectorParams(modifier=engine.Modifier.Idf if vector.idf else None, memory=memory)
            for vector in manifest.vectors
            if vector.sparse
        },
        hnsw_config=engine.HnswIndexConfig(options.hnsw_m, options.hnsw_ef_construct, FULL_SCAN_THRESHOLD, memory=memory),
        quantization_config=quantization,
        optimizers=engine.EdgeOptimizersConfig(indexing_threshold=INDEXING_THRESHOLD),
    )


def _vector(value: Vector) -> list[float] | engine.SparseVector:
    if isinstance(value, SparseVector):
        return engine.SparseVector(value.indices.tolist(), value.values.tolist())
    dense: list[float] = value.tolist()
    return dense


def _vectors(stored: Any) -> dict[str, Vector]:
    return {
        name: SparseVector(np.asarray(value.indices, np.uint32), np.asarray(value.values, np.float32))
        if isinstance(value, engine.SparseVector)
        else np.asarray(value, np.float32)
        for name, value in (stored.items() if isinstance(stored, dict) else ())
    }


def _selection(wanted: Sequence[str] | bool) -> list[str] | bool:
    return wanted if isinstance(wanted, bool) else list(wanted)


def _filter(conditions: Sequence[Condition]) -> Filter | None:
    if not conditions:
        return None
    return Filter(must=[_condition(condition) for condition in conditions])


def _condition(condition: Condition) -> engine.ConditionType:
    field, value = condition.field, condition.value
    match condition.operator:
        case "eq":
            return _equal(field, value)
        case "any":
            return _any(field, value)
        case "none":
            return Filter(must_not=[_any(field, value)])
        case "exists":
            empty = engine.IsEmptyCondition(field)
            return Filter(must_not=[empty]) if value else empty
        case "text":
            return FieldCondition(field, match=engine.MatchSubstring(value))
        case operator:
            range_type = engine.RangeDateTime if isinstance(value, str) else engine.RangeFloat
            return FieldCondition(field, range=range_type(**{operator: value}))


def _any(field: str, values: Sequence[str | float]) -> engine.ConditionType:
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) == len(values):
        return FieldCondition(field, match=engine.MatchAny(texts))
    return Filter(should=[_equal(field, value) for value in values])


def _equal(field: str, value: str | float) -> FieldCondition:
    if isinstance(value, bool):  # the engine takes Python's True for 1, but not NumPy's
        return FieldCondition(field, match=engine.MatchValue(np.bool_(value)))  # type: ignore[arg-type]  # see above
    if isinstance(value, float) or (isinstance(value, int) and abs(value) <= _EXACT_INTEGER):
        return FieldCondition(field, range=engine.RangeFloat(gte=value, lte=value))
    return FieldCondition(field, match=engine.MatchValue(value))
