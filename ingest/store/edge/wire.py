"""Conversion between the records of this package and the types of the embedded engine. Pure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import qdrant_edge as engine

from ingest.records import SparseVector
from ingest.store import wire
from ingest.store.contract import CollectionOptions, Manifest, VectorSpec
from ingest.store.payload_index import IndexType, PayloadIndex

if TYPE_CHECKING:
    from ingest.records import Vector

INDEXING_THRESHOLD = 1_000_000
"""Kilobytes of one named dense vector from which `finalize` builds an HNSW graph. Below it, a search compares with all vectors:
exact, about 60 ms at the threshold, and no minutes of graph building after a load."""

FULL_SCAN_THRESHOLD = 10_000
"""Kilobytes of filtered vectors from which a search uses the graph instead of a scan; the server's default."""

_DISTANCES = {
    "cosine": engine.Distance.Cosine,
    "dot": engine.Distance.Dot,
    "euclid": engine.Distance.Euclid,
    "manhattan": engine.Distance.Manhattan,
}
_INDEX_TYPES: dict[IndexType, engine.PayloadSchemaType] = {
    "keyword": engine.PayloadSchemaType.Keyword,
    "integer": engine.PayloadSchemaType.Integer,
    "float": engine.PayloadSchemaType.Float,
    "bool": engine.PayloadSchemaType.Bool,
    "datetime": engine.PayloadSchemaType.Datetime,
    "geo": engine.PayloadSchemaType.Geo,
    "uuid": engine.PayloadSchemaType.Uuid,
    "text": engine.PayloadSchemaType.Text,
}


def collection_config(manifest: Manifest, options: CollectionOptions) -> engine.EdgeConfig:
    memory = engine.Memory.Cold if options.on_disk else None
    quantization = {
        "none": None,
        "scalar": engine.ScalarQuantizationConfig(engine.ScalarType.Int8),
        "binary": engine.BinaryQuantizationConfig(),
    }[options.quantization]
    return engine.EdgeConfig(
        vectors={
            vector.name: engine.EdgeVectorParams(vector.dim, _DISTANCES[vector.distance], memory=memory, **_multi(vector))
            for vector in manifest.vectors
            if vector.dim is not None
        },
        sparse_vectors={
            vector.name: engine.EdgeSparseVectorParams(modifier=engine.Modifier.Idf if vector.idf else None, memory=memory)
            for vector in manifest.vectors
            if vector.kind == "sparse"
        },
        hnsw_config=engine.HnswIndexConfig(options.hnsw_m, options.hnsw_ef_construct, FULL_SCAN_THRESHOLD, memory=memory),
        quantization_config=quantization,
        optimizers=engine.EdgeOptimizersConfig(indexing_threshold=INDEXING_THRESHOLD),
    )


def _multi(vector: VectorSpec) -> dict[str, Any]:
    """Return the parameters of a multivector: it gets no graph, since it scores the candidates of other vectors."""
    if vector.kind != "multivector":
        return {}
    return {
        "multivector_config": engine.MultiVectorConfig(engine.MultiVectorComparator.MaxSim),
        "hnsw_config": engine.HnswIndexConfig(0, 0, FULL_SCAN_THRESHOLD),
    }


def same_index(one: engine.PayloadIndexInfo, other: engine.PayloadIndexInfo) -> bool:
    """Return whether two payload indexes are equal. The engine cannot compare parameters, so any count as different."""
    return one.data_type == other.data_type and one.params is None and other.params is None


def index_to(index: PayloadIndex) -> Any:
    if index.tenant:
        return {"keyword": engine.KeywordIndexParams, "uuid": engine.UuidIndexParams}[index.type](is_tenant=True)
    return _INDEX_TYPES[index.type]


def index_of(info: engine.PayloadIndexInfo) -> PayloadIndex:
    [kind] = [name for name, vendor in _INDEX_TYPES.items() if vendor == info.data_type]
    return PayloadIndex(kind, tenant=bool(getattr(info.params, "is_tenant", False)), points=info.points)


stored_point = partial(wire.stored_point, sparse=engine.SparseVector)


def vector_to(value: Vector) -> Any:
    if isinstance(value, SparseVector):
        return engine.SparseVector(value.indices.tolist(), value.values.tolist())
    # Any sequence is accepted; these need no copy.
    rows: list[Any] = [value] if value.ndim == 1 else list(value)
    views = [memoryview(row) for row in rows]
    return views[0] if value.ndim == 1 else views
