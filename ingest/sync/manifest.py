"""The manifest of a job and of its collection: create the collection, compare the two, accept other fingerprints."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ingest.encode.contract import ConfiguredModel, Model
from ingest.encode.http.model import HttpModel
from ingest.encode.http.proof import describe_changes, find_changes, proof_from_json
from ingest.errors import CollectionNotFoundError, ConfigurationError, ManifestMismatchError, StoreError
from ingest.records import Payload
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import CollectionOptions, Distance, Manifest, Store, VectorSpec
from ingest.store.payload_index import PayloadIndex
from ingest.store.request_sizes import batches
from ingest.store.schema import (
    INGEST_FIELD,
    _normalize_collection_name,
    fingerprint_of,
    is_version_of,
    physical_name,
    with_fingerprint,
)
from ingest.store.writer import Effects, Writer
from ingest.sync.in_use import stays_in_use
from ingest.sync.ownership import check_name, previous_alias

logger = logging.getLogger(__name__)

RELABEL_BATCH = 1000
"""Maximum number of points whose payloads are in memory at a time."""


def wanted_manifest(
    collection: str,
    models: Sequence[Model],
    *,
    chunking: ChunkingOptions,
    weights: Mapping[str, float],
    aliases: Mapping[str, str],
    distance: Distance,
    layout: Mapping[str, Any],
) -> Manifest:
    """Return the manifest of a collection that a job with these models creates."""
    name = _normalize_collection_name(collection, aliases)
    return Manifest(
        collection=name,
        base_name=name,
        raw_name=collection,
        vectors=tuple(
            VectorSpec(
                name=model.key,
                dim=model.dim,
                fingerprint=model.fingerprint,
                space=model.space,
                distance=distance if model.kind == "dense" else "dot",
                idf=model.uses_idf,
                multi=model.kind == "multivector",
                model={"kind": model.kind, "dtype": model.dtype, "backend": model.backend, **_options(model)},
            )
            for model in models
        ),
        chunking=chunking.to_json(),
        weights=dict(weights),
        layout=layout,
    )


def _options(model: Model) -> dict[str, Any]:
    if isinstance(model, HttpModel):
        return {"proof": model.proof.to_json()} if model.proof else {}
    return {"options": dict(model.options)} if isinstance(model, ConfiguredModel) else {}


def ensure_collection(
    wanted: Manifest, options: CollectionOptions, *, store: Store, accept_fingerprints: bool = False
) -> Manifest:
    """Return the stored manifest of the collection `wanted.collection`, which is created as `wanted` says if it does not exist.

    A new collection is created under its `physical_name`, and the name becomes its alias; a collection that has the name itself
    is kept. No point is written before the alias is set: after a crash between the two, the next run finds the collection empty
    and sets the alias. If the name stands for an empty collection with other models, as a failed first run leaves it, a new
    collection is created beside it and takes the alias. Nothing is dropped, since another run may be about to write to it.
    Weights concern queries alone and may change at any time. With `accept_fingerprints`, stored vectors count as compatible
    with the job's models if nothing but the models' fingerprints differs: see `accept_models`.

    Raises `ConfigurationError` for a name that is reserved, `ManifestMismatchError`, `StoreError`.
    """
    check_name(wanted.collection)
    stored = _find_or_make(wanted, options, store)
    try:
        check_manifest(wanted, stored)
    except ManifestMismatchError:
        if is_version_of(stored, wanted.collection) and store.count(stored.collection) == 0:
            empty = stored.collection
            stored = _make(wanted, options, store, instead_of=empty)
            logger.warning(
                "%s now stands for %s: the collection %s, which was made with other models or chunks, has no points and is no"
                " longer used; unless another run is writing to it, drop it with ingest collections drop %s",
                wanted.collection,
                stored.collection,
                empty,
                empty,
            )
            check_manifest(wanted, stored)
        elif accept_fingerprints and find_drift(wanted, stored).acceptable:
            stored = accept_models(wanted, stored, store=store)
        else:
            raise
    current = _with_longer_proofs(wanted, stored)
    if wanted.weights and dict(wanted.weights) != dict(stored.weights):
        current = replace(current, weights=wanted.weights)
    if current != stored:
        store.write_manifest(current)
    return current


def _with_longer_proofs(wanted: Manifest, stored: Manifest) -> Manifest:
    """Return the stored manifest with the proofs of `wanted` that it lacks, or that were measured with longer texts."""
    found = {spec.name: spec for spec in wanted.vectors if spec.proof}

    def current(spec: VectorSpec) -> VectorSpec:
        new = found.get(spec.name)
        return new if new is not None and new.proof["measured"] > spec.proof.get("measured", -1) else spec

    return replace(stored, vectors=tuple(map(current, stored.vectors)))


def check_still_in_use(wanted: Manifest, collection: str, store: Store) -> None:
    """Raise `StoreError` if the name that a run began with stands for another collection than the one it wrote to.

    Two first runs with different models can each make a collection and take the alias. A swap by a reindex is only logged: the
    next run brings over what was written after it.
    """
    name = wanted.collection
    if stays_in_use(store, name, collection) or collection == name:
        return
    aliases = store.aliases()
    now = aliases.get(name)
    if aliases.get(previous_alias(name)) == collection:
        logger.warning("a reindex replaced %s by %s while this run wrote to it: run again", collection, now)
        return
    raise StoreError(
        f"{name} came to stand for {now or 'no collection'} while this run wrote to {collection}, so that a search in {name} does"
        f" not find what it wrote: run again with the models of {now or name}, and drop {collection} when it is no longer needed"
    )


def _find_or_make(wanted: Manifest, options: CollectionOptions, store: Store) -> Manifest:
    try:
        found = store.manifest(wanted.collection)
    except CollectionNotFoundError:
        return _make(wanted, options, store, instead_of=None)
    return store.ensure(replace(wanted, collection=found.collection, base_name=found.base_name), options)


def _make(wanted: Manifest, options: CollectionOptions, store: Store, *, instead_of: str | None) -> Manifest:
    """Create the collection, and set its alias if that still stands for `instead_of`. Return the manifest behind the alias.

    Raises `ConfigurationError` if the new collection's own name is an alias.
    """
    name, own_name = wanted.collection, physical_name(wanted)
    made = store.ensure(replace(wanted, collection=own_name, base_name=name), options)
    if made.collection != own_name:
        raise ConfigurationError(
            f"{own_name} is an alias of {made.collection}, and the collection {name} needs that name: remove the alias"
        )
    if store.aliases().get(name) == instead_of:
        store.set_aliases({name: own_name})
    return store.manifest(name)


@dataclass(frozen=True, slots=True)
class Drift:
    """The differences between the manifest of a job and the stored one, as phrases.

    Attributes:
        chunking: differences in chunking. Other chunks require the source.
        vectors: differences in the named vectors, which cannot be changed in place.
        models: vectors of the same shape from models with other fingerprints.
    """

    chunking: tuple[str, ...]
    vectors: tuple[str, ...]
    models: tuple[str, ...]

    @property
    def acceptable(self) -> bool:
        """Whether only fingerprints differ, so that a person may accept the vectors as compatible."""
        return bool(self.models) and not self.chunking and not self.vectors

    def remedy(self, collection: str) -> str:
        """Return what to do, other than using the models and options that the collection was made with."""
        if self.chunking:
            return "use a new collection, since other chunks need their source"
        reindex = f"rebuild it with ingest reindex {collection}"
        if self.vectors:
            return f"{reindex} and these models, or use a new collection"
        return (
            f"{reindex}, use a new collection, or, if you know that the stored vectors are alike, keep them with"
            " --accept-fingerprints"
        )


def find_drift(wanted: Manifest, stored: Manifest) -> Drift:
    """Return every difference that would mix vector spaces or chunkings."""
    have = {spec.name: spec for spec in stored.vectors}
    want = {spec.name: spec for spec in wanted.vectors}
    chunking = []
    if dict(wanted.chunking) != dict(stored.chunking):
        chunking.append(f"chunking is {dict(stored.chunking)}, the job's is {dict(wanted.chunking)}")
    vectors, models = [], []
    if missing := [name for name in want if name not in have]:
        vectors.append(f"it has no vector {', '.join(missing)}")
    if extra := [name for name in have if name not in want]:
        vectors.append(f"it also has the vector {', '.join(extra)}, which the job does not make")
    for name in sorted(want.keys() & have.keys()):
        if differences := _shape_differences(want[name], have[name]):
            vectors.extend(differences)
        elif difference := _model_difference(want[name], have[name]):
            models.append(difference)
    return Drift(tuple(chunking), tuple(vectors), tuple(models))


def _shape_differences(wanted: VectorSpec, stored: VectorSpec) -> list[str]:
    """Return phrases if vectors of one name differ in what is not their model's weights."""
    name = stored.name
    if wanted.kind != stored.kind:
        return [f"{name} is {stored.kind}, the job's is {wanted.kind}"]
    if wanted.dim != stored.dim:
        return [f"{name} has {stored.dim} dimensions, the job's has {wanted.dim}"]
    if wanted.distance != stored.distance:
        return [f"{name} is compared by {stored.distance}, the job's by {wanted.distance}"]
    if wanted.idf != stored.idf:
        return [f"{name} {'weighs' if stored.idf else 'does not weigh'} rare terms more, unlike the job's"]
    return [
        f"the {option} of {name} is {stored.options.get(option)}, the job's is {value}"
        for option, value in wanted.options.items()
        if stored.options.get(option) != value
    ]


