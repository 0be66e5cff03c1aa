"""Documents that are gone from their source: finding them, and the brake."""

from __future__ import annotations

from collections.abc import Iterable

from ingest.errors import DeletionBrakeError
from ingest.store.contract import Condition, Store
from ingest.sync.spool import PendingDeletes

LISTED = 1000
"""Documents that a run stopped by the brake lists at most."""


def note_stored(store: Store, collection: str, source: str, deletes: PendingDeletes) -> None:
    """Notes what is stored of a source as its run begins: only that can be gone, not what another run adds meanwhile.

    Points that another tool wrote under the source's name are not ours to delete.
    """
    for point in store.scroll(collection, [Condition("source", "eq", source)], payload=["doc_id", "_ingest.doc_key"]):
        made_by_us = point.payload.get("_ingest")
        if isinstance(made_by_us, dict) and "doc_key" in made_by_us:
            deletes.add_stored(point.id, made_by_us["doc_key"], str(point.payload.get("doc_id")))


def is_braked(deletes: PendingDeletes, max_share: float) -> bool:
    """Whether a source would lose more than `max_share` (0 to 1) of its stored documents."""
    return deletes.count_gone_documents() > deletes.count_stored_documents() * max_share


def check_brake(gone_of: Iterable[tuple[str, PendingDeletes]], max_share: float) -> None:
    """Raises `DeletionBrakeError` if any source would lose more than `max_share` (0 to 1) of its stored documents."""
    for source, deletes in gone_of:
        if is_braked(deletes, max_share):
            gone, stored = deletes.count_gone_documents(), deletes.count_stored_documents()
            raise DeletionBrakeError(
                f"{gone} of the {stored} documents stored of {source} are gone from it, more than the allowed {max_share:.0%}: "
                "nothing was deleted; if this is meant, allow it with --max-delete",
                doc_ids=deletes.gone_documents(LISTED),
            )


def deletes_held_back(unidentified: int) -> str:
    """Why nothing is known to be gone: any stored document may be the one behind a record whose id cannot be read."""
    return f"no document was deleted as gone, since {unidentified} rejected records have no readable id: mend them and run again"
