"""One source, or a part of one, read to its end: planned, encoded and handed to a sink. Deletes nothing.

reader thread          calling thread                 the sink's thread
source → plan  ──►  queue  ──►  encode  ──►  queue  ──►  write
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ingest.encode.contract import Encoder, Model
from ingest.encode.ensemble import Ensemble
from ingest.records import Fingerprint, Rejected, Source
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import Condition, Store
from ingest.store.writer import Writer
from ingest.sync.account import Tally
from ingest.sync.effects import NO_COPIES, Copies, Failure, WindowResult, collect_effects, wanted_texts
from ingest.sync.plan import DeleteMode
from ingest.sync.prefetch import Prefetch
from ingest.sync.reading import PlannedDocument, Reader, Seen, Window
from ingest.sync.sizing import WindowSizing
from ingest.sync.versions import StoredVersions


class Sink(Protocol):
    """A destination of encoded documents: a Qdrant collection, or the shards of an export."""

    def look_up(self, doc_keys: Sequence[str]) -> Sequence[Fingerprint]:
        """Return the fingerprints of the stored points of these documents. Called from the reader's thread."""
        ...

    def write(self, result: WindowResult) -> None:
        """Take over what a window adds and changes. It may be written later; an error may be raised by a later call."""
        ...


@dataclass(frozen=True, slots=True)
class CollectionSink:
    """A collection as a sink.

    Attributes:
        add_stale: receives the ids of stale points, to be deleted once every source has ended without an error.
    """

    store: Store
    collection: str
    writer: Writer
    add_stale: Callable[[Iterable[str]], None]

    def look_up(self, doc_keys: Sequence[str]) -> Sequence[Fingerprint]:
        return self.store.fingerprints(self.collection, doc_keys)

    def write(self, result: WindowResult) -> None:
        self.writer.submit(result.effects)
        self.add_stale(result.stale)


def count_points(store: Store, collection: str, source: Source) -> int:
    """Return the number of stored points of one source."""
    return store.count(collection, [Condition("source", "eq", source.name)])


@dataclass(slots=True)
class SourceRun:
    """One pass over one source, or over a part of one.

    Attributes:
        chunking: how documents are cut.
        delete: what may be deleted, which decides whether a document has stale points.
        sizing: bounds of the windows, shared by the sources of a run.
        tally: the run's account, which this pass adds to.
        seen: documents of the source that were read.
        reject: receives each rejected record, with the source's name before it.
        check: a check of each model before it encodes.
        find_copies: returns the stored vectors of texts that documents need encoded. Called from the reader's thread.
        versions, notes_versions: see `Reader`.
        add_marks: receives the marks of files of records, see `PendingMarks`.
        read: number of records read so far.
        unidentified: text with which ids begin → rejected records with such an id that could not be read.
    """

    source: Source
    chunking: ChunkingOptions
    delete: DeleteMode
    ensemble: Ensemble
    sink: Sink
    sizing: WindowSizing
    tally: Tally
    seen: Seen
    reject: Callable[[str, Rejected], None]
    check: Callable[[Model, Encoder], None] | None = None
    find_copies: Callable[[Sequence[PlannedDocument]], Copies] = lambda _documents: NO_COPIES
    versions: StoredVersions | None = None
    notes_versions: bool = False
    add_marks: Callable[[Mapping[str, str | None]], None] = lambda _marks: None
    read: int = field(default=0, init=False)
    unidentified: Counter[str] = field(default_factory=Counter, init=False)
    _bytes_before: int = field(default=0, init=False)

    def run(self, stop: Callable[[], bool], *, known_empty: bool) -> None:
        """Read to the end, or until `stop` returns True after a window, and hand everything to the sink.

        `known_empty`: whether nothing of the source is stored, so that the sink need not be asked.
        """
        reader = Reader(
            self.source,
            look_up=self.sink.look_up,
            models=self.ensemble.models,
            chunking=self.chunking,
            delete=self.delete,
            seen=self.seen,
            reject=self.reject,
            bounds=lambda: self.sizing.bounds,
            known_empty=known_empty,
            versions=self.versions,
            notes_versions=self.notes_versions,
        )
        self._bytes_before = self.ensemble.monitor.position
        planned = ((window, self.find_copies(window.documents)) for window in reader.windows())
        with Prefetch(planned, stop=stop) as windows:
            for window, copies in windows:
                self._process(window, copies)

    def _process(self, window: Window, copies: Copies) -> None:
        tally = self.tally
        tally.read += window.read
        tally.unchanged += window.unchanged
        tally.unread += window.unread
        tally.rejected += window.rejected
        tally.chunks_reused += window.reused
        self.read += window.read
        self.unidentified += window.unidentified
        self.ensemble.monitor.position = self._bytes_before + window.position
        self.ensemble.monitor.log_documents(tally.read, tally.done)
        if window.documents:
            wanted = wanted_texts(window.documents, [model.key for model in self.ensemble.models], copies)
            encoded = self.ensemble.runner.run(wanted, check=self.check)
            result = collect_effects(window.documents, encoded, copies)
            for failure in result.failures:
                self._fail(failure)
            self.sink.write(result)
            tally.add_result(result)
        self.add_marks(window.marks)
        self.sizing.observe(window)
        self.ensemble.monitor.log_documents(tally.read, tally.done)

    def _fail(self, failure: Failure) -> None:
        document = failure.document.document
        position = f"{document.position} chunk {failure.chunk}"
        self.reject(self.source.name, Rejected(position, failure.reason, document.text[:1000], document.id))
        self.ensemble.monitor.log_error(position, failure.reason)
        self.tally.rejected += 1
