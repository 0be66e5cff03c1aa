"""Blue-green: a collection made anew beside the one in use, and swapped for it in one step.

    NAME            alias: what is searched and written
    NAME__previous  alias: what it was before the last swap; the way back
    NAME__next      alias: what is being made, or what is no longer wanted

Behind them are collections `NAME__<8 hex>`. There is no other ledger: what a crash leaves is found by these names. Only a
collection that was provably created for NAME is changed or dropped, and none that another alias names; see `ownership`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from ingest.encode.contract import Model
from ingest.encode.runner import BatchRunner
from ingest.errors import (
    CollectionNotFoundError,
    ConfigurationError,
    ForeignCollectionError,
    ManifestMismatchError,
    StoreError,
)
from ingest.records import LeaseEvent, ModelReport
from ingest.reindex.rebuild import Rebuild, check_texts
from ingest.store.contract import Manifest, Store, VectorSpec
from ingest.store.schema import _normalize_collection_name, is_version_of, physical_name
from ingest.sync.job import Job
from ingest.sync.ownership import check_aliases, next_alias, other_aliases, previous_alias, why_kept
from ingest.telemetry import ThroughputMonitor

logger = logging.getLogger(__name__)

MAX_PASSES = 10
"""Over a collection that keeps changing, before a reindex gives up and leaves the rest to the next."""

Gate = Callable[[str, str], None]
"""Given the collection in use and the new one; raises an `IngestError` where the new one is not to take its place."""


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What a reindex came to.

    Attributes:
        collection: as it is called.
        uses: the collection that this name stands for now; `previous`: the one it stood for before, if that is kept.
        dropped: collections that were deleted.
        kept: collection that is no longer wanted, and was not deleted → why not.
        points: that it holds.
        copied, encoded: vector → points it was copied to, or encoded for, in this very run.
    """

    collection: str
    uses: str
    previous: str | None
    dropped: tuple[str, ...]
    kept: Mapping[str, str]
    points: int
    seconds: float
    copied: Mapping[str, int] = field(default_factory=dict)
    encoded: Mapping[str, int] = field(default_factory=dict)
    models: tuple[ModelReport, ...] = ()
    lease_events: tuple[LeaseEvent, ...] = ()


def reindex(
    job: Job,
    *,
    store: Store,
    models: Sequence[Model],
    runner: BatchRunner,
    gate: Gate | None = None,
    keep_old: bool = True,
) -> Reindexed:
    """Makes the job's collection anew with these models, from its own points, and swaps it in once it is complete and verified.

    Vectors whose model did not change are copied. Run again after a crash, it goes on where it was. The collection in use answers
    all the time, and what is written to it meanwhile is brought over before the swap; a run that goes on writing after the swap
    writes to the collection it began with, and the next run brings that over. `keep_old`: for `roll_back`.
    The new collection gets the payload indexes and settings of the old one, except for `job.options` that are not the defaults.

    Raises `ConfigurationError` before anything is made where the new models cannot take the chunks as they are, the collection
    has no alias, or one of the aliases stands for a collection that was not created for this name; `ManifestMismatchError` if
    other chunks are asked for; what `gate` raises, `ModelError`, `LeaseError` and `StoreError`: then nothing was swapped.
    """
    monitor = runner.monitor
    monitor.start()
    name = _normalize_collection_name(job.collection, job.aliases)
    live = _in_use(store, name)
    check_aliases(store, name)
    stored = store.manifest(live)
    wanted = _wanted(job.manifest(models), stored, name)
    cleanup = _Cleanup(store, name)
    if _made_with(stored) == _made_with(wanted):
        cleanup.drop_abandoned(keep=None)
        return _report(name, store, monitor, cleanup)
    copied = [spec.name for spec in wanted.vectors if any(_is_same_vector(spec, old) for old in stored.vectors)]
    check_texts(store, live, [model for model in models if model.key not in copied])

    target = _target(store, wanted, name)
    cleanup.drop_abandoned(keep=target)
    new = replace(wanted, collection=target)
    store.ensure(new, job.options, live)
    store.set_aliases({next_alias(name): target})
    store.write_manifest(new)
    store.defer_indexing(target)
    rebuild = Rebuild(store, live, target, manifest=wanted, copied=copied, runner=runner, bounds=job.bounds)
    _catch_up(rebuild, store, live, target)
    store.finalize(target)
    rebuild.verify()
    if gate is not None:
        gate(live, target)
    _catch_up(rebuild, store, live, target)
    store.ensure(new, job.options, live)  # settings may have changed meanwhile
    store.update_notes(target, store.notes(live))
    cleanup.swap(live, target, keep_old=keep_old)
    return _report(name, store, monitor, cleanup, rebuild)


def roll_back(collection: str, *, store: Store, aliases: Mapping[str, str] | None = None) -> Reindexed:
    """Swaps a collection with what it was before its last swap, at once; a second time, forward again.

    Documents that changed since that swap are as they were then, until the next run. `aliases`: as of a job.
    Raises `ConfigurationError` if nothing is kept of what it was, or an alias stands for a collection that was not created for
    this name.
    """
    name = _normalize_collection_name(collection, aliases)
    live = _in_use(store, name)
    previous = store.aliases().get(previous_alias(name))
    if previous is None:
        raise ConfigurationError(
            f"nothing is kept of what the collection {name} was before, so it cannot be rolled back: reindex it with the models"
            " it had then"
        )
    check_aliases(store, name)
    store.set_aliases({name: previous, previous_alias(name): live})
    return _report(name, store, ThroughputMonitor(), _Cleanup(store, name))


