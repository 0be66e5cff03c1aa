"""Documents that are gone from their source: finding them, and the brake."""

from __future__ import annotations

from ingest.errors import DeletionBrakeError
from ingest.store.contract import Condition, Store
from ingest.sync.spool import PendingDeletes, SeenDocuments

LISTED = 1000
"""Documents that a run stopped by the brake lists at most."""


def note_gone(store: Store, collection: str, source: str, seen: SeenDocuments, deletes: PendingDeletes) -> None:
    """Notes every stored point of this source whose document was not seen in it."""
    for point in store.scroll(collection, [Condition("source", "eq", source)], payload=["doc_id", "_ingest.doc_key"]):
        if point.payload["_ingest"]["doc_key"] not in seen:
            deletes.add_gone(point.id, point.payload["doc_id"])


def check_brake(source: str, deletes: PendingDeletes, *, kept: int, max_share: float) -> None:
    """Raises `DeletionBrakeError` if more than `max_share` (0 to 1) of the stored documents, `kept` ones and gone, are gone."""
    gone = deletes.count_gone_documents()
    if gone > (gone + kept) * max_share:
        raise DeletionBrakeError(
            f"{gone} of the {gone + kept} documents stored of {source} are gone from it, more than the allowed {max_share:.0%}: "
            "nothing was deleted; if this is meant, allow it with --max-delete",
            doc_ids=deletes.gone_documents(LISTED),
        )


def deletes_held_back(unidentified: int) -> str:
    """Why nothing is known to be gone: any stored document may be the one behind a record whose id cannot be read."""
    return f"no document was deleted as gone, since {unidentified} rejected records have no readable id: mend them and run again"
