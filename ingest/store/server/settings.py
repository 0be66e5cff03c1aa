"""The settings of a server's collection that a reindex copies: everything an operator may have set, and the layout. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from qdrant_client import models

from ingest.errors import ConfigurationError
from ingest.store.contract import CollectionOptions
from ingest.store.layout import placement_of
from ingest.store.server.wire import DEFERRED_KEY, METADATA_KEY, NOTE_PREFIX

_Params = TypeVar("_Params")

_PARTS: tuple[Literal["vectors", "graph", "sparse"], ...] = ("vectors", "graph", "sparse")
"""The parts whose placement is a setting of each vector, or of the graph."""

_PLACEMENT = {"on_disk", "memory"}

_GRAPH_SETTINGS = {"hnsw_m": "m", "hnsw_ef_construct": "ef_construct", "inline_storage": "inline_storage"}
"""Option → the setting of the graph that it stands for."""

_COLLECTION_SETTINGS = {
    "replicas": ("replication_factor",),
    "write_consistency": ("write_consistency_factor",),
    "payload_memory": ("payload", "on_disk_payload"),
    "ids_memory": ("id_tracker",),
}
"""Option → the settings of the collection that it stands for."""


def check_can_be_taken_over(like: models.CollectionInfo, name: str) -> None:
    """Raise `ConfigurationError` for settings that this package cannot give to a new collection."""
    if like.config.params.sharding_method == models.ShardingMethod.CUSTOM:
        raise ConfigurationError(
            f"the collection {name} has the sharding method custom, which a new one cannot get: use ingest run SOURCE and a new"
            " collection"
        )


def fixed_settings(like: models.CollectionInfo, config: Mapping[str, Any], options: CollectionOptions) -> dict[str, Any]:
    """Return the arguments of a new collection that cannot change later, as `like` has them where `options` has a default.

    Args:
        config: the arguments that the new collection would have without `like`.
    """
    taken: dict[str, Any] = {}
    if "shards" not in options.chosen:
        taken["shard_number"] = like.config.params.shard_number
    if like.config.wal_config is not None:
        taken["wal_config"] = models.WalConfigDiff(**like.config.wal_config.model_dump(exclude_none=True))
    if "datatype" not in options.chosen:
        datatypes = {name: vector.datatype for name, vector in _vectors(like).items()}
        taken["vectors_config"] = {
            name: vector.model_copy(update={"datatype": datatypes.get(name)}) for name, vector in config["vectors_config"].items()
        }
    return taken


def changed_settings(like: models.CollectionInfo, found: models.CollectionInfo, options: CollectionOptions) -> dict[str, Any]:
    """Return the arguments of an update that gives `found` the settings of `like`, except those that `options` sets.

    A named vector that `like` does not have gets the settings that all the vectors of its kind in `like` share. Nothing that only
    `found` has is removed, apart from quantization.
    """
    wanted, present = _settings(like, found, options), _settings(found, found, options)
    changed = {argument: value for argument, value in wanted.items() if value != present[argument]}
    there = found.config.metadata or {}
    own = METADATA_KEY, DEFERRED_KEY
    theirs = {
        key: value for key, value in (like.config.metadata or {}).items() if key not in own and not key.startswith(NOTE_PREFIX)
    }
    if metadata := {key: value for key, value in theirs.items() if key not in there or there[key] != value}:
        changed["metadata"] = metadata
    return {argument: value for argument, value in changed.items() if value is not None}


def changed_indexes(
    like: models.CollectionInfo, found: models.CollectionInfo
) -> dict[str, models.PayloadSchemaType | models.PayloadSchemaParams]:
    """Return field → index for each payload index of `like` that `found` lacks or has with other parameters."""
    return {
        field: index.params or index.data_type
        for field, index in like.payload_schema.items()
        if field not in found.payload_schema or _index(found.payload_schema[field]) != _index(index)
    }


def vectors_left_out(like: models.CollectionInfo, found: models.CollectionInfo) -> list[str]:
    """Return the vectors that `found` does not have and whose settings no vector of `found` gets."""
    dense = {name: _dense_diff(vector) for name, vector in _dense(like).items()}
    multi = {name: _dense_diff(vector) for name, vector in _multi(like).items()}
    sparse = {name: _sparse_diff(vector) for name, vector in _sparse(like).items()}
    unlinked = _dense_diff(None).model_copy(update={"hnsw_config": models.HnswConfigDiff(m=0)})
    return [
        name
        for settings, default, there in (
            (dense, _dense_diff(None), _dense(found)),
            (multi, unlinked, _multi(found)),
            (sparse, _sparse_diff(None), _sparse(found)),
        )
        for name in sorted(settings.keys() - there.keys())
        if settings[name] != default and _shared(settings.values()) is None
    ]


def _settings(like: models.CollectionInfo, found: models.CollectionInfo, options: CollectionOptions) -> dict[str, Any]:
    """Return the arguments of an update that gives a collection with the vectors of `found` the settings of `like`.

    Left out is what `options` sets.
    """
    chosen = options.chosen.keys()
    config, params = like.config, like.config.params
    threshold = (config.metadata or {}).get(DEFERRED_KEY, config.optimizer_config.indexing_threshold)
    placed = {part for part in _PARTS if placement_of(options, part) is not None}
    graph = {_GRAPH_SETTINGS[option] for option in _GRAPH_SETTINGS.keys() & chosen} | (_PLACEMENT if "graph" in placed else set())
    kept = {name for option, names in _COLLECTION_SETTINGS.items() if option in chosen for name in names}
    left_out = (_PLACEMENT if "vectors" in placed else set()) | ({"quantization_config"} if "quantization" in chosen else set())
    settings: dict[str, Any] = {
        "optimizers_config": models.OptimizersConfigDiff(
            **{**config.optimizer_config.model_dump(exclude_none=True), "indexing_threshold": threshold}
        ),
        "collection_params": models.CollectionParamsDiff(
            **{name: getattr(params, name) for name in models.CollectionParamsDiff.model_fields.keys() - kept}
        ),
        "hnsw_config": models.HnswConfigDiff(**config.hnsw_config.model_dump(exclude_none=True, exclude=graph)),
        "strict_mode_config": None,
        "vectors_config": {
            name: each.model_copy(update=dict.fromkeys(left_out))
            for of_kind in (_dense, _multi)
            for name, each in _by_vector(
                of_kind(found), {name: _dense_diff(vector) for name, vector in of_kind(like).items()}
            ).items()
        },
        "sparse_vectors_config": _by_vector(
            _sparse(found), {name: _sparse_diff(vector) for name, vector in _sparse(like).items()}
        ),
    }
    if config.strict_mode_config is not None:
        settings["strict_mode_config"] = models.StrictModeConfig(**config.strict_mode_config.model_dump(exclude_none=True))
    if "quantization" not in chosen:
        settings["quantization_config"] = config.quantization_config or models.Disabled.DISABLED
    if "on_disk" in chosen:
        del settings["vectors_config"]
    if "sparse" in placed:
        del settings["sparse_vectors_config"]
    return settings


def _by_vector(names: Iterable[str], settings: Mapping[str, _Params]) -> dict[str, _Params]:
    shared = _shared(settings.values())
    return {name: found for name in names if (found := settings.get(name, shared)) is not None}


def _shared(settings: Iterable[_Params]) -> _Params | None:
    """Return the one value that all vectors share, or None."""
    values = list(settings)
    return values[0] if values and all(value == values[0] for value in values) else None


def _dense_diff(vector: models.VectorParams | None) -> models.VectorParamsDiff:
    return models.VectorParamsDiff(
        hnsw_config=vector.hnsw_config if vector else None,
        quantization_config=(vector.quantization_config if vector else None) or models.Disabled.DISABLED,
        on_disk=vector.on_disk if vector else None,
        memory=vector.memory if vector else None,
    )


def _sparse_diff(vector: models.SparseVectorParams | None) -> models.SparseVectorParams:
    return models.SparseVectorParams(index=(vector.index if vector else None) or models.SparseIndexParams())


def _dense(found: models.CollectionInfo) -> dict[str, models.VectorParams]:
    return {name: vector for name, vector in _vectors(found).items() if vector.multivector_config is None}


def _multi(found: models.CollectionInfo) -> dict[str, models.VectorParams]:
    return {name: vector for name, vector in _vectors(found).items() if vector.multivector_config is not None}


def _vectors(found: models.CollectionInfo) -> dict[str, models.VectorParams]:
    vectors = found.config.params.vectors
    return vectors if isinstance(vectors, dict) else {}


def _sparse(found: models.CollectionInfo) -> dict[str, models.SparseVectorParams]:
    return found.config.params.sparse_vectors or {}


def _index(index: models.PayloadIndexInfo) -> tuple[object, object]:
    return index.data_type, index.params
