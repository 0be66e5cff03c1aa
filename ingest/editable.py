"""A collection whose documents are written, deleted and brought back one by one, without reading their source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ingest.encode.contract import Encoder, Model
from ingest.encode.ensemble import EncodingOptions, Ensemble
from ingest.errors import ConfigurationError, IngestError
from ingest.parameters import checked, parse_text
from ingest.receipt import Receipt
from ingest.records import Document
from ingest.searchable import Duration, SearchableCollection
from ingest.source.memory import Record, records_source
from ingest.source.sampling import SampledSources
from ingest.store.contract import CollectionInfo, Manifest
from ingest.sync.deletion import delete_documents, undelete
from ingest.sync.ownership import check_spelling, find_droppable
from ingest.sync.probe import VectorProbe
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.sync.stored_sources import Forgotten, forget_source


@dataclass(frozen=True, slots=True)
class _Encoding:
    """The models that encode written documents, which stay loaded from one call to the next.

    Attributes:
        options: the options they were opened with.
        check: compares them with the stored vectors, once. None if there were none.
        closing: offloads them.
    """

    options: EncodingOptions
    ensemble: Ensemble
    check: Callable[[Model, Encoder], None] | None
    closing: ExitStack

    def suits(self, options: EncodingOptions, stored: Manifest | None) -> bool:
        """Return whether these are still the models of the collection, which may have been rebuilt meanwhile."""
        return self.options == options and stored is not None and self.ensemble.fingerprints == stored.fingerprints


class EditableCollection(SearchableCollection):
    """A collection that can be searched, and edited document by document."""

    _opened: _Encoding | None = None

    def upsert(self, documents: Record | Iterable[Record], *, source: str, rejects: str | Path | None = None) -> Receipt:
        """Write documents that an app has just saved, so that search finds them at once, and return the account of it.

        They are written as a run of their source writes them, so its next run finds them unchanged. Other documents of the source
        stay. The models stay loaded until `close`.

        Args:
            documents: documents or mappings, or a single one. Each replaces the stored document of the same id.
            source: the name of their source, which is part of every id: that of the run that yields the same documents.
            rejects: the rejects file. None: `rejects/NAME.pushed.jsonl` in the state folder.

        Raises `ConfigurationError` for other arguments, and what `sync` raises.
        """
        name = checked("source", parse_text, source)
        path = self._rejects_path(rejects, f"{self.name}.pushed")
        records = list(_records(documents))
        if not records:
            raise ConfigurationError("documents: there is none to write")
        sampled = SampledSources([records_source(records, name=name)])

        def write(options: EncodingOptions) -> Receipt:
            encoding = self._encoding_of_documents(options, sampled.texts)
            with RejectsFile(path) as file:
                return run_job(
                    self._job(self._stored()),
                    sampled.sources,
                    store=self.store,
                    ensemble=encoding.ensemble,
                    rejects=file,
                    pushed=True,
                    check=encoding.check,
                )

        while True:
            before = self._stored()
            try:
                receipt = self._encoding.or_in_float32(write, repeatable=True)
            except IngestError:
                if not self._was_reindexed(before):
                    raise
            else:
                if not self._was_reindexed(before):
                    return receipt

    def _was_reindexed(self, before: Manifest | None) -> bool:
        """Return whether the collection has other vectors than `before`, or is another one: what was written may not be in it."""
        now = self._stored()
        if before is None or now is None:
            return False
        return (now.collection, now.fingerprints) != (before.collection, before.fingerprints)

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

    def _encoding_of_documents(self, options: EncodingOptions, texts: Callable[[], Sequence[str]]) -> _Encoding:
        """Return the models that encode written documents: those of the last call, if they are still those of the collection."""
        stored = self._stored()
        if self._opened is not None and self._opened.suits(options, stored):
            return self._opened
        if self._opened is not None:
            before, self._opened = self._opened, None
            before.closing.close()
        closing = self._closing.enter_context(ExitStack())
        found = self._proven_encoding(stored, options, texts)
        ensemble = closing.enter_context(self._ensemble(stored, found, self._monitor))
        check = None if stored is None else VectorProbe(self.store, stored.collection).check
        self._opened = _Encoding(options, ensemble, check, closing)
        return self._opened


def _records(documents: object) -> Iterable[Record]:
    """Return documents as `upsert` takes them. Raises `ConfigurationError`."""
    if isinstance(documents, Document | Mapping):
        return [documents]
    if isinstance(documents, str | bytes) or not isinstance(documents, Iterable):
        raise ConfigurationError(
            f"documents: a {type(documents).__name__} is no document: give a Document, a mapping, or several of them"
        )
    return documents
