"""The layout of a new collection in the terms of one version of the server. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from qdrant_client import models

from ingest.errors import ConfigurationError
from ingest.store.layout import CollectionOptions, Placement, bits_of, placement_of

Version = tuple[int, int]

OLDEST_SERVER = (1, 16)
"""Older servers have no collection metadata to store the manifest in."""

MEMORY_SERVER = (1, 19)
"""Older servers have flags for some placements instead of `memory`."""

_REQUIRED: Mapping[tuple[str, str], Version] = MappingProxyType(
    {
        ("datatype", "turbo4"): (1, 19),
        ("datatype", "turbo8"): (1, 20),
        ("datatype", "turbo16"): (1, 20),
        ("quantization", "turbo-1"): (1, 18),
        ("quantization", "turbo-1.5"): (1, 18),
        ("quantization", "turbo-2"): (1, 18),
        ("quantization", "turbo-4"): (1, 18),
        ("quantization", "turbo-8"): (1, 20),
        **{("ids_memory", placement): (1, 20) for placement in ("cold", "cached", "pinned")},
        ("graph_memory", "pinned"): MEMORY_SERVER,
        ("sparse_memory", "cached"): MEMORY_SERVER,
        ("quantized_memory", "cached"): MEMORY_SERVER,
    }
)
"""Option and value → the first version that has it, of those that the oldest supported server lacks."""

_BINARY = {
    "1": models.BinaryQuantizationEncoding.ONE_BIT,
    "1.5": models.BinaryQuantizationEncoding.ONE_AND_HALF_BITS,
    "2": models.BinaryQuantizationEncoding.TWO_BITS,
}
_TURBO = {
    "1": models.TurboQuantBitSize.BITS1,
    "1.5": models.TurboQuantBitSize.BITS1_5,
    "2": models.TurboQuantBitSize.BITS2,
    "4": models.TurboQuantBitSize.BITS4,
    "8": models.TurboQuantBitSize.BITS8,
}
_QUERY_ENCODINGS = {
    "default": None,
    "binary": models.BinaryQuantizationQueryEncoding.BINARY,
    "scalar-4": models.BinaryQuantizationQueryEncoding.SCALAR4BITS,
    "scalar-8": models.BinaryQuantizationQueryEncoding.SCALAR8BITS,
}


def check_supported(options: CollectionOptions, version: Version, location: str) -> None:
    """Raise `ConfigurationError` for an option whose value this version of the server lacks."""
    for option, value in options.layout.items():
        needed = _REQUIRED.get((option, str(value)), version)
        if needed > version:
            raise ConfigurationError(
                f"the layout has {option} {value!r}, which Qdrant has from {_dotted(needed)} on, and the server at {location} has"
                f" {_dotted(version)}: choose another value, or upgrade the server"
            )
    quantized, vectors = placement_of(options, "quantized"), placement_of(options, "vectors")
    if version < MEMORY_SERVER and quantized == "cold" and vectors != "cold":
        raise ConfigurationError(
            f"the layout has quantized_memory 'cold' beside vectors in memory, which Qdrant has from {_dotted(MEMORY_SERVER)} on,"
            f" and the server at {location} has {_dotted(version)}: make vectors_memory 'cold', too, or upgrade the server"
        )


def dense_layout(options: CollectionOptions, version: Version) -> dict[str, Any]:
    """Return the arguments of `VectorParams`."""
    datatype = None if options.datatype == "float32" else models.Datatype(options.datatype)
    return {"datatype": datatype, **_memory(placement_of(options, "vectors"), version)}


def sparse_index(options: CollectionOptions, version: Version) -> models.SparseIndexParams:
    return models.SparseIndexParams(**_memory(placement_of(options, "sparse"), version))


def graph_config(options: CollectionOptions, version: Version) -> models.HnswConfigDiff:
    return models.HnswConfigDiff(
        m=options.hnsw_m,
        ef_construct=options.hnsw_ef_construct,
        inline_storage=options.inline_storage or None,
        **_memory(placement_of(options, "graph"), version),
    )


def quantization_config(options: CollectionOptions, version: Version) -> models.QuantizationConfig | None:
    kind, bits = options.quantization.partition("-")[0], bits_of(options.quantization)
    placement = placement_of(options, "quantized") or "pinned"
    memory = {"memory": models.Memory(placement)} if version >= MEMORY_SERVER else {"always_ram": placement == "pinned"}
    match kind:
        case "scalar":
            scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, **memory)
            return models.ScalarQuantization(scalar=scalar)
        case "product":
            product = models.ProductQuantizationConfig(compression=models.CompressionRatio(f"x{bits}"), **memory)
            return models.ProductQuantization(product=product)
        case "binary":
            encoding, query = _BINARY[bits], _QUERY_ENCODINGS[options.query_encoding]
            binary = models.BinaryQuantizationConfig(encoding=encoding, query_encoding=query, **memory)
            return models.BinaryQuantization(binary=binary)
        case "turbo":
            return models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits=_TURBO[bits], **memory))
    return None


def other_storage(options: CollectionOptions, version: Version) -> dict[str, Any]:
    """Return the arguments of a new collection for payloads and ids."""
    placement = placement_of(options, "payload") or "cold"
    if version < MEMORY_SERVER:
        return {"on_disk_payload": placement == "cold"}
    ids = placement_of(options, "ids")
    tracker = {"id_tracker": models.IdTrackerParams(memory=models.Memory(ids))} if ids else {}
    return {"payload": models.PayloadStorageParams(memory=models.Memory(placement)), **tracker}


def _memory(placement: Placement | None, version: Version) -> dict[str, Any]:
    """Return how a part says where it is held. Old servers have a flag for what is not in memory."""
    if placement is None:
        return {}
    return {"memory": models.Memory(placement)} if version >= MEMORY_SERVER else {"on_disk": placement == "cold"}


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
