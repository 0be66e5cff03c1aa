"""Deletes of a run: stale chunks, documents missing from their source, the brake, soft deletes and bringing them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from typing import NamedTuple

from ingest.errors import DeletionBrakeError
from ingest.identity import doc_key, is_uuid
from ingest.parameters import checked, format_share, optional, parse_text, parse_texts
from ingest.records import Payload, StoredPoint
from ingest.store.contract import Condition, Store
from ingest.store.request_sizes import batches
from ingest.store.schema import DOC_KEY_FIELD, INGEST_FIELD, SOFT_DELETED_FIELD, with_soft_delete, without_soft_delete
from ingest.store.writer import Effects, Writer
from ingest.sync.account import Tally
from ingest.sync.in_use import collections_to_write
from ingest.sync.plan import DeleteMode, MissingAction, plan_missing_document
from ingest.sync.run_state import BATCH_POINTS, PendingDeletes
from ingest.telemetry import ThroughputMonitor

MAX_LISTED = 1000
"""Maximum number of documents listed by a run that the brake stopped."""

MAX_NAMED = 5
"""Maximum number of documents named in the error message of the brake."""

_NAMED_CHARACTERS = 100
"""Maximum number of characters of each of those ids."""

ALWAYS_ALLOWED = 5
"""Number of documents of a source that one run may always delete, unless the allowed share is 0."""


def note_stored(store: Store, collection: str, source: str, deletes: PendingDeletes, *, folder: str | None = None) -> None:
    """Note the points stored of a source as its run begins: only they can be missing, not what another run adds meanwhile.

    Points that another tool wrote under the source's name are not ours to delete. `folder`: only the files in this folder of it.
    """
    fields = ["doc_id", DOC_KEY_FIELD, SOFT_DELETED_FIELD]
    conditions = [Condition("source", "eq", source), *([] if folder is None else [Condition("folders", "eq", folder)])]
    for point in store.scroll(collection, conditions, payload=fields):
        if is_signed(point):
            note_point(point, source, deletes)


def is_signed(point: StoredPoint) -> bool:
    """Return whether this package wrote the point, that is, whether its payload has a document key, valid or not."""
    own = point.payload.get(INGEST_FIELD)
    return isinstance(own, dict) and isinstance(own.get("doc_key"), str)


def note_point(point: StoredPoint, source: str, deletes: PendingDeletes) -> None:
    """Note one signed point of the source. If its document key is not a UUID, the key is made from its document id."""
    own, doc_id = point.payload[INGEST_FIELD], str(point.payload.get("doc_id"))
    key = own["doc_key"] if is_uuid(own["doc_key"]) else doc_key(source, doc_id)
    deletes.add_stored(point.id, key, doc_id, parse_soft_deleted_at(own.get("soft_deleted_at")))


def find_missing(
    deletes: PendingDeletes, seen: Container[str], kept: Collection[str], *, now: float, delete_after: float | None
) -> None:
    """Decide what to do with each stored document that the source, which has ended, does not have.

    A document whose id begins with one of the texts `kept` is left alone: a rejected record may stand for it.
    `now`: seconds since 1970. `delete_after`: see `plan_missing_document`.
    """
    deletes.add_missing(seen, kept, partial(plan_missing_document, now=now, delete_after=delete_after))


class Ended(NamedTuple):
    """A source that was read to its end, and its missing documents.

    Attributes:
        source: the name of the source.
        read: number of records that it yielded, rejected ones included.
    """

    source: str
    read: int
    deletes: PendingDeletes


@dataclass(slots=True)
class SourceDeletes:
    """The deletes of one source in a run: noted before it is read, decided and carried out once every source has ended.

    Attributes:
        source: the name of the source.
        seen: keys of the documents that the source has.
        pending: points to delete, and the stored documents.
        read: number of records that the source yielded, rejected ones included.
        unidentified: text with which ids begin → rejected records with such an id that could not be read.
        moved_folder: former path of a folder in the source. Its documents go, if all are missing, in any mode but `none`.
    """

    source: str
    collection: str
    delete: DeleteMode
    delete_after: float | None
    store: Store
    monitor: ThroughputMonitor
    seen: Container[str]
    pending: PendingDeletes
    read: int = 0
    unidentified: Counter[str] = field(default_factory=Counter)
    moved_folder: str | None = None

    @property
    def ended(self) -> Ended:
        """The source as the brake judges it, after `find_missing`."""
        return Ended(self.source, self.read, self.pending)

    @property
    def deletes_missing(self) -> bool:
        """Whether missing documents go: all of the source, or those of a folder that moved."""
        return self.delete == DeleteMode.FULL or (self.delete == DeleteMode.INCREMENTAL and self.moved_folder is not None)

    def note_stored(self) -> None:
        """Note the stored documents. Only they can be missing later, not what another run adds meanwhile."""
        if self.deletes_missing:
            folder = None if self.delete == DeleteMode.FULL else self.moved_folder
            note_stored(self.store, self.collection, self.source, self.pending, folder=folder)

    def find_missing(self, now: float) -> None:
        """Find the stored documents that the source, which has ended without an error, no longer has.

        `now`: seconds since 1970.
        """
        if self.read == 0:
            self.monitor.log_error(self.source, nothing_read())
        if self.deletes_missing and (self.read or self.delete == DeleteMode.FULL):
            if self.unidentified:
                self.monitor.log_error(self.source, deletes_held_back(self.unidentified))
            find_missing(self.pending, self.seen, self.unidentified, now=now, delete_after=self.delete_after)

    def _folder_remains(self) -> bool:
        """Return whether the source still has documents of the folder that was said to have moved."""
        return self.pending.count_newly_missing_documents() < self.pending.count_live_documents()

    def delete_stale(self, writer: Writer, tally: Tally) -> None:
        """Delete the stale chunks of documents that the source has, and restore the ones that were soft-deleted.

        Runs before the brake, which guards only missing documents. All writes are acknowledged by now, so no payload that is read
        here is older than one still on its way; the same holds in `delete_missing`.
        """
        for ids in self.pending.points_that_came_back(self.seen):
            writer.submit(Effects(payloads=payloads_to_restore(self.store, self.collection, ids)))
        for ids in self.pending.stale_points():
            writer.submit(Effects(deletes=ids))
            tally.chunks_deleted += len(ids)

    def delete_missing(self, writer: Writer, now: float, tally: Tally) -> None:
        """Soft-delete the newly missing documents and purge those whose grace period has passed. Runs after the brake.

        The brake does not guard a folder that moved: it was named, and nothing of it goes if the source still has one of its
        documents.
        """
        if self.delete != DeleteMode.FULL and self.moved_folder is not None and self._folder_remains():
            self.monitor.log_error(self.source, f"the folder {self.moved_folder} still has documents, so none of it was deleted")
            return
        for ids in self.pending.points_to_soft_delete():
            writer.submit(Effects(payloads=payloads_to_soft_delete(self.store, self.collection, ids, now=now)))
        for ids in self.pending.points_of_missing(MissingAction.PURGE):
            writer.submit(Effects(deletes=ids))
            tally.chunks_deleted += len(ids)
        tally.soft_deleted += self.pending.count_missing_documents(MissingAction.SOFT_DELETE)
        tally.deleted += self.pending.count_missing_documents(MissingAction.PURGE)


def is_braked(missing: int, live: int, max_share: Fraction, *, read: int) -> bool:
    """Return whether the brake keeps a source from losing `missing` of its `live` documents.

    Up to `ALWAYS_ALLOWED` documents may always be deleted, and at most the share `max_share` (0 to 1) of the live ones. With a
    share of 0, none may be. A source that yielded nothing (`read` is 0) is more likely broken than empty: its documents may be
    deleted only with a share of 1.
    """
    if read == 0 or max_share == 0:
        return missing > 0 and max_share < 1
    return missing > ALWAYS_ALLOWED and missing > live * max_share


def check_brake(sources: Iterable[Ended], max_share: Fraction) -> None:
    """Raise `DeletionBrakeError` if `is_braked` says so of any source.

    Soft-deleting a document counts like deleting it. A document that an earlier run soft-deleted no longer counts: it is neither
    live nor newly missing.
    """
    for source, read, deletes in sources:
        missing, live = deletes.count_newly_missing_documents(), deletes.count_live_documents()
        if is_braked(missing, live, max_share, read=read):
            doc_ids = deletes.newly_missing_documents(MAX_LISTED)
            raise DeletionBrakeError(brake_message(source, missing, live, max_share, doc_ids, read=read), doc_ids=doc_ids)


def brake_message(source: str, missing: int, live: int, max_share: Fraction, doc_ids: Sequence[str], *, read: int) -> str:
    """Return what the brake says, on one line: how many documents would go, the first of them, and how to allow it."""
    named = ", ".join(repr(doc_id[:_NAMED_CHARACTERS]) for doc_id in doc_ids[:MAX_NAMED])
    more = f" and {missing - MAX_NAMED:,} more" if missing > MAX_NAMED else ""
    if read == 0:
        return (
            f"{source} yielded no record, and {missing:,} documents stored of it would go, so no document was deleted or"
            f" soft-deleted: {named}{more}; if it is meant to be empty, allow it once with --max-delete 100%"
        )
    floor = f" (and more than {ALWAYS_ALLOWED} documents)" if max_share > 0 else ""
    return (
        f"{missing:,} of the {live:,} documents stored of {source} are missing from it, more than the allowed"
        f" {format_share(max_share)}{floor}, so no document was deleted or soft-deleted: {named}{more}; if this is meant, allow"
        " it once with --max-delete, such as --max-delete 100%"
    )


def nothing_read() -> str:
    """Return the warning about a source that yielded no record at all."""
    return "yielded no record: check the location, the patterns and the file name suffixes"


def deletes_held_back(unidentified: Mapping[str, int]) -> str:
    """Return which documents do not count as missing: each may belong to a rejected record whose id cannot be read.

    `unidentified`: text with which ids begin → number of those records.
    """
    whose = ""
    if "" not in unidentified:
        named = " or ".join(repr(prefix[:_NAMED_CHARACTERS]) for prefix in sorted(unidentified)[:MAX_NAMED])
        more = f" or {len(unidentified) - MAX_NAMED:,} more" if len(unidentified) > MAX_NAMED else ""
        whose = f" whose id begins with {named}{more}"
    number = sum(unidentified.values())
    records = "1 rejected record has" if number == 1 else f"{number:,} rejected records have"
    return f"no document{whose} was deleted or soft-deleted, since {records} no readable id: correct the source and run again"


def payloads_to_soft_delete(store: Store, collection: str, points: Sequence[str], *, now: float) -> dict[str, Payload]:
    """Return the points' payloads, soft-deleted at `now`, point id → payload. Reads only."""
    soft_deleted_at = datetime.fromtimestamp(now, UTC).isoformat()
    return {point.id: with_soft_delete(point.payload, soft_deleted_at) for point in store.retrieve(collection, points)}


