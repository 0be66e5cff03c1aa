"""What every store does, embedded and server alike. One contract suite (`tests/contract`) runs against each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Protocol, Self, get_args

from ingest.parameters import normalize, parse_boolean, parse_choice, parse_integer
from ingest.records import Fingerprint, Payload, Point, ScoredPoint, StoredPoint, Vector

Distance = Literal["cosine", "dot", "euclid", "manhattan"]
Quantization = Literal["none", "scalar", "binary"]
Operator = Literal["eq", "any", "none", "gt", "gte", "lt", "lte", "exists", "text"]

SCHEMA_VERSION = 1
"""Of the payload and the manifest. A collection of another version is refused."""


MAX_FACETS = 1000
"""Values that a facet returns, if nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """One named vector of a collection.

    Attributes:
        name: the vector's name, which is its model's registry key.
        dim: dimension of a dense vector, None for a sparse one.
        distance: of a dense vector; sparse vectors always compare by dot product.
        idf: sparse only: Qdrant weighs terms by their rarity at query time.
        fingerprint: of the model (`Model.fingerprint`).
        space: of the model (`Model.space`): whoever searches must have the same.
        model: what is needed to load the very same model again: hub id, revision, prompts, …; JSON.
    """

    name: str
    dim: int | None
    fingerprint: str
    space: str = ""
    distance: Distance = "cosine"
    idf: bool = False
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sparse(self) -> bool:
        return self.dim is None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a collection was made with. Stored with it: collection metadata on a server, a file beside an embedded shard.

    Attributes:
        collection: its own name, whatever alias it is asked for by; normalized. `raw_name` is what the user first called it, to
            notice two names that meet in one.
        base_name: the name that it was created for, of which it may be one of several versions; "" if that is unknown.
        chunking: the settings chunks were made with; JSON.
        weights: vector name → weight in query-time fusion.
        version: `SCHEMA_VERSION` when it was made.
    """

    collection: str
    raw_name: str
    vectors: tuple[VectorSpec, ...]
    chunking: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    version: int = SCHEMA_VERSION
    base_name: str = ""

    @property
    def precisions(self) -> dict[str, str]:
        """Vector name → what its model computed in: `float32`, `int8`, …"""
        return {spec.name: str(spec.model.get("dtype", "")) for spec in self.vectors}


@dataclass(frozen=True, slots=True)
class CollectionOptions:
    """How a new collection is laid out. The embedded store ignores `shards`, `replicas` and `write_consistency`."""

    on_disk: bool = False
    quantization: Quantization = "none"
    hnsw_m: int = 16
    hnsw_ef_construct: int = 100
    shards: int = 1
    replicas: int = 1
    write_consistency: int = 1

    def __post_init__(self) -> None:
        normalize(self, "on_disk", parse_boolean)
        normalize(self, "quantization", parse_choice, get_args(Quantization))
        normalize(self, "hnsw_m", parse_integer, least=0, most=256)
        normalize(self, "hnsw_ef_construct", parse_integer, least=4, most=10_000)
        for name in ("shards", "replicas", "write_consistency"):
            normalize(self, name, parse_integer, least=1)


@dataclass(frozen=True, slots=True)
class Condition:
    """One test on one payload field; conditions of a filter are joined by AND.

    Attributes:
        field: payload path, e.g. `metadata.year`, `source`.
        operator: `eq`, `any`/`none` (of a list), `gt|gte|lt|lte` (number or ISO 8601 date), `exists` (True/False), `text`.
        value: str, int, float, bool, or a tuple of str or int for `any` and `none`.
    """

    field: str
    operator: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """One named vector's query: the `limit` nearest after the first `offset`, among those that meet all `conditions`."""

    vector: str
    value: Vector
    limit: int
    conditions: tuple[Condition, ...] = ()
    offset: int = 0


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What can be said of a collection, even of one that cannot be opened.

    Attributes:
        points: exact; None where they cannot be counted.
        manifest: None where the collection was not made by this package, or its manifest cannot be read.
        ours: whether this package made it: there is a manifest, readable or not.
        problem: why the collection, or its manifest, cannot be read; None where both can.
    """

    name: str
    points: int | None
    manifest: Manifest | None
    ours: bool
    problem: str | None = None


class Store(Protocol):
    """A place that holds collections.

    Writes are acknowledged when the call returns: they survive a SIGKILL of either side. All writes are idempotent.
    `points` in one call are one request: the writer keeps them under the byte limit. Safe from several threads.
    Wherever a collection is named, an alias will do, and means what it points to at that moment.
    Raises `StoreUnavailableError` for what is worth asking again, `RequestTooLargeError` for what is worth asking in smaller
    requests, `CollectionNotFoundError`, else `StoreError`. (The store that `open_store` returns does both by itself.)
    """

    @property
    def location(self) -> str:
        """Where it is, for people; no secrets."""
        ...

    @property
    def streams(self) -> int:
        """How many writes at a time it takes with profit."""
        ...

    def ensure(self, manifest: Manifest, options: CollectionOptions, like: str | None = None) -> Manifest:
        """Create the collection with its vectors and payload indexes, or return the manifest of the one that is there.

        Finishes what a crash left half-made. With `like`, the collection, new or not, gets the payload indexes, the settings and
        the metadata of other tools that the collection `like` has, except for options that are not the defaults.
        Raises `ForeignCollectionError` if a collection of that name has no manifest, `ConfigurationError` if `like` has a setting
        that a new collection cannot get.
        """
        ...

    def manifest(self, collection: str) -> Manifest:
        """Return what the collection was made with.

        Raises `CollectionNotFoundError`, `ForeignCollectionError` if it has no manifest, `StoreError` if that cannot be read.
        """
        ...

    def write_manifest(self, manifest: Manifest) -> None:
        """Replaces the stored manifest (fingerprints, weights; the vectors' schema stays as created)."""
        ...

    def collections(self) -> list[CollectionInfo]:
        """All, by name. One that is in use elsewhere, damaged or unreadable is among them, with its `problem`."""
        ...

    def drop(self, collection: str) -> None:
        """Deletes the collection, everything in it, and the aliases that point to it."""
        ...

    def aliases(self) -> dict[str, str]:
        """Alias → the name of the collection it points to."""
        ...

    def set_aliases(self, targets: Mapping[str, str | None]) -> None:
        """Points each alias to a collection, or removes it (None): all of them at once, so that no reader sees half of it.

        Raises `CollectionNotFoundError` for a target that is not there, `StoreError` where an alias is the name of a collection.
        """
        ...

    def defer_indexing(self, collection: str) -> None:
        """Before much is written: no index is built until `finalize`. What it was is kept with the collection, so that the next
        `ensure` or `finalize`, of any process, restores it after a crash. The embedded engine indexes in `finalize` alone.
        """
        ...

    def fingerprints(self, collection: str, doc_keys: Sequence[str]) -> list[Fingerprint]:
        """Of every stored point of these documents, however many. Up to a few thousand keys a call."""
        ...

    def upsert(self, collection: str, points: Sequence[Point]) -> None: ...

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        """Point id → vector name → vector. Other vectors and the payload stay. The points must exist."""
        ...

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        """Point id → the whole new payload, replacing the old. The points must exist."""
        ...

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Unknown ids are ignored."""
        ...

    def scroll(
        self,
        collection: str,
        conditions: Sequence[Condition] = (),
        *,
        payload: Sequence[str] | bool = True,
        vectors: Sequence[str] | bool = False,
        page: int = 1000,
        after: str | None = None,
    ) -> Iterator[StoredPoint]:
        """Yield all points that meet all conditions, ordered by id.

        Args:
            payload, vectors: all, none, or the named ones.
            page: points per request. Each request returns exactly as many, but for the last one.
            after: only points that come after the point with this id, whether or not it still exists.
        """
        ...

    def retrieve(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: Sequence[str] | bool = True,
        vectors: Sequence[str] | bool = False,
    ) -> list[StoredPoint]:
        """The points of these ids, in no particular order. An unknown id is left out. Up to a few thousand ids a call."""
        ...

    def query(
        self, collection: str, queries: Sequence[VectorQuery], *, payload: Sequence[str] | bool = True
    ) -> list[list[ScoredPoint]]:
        """The answer to each query, best first, in one round trip."""
        ...

    def count(self, collection: str, conditions: Sequence[Condition] = ()) -> int:
        """Exact."""
        ...

    def facet(
        self, collection: str, field: str, conditions: Sequence[Condition] = (), *, limit: int = MAX_FACETS
    ) -> dict[str, int]:
        """Value of an indexed keyword field → points that have it and meet all conditions, exact; the `limit` most frequent."""
        ...

    def notes(self, collection: str) -> dict[str, Any]:
        """What `update_notes` has kept with the collection: key → JSON."""
        ...

    def update_notes(self, collection: str, notes: Mapping[str, Any]) -> None:
        """Keeps small JSON values with the collection: each key given is replaced, or removed (None), the others stay.

        All at once, and whoever writes other keys meanwhile loses nothing.
        """
        ...

    def finalize(self, collection: str) -> None:
        """After a load: flushes, and lets the engine build its indexes (embedded: now; server: waits for green, minutes)."""
        ...

    def close(self) -> None:
        """Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