def _model_difference(wanted: VectorSpec, stored: VectorSpec) -> str | None:
    """Return a phrase if vectors of one shape are made by different models."""
    if wanted.fingerprint != stored.fingerprint:
        alike = wanted.space == stored.space
        return f"{wanted.name} was made {'in another precision' if alike else 'by another revision, prompt or pooling'}"
    changes = changed_canaries(wanted, stored)
    return describe_changes(wanted.name, changes) if changes else None


def changed_canaries(wanted: VectorSpec, stored: VectorSpec) -> list[str]:
    """Return a phrase for each canary text that the endpoint of a vector no longer encodes as it did. Empty without proofs."""
    before, now = proof_from_json(stored.proof), proof_from_json(wanted.proof)
    return [] if before is None or now is None else find_changes(before, now)


def check_manifest(wanted: Manifest, stored: Manifest) -> None:
    """Raise `ManifestMismatchError` if the manifests differ in a way that would mix vector spaces or chunkings.

    A second raw name that normalizes to the same collection is logged as a warning: it is valid, but rarely intended.
    """
    drift = find_drift(wanted, stored)
    if differences := [*drift.vectors, *drift.models, *drift.chunking]:
        raise ManifestMismatchError(
            f"collection {wanted.collection!r} was made differently: {'; '.join(differences)}. Use the models and options it was"
            f" made with, or {drift.remedy(wanted.collection)}"
        )
    if wanted.raw_name != stored.raw_name:
        logger.warning(
            "the names %r and %r both stand for collection %r, which was created under the first",
            stored.raw_name,
            wanted.raw_name,
            wanted.collection,
        )


