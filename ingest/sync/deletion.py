"""Documents that are gone from their source: finding them, the brake, and the tombstones they have until they are deleted."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial

from ingest.errors import DeletionBrakeError
from ingest.parameters import checked, format_share, parse_texts
from ingest.records import Payload, StoredPoint, doc_key, is_uuid
from ingest.store.contract import Condition, Store
from ingest.store.schema import DOC_KEY_FIELD, GONE_FIELD, INGEST_FIELD, with_tombstone, without_tombstone
from ingest.store.writer import Effects, Writer, batches
from ingest.sync.plan import fate_of_gone
from ingest.sync.spool import TOGETHER, PendingDeletes

LISTED = 1000
"""Documents that a run stopped by the brake lists at most."""


def note_stored(store: Store, collection: str, source: str, deletes: PendingDeletes) -> None:
    """Notes what is stored of a source as its run begins: only that can be gone, not what another run adds meanwhile.

    Points that another tool wrote under the source's name are not ours to delete.
    """
    fields = ["doc_id", DOC_KEY_FIELD, GONE_FIELD]
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
    deletes.add_stored(point.id, key, doc_id, tombstone_seconds(made.get("gone_since")))


def find_gone(deletes: PendingDeletes, seen: Container[str], *, now: float, delete_after: float | None) -> None:
    """Decides what becomes of each document that was stored and that the source, which has ended, does not have.

    `now`: seconds since 1970. `delete_after`: see `fate_of_gone`.
    """
    deletes.mark_gone(seen, partial(fate_of_gone, now=now, delete_after=delete_after))


def is_braked(deletes: PendingDeletes, max_share: Fraction) -> bool:
    """Whether a source would lose more than `max_share` (0 to 1) of its live documents.

    Hiding a document loses it as much as deleting it does. One that has its tombstone from an earlier run is lost already: it is
    neither among the live nor among the newly gone, and its deletion needs no second leave.
    """
    return deletes.count_newly_gone_documents() > deletes.count_live_documents() * max_share


def check_brake(gone_of: Iterable[tuple[str, PendingDeletes]], max_share: Fraction) -> None:
    """Raises `DeletionBrakeError` if any source would lose more than `max_share` (0 to 1) of its live documents."""
    for source, deletes in gone_of:
        if is_braked(deletes, max_share):
            gone, live = deletes.count_newly_gone_documents(), deletes.count_live_documents()
            raise DeletionBrakeError(
                f"{gone} of the {live} documents stored of {source} are gone from it, more than the allowed "
                f"{format_share(max_share)}: nothing was deleted or hidden; if this is meant, allow it with --max-delete"
                " (max_delete)",
                doc_ids=deletes.newly_gone_documents(LISTED),
            )


def deletes_held_back(unidentified: int) -> str:
    """Why nothing is known to be gone: any stored document may be the one behind a record whose id cannot be read."""
    return (
        f"no document was deleted or hidden as gone, since {unidentified} rejected records have no readable id:"
        " mend them and run again"
    )


def payloads_to_mark(store: Store, collection: str, points: Sequence[str], *, now: float) -> dict[str, Payload]:
    """Point id → its payload with a tombstone. Reads only.

    The time is rounded up to a second, so that nothing is deleted a moment early.
    """
    gone_since = datetime.fromtimestamp(math.ceil(now), UTC).isoformat()
    return {point.id: with_tombstone(point.payload, gone_since) for point in store.retrieve(collection, points)}


def payloads_to_restore(store: Store, collection: str, points: Sequence[str]) -> dict[str, Payload]:
    """Point id → its payload without a tombstone, of those that still have one. Reads only."""
    marked = (point for point in store.retrieve(collection, points) if "gone_since" in point.payload[INGEST_FIELD])
    return {point.id: without_tombstone(point.payload) for point in marked}


def undelete(
    store: Store,
    collection: str,
    sources: Sequence[str] = (),
    doc_ids: Sequence[str] = (),
) -> int:
    """Lifts the tombstones of documents, of these sources or of all, with these ids or with any. Gives how many documents.

    Search finds them again at once. The next `full` run that still misses them in their source marks them anew, from then on; one
    that is under way may delete what it found due before this. Raises `CollectionNotFoundError`, `StoreError`.
    """
    sources, doc_ids = checked("sources", parse_texts, sources), checked("doc_ids", parse_texts, doc_ids)
    conditions = [Condition(GONE_FIELD, "exists", value=True)]
    if sources:
        conditions.append(Condition("source", "any", tuple(sources)))
    if doc_ids:
        conditions.append(Condition("doc_id", "any", tuple(doc_ids)))
    lifted: set[str] = set()
    with Writer(store, collection) as writer:
        for points in batches(store.scroll(collection, conditions), lambda _: 1, TOGETHER, TOGETHER):
            writer.submit(Effects(payloads={point.id: without_tombstone(point.payload) for point in points}))
            lifted.update(point.payload[INGEST_FIELD]["doc_key"] for point in points)
    return len(lifted)


def tombstone_seconds(gone_since: object) -> float | None:
    """Seconds since 1970 of a tombstone; None for what is none, which a run then replaces."""
    try:
        return datetime.fromisoformat(gone_since).timestamp() if isinstance(gone_since, str) else None
    except ValueError:
        return None