def payloads_to_restore(store: Store, collection: str, points: Sequence[str]) -> dict[str, Payload]:
    """Return the payloads of those points that are still soft-deleted, restored, point id → payload. Reads only."""
    soft_deleted = (point for point in store.retrieve(collection, points) if "soft_deleted_at" in point.payload[INGEST_FIELD])
    return {point.id: without_soft_delete(point.payload) for point in soft_deleted}


def undelete(
    store: Store,
    collection: str,
    sources: Sequence[str] = (),
    doc_ids: Sequence[str] = (),
) -> int:
    """Bring back soft-deleted documents, of these sources or of all, with these ids or with any, and return their number.

    Search finds them again at once. The next `full` run that still misses them in their source soft-deletes them again, with a
    new grace period; one that is under way may still purge them. Raises `CollectionNotFoundError`, `StoreError`.
    """
    sources, doc_ids = checked("sources", parse_texts, sources), checked("doc_ids", parse_texts, doc_ids)
    conditions = [Condition(SOFT_DELETED_FIELD, "exists", value=True)]
    if sources:
        conditions.append(Condition("source", "any", tuple(sources)))
    if doc_ids:
        conditions.append(Condition("doc_id", "any", tuple(doc_ids)))
    restored: set[str] = set()
    for stored_as in collections_to_write(store, collection):
        with Writer(store, stored_as) as writer:
            for points in batches(store.scroll(stored_as, conditions), lambda _: 1, BATCH_POINTS, BATCH_POINTS):
                writer.submit(Effects(payloads={point.id: without_soft_delete(point.payload) for point in points}))
                restored.update(point.payload[INGEST_FIELD]["doc_key"] for point in points)
    return len(restored)


