"""Conversion between the records of this package and the types of the embedded engine. Pure."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import qdrant_edge as engine
from qdrant_edge import UpdateOperation

from ingest.errors import ConfigurationError
from ingest.records import SparseVector
from ingest.store import wire
from ingest.store.contract import CollectionOptions, Manifest, VectorQuery, VectorSpec
from ingest.store.layout import OVERSAMPLING, Part, bits_of, placement_of
from ingest.store.payload_index import IndexType, PayloadIndex

if TYPE_CHECKING:
    from ingest.records import Vector

INDEXING_THRESHOLD = 1_000_000
"""Kilobytes of one named dense vector from which `finalize` builds an HNSW graph. Below it, a search compares with all vectors:
exact, about 60 ms at the threshold, and no minutes of graph building after a load."""

QUANTIZING_THRESHOLD = 10_000
"""The same threshold if vectors are quantized, which happens only with the graph; the server's default."""

FULL_SCAN_THRESHOLD = 10_000
"""Kilobytes of filtered vectors from which a search uses the graph instead of a scan; the server's default."""

_DISTANCES = {
    "cosine": engine.Distance.Cosine,
    "dot": engine.Distance.Dot,
    "euclid": engine.Distance.Euclid,
    "manhattan": engine.Distance.Manhattan,
}
_DATATYPES = {
    "float32": engine.VectorStorageDatatype.Float32,
    "float16": engine.VectorStorageDatatype.Float16,
    "turbo8": engine.VectorStorageDatatype.Turbo8,
    "turbo16": engine.VectorStorageDatatype.Turbo16,
}
_PLACEMENTS = {"cold": engine.Memory.Cold, "cached": engine.Memory.Cached, "pinned": engine.Memory.Pinned}
_BINARY = {
    "1": engine.BinaryQuantizationEncoding.OneBit,
    "1.5": engine.BinaryQuantizationEncoding.OneAndHalfBits,
    "2": engine.BinaryQuantizationEncoding.TwoBits,
}
_QUERY_ENCODINGS = {
    "default": None,
    "binary": engine.BinaryQuantizationQueryEncoding.Binary,
    "scalar-4": engine.BinaryQuantizationQueryEncoding.Scalar4Bits,
    "scalar-8": engine.BinaryQuantizationQueryEncoding.Scalar8Bits,
}
_TURBO = {
    "1": engine.TurboQuantBitSize.Bits1,
    "1.5": engine.TurboQuantBitSize.Bits1_5,
    "2": engine.TurboQuantBitSize.Bits2,
    "4": engine.TurboQuantBitSize.Bits4,
    "8": engine.TurboQuantBitSize.Bits8,
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
    """Return the engine's configuration. Raises `ConfigurationError` for an option whose value the engine lacks."""
    datatype = _datatype(options)
    return engine.EdgeConfig(
        vectors={
            vector.name: engine.EdgeVectorParams(
                vector.dim,
                _DISTANCES[vector.distance],
                datatype=datatype,
                memory=_memory(options, "vectors"),
                quantization_config=_copies_of_a_graph(vector, options),
                **_multi(vector),
            )
            for vector in manifest.vectors
            if vector.dim is not None
        },
        sparse_vectors={
            vector.name: engine.EdgeSparseVectorParams(
                modifier=engine.Modifier.Idf if vector.idf else None, memory=_memory(options, "sparse")
            )
            for vector in manifest.vectors
            if vector.kind == "sparse"
        },
        hnsw_config=engine.HnswIndexConfig(
            options.hnsw_m,
            options.hnsw_ef_construct,
            FULL_SCAN_THRESHOLD,
            inline_storage=options.inline_storage or None,
            memory=_memory(options, "graph"),
        ),
        quantization_config=_quantization_config(options),
        optimizers=engine.EdgeOptimizersConfig(
            indexing_threshold=INDEXING_THRESHOLD if options.quantization in ("auto", "none") else QUANTIZING_THRESHOLD
        ),
        payload_memory=_memory(options, "payload"),
        id_tracker_memory=_memory(options, "ids"),
    )


def _datatype(options: CollectionOptions) -> engine.VectorStorageDatatype:
    datatype = _DATATYPES.get(options.datatype)
    if datatype is None:
        raise ConfigurationError(
            f"the layout has datatype {options.datatype!r}, which the embedded engine lacks: choose one of"
            f" {', '.join(_DATATYPES)}, or use a server"
        )
    return datatype


def _multi(vector: VectorSpec) -> dict[str, Any]:
    """Return the parameters of a multivector: it gets no graph, since it scores the candidates of other vectors."""
    if vector.kind != "multivector":
        return {}
    return {
        "multivector_config": engine.MultiVectorConfig(engine.MultiVectorComparator.MaxSim),
        "hnsw_config": engine.HnswIndexConfig(0, 0, FULL_SCAN_THRESHOLD),
    }


def _copies_of_a_graph(vector: VectorSpec, options: CollectionOptions) -> Any:
    """Return the copies from which the engine builds the graph of a dense vector by default, in a third of the time."""
    if options.quantization != "auto" or vector.kind != "dense" or options.datatype.startswith("turbo"):
        return None
    return _quantization_config(replace(options, quantization="scalar"))


def _quantization_config(options: CollectionOptions) -> Any:
    kind, bits, memory = options.quantization.partition("-")[0], bits_of(options.quantization), _memory(options, "quantized")
    match kind:
        case "scalar":
            return engine.ScalarQuantizationConfig(engine.ScalarType.Int8, memory=memory)
        case "product":
            return engine.ProductQuantizationConfig(getattr(engine.CompressionRatio, f"X{bits}"), memory=memory)
        case "binary":
            return engine.BinaryQuantizationConfig(
                encoding=_BINARY[bits], query_encoding=_QUERY_ENCODINGS[options.query_encoding], memory=memory
            )
        case "turbo":
            return engine.TurboQuantQuantizationConfig(bits=_TURBO[bits], memory=memory)
    return None


def _memory(options: CollectionOptions, part: Part) -> engine.Memory | None:
    placement = placement_of(options, part)
    return None if placement is None else _PLACEMENTS[placement]


def new_vector(vector: VectorSpec, options: CollectionOptions) -> UpdateOperation:
    """Return the operation that adds a named vector to a collection; it changes nothing if there is one of the same shape.

    The rest of the options are those of `collection_config`.
    """
    if vector.dim is None:
        return UpdateOperation.create_sparse_vector(vector.name, engine.Modifier.Idf if vector.idf else None)
    multi = _multi(vector).get("multivector_config")
    return UpdateOperation.create_dense_vector(
        vector.name, vector.dim, _DISTANCES[vector.distance], multivector_config=multi, datatype=_datatype(options)
    )


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
    rows: Any = value  # any sequence is accepted; views need no copy
    return memoryview(rows) if value.ndim == 1 else [memoryview(row) for row in rows]


def search_params(query: VectorQuery) -> engine.SearchParams | None:
    """Return how a vector is searched: the best of quantized vectors are scored again by the stored ones."""
    if query.exact:
        return engine.SearchParams(exact=True)  # which ignores quantized vectors
    if isinstance(query.value, SparseVector):
        return None
    return engine.SearchParams(quantization=engine.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING))
