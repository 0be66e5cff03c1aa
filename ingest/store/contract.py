"""The contract of every store, embedded or server. One contract suite (`tests/contract`) runs against each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from ingest.records import Fingerprint, Payload, Point, ScoredPoint, StoredPoint
from ingest.store.layout import CollectionOptions
from ingest.store.manifest import SCHEMA_VERSION, Distance, Manifest, VectorKind, VectorSet, VectorSpec
from ingest.store.payload_index import PayloadIndex

if TYPE_CHECKING:
    from ingest.records import Vector

__all__ = [
    "MAX_FACETS",
    "SCHEMA_VERSION",
    "CollectionInfo",
    "CollectionOptions",
    "Combination",
    "Condition",
    "Distance",
    "Filter",
    "Manifest",
    "Operator",
    "RawFilter",
    "Store",
    "VectorKind",
    "VectorQuery",
    "VectorSet",
    "VectorSpec",
]

Operator = Literal[
    "eq", "any", "none", "gt", "gte", "lt", "lte", "exists", "null", "missing", "text", "near", "box", "polygon", "element"
]

MAX_FACETS = 1000
"""The default maximum number of values that a facet returns."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One test on one payload field.

    Attributes:
        field: payload path, e.g. `metadata.year`, `source`.
        operator: `eq`, `any`/`none` (of a list), `gt|gte|lt|lte` (number or ISO 8601 date), `text`,
            `exists|null|missing`, `near|box|polygon` (places), or `element` (an item of a list of objects meets a filter).
        value: str, int, float or bool; a tuple of these for `any` and `none`; True or False for `exists`, `null` and `missing`;
            (latitude, longitude, meters) for `near`; (south, west, north, east) for `box`; pairs of latitude and longitude for
            `polygon`; a `Filter` on fields of the item for `element`.
    """

    field: str
    operator: Operator
    value: Any


@dataclass(frozen=True, slots=True)
class Combination:
    """Filters joined by an operator: all of them (`and`), at least one (`or`), or none of them (`not`) is met."""

    operator: Literal["and", "or", "not"]
    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class RawFilter:
    """A filter in Qdrant's own terms.

    Attributes:
        value: a `qdrant_client.models.Filter`.
    """

    value: Any


Filter = Condition | Combination | RawFilter
"""A test that a point meets or not. A field that is missing meets only `none`, `missing`, and what `not` reverses."""


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """A query of one named vector for the `limit` nearest points that meet all `conditions`, after the first `offset`.

    Attributes:
        exact: whether to compare with all vectors, even if there is an index.
        among: ids of the only points to compare with. None: all.
    """

    vector: str
    value: Vector
    limit: int
    conditions: tuple[Filter, ...] = ()
    offset: int = 0
    exact: bool = False
    among: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A summary of a collection, even of one that cannot be opened.

    Attributes:
        points: the exact number of points, or None if they cannot be counted.
        manifest: the manifest, or None if this package did not make the collection or the manifest cannot be read.
        ours: whether this package made the collection: it has a manifest, readable or not.
        problem: why the collection or its manifest cannot be read, or None.
    """

    name: str
    points: int | None
    manifest: Manifest | None
    ours: bool
    problem: str | None = None


