"""Blue-green: a collection made anew beside the one in use, and swapped for it in one step.

    NAME            alias: what is searched and written
    NAME__previous  alias: what it was before the last swap; the way back
    NAME__next      alias: what is being made, or what is no longer wanted

Behind them are collections `NAME__<8 hex>`. There is no other ledger: what a crash leaves is found by these names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from ingest.encode.contract import StagedModel
from ingest.encode.runner import BatchRunner
from ingest.errors import CollectionNotFoundError, ConfigurationError, ManifestMismatchError, StoreError
from ingest.records import LeaseEvent, ModelReport
from ingest.store.contract import Manifest, Store, VectorSpec
from ingest.store.schema import _normalize_collection_name, physical_name
from ingest.sync.job import Job
from ingest.sync.rebuilding import Rebuild, check_texts
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
        points: that it holds.
        copied, encoded: vector → points it was copied to, or encoded for, in this very run.
    """

    collection: str
    uses: str
    previous: str | None
    dropped: tuple[str, ...]
    points: int
    seconds: float
    copied: Mapping[str, int] = field(default_factory=dict)
    encoded: Mapping[str, int] = field(default_factory=dict)
    models: tuple[ModelReport, ...] = ()
    lease_events: tuple[LeaseEvent, ...] = ()


def previous_alias(collection: str) -> str:
    """Names what `collection` was before the last swap."""
    return f"{collection}__previous"


def next_alias(collection: str) -> str:
    """Names what is being made to take the place of `collection`, or was abandoned."""
    return f"{collection}__next"


def reindex(
    job: Job,
    *,
    store: Store,
    models: Sequence[StagedModel],
    runner: BatchRunner,
    gate: Gate | None = None,
    keep_old: bool = True,
) -> Reindexed:
    """Makes the job's collection anew with these models, from its own points, and swaps it in once it is complete and verified.

    Vectors whose model did not change are copied. Run again after a crash, it goes on where it was. The collection in use answers
    all the time, and what is written to it meanwhile is brought over before the swap; a run that goes on writing after the swap
    writes to the collection it began with, and the next run brings that over. `keep_old`: for `roll_back`.

    Raises `ConfigurationError` before anything is made where the new models cannot take the chunks as they are, or the collection
    has no alias; `ManifestMismatchError` if other chunks are asked for; what `gate` raises, `ModelError`, `LeaseError` and
    `StoreError`: then nothing was swapped.
    """
    monitor = runner.monitor
    monitor.start()
    name = _normalize_collection_name(job.collection, job.aliases)
    live = _in_use(store, name)
    stored = store.manifest(live)
    wanted = _wanted(job.manifest(models), stored, name)
    if _made_with(stored) == _made_with(wanted):
        return _report(name, store, monitor, dropped=_drop_abandoned(store, name, keep=None))
    copied = [spec.name for spec in wanted.vectors if any(_is_same_vector(spec, old) for old in stored.vectors)]
    check_texts(store, live, [model for model in models if model.key not in copied])

    target = _target(store, wanted)
    dropped = _drop_abandoned(store, name, keep=target)
    store.ensure(replace(wanted, collection=target), job.options)
    store.set_aliases({next_alias(name): target})
    store.write_manifest(replace(wanted, collection=target))
    store.defer_indexing(target)
    rebuild = Rebuild(store, live, target, manifest=wanted, copied=copied, runner=runner, bounds=job.bounds)
    _catch_up(rebuild, store, live, target)
    store.finalize(target)
    rebuild.verify()
    store.update_notes(target, store.notes(live))
    if gate is not None:
        gate(live, target)
    _catch_up(rebuild, store, live, target)
    dropped += _swap(store, name, live, target, keep_old=keep_old)
    return _report(name, store, monitor, dropped=dropped, rebuild=rebuild)


