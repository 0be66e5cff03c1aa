"""Blue-green reindexing: build a collection again beside the live one, and swap the two in one step.

    NAME            alias: the live collection, which is searched and written
    NAME__previous  alias: the live collection before the last swap, for a rollback
    NAME__next      alias: the collection being built, or one that is no longer needed
    NAME__swap      alias: the live collection, while it is about to be swapped; see `ingest.sync.in_use`

The collections behind the aliases are called `NAME__<8 hex digits>`. There is no other record: these names are enough to clean up
after a crash. Only a collection that was provably created for NAME, and that no other alias names, is changed or dropped; see
`ownership`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from ingest.encode.ensemble import Ensemble
from ingest.errors import (
    CollectionNotFoundError,
    ConfigurationError,
    ForeignCollectionError,
    ManifestMismatchError,
)
from ingest.parameters import checked, parse_boolean
from ingest.receipt import LeaseEvent, ModelReport
from ingest.records import StoredPoint
from ingest.reindex import vector_sets
from ingest.reindex.exclusive import NOTE, ExclusiveReindex
from ingest.reindex.filling import Filling, count_lacking
from ingest.reindex.rebuild import Rebuild, check_texts, pair_by_id
from ingest.reindex.swapping import Cleanup, catch_up, check_live
from ingest.store.contract import Manifest, Store, VectorSpec
from ingest.store.layout import kept_datatype
from ingest.store.schema import INGEST_FIELD, _normalize_collection_name, fingerprint_of, is_version_of, physical_name
from ingest.store.similarity import note_sigmas
from ingest.sync.job import Job
from ingest.sync.manifest import changed_canaries
from ingest.sync.ownership import (
    ADOPTED_FROM,
    check_aliases,
    next_alias,
    other_aliases,
    previous_alias,
    swap_alias,
)
from ingest.telemetry import ThroughputMonitor

logger = logging.getLogger(__name__)

Gate = Callable[[str, str], None]
"""A check of (live collection, new collection) that raises an `IngestError` to prevent the swap."""


@dataclass(frozen=True, slots=True)
class Reindexed:
    """The report of a reindex or a rollback.

    Attributes:
        collection: normalized name of the collection.
        stored_as: the live collection, to which the name points now.
        previous: the collection kept for a rollback.
        dropped: collections that were dropped.
        kept: collections that are no longer needed but were not dropped → the reason.
        previous_vectors: in place: the vectors before, to which a rollback returns; all of them are kept in the collection.
        dropped_vectors: named vectors that were dropped from the collection.
        points: points of the live collection.
        copied: vector name → number of points it was copied to in this run.
        encoded: vector name → number of points it was encoded for in this run.
    """

    collection: str
    stored_as: str
    previous: str | None
    dropped: tuple[str, ...]
    kept: Mapping[str, str]
    points: int
    seconds: float
    copied: Mapping[str, int] = field(default_factory=dict)
    encoded: Mapping[str, int] = field(default_factory=dict)
    models: tuple[ModelReport, ...] = ()
    lease_events: tuple[LeaseEvent, ...] = ()
    previous_vectors: tuple[str, ...] = ()
    dropped_vectors: tuple[str, ...] = ()


def reindex(
    job: Job,
    *,
    store: Store,
    ensemble: Ensemble,
    gate: Gate | None = None,
    keep_old: bool = True,
) -> Reindexed:
    """Build the collection of a job again, from its own points, and swap it in once it is complete and verified.

    Vectors of an unchanged model are copied. Repeat an interrupted reindex to continue it. The live collection is searchable all
    the time, and points written to it meanwhile are copied before the swap. A run that is still writing after the swap writes to
    the previous collection; the next run writes its changes to the new one.

    The new collection gets the payload indexes and settings of the live one, except for `job.options` that are not the defaults.

    Args:
        gate: called with the live and the new collection before the swap; raises to prevent it.
        keep_old: keep the previous collection for `roll_back`.

    Raises `ConfigurationError` before anything is created if a new model cannot take a stored chunk, if the collection has no
    alias, or if one of the aliases names a collection that was not created for this name; `ManifestMismatchError` if the job
    requires other chunks; `JobRunningError` if another reindex of the collection is under way. Raises what `gate` raises,
    `ModelError`, `LeaseError` and `StoreError` without having swapped.
    """
    checked("keep_old", parse_boolean, keep_old)
    monitor = ensemble.monitor
    monitor.start()
    name = _normalize_collection_name(job.collection, job.aliases)
    live = _live_collection(store, name)
    check_aliases(store, name)
    stored = store.manifest(live)
    wanted = new_manifest(job.manifest(ensemble.models), stored, name)
    cleanup = Cleanup(store, name)
    rebuild = None
    with ExclusiveReindex(store, name, live) as exclusive:
        check_live(store, name, live)
        if not has_same_contents(stored, wanted) or wanted.layout != stored.layout:
            rebuild = _build(
                job, stored, wanted, store=store, ensemble=ensemble, gate=gate, cleanup=cleanup, check=exclusive.check
            )
            cleanup.swap_unchanged(rebuild)
        cleanup.drop_abandoned(keep=None)
    if rebuild is not None and not keep_old:
        cleanup.drop(live)
    return report(name, store, monitor, cleanup, rebuild)


def _build(
    job: Job,
    stored: Manifest,
    wanted: Manifest,
    *,
    store: Store,
    ensemble: Ensemble,
    gate: Gate | None,
    cleanup: Cleanup,
    check: Callable[[], None],
) -> Rebuild:
    """Build the new collection beside the live one, and let it pass the gate. Nothing is swapped.

    `check`: raises if another reindex took over.
    """
    name, live = wanted.collection, stored.collection
    copied = [spec.name for spec in wanted.vectors if can_be_copied(spec, stored, wanted)]
    check_texts(store, live, [model for model in ensemble.models if model.key not in copied])

    target = _target_name(store, wanted, name)
    check()
    cleanup.drop_abandoned(keep=target)
    new = replace(wanted, collection=target)
    store.ensure(new, job.options, live)
    store.set_aliases({next_alias(name): target})
    store.write_manifest(new)
    store.defer_indexing(target)
    rebuild = Rebuild(store, live, target, manifest=wanted, copied=copied, ensemble=ensemble, bounds=job.bounds)
    catch_up(rebuild)
    check()
    store.finalize(target)
    rebuild.verify()
    if gate is not None:
        gate(live, target)
    check_live(store, name, live)
    check()
    catch_up(rebuild)
    store.ensure(new, job.options, live)  # its settings may have changed meanwhile
    store.update_notes(target, {key: note for key, note in store.notes(live).items() if key != NOTE})
    note_sigmas(store, target)
    check()
    return rebuild


def roll_back(collection: str, *, store: Store, aliases: Mapping[str, str] | None = None) -> Reindexed:
    """Swap a collection, or its vectors after a reindex in place, at once with those before. A second call swaps them back.

    Documents that changed since that swap have their old version until the next run. A collection that was adopted gives the
    name back to the one that it was made from; adopting that again takes it.

    Args:
        aliases: see `Job`.

    Raises `ConfigurationError` if no previous collection is kept, or an alias names a collection that was not created for this
    name.
    """
    name = _normalize_collection_name(collection, aliases)
    previous = store.aliases().get(previous_alias(name))
    if previous is None and (stored := store.manifest(name)).previous is not None:
        before = vector_sets.roll_back(stored)
        store.write_manifest(before)
        if lacking := count_lacking(store, before):
            logger.warning(
                "%d points of %s were written since and lack a vector that is searched again: the next run encodes it",
                lacking,
                name,
            )
        return report(name, store, ThroughputMonitor(), Cleanup(store, name))
    live = _live_collection(store, name)
    if previous is None:
        adopted_from = store.notes(live).get(ADOPTED_FROM)
        if adopted_from is None:
            raise ConfigurationError(
                f"no previous collection of {name} is kept, so it cannot be rolled back: reindex it with the models it had before"
            )
        store.set_aliases({name: adopted_from})
        return report(name, store, ThroughputMonitor(), Cleanup(store, name))
    check_aliases(store, name)
    store.set_aliases({name: previous, previous_alias(name): live, swap_alias(name): None})
    if differing := _count_differing(store, previous, live):
        logger.warning(
            "%d chunks of %s were written, changed or deleted since that swap: the next run of their sources writes them; what an"
            " app pushed must be pushed again",
            differing,
            name,
        )
    return report(name, store, ThroughputMonitor(), Cleanup(store, name))


def _count_differing(store: Store, one: str, other: str) -> int:
    """Return the number of points that only one of two collections has, or whose texts or payloads differ."""
    pairs = pair_by_id(store.scroll(one, payload=[INGEST_FIELD]), store.scroll(other, payload=[INGEST_FIELD]))
    return sum(_contents(left) != _contents(right) for left, right in pairs)


def _contents(point: StoredPoint | None) -> tuple[str, str] | None:
    made = None if point is None else fingerprint_of(point.id, point.payload)
    return None if made is None else (made.text_fp, made.payload_fp)


def _live_collection(store: Store, name: str) -> str:
    """Return the collection that the name points to. Raise `ConfigurationError` if the name is no alias and cannot be swapped."""
    live = store.aliases().get(name)
    if live is None:
        store.manifest(name)  # raises CollectionNotFoundError if there is none
        raise ConfigurationError(
            f"{name} is the name of a collection and no alias, so another collection cannot be swapped in: use ingest run SOURCE"
            f" and a new collection, and drop {name} when it is no longer searched"
        )
    return live


def new_manifest(requested: Manifest, stored: Manifest, name: str) -> Manifest:
    """Return the manifest of the new collection. Raise `ManifestMismatchError` if it requires other chunks."""
    if dict(requested.chunking) != dict(stored.chunking):
        raise ManifestMismatchError(
            f"the chunks of the collection {name} were made with {dict(stored.chunking)}, and other chunks"
            f" ({dict(requested.chunking)}) require the source: use the same chunks (--chunk-tokens, --chunk-overlap), or use"
            " ingest run SOURCE and a new collection"
        )
    names = {spec.name for spec in requested.vectors}
    weights = {vector: weight for vector, weight in stored.weights.items() if vector in names}
    return replace(
        requested,
        raw_name=stored.raw_name,
        weights={**weights, **requested.weights},
        layout={**stored.layout, **requested.layout},
    )


def _content_key(manifest: Manifest) -> tuple[object, object]:
    """Return everything in a manifest that determines the contents of the collection."""
    vectors = {spec.name: (spec.shape, spec.fingerprint) for spec in manifest.vectors}
    return vectors, dict(manifest.chunking)


def has_same_contents(one: Manifest, other: Manifest) -> bool:
    """Return whether collections with these manifests have the same contents: neither differs in models, nor their endpoints."""
    if _content_key(one) != _content_key(other):
        return False
    others = {spec.name: spec for spec in other.vectors}
    return not any(changed_canaries(spec, others[spec.name]) for spec in one.vectors)


def can_be_copied(spec: VectorSpec, stored: Manifest, wanted: Manifest) -> bool:
    """Return whether a vector can be copied to the new collection. All have unit norm, so the distance does not matter.

    Dense vectors that the old collection stores in fewer bits are encoded again for one that stores them in others.
    """
    if spec.kind != "sparse" and not kept_datatype(stored.layout, wanted.layout):
        return False
    return any(
        (old.name, old.kind, old.dim, old.fingerprint) == (spec.name, spec.kind, spec.dim, spec.fingerprint)
        and not changed_canaries(spec, old)
        for old in stored.vectors
    )


def _target_name(store: Store, wanted: Manifest, name: str) -> str:
    """Return the name of the new collection: one that an earlier reindex with the same models left, else an unused one."""
    base = physical_name(wanted)
    names = (base if number == 1 else f"{base}_{number}" for number in count(1))
    return next(target for target in names if _can_be_built(store, target, wanted, name))


def _can_be_built(store: Store, target: str, wanted: Manifest, name: str) -> bool:
    """Return whether a reindex of `name` may create a collection, or change its points because it is not in use."""
    aliases = store.aliases()
    if target in aliases or other_aliases(aliases, target, name):
        return False
    try:
        manifest = store.manifest(target)
    except CollectionNotFoundError:
        return True
    except ForeignCollectionError:
        return False
    if not is_version_of(manifest, name) or not has_same_contents(manifest, wanted) or manifest.layout != wanted.layout:
        return False
    if manifest != manifest.searched:  # it has other vectors, too
        return False
    return target in {aliases.get(next_alias(name)), aliases.get(previous_alias(name))} or store.count(target) == 0


def report(
    name: str,
    store: Store,
    monitor: ThroughputMonitor,
    cleanup: Cleanup,
    made: Rebuild | Filling | None = None,
    *,
    dropped_vectors: tuple[str, ...] = (),
) -> Reindexed:
    """Return the report of what was done, with what is stored now."""
    aliases = store.aliases()
    live, previous = aliases.get(name, name), aliases.get(previous_alias(name))
    return Reindexed(
        collection=name,
        stored_as=live,
        previous=previous,
        previous_vectors=() if previous else _previous_vectors(store, live),
        dropped=tuple(cleanup.dropped),
        dropped_vectors=dropped_vectors,
        kept=cleanup.kept,
        points=store.count(live),
        seconds=round(monitor.elapsed(), 3),
        copied=dict(made.copied) if isinstance(made, Rebuild) else {},
        encoded=dict(made.encoded) if made else {},
        models=monitor.model_reports(),
        lease_events=monitor.lease_events,
    )


def _previous_vectors(store: Store, live: str) -> tuple[str, ...]:
    """Return the names of the vectors that a rollback searches: none if another tool made the collection."""
    try:
        kept = store.manifest(live).previous
    except ForeignCollectionError:
        return ()
    return tuple(spec.name for spec in kept.vectors) if kept else ()
