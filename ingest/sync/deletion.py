"""Documents missing from their source: finding them, the brake, soft-deleting them and bringing them back."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from typing import NamedTuple

from ingest.errors import DeletionBrakeError
from ingest.parameters import checked, format_share, parse_texts
from ingest.records import Payload, StoredPoint, doc_key, is_uuid
from ingest.store.contract import Condition, Store
from ingest.store.request_sizes import batches
from ingest.store.schema import DOC_KEY_FIELD, INGEST_FIELD, SOFT_DELETED_FIELD, with_soft_delete, without_soft_delete
from ingest.store.writer import Effects, Writer
from ingest.sync.plan import plan_missing_document
from ingest.sync.run_state import TOGETHER, PendingDeletes

LISTED = 1000
"""Documents that a run stopped by the brake lists at most."""

NAMED = 5
"""Of them, the error message names the first few."""

_NAMED_CHARACTERS = 100
"""Of each of those ids."""

ALWAYS_ALLOWED = 5
"""Documents of a source that may go in one run, whatever share of it they are, unless the share is 0."""


def note_stored(store: Store, collection: str, source: str, deletes: PendingDeletes) -> None:
    """Note the points stored of a source as its run begins: only they can be missing, not what another run adds meanwhile.

    Points that another tool wrote under the source's name are not ours to delete.
    """
    fields = ["doc_id", DOC_KEY_FIELD, SOFT_DELETED_FIELD]
    for point in store.scroll(collection, [Condition("source", "eq", source)], payload=fields):
        if is_signed(point):
            note_point(point, source, deletes)


def is_signed(point: StoredPoint) -> bool:
    """Return whether this package wrote the point: its payload names a document key, be it right or wrong."""
    made = point.payload.get(INGEST_FIELD)
    return isinstance(made, dict) and isinstance(made.get("doc_key"), str)


def note_point(point: StoredPoint, source: str, deletes: PendingDeletes) -> None:
    """Note one signed point of the source. Where its document key is no key, its document id says whose it is."""
    made, doc_id = point.payload[INGEST_FIELD], str(point.payload.get("doc_id"))
    key = made["doc_key"] if is_uuid(made["doc_key"]) else doc_key(source, doc_id)
    deletes.add_stored(point.id, key, doc_id, parse_soft_deleted_at(made.get("soft_deleted_at")))


def find_missing(deletes: PendingDeletes, seen: Container[str], *, now: float, delete_after: float | None) -> None:
    """Decide what to do with each stored document that the source, which has ended, does not have.

    `now`: seconds since 1970. `delete_after`: see `plan_missing_document`.
    """
    deletes.add_missing(seen, partial(plan_missing_document, now=now, delete_after=delete_after))


class Ended(NamedTuple):
    """A source that was read to its end.

    Attributes:
        source: its name.
        read: records that it yielded, rejected ones included.
        deletes: after `find_missing`.
    """

    source: str
    read: int
    deletes: PendingDeletes


def is_braked(missing: int, live: int, max_share: Fraction, *, read: int) -> bool:
    """Return whether the brake keeps a source from losing `missing` of its `live` documents.

    Up to `ALWAYS_ALLOWED` documents may always go; of more, no more than `max_share` (0 to 1). With a share of 0 none may go. A
    source that yielded nothing (`read` is 0) is more likely broken than empty: only a share of 1 lets its documents go.
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
            doc_ids = deletes.newly_missing_documents(LISTED)
            raise DeletionBrakeError(brake_message(source, missing, live, max_share, doc_ids, read=read), doc_ids=doc_ids)


def brake_message(source: str, missing: int, live: int, max_share: Fraction, doc_ids: Sequence[str], *, read: int) -> str:
    """Return what the brake says, on one line: how many documents would go, the first of them, and how to allow it."""
    named = ", ".join(repr(doc_id[:_NAMED_CHARACTERS]) for doc_id in doc_ids[:NAMED])
    more = f" and {missing - NAMED:,} more" if missing > NAMED else ""
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


def deletes_held_back(unidentified: int) -> str:
    """Return why no document counts as missing: any stored document may belong to a record whose id cannot be read."""
    return (
        f"no document was deleted or soft-deleted, since {unidentified} rejected records have no readable id:"
        " mend them and run again"
    )


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
    lifted: set[str] = set()
    with Writer(store, collection) as writer:
        for points in batches(store.scroll(collection, conditions), lambda _: 1, TOGETHER, TOGETHER):
            writer.submit(Effects(payloads={point.id: without_soft_delete(point.payload) for point in points}))
            lifted.update(point.payload[INGEST_FIELD]["doc_key"] for point in points)
    return len(lifted)


def parse_soft_deleted_at(soft_deleted_at: object) -> float | None:
    """Return the time of a soft delete in seconds since 1970, or None if it cannot be read: a run then sets it again."""
    try:
        return datetime.fromisoformat(soft_deleted_at).timestamp() if isinstance(soft_deleted_at, str) else None
    except ValueError:
        return None