def accept_models(wanted: Manifest, stored: Manifest, *, store: Store) -> Manifest:
    """Give every point the fingerprints of `wanted`, and return the stored manifest with them. Changes no vector.

    Only vectors with the fingerprint of the stored manifest get the new one; the next run encodes the others. The manifest is
    written last, so after a crash the collection is refused as before, and accepting it again continues. Both manifests have the
    same vectors except for fingerprints. Raises `StoreError`.
    """
    fingerprints = {spec.name: spec.fingerprint for spec in wanted.vectors}
    before = {spec.name: spec.fingerprint for spec in stored.vectors}
    relabelled = 0
    with Writer(store, stored.collection) as writer:
        points = store.scroll(stored.collection, page=RELABEL_BATCH)
        for group in batches(points, lambda _: 1, RELABEL_BATCH, RELABEL_BATCH):
            payloads = {
                point.id: payload for point in group if (payload := _relabelled(point.id, point.payload, before, fingerprints))
            }
            writer.submit(Effects(payloads=payloads))
            relabelled += len(payloads)
    by_name = {spec.name: spec for spec in wanted.vectors}
    accepted = replace(stored, vectors=tuple(by_name[spec.name] for spec in stored.vectors))
    store.write_manifest(accepted)
    logger.warning(
        "accepted the vectors of %d points of %s as compatible with the configured models",
        relabelled,
        wanted.collection,
    )
    return accepted


def _relabelled(id_: str, payload: Payload, before: Mapping[str, str], fingerprints: Mapping[str, str]) -> Payload | None:
    """Return the payload with the new fingerprints, or None if it does not change."""
    stored = fingerprint_of(id_, payload)
    if stored is None:
        return None
    vectors = {name: fingerprints[name] if old == before.get(name) else old for name, old in stored.vectors.items()}
    if vectors == stored.vectors:
        return None
    visible = {name: value for name, value in payload.items() if name != INGEST_FIELD}
    return with_fingerprint(visible, replace(stored, vectors=vectors))


@dataclass(frozen=True, slots=True)
class StoredOptions:
    """The options that a collection was made with, which its next run keeps; the defaults for one that does not exist."""

    chunking: ChunkingOptions = ChunkingOptions()
    weights: Mapping[str, float] = field(default_factory=dict)
    distance: Distance = "cosine"


def stored_options(stored: Manifest | None) -> StoredOptions:
    """Return the options that a stored manifest stands for."""
    if stored is None:
        return StoredOptions()
    distances = (spec.distance for spec in stored.vectors if spec.kind == "dense")
    return StoredOptions(ChunkingOptions(**stored.chunking), stored.weights, next(distances, "cosine"))


@dataclass(frozen=True, slots=True)
class CollectionDetails:
    """The details of a stored collection.

    Attributes:
        name: normalized name that the collection is called by.
        points: exact number of points.
        manifest: the stored manifest.
        indexes: payload field → index.
    """

    name: str
    points: int
    manifest: Manifest
    indexes: Mapping[str, PayloadIndex] = field(default_factory=dict)

    @property
    def stored_as(self) -> str:
        """The name under which the collection is stored."""
        return self.manifest.collection

    @property
    def vectors(self) -> tuple[VectorSpec, ...]:
        """The named vectors."""
        return self.manifest.vectors

    @property
    def chunking(self) -> Mapping[str, Any]:
        """How its documents were split into chunks."""
        return self.manifest.chunking

    @property
    def weights(self) -> Mapping[str, float]:
        """Vector name → weight in query-time fusion."""
        return self.manifest.weights


def describe_collection(store: Store, name: str) -> CollectionDetails:
    """Return the details of a collection. Raises `CollectionNotFoundError` and `StoreError`."""
    stored = store.manifest(name)
    return CollectionDetails(name, store.count(stored.collection), stored, store.indexes(stored.collection))
