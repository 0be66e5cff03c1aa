"""A collection whose documents are deleted, brought back and forgotten without reading their source, and that can be dropped."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.searchable import Duration, SearchableCollection
from ingest.store.contract import CollectionInfo
from ingest.sync.deletion import delete_documents, undelete
from ingest.sync.ownership import check_spelling, find_droppable
from ingest.sync.stored_sources import Forgotten, forget_source


class EditableCollection(SearchableCollection):
    """A collection that can be searched, and edited document by document."""

    def undelete(self, *, sources: Sequence[str] = (), doc_ids: Sequence[str] = ()) -> int:
        """Bring back soft-deleted documents, of these sources and ids or of all, and return how many."""
        return undelete(self.store, self.name, sources, doc_ids)

    def delete(self, doc_ids: Sequence[str], *, source: str | None = None) -> int:
        """Delete documents by id, of one source or of all, and return how many. See `delete_documents`."""
        return delete_documents(self.store, self.name, doc_ids, source)

    def forget(self, source: str, *, delete_after: Duration | None = None) -> Forgotten:
        """Delete all documents of a source by its name, or soft-delete them first. See `forget_source`."""
        return forget_source(self.store, self.name, source, delete_after=delete_after)

    def droppable(self) -> CollectionInfo:
        """Return the stored collection that `drop` would delete. Raises as `find_droppable`."""
        check_spelling(self._raw_name, self.name)
        return find_droppable(self.store, self.name)

    def drop(self) -> CollectionInfo:
        """Delete the collection and everything in it, and return what it was. Raises as `find_droppable`."""
        info = self.droppable()
        self.store.drop(info.name)
        return info
