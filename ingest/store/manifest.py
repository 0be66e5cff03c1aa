"""The manifest of a collection: the models and settings it was made with, and its named vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Distance = Literal["cosine", "dot", "euclid", "manhattan"]
VectorKind = Literal["dense", "sparse", "multivector"]

SCHEMA_VERSION = 2
"""The version of the payload and the manifest. A collection of another version is refused."""


@dataclass(frozen=True, slots=True)
class VectorSpec:
    """One named vector of a collection.

    Attributes:
        name: the vector's name, which is its model's registry key.
        dim: dimension of a dense vector and of each row of a multivector, None for a sparse vector.
        distance: of a dense vector and of the rows of a multivector; sparse vectors always compare by dot product.
        idf: whether Qdrant weights the terms of a sparse vector by their rarity at query time.
        fingerprint: the model's `Model.fingerprint`.
        space: the model's `Model.space`; a search requires a model of the same space.
        model: everything needed to load the same model again: hub id, revision, prompts, …; JSON.
        multi: whether it is a multivector: one row per token, compared by the sum of each query row's best similarity (max-sim).
    """

    name: str
    dim: int | None
    fingerprint: str
    space: str = ""
    distance: Distance = "cosine"
    idf: bool = False
    model: Mapping[str, Any] = field(default_factory=dict)
    multi: bool = False

    @property
    def kind(self) -> VectorKind:
        if self.dim is None:
            return "sparse"
        return "multivector" if self.multi else "dense"

    @property
    def shape(self) -> tuple[VectorKind, int | None, Distance, bool]:
        """The properties of the vector that the store knows and cannot change: kind, dimension, distance, IDF."""
        return self.kind, self.dim, self.distance, self.idf

    @property
    def options(self) -> Mapping[str, Any]:
        """The options of the model, such as the language of BM25; empty if it has none."""
        return dict(self.model.get("options", {}))

    @property
    def proof(self) -> Mapping[str, Any]:
        """What the endpoint of a remote model proved when the vector was made; empty for other models."""
        return dict(self.model.get("proof", {}))


@dataclass(frozen=True, slots=True)
class VectorSet:
    """Named vectors that are searched together, and their weights in query-time fusion."""

    vectors: tuple[VectorSpec, ...]
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The models and settings a collection was made with, stored in its metadata on a server, in a file beside an embedded shard.

    Attributes:
        collection: the normalized name of the collection itself, not of an alias.
        raw_name: the name that the user first gave it; shows when two names are normalized to the same one.
        base_name: the name it was created for, of which it may be one of several versions; "" if that is unknown.
        chunking: the settings that chunks were made with; JSON.
        weights: vector name → weight in query-time fusion.
        layout: `CollectionOptions.layout` of the options that it was created with.
        version: `SCHEMA_VERSION` when it was made.
        vectors: the named vectors that are searched and written.
        previous: the vectors before the last reindex in place, for a rollback; None if there are none.
        next: the vectors that a reindex in place is building, or that are no longer needed; None if there are none.
    """

    collection: str
    raw_name: str
    vectors: tuple[VectorSpec, ...]
    chunking: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    version: int = SCHEMA_VERSION
    base_name: str = ""
    layout: Mapping[str, Any] = field(default_factory=dict)
    previous: VectorSet | None = None
    next: VectorSet | None = None

    @property
    def searched(self) -> Manifest:
        """The manifest without the vectors that are not searched."""
        return replace(self, previous=None, next=None)

    @property
    def every_vector(self) -> dict[str, VectorSpec]:
        """All named vectors that the collection may have, by name: also those that are not searched."""
        others = (spec for each in (self.previous, self.next) if each is not None for spec in each.vectors)
        return {spec.name: spec for spec in (*others, *self.vectors)}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Vector name → fingerprint of the model that made it."""
        return {spec.name: spec.fingerprint for spec in self.vectors}

    @property
    def precisions(self) -> dict[str, str]:
        """The precision of each vector's model, such as `float32` or `int8`, by vector name."""
        return {spec.name: str(spec.model.get("dtype", "")) for spec in self.vectors}

    @property
    def options(self) -> dict[str, Mapping[str, Any]]:
        """Vector name → the options of its model."""
        return {spec.name: spec.options for spec in self.vectors}

    def without_canaries(self) -> Manifest:
        """Return the manifest without the vectors of the canary texts, for people."""

        def short(spec: VectorSpec) -> VectorSpec:
            proof = {name: value for name, value in spec.proof.items() if name != "vectors"}
            return replace(spec, model={**spec.model, "proof": proof}) if proof else spec

        def short_set(each: VectorSet | None) -> VectorSet | None:
            return each and replace(each, vectors=tuple(map(short, each.vectors)))

        return replace(
            self, vectors=tuple(map(short, self.vectors)), previous=short_set(self.previous), next=short_set(self.next)
        )

    @property
    def proofs(self) -> dict[str, Mapping[str, Any]]:
        """Vector name → what the endpoint of its model proved."""
        return {spec.name: spec.proof for spec in self.vectors if spec.proof}