def delete_documents(store: Store, collection: str, doc_ids: Sequence[str], source: str | None = None) -> int:
    """Delete documents by id, of one source or of all, and return their number. Unknown ids are ignored.

    Points of other tools are kept. A sync of a source that still has such a document writes it again. Raises
    `CollectionNotFoundError`, `StoreError`.
    """
    ids, name = checked("doc_ids", parse_texts, doc_ids), checked("source", optional(parse_text), source)
    conditions = [Condition("doc_id", "any", ids), *([] if name is None else [Condition("source", "eq", name)])]
    deleted: set[str] = set()
    for stored_as in collections_to_write(store, collection):
        with Writer(store, stored_as) as writer:
            stored = store.scroll(stored_as, conditions, payload=["doc_id", DOC_KEY_FIELD]) if ids else iter(())
            for points in batches(filter(is_signed, stored), lambda _: 1, BATCH_POINTS, BATCH_POINTS):
                writer.submit(Effects(deletes=[point.id for point in points]))
                deleted.update(point.payload[INGEST_FIELD]["doc_key"] for point in points)
    return len(deleted)


def parse_soft_deleted_at(soft_deleted_at: object) -> float | None:
    """Return the time of a soft delete in seconds since 1970, or None if it cannot be read: a run then sets it again."""
    try:
        return datetime.fromisoformat(soft_deleted_at).timestamp() if isinstance(soft_deleted_at, str) else None
    except ValueError:
        return None
