"""Conversion between the records of this package and the models of the client. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from qdrant_client import models

from ingest.records import Point, SparseVector, Vector
from ingest.store import wire
from ingest.store.contract import CollectionOptions, Manifest, VectorQuery, VectorSpec
from ingest.store.payload_index import PayloadIndex
from ingest.store.schema import manifest_to_json
from ingest.store.server.layout import (
    OLDEST_SERVER,
    Version,
    dense_layout,
    graph_config,
    other_storage,
    quantization_config,
    sparse_index,
)

METADATA_KEY = "ingest"
"""The key of the manifest in a collection's metadata. Updates merge top-level keys, so the manifest has its own."""

DEFERRED_KEY = "ingest_indexing_threshold"
"""The metadata key of the indexing threshold to restore, present while a load defers indexing and after its crash."""

NOTE_PREFIX = "ingest_note_"
"""The prefix of the metadata keys of notes. Updates merge top-level keys, so each note is replaced by itself."""

_DISTANCES = {
    "cosine": models.Distance.COSINE,
    "dot": models.Distance.DOT,
    "euclid": models.Distance.EUCLID,
    "manhattan": models.Distance.MANHATTAN,
}


def collection_config(manifest: Manifest, options: CollectionOptions, version: Version) -> dict[str, Any]:
    """Return the arguments of a new collection, in the terms of this version of the server."""
    return {
        "vectors_config": {
            vector.name: models.VectorParams(
                size=vector.dim, distance=_DISTANCES[vector.distance], **dense_layout(options, version), **_multi(vector)
            )
            for vector in manifest.vectors
            if vector.dim is not None
        },
        "sparse_vectors_config": {
            vector.name: models.SparseVectorParams(modifier=_modifier(vector), index=sparse_index(options, version))
            for vector in manifest.vectors
            if vector.kind == "sparse"
        },
        "hnsw_config": graph_config(options, version),
        "quantization_config": quantization_config(options, version),
        "shard_number": options.shards,
        "replication_factor": options.replicas,
        "write_consistency_factor": options.write_consistency,
        "metadata": {METADATA_KEY: manifest_to_json(manifest)},
        **other_storage(options, version),
    }


def _multi(vector: VectorSpec) -> dict[str, Any]:
    """Return the parameters of a multivector: it gets no graph, since it scores the candidates of other vectors."""
    if vector.kind != "multivector":
        return {}
    return {
        "multivector_config": models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        "hnsw_config": models.HnswConfigDiff(m=0),
    }


def has_vectors_of(found: models.CollectionInfo, manifest: Manifest) -> bool:
    """Return whether a collection has exactly the vectors of `manifest`."""
    params = found.config.params
    if not isinstance(params.vectors or {}, dict):
        return False
    dense = {name: _shape(vector) for name, vector in (params.vectors or {}).items()}  # type: ignore[union-attr]
    sparse = {name: vector.modifier or models.Modifier.NONE for name, vector in (params.sparse_vectors or {}).items()}
    wanted = collection_config(manifest, CollectionOptions(), OLDEST_SERVER)
    return dense == {name: _shape(vector) for name, vector in wanted["vectors_config"].items()} and sparse == {
        name: vector.modifier for name, vector in wanted["sparse_vectors_config"].items()
    }


def _modifier(vector: VectorSpec) -> models.Modifier:
    return models.Modifier.IDF if vector.idf else models.Modifier.NONE


def _shape(vector: models.VectorParams) -> tuple[object, ...]:
    return vector.size, vector.distance, vector.multivector_config


def index_to(index: PayloadIndex) -> models.PayloadFieldSchema:
    if not index.tenant:
        return models.PayloadSchemaType(index.type)
    if index.type == "uuid":
        return models.UuidIndexParams(type=models.UuidIndexType.UUID, is_tenant=True)
    return models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)


def index_of(info: models.PayloadIndexInfo) -> PayloadIndex:
    return PayloadIndex(info.data_type.value, tenant=bool(getattr(info.params, "is_tenant", False)), points=info.points)


stored_point = partial(wire.stored_point, sparse=models.SparseVector)


def point_to(point: Point) -> models.PointStruct:
    vectors = {name: vector_to(value) for name, value in point.vectors.items()}
    return models.PointStruct(id=wire.point_id_to(point.id), vector=vectors, payload=point.payload)


def vector_to(value: Vector) -> list[float] | list[list[float]] | models.SparseVector:
    if isinstance(value, SparseVector):
        return models.SparseVector(indices=value.indices.tolist(), values=value.values.tolist())
    numbers: list[float] | list[list[float]] = value.tolist()
    return numbers


@dataclass(frozen=True, slots=True)
class ServerQuery:
    """A query with its filter and search parameters as the client's models."""

    query: VectorQuery
    filter: models.Filter | None
    params: models.SearchParams | None


def search_params(query: VectorQuery, oversampling: float) -> models.SearchParams | None:
    """Return how a vector is searched: the best of quantized vectors are scored again by the stored ones."""
    if query.exact:
        return models.SearchParams(exact=True)  # which ignores quantized vectors
    if isinstance(query.value, SparseVector):
        return None
    return models.SearchParams(quantization=models.QuantizationSearchParams(rescore=True, oversampling=oversampling))
