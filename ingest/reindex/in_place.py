"""Reindexing in place: build named vectors beside those that are searched, and search them from one write of the manifest on.

The points stay where they are: no payload and no vector that stays is copied. What a point has of the new vectors is recorded in
its payload, so the points themselves tell how far an interrupted build came. See `vector_sets` for the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ingest.encode.ensemble import Ensemble
from ingest.errors import ConfigurationError, StoreError
from ingest.parameters import checked, parse_boolean
from ingest.reindex.filling import OURS, Filling
from ingest.reindex.rebuild import check_texts
from ingest.reindex.reindex import (
    Gate,
    Reindexed,
    has_same_contents,
    new_manifest,
    report,
)
from ingest.reindex.swapping import MAX_PASSES, Cleanup
from ingest.reindex.vector_sets import begin, flip, retire, staged
from ingest.retry import RetryPolicy
from ingest.store.contract import Manifest, Store, VectorSet, VectorSpec
from ingest.store.retrying import RetryingStore
from ingest.store.schema import _normalize_collection_name
from ingest.store.similarity import note_sigmas
from ingest.sync.job import Job
from ingest.sync.manifest import changed_canaries
from ingest.sync.ownership import check_aliases, next_alias


class StagedStore(RetryingStore):
    """A store in which `NAME__next` is the collection NAME with the vectors that a reindex in place is building. For gates."""

    def __init__(self, store: Store, name: str) -> None:
        super().__init__(store, RetryPolicy(attempts=1))
        self._name = name

    def manifest(self, collection: str) -> Manifest:
        if collection == next_alias(self._name):
            return staged(super().manifest(self._name))
        return super().manifest(collection)


def reindex_in_place(
    job: Job,
    *,
    store: Store,
    ensemble: Ensemble,
    gate: Gate | None = None,
    keep_old: bool = True,
) -> Reindexed:
    """Give the collection of a job the vectors of other models in place, and search those once they are complete and verified.

    Only vectors with new names are encoded. Repeat an interrupted reindex to continue it. The present vectors are searched until
    one write of the manifest; those that are no longer searched are kept for `roll_back`, until the next reindex in place is done
    or one is called with `keep_old=False`. A run that is still writing after that write writes the old vectors only; the next run
    encodes the new ones.

    Args:
        gate: called with the collection and its name in a `StagedStore` before the swap; raises to prevent it.
        keep_old: keep the vectors that are no longer searched.

    Raises `ConfigurationError` before anything is changed if the store cannot change named vectors, a vector would keep its name
    but not its model, or a new model cannot take a stored chunk; `ManifestMismatchError` if the job requires other chunks.
    Raises what `gate` raises, `ModelError`, `LeaseError` and `StoreError` with the present vectors still searched.
    """
    checked("keep_old", parse_boolean, keep_old)
    monitor = ensemble.monitor
    monitor.start()
    name = _normalize_collection_name(job.collection, job.aliases)
    stored = store.manifest(name)
    store.fill_vectors(stored.collection, [])  # refuses where named vectors cannot change
    if name in store.aliases():
        check_aliases(store, name)
    wanted = new_manifest(job.manifest(ensemble.models), stored, name)
    cleanup = Cleanup(store, name)
    if has_same_contents(stored, wanted) and wanted.layout == stored.layout:
        cleanup.drop_abandoned(keep=None)
        dropped = _drop_leftovers(store, stored, keep_old=keep_old)
        return report(name, store, monitor, cleanup, dropped_vectors=dropped)
    vectors, added = _vectors(stored, wanted, name)
    _check_layout(stored, wanted, name)
    new_names = {spec.name for spec in added}
    check_texts(store, stored.collection, [model for model in ensemble.models if model.key in new_names], OURS)

    searched = VectorSet(vectors, wanted.weights)
    store.set_vectors(begin(stored, searched))
    filling = Filling(store, stored.collection, added=added, ensemble=ensemble, bounds=job.bounds)
    if added:
        _catch_up(filling, name)
        store.finalize(stored.collection)
        filling.verify()
    cleanup.drop_abandoned(keep=None)
    if gate is not None:
        gate(stored.collection, next_alias(name))
    if added:
        _catch_up(filling, name)
    cleanup.retire_previous()
    flipped = flip(store.manifest(stored.collection), searched)
    store.write_manifest(flipped)
    if added:
        filling.catch_up()  # what was written during the write of the manifest
    cleanup.drop_abandoned(keep=None)
    dropped = _drop_leftovers(store, flipped, keep_old=keep_old)
    note_sigmas(store, stored.collection)
    return report(name, store, monitor, cleanup, filling, dropped_vectors=dropped)


def _vectors(stored: Manifest, wanted: Manifest, name: str) -> tuple[tuple[VectorSpec, ...], Sequence[VectorSpec]]:
    """Return the vectors that are to be searched, and those among them that are to be built.

    Raises `ConfigurationError` if one has the name of a present or kept vector but not its model.
    """
    present = {spec.name: spec for spec in stored.vectors}
    kept = {spec.name: spec for spec in stored.previous.vectors} if stored.previous else {}
    for spec in wanted.vectors:
        same_name = present.get(spec.name) or kept.get(spec.name)
        if same_name is None or _is_same(spec, same_name):
            continue
        if spec.name in present:
            raise ConfigurationError(
                f"{name} was not reindexed: its vector {spec.name} would keep its name but not its model, and two vectors cannot"
                " have one name in place; give the new model a name of its own ([models.NAME] in ingest.toml), or leave"
                " --in-place out to build a new collection"
            )
        raise ConfigurationError(
            f"{name} was not reindexed: its former vector {spec.name} is kept for --rollback and was made by another model; drop"
            f" it first with ingest reindex {name} --in-place --drop-old and the present models"
        )
    vectors = tuple(present.get(spec.name, spec) for spec in wanted.vectors)
    return vectors, [spec for spec in vectors if spec.name not in present]


def _is_same(one: VectorSpec, other: VectorSpec) -> bool:
    return (one.shape, one.fingerprint) == (other.shape, other.fingerprint) and not changed_canaries(one, other)


def _check_layout(stored: Manifest, wanted: Manifest, name: str) -> None:
    """Raise `ConfigurationError` for a layout that differs from that of the collection."""
    if changed := sorted(key for key, value in wanted.layout.items() if stored.layout.get(key) != value):
        raise ConfigurationError(
            f"{name} was not reindexed: the layout setting {', '.join(changed)} cannot be applied in place; leave --in-place out"
            " to build a new collection"
        )


def _catch_up(filling: Filling, name: str) -> None:
    """Fill points until none lacks a new vector. Raise `StoreError` if others keep coming."""
    for _ in range(MAX_PASSES):
        if filling.catch_up() == 0:
            return
    raise StoreError(
        f"the collection {name} kept changing while vectors were added to it, so the present ones are searched as before: run"
        " reindex again when no other job is writing to it; it continues from there"
    )


def _drop_leftovers(store: Store, stored: Manifest, *, keep_old: bool) -> tuple[str, ...]:
    """Drop the vectors that are no longer needed, and return their names. Without `keep_old`, a rollback needs none."""
    if stored.previous is not None and not keep_old:
        stored = retire(stored)
        store.write_manifest(stored)
    done = replace(stored, next=None)
    if done != stored:
        store.set_vectors(done)
    return tuple(sorted(stored.every_vector.keys() - done.every_vector.keys()))
