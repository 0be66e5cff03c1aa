"""What a run would do, found out without doing any of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from ingest.encode.contract import Model
from ingest.encode.ensemble import vector_bytes
from ingest.errors import CollectionNotFoundError
from ingest.records import Rejected, Source
from ingest.store.contract import Store
from ingest.sync.deletion import find_missing, is_braked, note_stored
from ingest.sync.job import Job
from ingest.sync.manifest import check_manifest
from ingest.sync.ownership import check_name
from ingest.sync.pipeline import count_points
from ingest.sync.plan import DeleteMode, MissingAction
from ingest.sync.reading import Reader
from ingest.sync.run_state import PendingDeletes, SeenDocuments
from ingest.sync.sources import check_sources

LISTED_REJECTS = 20
"""Rejects a preview shows; the rest are counted."""


@dataclass(slots=True)
class Preview:
    """Documents, unless it says chunks.

    Attributes:
        chunks: model key → chunks it would encode.
        payload_only: chunks whose payload alone would change.
        deleted: documents that `full` would delete now.
        stale_chunks: chunks that would be deleted, of those documents or because of an edit.
        soft_deleted: documents that `full` would soft-delete now.
        in_grace_period: documents soft-deleted before, whose grace period has not passed.
        unidentified: rejected records without a readable id; while there are any, `full` deletes no document.
        brake: True if the deletion brake would stop the run.
        vector_bytes: bytes of the vectors of one chunk.
        rates: model key → chunks per second that earlier runs measured on this machine.
    """

    collection: str
    exists: bool
    read: int
    added: int
    updated: int
    unchanged: int
    rejected: int
    unidentified: int
    deleted: int
    soft_deleted: int
    in_grace_period: int
    stale_chunks: int
    payload_only: int
    chunks: dict[str, int]
    brake: bool
    rejects: list[Rejected]
    vector_bytes: int
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def estimate(self) -> Estimate:
        """Time to encode `chunks` at the measured `rates`."""
        return estimate(self.chunks, self.rates)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time that the models take, one after another. Reading and writing go on meanwhile.

    Attributes:
        seconds: None if the rate of a model is not known.
        unmeasured: keys of the models whose rate is not known.
    """

    seconds: float | None
    unmeasured: tuple[str, ...]


def estimate(chunks: Mapping[str, int], rates: Mapping[str, float]) -> Estimate:
    """Return the estimate for chunks per model key, from the chunks per second of each model."""
    needed = {model: count for model, count in chunks.items() if count}
    if unmeasured := tuple(model for model in needed if model not in rates):
        return Estimate(None, unmeasured)
    return Estimate(round(math.fsum(count / rates[model] for model, count in needed.items()), 1), ())


def preview_job(
    job: Job,
    sources: Sequence[Source],
    *,
    store: Store,
    models: Sequence[Model],
    now: Callable[[], float] = time.time,
) -> Preview:
    """Reads the sources to the end and plans every document; changes nothing anywhere.

    Raises what `run_job` would before encoding: `ConfigurationError`, `ManifestMismatchError`, `SourceError`, `StoreError`.
    """
    sources = check_sources(sources, deletes_missing=job.delete == DeleteMode.FULL)
    wanted = job.manifest(models)
    check_name(wanted.collection)
    try:
        stored = store.manifest(wanted.collection)
        exists = store.count(wanted.collection) > 0
        if exists:
            check_manifest(wanted, stored)
    except CollectionNotFoundError:
        exists = False
    keys = {model.key: 0 for model in models}
    preview = Preview(
        wanted.collection,
        exists,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        keys,
        brake=False,
        rejects=[],
        vector_bytes=vector_bytes(models),
    )
    for source in sources:
        _preview_source(preview, job, source, store, models, now=now())
    return preview


def _preview_source(preview: Preview, job: Job, source: Source, store: Store, models: Sequence[Model], *, now: float) -> None:
    known_empty = not preview.exists or count_points(store, preview.collection, source) == 0

    def reject(_source: str, rejected: Rejected) -> None:
        if len(preview.rejects) < LISTED_REJECTS:
            preview.rejects.append(rejected)

    with SeenDocuments() as seen, PendingDeletes() as deletes:
        if job.delete == DeleteMode.FULL and not known_empty:
            note_stored(store, preview.collection, source.name, deletes)
        read = unidentified = 0
        reader = Reader(
            source,
            look_up=lambda keys: store.fingerprints(preview.collection, keys),
            models=models,
            chunking=job.chunking,
            delete=job.delete,
            seen=seen,
            reject=reject,
            bounds=lambda: job.bounds,
            known_empty=known_empty,
        )
        for window in reader.windows():
            read += window.read
            preview.unchanged += window.unchanged
            preview.rejected += window.rejected
            unidentified += window.unidentified
            for planned in window.documents:
                added = planned.plan.status == "written"
                preview.added += added
                preview.updated += not added
                deletes.add_stale(planned.plan.stale)
                for action in planned.plan.actions:
                    preview.payload_only += action.write == "payload"
                    for column in action.columns:
                        preview.chunks[column] += 1
        preview.read += read
        preview.unidentified += unidentified
        if not unidentified:
            find_missing(deletes, seen, now=now, delete_after=job.delete_after)
        preview.deleted += deletes.count_missing_documents(MissingAction.PURGE)
        preview.soft_deleted += deletes.count_missing_documents(MissingAction.SOFT_DELETE)
        preview.in_grace_period += deletes.count_missing_documents(MissingAction.KEEP)
        missing, live = deletes.count_newly_missing_documents(), deletes.count_live_documents()
        preview.brake |= is_braked(missing, live, job.max_delete, read=read)
        going = chain(deletes.stale_points(), deletes.points_of_missing(MissingAction.PURGE))
        preview.stale_chunks += sum(map(len, going))
