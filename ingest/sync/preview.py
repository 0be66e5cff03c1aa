"""A preview of a run: plan every document and change nothing."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from ingest.encode.contract import Model
from ingest.encode.ensemble import fingerprints, vector_bytes
from ingest.encode.http.model import HttpModel
from ingest.errors import CollectionNotFoundError
from ingest.records import Rejected, Source
from ingest.source.reading_report import merged, report_of
from ingest.store.contract import Store
from ingest.sync.copying import StoredVectors, reusable_vectors, stored_vectors, vectors_to_copy
from ingest.sync.deletion import find_missing, is_braked, note_stored
from ingest.sync.effects import Copies, copied_vectors, wanted_texts
from ingest.sync.job import Job
from ingest.sync.manifest import check_manifest
from ingest.sync.pipeline import count_points
from ingest.sync.plan import DeleteMode, MissingAction
from ingest.sync.reading import Reader, Window
from ingest.sync.run import check_run
from ingest.sync.run_state import PendingDeletes, SeenDocuments
from ingest.sync.versions import Check, StoredVersions

MAX_REJECTS = 20
"""Maximum number of rejected records in a preview; all of them are counted."""


@dataclass(slots=True)
class Preview:
    """A preview of a run, counted in documents or, where the name says so, in chunks.

    Attributes:
        exists: whether the collection has points.
        added, updated, unchanged: documents that the run would write, write again, and skip.
        skipped_unread: unchanged documents that were not read, because their version is the stored one.
        chunks: model key → number of chunks to encode.
        copied: chunks with a vector that would be copied from a stored point of the same text. Texts that the run itself stores
            may save it more.
        payload_only: chunks of which only the payload would change.
        deleted: documents that `full` would delete now.
        stale_chunks: chunks that would be deleted, of those documents or because of an edit.
        soft_deleted: documents that `full` would soft-delete now.
        in_grace_period: documents soft-deleted before, whose grace period has not passed.
        unidentified: text with which ids begin → rejected records with such an id that could not be read. `full` deletes no
            document with such an id.
        brake: whether the deletion brake would stop the run.
        rejects: the first rejected records.
        vector_bytes: bytes of the vectors of one chunk.
        rates: model key → chunks per second that earlier runs measured on this machine.
        costs: model key → what encoding would cost about, for models with a `price_per_million_tokens`, in its currency.
        skipped, types, notes: as in `Receipt`.
    """

    collection: str
    exists: bool
    chunks: dict[str, int]
    vector_bytes: int
    read: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped_unread: int = 0
    rejected: int = 0
    unidentified: dict[str, int] = field(default_factory=dict)
    deleted: int = 0
    soft_deleted: int = 0
    in_grace_period: int = 0
    stale_chunks: int = 0
    payload_only: int = 0
    copied: int = 0
    brake: bool = False
    rejects: list[Rejected] = field(default_factory=list)
    rates: Mapping[str, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
    """Read the sources to their ends, plan every document, and return the preview. Changes nothing.

    Raises what `run_job` raises before it encodes: `ConfigurationError`, `ManifestMismatchError`, `SourceError`, `StoreError`.
    """
    sources = check_run(job, sources)
    wanted = job.manifest(models)
    try:
        stored = store.manifest(wanted.collection)
        exists = store.count(wanted.collection) > 0
        if exists:
            check_manifest(wanted, stored)
    except CollectionNotFoundError:
        exists = False
    preview = Preview(
        wanted.collection, exists, dict.fromkeys((model.key for model in models), 0), vector_bytes(models, job.chunking.tokens)
    )
    to_copy = reusable_vectors(store, job.reuse, wanted, job.aliases)
    if exists:
        to_copy = vectors_to_copy(store, wanted.collection, wanted, to_copy)
    vectors = stored_vectors(store, wanted.collection, to_copy, models)
    for source in sources:
        _preview_source(preview, job, source, vectors, models, now=now())
    found = merged(map(report_of, sources))
    preview.skipped, preview.types, preview.notes = dict(found.skipped), found.types, tuple(found.notes)
    return preview


def _preview_source(
    preview: Preview, job: Job, source: Source, vectors: StoredVectors, models: Sequence[Model], *, now: float
) -> None:
    store = vectors.store
    points = count_points(store, preview.collection, source) if preview.exists else 0

    def reject(_source: str, rejected: Rejected) -> None:
        if len(preview.rejects) < MAX_REJECTS:
            preview.rejects.append(rejected)

    with (
        SeenDocuments() as seen,
        PendingDeletes() as deletes,
        StoredVersions(store, preview.collection, source.name, points, fingerprints(models)) as versions,
    ):
        if job.delete == DeleteMode.FULL and points:
            note_stored(store, preview.collection, source.name, deletes)
        read_before, unidentified = preview.read, Counter[str]()
        reader = Reader(
            source,
            look_up=lambda keys: store.fingerprints(preview.collection, keys),
            models=models,
            chunking=job.chunking,
            delete=job.delete,
            seen=seen,
            reject=reject,
            bounds=lambda: job.bounds,
            known_empty=points == 0,
            versions=versions if job.check is Check.VERSION else None,
        )
        for window in reader.windows():
            _add_window(preview, window, vectors.find(window.documents), models, deletes)
            unidentified += window.unidentified
        preview.unidentified = dict(unidentified + Counter(preview.unidentified))
        find_missing(deletes, seen, unidentified, now=now, delete_after=job.delete_after)
        preview.deleted += deletes.count_missing_documents(MissingAction.PURGE)
        preview.soft_deleted += deletes.count_missing_documents(MissingAction.SOFT_DELETE)
        preview.in_grace_period += deletes.count_missing_documents(MissingAction.KEEP)
        missing, live = deletes.count_newly_missing_documents(), deletes.count_live_documents()
        preview.brake |= is_braked(missing, live, job.max_delete, read=preview.read - read_before)
        going = chain(deletes.stale_points(), deletes.points_of_missing(MissingAction.PURGE))
        preview.stale_chunks += sum(map(len, going))


def _add_window(preview: Preview, window: Window, copies: Copies, models: Sequence[Model], deletes: PendingDeletes) -> None:
    preview.read += window.read
    preview.unchanged += window.unchanged
    preview.skipped_unread += window.unread
    preview.rejected += window.rejected
    _add_costs(preview, window, models, copies)
    for planned in window.documents:
        added = planned.plan.status == "written"
        preview.added += added
        preview.updated += not added
        deletes.add_stale(planned.plan.stale)
        for action, fingerprint in zip(planned.plan.actions, planned.fingerprints, strict=True):
            preview.payload_only += action.write == "payload"
            copied = copied_vectors(action, fingerprint, copies)
            preview.copied += bool(copied)
            for vector in action.vectors:
                preview.chunks[vector] += vector not in copied


def _add_costs(preview: Preview, window: Window, models: Sequence[Model], copies: Copies) -> None:
    """Add the price of the texts that endpoints would encode. A run sends each text of a window once."""
    remote = [model for model in models if isinstance(model, HttpModel)]
    if not remote:
        return
    texts = wanted_texts(window.documents, [model.key for model in models], copies)
    for model in remote:
        price = model.price(list(dict.fromkeys(texts[model.key])))
        if price is not None:
            preview.costs[model.key] = preview.costs.get(model.key, 0.0) + price
