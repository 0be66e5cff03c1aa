"""The changes that a reindex in place makes to the manifest of its collection. Pure.

    begin ──► (build) ──► flip ──► retire ──► (drop)          roll_back: the searched and the previous vectors change places

Each is one write of the manifest. `next` has the vectors that are built, and later those that are dropped: after a crash, what it
names beside the searched and the previous vectors may or may not exist, and is no longer needed once it is not wanted.
"""

from __future__ import annotations

from dataclasses import replace

from ingest.store.contract import Manifest, VectorSet


def begin(stored: Manifest, wanted: VectorSet) -> Manifest:
    """Return the manifest while the wanted vectors are built. Vectors of an abandoned build are no longer in it."""
    return replace(stored, next=wanted)


def staged(building: Manifest) -> Manifest:
    """Return the manifest as it is after the `flip`, for a search of the vectors before it."""
    wanted = building.next or VectorSet(building.vectors, building.weights)
    return replace(building, vectors=wanted.vectors, weights=wanted.weights, previous=None, next=None)


def flip(building: Manifest, wanted: VectorSet) -> Manifest:
    """Return the manifest that searches the vectors that were built, and keeps those before them for a rollback."""
    searched = VectorSet(building.vectors, building.weights)
    flipped = replace(building, vectors=wanted.vectors, weights=wanted.weights, previous=searched)
    return _with_leftovers(building, flipped)


def retire(stored: Manifest) -> Manifest:
    """Return the manifest without a rollback: the vectors before the last flip are no longer needed."""
    return _with_leftovers(stored, stored.searched)


def roll_back(stored: Manifest) -> Manifest:
    """Return the manifest that searches the vectors before the last flip; a second time, those after it again."""
    if stored.previous is None:
        return stored
    present = {spec.name: spec for spec in stored.vectors}
    vectors = tuple(present.get(spec.name, spec) for spec in stored.previous.vectors)
    searched = VectorSet(stored.vectors, stored.weights)
    return replace(stored, vectors=vectors, weights=stored.previous.weights, previous=searched)


def _with_leftovers(before: Manifest, after: Manifest) -> Manifest:
    """Return `after` with everything in `next` that the collection has and that is no longer needed."""
    needed = replace(after, next=None).every_vector
    leftovers = tuple(spec for name, spec in before.every_vector.items() if name not in needed)
    return replace(after, next=VectorSet(leftovers) if leftovers else None)