def roll_back(collection: str, *, store: Store, aliases: Mapping[str, str] | None = None) -> Reindexed:
    """Swaps a collection with what it was before its last swap, at once; a second time, forward again.

    Documents that changed since that swap are as they were then, until the next run. `aliases`: as of a job.
    Raises `ConfigurationError` if nothing is kept of what it was.
    """
    name = _normalize_collection_name(collection, aliases)
    live = _in_use(store, name)
    previous = store.aliases().get(previous_alias(name))
    if previous is None:
        raise ConfigurationError(
            f"nothing is kept of what the collection {name} was before, so it cannot be rolled back: reindex it with the models"
            " it had then"
        )
    store.set_aliases({name: previous, previous_alias(name): live})
    return _report(name, store, ThroughputMonitor(), dropped=())


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
    return replace(asked, collection=name, raw_name=stored.raw_name, weights={**weights, **asked.weights})


def _made_with(manifest: Manifest) -> tuple[object, object]:
    """All that decides what a collection holds."""
    return {spec.name: (spec.dim, spec.distance, spec.idf, spec.fingerprint) for spec in manifest.vectors}, dict(
        manifest.chunking
    )


def _is_same_vector(one: VectorSpec, other: VectorSpec) -> bool:
    """Whether a vector of the one can stand in the other: vectors have unit norm, so the distance is free to change."""
    return (one.name, one.dim, one.fingerprint) == (other.name, other.dim, other.fingerprint)


def _target(store: Store, wanted: Manifest) -> str:
    """What the new collection is called: one of exactly this making if there is one, begun or kept, else a free name."""
    base = physical_name(wanted)
    for number in count(1):
        name = base if number == 1 else f"{base}_{number}"
        try:
            if _made_with(store.manifest(name)) == _made_with(wanted):
                return name
        except CollectionNotFoundError:
            return name
    raise AssertionError  # there are always more names


def _drop_abandoned(store: Store, name: str, *, keep: str | None) -> tuple[str, ...]:
    """Drops what an earlier reindex began or replaced and did not drop any more. Gives the names."""
    aliases = store.aliases()
    abandoned = aliases.get(next_alias(name))
    if abandoned is None:
        return ()
    if abandoned in {keep, aliases.get(name), aliases.get(previous_alias(name))}:
        store.set_aliases({next_alias(name): None})
        return ()
    store.drop(abandoned)
    logger.info("dropped %s, which was not in use", abandoned)
    return (abandoned,)


def _catch_up(rebuild: Rebuild, store: Store, live: str, target: str) -> None:
    """Until the new collection holds what the one in use does."""
    for _ in range(MAX_PASSES):
        if rebuild.catch_up() == 0 and store.count(live) == store.count(target):
            return
    raise StoreError(
        f"the collection {live} kept changing while {target} was made of it, so nothing was swapped: run reindex again once what"
        " writes to it is done; it goes on from there"
    )


def _swap(store: Store, name: str, live: str, target: str, *, keep_old: bool) -> tuple[str, ...]:
    """Points the name to the new collection, and only then drops what is no longer wanted. Gives the names of that."""
    older = store.aliases().get(previous_alias(name))
    unwanted = older if older not in {None, live, target} else None
    swapped = {name: target, previous_alias(name): live, next_alias(name): unwanted}
    store.set_aliases(swapped)
    dropped = [unwanted] if unwanted is not None else []
    if not keep_old:
        dropped.append(live)
    for collection in dropped:
        store.drop(collection)
    return tuple(dropped)


def _report(
    name: str, store: Store, monitor: ThroughputMonitor, *, dropped: tuple[str, ...], rebuild: Rebuild | None = None
) -> Reindexed:
    aliases = store.aliases()
    return Reindexed(
        collection=name,
        uses=aliases[name],
        previous=aliases.get(previous_alias(name)),
        dropped=dropped,
        points=store.count(aliases[name]),
        seconds=round(monitor.elapsed(), 3),
        copied=dict(rebuild.copied) if rebuild else {},
        encoded=dict(rebuild.encoded) if rebuild else {},
        models=monitor.model_reports(),
        lease_events=monitor.lease_events,
    )