class Store(Protocol):
    """A set of collections. Safe from several threads.

    A write is acknowledged when the call returns, and then survives a SIGKILL of either side. All writes are idempotent. The
    points of one call are one request; the writer keeps it under the byte limit. An alias is accepted wherever a collection is
    named, and means the collection it points to at that moment. The id of a point is a UUID; one of another tool may have a
    number, as text.

    Raises `StoreUnavailableError` for a request worth retrying, `RequestTooLargeError` for one worth splitting,
    `CollectionNotFoundError`, otherwise `StoreError`. The store that `open_store` returns retries and splits by itself.
    """

    @property
    def location(self) -> str:
        """The address or path of the store, without secrets."""
        ...

    @property
    def engine(self) -> str:
        """The engine and its version, such as `Qdrant 1.16.3` or `qdrant-edge-py 0.9.0`."""
        ...

    @property
    def streams(self) -> int:
        """The number of concurrent writes that is worthwhile."""
        ...

    def ensure(self, manifest: Manifest, options: CollectionOptions, like: str | None = None) -> Manifest:
        """Create the collection with its vectors and payload indexes if it does not exist, and return its stored manifest.

        Completes a collection that a crash left incomplete. With `like`, the collection, new or not, gets the payload indexes,
        the settings and the metadata of other tools that the collection `like` has, except for options that are not the defaults.

        Raises `ForeignCollectionError` if the existing collection has no manifest, `ConfigurationError` if `like` has a setting
        that a new collection cannot get.
        """
        ...

    def manifest(self, collection: str) -> Manifest:
        """Return the stored manifest.

        Raises `CollectionNotFoundError`, `ForeignCollectionError` if it has no manifest, `StoreError` if that cannot be read.
        """
        ...

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the stored manifest, atomically. The schema of its vectors, `Manifest.every_vector`, must stay the same."""
        ...

    def set_vectors(self, manifest: Manifest) -> None:
        """Replace the stored manifest and make the named vectors of the collection those of `Manifest.every_vector`.

        Those it lacks are dropped, with what the points record of them; new ones are created, and no point has them yet. Repeat
        it after a crash, also with the stored manifest. The vectors that are searched must stay the same.

        Raises `ConfigurationError` before anything changes if named vectors of this store cannot change.
        """
        ...

    def collections(self) -> list[CollectionInfo]:
        """Return all collections by name. One that is in use elsewhere, damaged or unreadable has a `problem`."""
        ...

    def drop(self, collection: str) -> None:
        """Delete the collection, everything in it, and the aliases that point to it."""
        ...

    def aliases(self) -> dict[str, str]:
        """Return the name of the collection that each alias points to."""
        ...

    def set_aliases(self, targets: Mapping[str, str | None]) -> None:
        """Point each alias to a collection, or remove it (None), all at once: no reader sees a part of the change.

        Raises `CollectionNotFoundError` for a target that does not exist, `StoreError` if an alias is the name of a collection.
        """
        ...

    def exchange_alias(self, alias: str, targets: Mapping[str, str | None]) -> bool:
        """Remove an alias and do what `set_aliases` does with others, all at once. Return False if the alias does not exist.

        Then nothing changes. `targets` sets at least one alias, and `alias` is not among them. Raises what `set_aliases` raises.
        """
        ...

    def defer_indexing(self, collection: str) -> None:
        """Build no index until `finalize`, for a long load.

        The previous setting is stored with the collection, so after a crash the next `ensure` or `finalize` of any process
        restores it. The embedded engine only ever indexes in `finalize`.
        """
        ...

    def fingerprints(self, collection: str, doc_keys: Sequence[str]) -> list[Fingerprint]:
        """Return the fingerprints of all points of these documents, of up to a few thousand documents at a time."""
        ...

    def upsert(self, collection: str, points: Sequence[Point]) -> None: ...

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        """Replace vectors of points (id → vector name → vector), which must exist. Other vectors and the payload stay."""
        ...

    def fill_vectors(self, collection: str, filled: Sequence[tuple[Fingerprint, Mapping[str, Vector]]]) -> None:
        """Add vectors to points, and then record in their payloads what made them, as the fingerprints say.

        A point that no longer exists, or whose text is no longer that of the fingerprint, is left alone. Other vectors and the
        rest of the payload stay, even if another process writes them meanwhile. Raises `ConfigurationError` like `set_vectors`.
        """
        ...

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        """Replace the whole payloads of points (id → payload), which must exist."""
        ...

    def set_versions(self, collection: str, versions: Mapping[str, str | None]) -> None:
        """Replace the version in the payloads of points (id → `Fingerprint.version`, None for none). Unknown ids are ignored.

        The rest of the payload stays, even if another process writes it meanwhile.
        """
        ...

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Delete points. Unknown ids are ignored."""
        ...

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
        """Return the points with these ids (up to a few thousand), in any order. Unknown ids are left out."""
        ...

    def query(
        self, collection: str, queries: Sequence[VectorQuery], *, payload: Sequence[str] | bool = True
    ) -> list[list[ScoredPoint]]:
        """Return the results of each query, best first and those of one score by id, in one round trip."""
        ...

    def count(self, collection: str, conditions: Sequence[Filter] = ()) -> int:
        """Return the exact number of points that meet all conditions."""
        ...

    def facet(self, collection: str, field: str, conditions: Sequence[Filter] = (), *, limit: int = MAX_FACETS) -> dict[str, int]:
        """Return the `limit` most frequent values of an indexed keyword field, with the exact number of points that have each."""
        ...

    def indexes(self, collection: str) -> dict[str, PayloadIndex]:
        """Return the payload indexes by field."""
        ...

    def notes(self, collection: str) -> dict[str, Any]:
        """Return the notes stored with the collection: key → JSON. See `update_notes`."""
        ...

    def update_notes(self, collection: str, notes: Mapping[str, Any]) -> None:
        """Store small JSON values with the collection. Each given key is replaced, or removed (None); the others stay.

        Atomic: concurrent writes of other keys are not lost.
        """
        ...

    def finalize(self, collection: str) -> None:
        """Flush and build the indexes after a load. On a server this waits for its optimizers, up to minutes."""
        ...

    def close(self) -> None:
        """Close the store. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
