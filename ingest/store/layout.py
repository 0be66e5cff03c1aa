"""`CollectionOptions`, the layout of a new collection: datatypes, quantization, and what is held in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from ingest.errors import ConfigurationError
from ingest.parameters import normalize, parse_boolean, parse_choice, parse_integer
from ingest.store.payload_index import FILE_INDEXES, PayloadIndex, parse_indexes

Datatype = Literal["float32", "float16", "uint8", "turbo4", "turbo8", "turbo16"]
Quantization = Literal[
    "auto",
    "none",
    "scalar",
    "product-4",
    "product-8",
    "product-16",
    "product-32",
    "product-64",
    "binary",
    "binary-1.5",
    "binary-2",
    "turbo-1",
    "turbo-1.5",
    "turbo-2",
    "turbo-4",
    "turbo-8",
]
QueryEncoding = Literal["default", "binary", "scalar-4", "scalar-8"]
Placement = Literal["cold", "cached", "pinned"]
Part = Literal["vectors", "graph", "quantized", "sparse", "payload", "ids"]
"""A part of a collection that has a placement of its own."""

OVERSAMPLING = 3.0
"""Candidates per result that a search takes from quantized vectors, to score them again by the stored ones. Without quantization
it has no effect."""


@dataclass(frozen=True, slots=True)
class CollectionOptions:
    """The layout of a new collection. The embedded store ignores `shards`, `replicas` and `write_consistency`.

    An engine that lacks a datatype, a quantization or a placement refuses it before it creates anything. A placement is `cold`
    (read from disk when it is needed), `cached` (read into the page cache when the collection is opened) or `pinned` (always in
    memory); None is the engine's default, or `cold` if `on_disk`. Vectors and payloads cannot be pinned.

    Attributes:
        on_disk: whether vectors, HNSW graphs, sparse indexes and quantized vectors are `cold`, unless their placement is given.
        datatype: type of the stored numbers of dense vectors: `float32`, `float16`, or 4, 8 or 16 bits of TurboQuant. Integers
            (`uint8`) are refused: the vectors have length 1, so all their numbers would become 0.
        quantization: the copies of dense vectors that a search compares first; the best are scored again by the stored vectors.
            `scalar` has 8 bits a number, `product-N` is 1/N of a float32 vector, `binary` and `turbo` name their bits. `auto` is
            `scalar` for the embedded engine once a vector has a graph, from 1 GB on, and `none` for a server.
        query_encoding: encoding of a query that is compared with `binary` vectors; one with more bits is more accurate.
        inline_storage: whether the HNSW graph has copies of the vectors, which saves reads from disk. Requires quantization.
        index: payload field → type of its index: `integer`, `keyword`, `keyword tenant`; see `parse_indexes`. A name that is no
            field of the package is one of the documents' metadata. An existing collection gets the indexes, too.
        files: whether documents are files, which are filtered by path, type, size and date: `FILE_INDEXES`. A run finds out.
    """

    on_disk: bool = False
    datatype: Datatype = "float32"
    quantization: Quantization = "auto"
    query_encoding: QueryEncoding = "default"
    inline_storage: bool = False
    vectors_memory: Placement | None = None
    graph_memory: Placement | None = None
    quantized_memory: Placement | None = None
    sparse_memory: Placement | None = None
    payload_memory: Placement | None = None
    ids_memory: Placement | None = None
    hnsw_m: int = 16
    hnsw_ef_construct: int = 100
    shards: int = 1
    replicas: int = 1
    write_consistency: int = 1
    index: Mapping[str, str | PayloadIndex] = field(default_factory=dict)
    files: bool = False

    def __post_init__(self) -> None:
        normalize(self, "on_disk", parse_boolean)
        normalize(self, "datatype", parse_choice, get_args(Datatype))
        normalize(self, "quantization", parse_choice, get_args(Quantization))
        normalize(self, "query_encoding", parse_choice, get_args(QueryEncoding))
        normalize(self, "inline_storage", parse_boolean)
        for part in get_args(Part):
            if getattr(self, f"{part}_memory") is not None:
                normalize(self, f"{part}_memory", parse_choice, get_args(Placement))
        normalize(self, "hnsw_m", parse_integer, least=0, most=256)
        normalize(self, "hnsw_ef_construct", parse_integer, least=4, most=10_000)
        for name in ("shards", "replicas", "write_consistency"):
            normalize(self, name, parse_integer, least=1)
        normalize(self, "index", parse_indexes)
        normalize(self, "files", parse_boolean)
        if problem := self._contradiction():
            raise ConfigurationError(f"CollectionOptions.{problem}")

    @property
    def indexes(self) -> Mapping[str, PayloadIndex]:
        """The indexes of `index` and, for files, `FILE_INDEXES`, by payload path."""
        return {**(FILE_INDEXES if self.files else {}), **parse_indexes(self.index)}

    @property
    def layout(self) -> dict[str, Any]:
        """The options that are not the defaults, apart from the payload indexes: option → value, as JSON."""
        return {name: value for name, value in self.chosen.items() if name not in ("index", "files")}

    @property
    def chosen(self) -> dict[str, Any]:
        """The options that are not the defaults."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != _default(each)}

    def _contradiction(self) -> str | None:
        """Return what is wrong with options that are valid by themselves, or None."""
        if self.datatype == "uint8":
            return (
                "datatype: 'uint8' stores whole numbers from 0 to 255, and all numbers of a dense vector, which has length 1,"
                " would become 0: use float16, or quantization 'scalar', which searches in 8 bits a number"
            )
        if "pinned" in (self.vectors_memory, self.payload_memory):
            option = "vectors_memory" if self.vectors_memory == "pinned" else "payload_memory"
            return f"{option}: 'pinned' is for graphs, quantized vectors, sparse indexes and ids: use cached"
        if self.query_encoding != "default" and not self.quantization.startswith("binary"):
            return (
                f"query_encoding: {self.query_encoding!r} is for binary vectors: set quantization to 'binary', 'binary-1.5' or"
                " 'binary-2'"
            )
        if self.quantization in ("auto", "none") and (self.inline_storage or self.quantized_memory):
            option = "inline_storage" if self.inline_storage else "quantized_memory"
            return f"{option}: {getattr(self, option)!r} requires quantized vectors: set quantization"
        return None


def placement_of(options: CollectionOptions, part: Part) -> Placement | None:
    """Return where a part of a collection is held, or None for the engine's default."""
    given: Placement | None = getattr(options, f"{part}_memory")
    follows = part not in ("payload", "ids")
    return given or ("cold" if options.on_disk and follows else None)


def taken_over(options: CollectionOptions, layout: Mapping[str, Any]) -> CollectionOptions:
    """Return the options with those of a stored layout where they are the defaults."""
    chosen = {**layout, **options.layout}
    return replace(options, **chosen)


def kept_datatype(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether dense vectors stored with one layout are exact enough to be copied to one with another."""
    return datatype_of(stored) in ("float32", datatype_of(wanted))


def datatype_of(layout: Mapping[str, Any]) -> str:
    """Return the datatype of dense vectors in a layout, as in `CollectionOptions.layout`."""
    return str(layout.get("datatype", "float32"))


def bits_of(quantization: Quantization) -> str:
    """Return the part of a quantization's name that says how many bits: `1.5` of `binary-1.5`, `1` of `binary`."""
    return quantization.partition("-")[2] or "1"


def _default(each: Any) -> Any:
    return {} if each.name == "index" else each.default