def _in_use(store: Store, name: str) -> str:
    """The collection that the name stands for. Raises `ConfigurationError` where it is no alias: nothing could be swapped in."""
    live = store.aliases().get(name)
    if live is None:
        store.manifest(name)  # says so where there is no such collection at all
        raise ConfigurationError(
            f"{name} is the collection's own name and no alias, as older versions made it, so nothing can take its place at once:"
            f" use ingest run SOURCE and a new collection, and drop {name} when nobody asks it any more"
        )
    return live


def _wanted(asked: Manifest, stored: Manifest, name: str) -> Manifest:
    """What the new collection says of itself. Raises `ManifestMismatchError` if it should have other chunks."""
    if dict(asked.chunking) != dict(stored.chunking):
        raise ManifestMismatchError(
            f"the chunks of the collection {name} were made with {dict(stored.chunking)} and {dict(asked.chunking)} is asked for,"
            " which needs the source: ask for the same chunks (--chunk-tokens, --chunk-overlap), or use ingest run SOURCE and a"
            " new collection"
        )
    names = {spec.name for spec in asked.vectors}
    weights = {vector: weight for vector, weight in stored.weights.items() if vector in names}
    weights = {**weights, **asked.weights}
    return replace(asked, raw_name=stored.raw_name, weights=weights)


def _made_with(manifest: Manifest) -> tuple[object, object]:
    """All that decides what a collection holds."""
    return {spec.name: (spec.dim, spec.distance, spec.idf, spec.fingerprint) for spec in manifest.vectors}, dict(
        manifest.chunking
    )


def _is_same_vector(one: VectorSpec, other: VectorSpec) -> bool:
    """Whether a vector of the one can stand in the other: vectors have unit norm, so the distance is free to change."""
    return (one.name, one.dim, one.fingerprint) == (other.name, other.dim, other.fingerprint)


def _target(store: Store, wanted: Manifest, name: str) -> str:
    """Return the name of the new collection: one that an earlier reindex began or kept with the same models, else a free one."""
    base = physical_name(wanted)
    names = (base if number == 1 else f"{base}_{number}" for number in count(1))
    return next(target for target in names if _can_be_built(store, target, wanted, name))


def _can_be_built(store: Store, target: str, wanted: Manifest, name: str) -> bool:
    """Whether a reindex of `name` may create a collection, or change its points because nobody else can be using it."""
    aliases = store.aliases()
    if target in aliases or other_aliases(aliases, target, name):
        return False
    try:
        manifest = store.manifest(target)
    except CollectionNotFoundError:
        return True
    except ForeignCollectionError:
        return False
    if not is_version_of(manifest, name) or _made_with(manifest) != _made_with(wanted):
        return False
    return target in {aliases.get(next_alias(name)), aliases.get(previous_alias(name))} or store.count(target) == 0


class _Cleanup:
    """What becomes of the collections that a reindex of `name` no longer wants."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self.dropped: list[str] = []
        self.kept: dict[str, str] = {}

    def drop_abandoned(self, *, keep: str | None) -> None:
        """Drop what an earlier reindex began or replaced and did not drop any more."""
        aliases, alias = self._store.aliases(), next_alias(self._name)
        abandoned = aliases.get(alias)
        if abandoned is None:
            return
        wanted = {keep, aliases.get(self._name), aliases.get(previous_alias(self._name))}
        if abandoned in wanted or not self._drop(abandoned):
            self._store.set_aliases({alias: None})

    def swap(self, live: str, target: str, *, keep_old: bool) -> None:
        """Point the name to the new collection, and only then drop what is no longer wanted."""
        older = self._store.aliases().get(previous_alias(self._name))
        unwanted = None if older in {None, live, target} or self._keeps(older) else older
        swapped = {self._name: target, previous_alias(self._name): live, next_alias(self._name): unwanted}
        self._store.set_aliases(swapped)
        if unwanted is not None and not self._drop(unwanted):
            self._store.set_aliases({next_alias(self._name): None})
        if not keep_old:
            self._drop(live)

    def _drop(self, collection: str) -> bool:
        """Drop a collection unless it is to be kept. Returns whether it was dropped."""
        if self._keeps(collection):
            return False
        self._store.drop(collection)
        self.dropped.append(collection)
        logger.info("dropped %s, which was not in use", collection)
        return True

    def _keeps(self, collection: str) -> bool:
        reason = why_kept(self._store, self._name, collection)
        if reason is not None and collection not in self.kept:
            self.kept[collection] = reason
            logger.warning("the collection %s is no longer needed for %s, but was kept (%s)", collection, self._name, reason)
        return reason is not None


def _catch_up(rebuild: Rebuild, store: Store, live: str, target: str) -> None:
    """Until the new collection holds what the one in use does."""
    for _ in range(MAX_PASSES):
        if rebuild.catch_up() == 0 and store.count(live) == store.count(target):
            return
    raise StoreError(
        f"the collection {live} kept changing while {target} was made of it, so nothing was swapped: run reindex again once what"
        " writes to it is done; it goes on from there"
    )


def _report(name: str, store: Store, monitor: ThroughputMonitor, cleanup: _Cleanup, rebuild: Rebuild | None = None) -> Reindexed:
    aliases = store.aliases()
    return Reindexed(
        collection=name,
        uses=aliases[name],
        previous=aliases.get(previous_alias(name)),
        dropped=tuple(cleanup.dropped),
        kept=cleanup.kept,
        points=store.count(aliases[name]),
        seconds=round(monitor.elapsed(), 3),
        copied=dict(rebuild.copied) if rebuild else {},
        encoded=dict(rebuild.encoded) if rebuild else {},
        models=monitor.model_reports(),
        lease_events=monitor.lease_events,
    )
