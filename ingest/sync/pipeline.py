"""One source, or a part of one, read to its end: planned, encoded and handed to a writer. Nothing is deleted here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ingest.encode.contract import Model
from ingest.encode.ensemble import vector_bytes
from ingest.encode.runner import BatchRunner
from ingest.records import Rejected, Source, TokenLimit
from ingest.source.chunking import Chunker, ChunkingOptions
from ingest.store.contract import Condition, Store
from ingest.store.writer import Writer
from ingest.sync.account import Tally
from ingest.sync.effects import Failure, collect_effects, wanted_texts
from ingest.sync.plan import DeleteMode
from ingest.sync.prefetch import Prefetch
from ingest.sync.reading import PlannedDocument, Reader, Seen, Window
from ingest.sync.sizing import WindowSizing


def token_limits(models: Sequence[Model]) -> list[TokenLimit]:
    """The bounds a chunk must keep, of those models that have one."""
    return [limit for model in models if (limit := model.token_limit) is not None]


def model_fingerprints(models: Sequence[Model]) -> dict[str, str]:
    """Vector name → fingerprint of the model that makes it."""
    return {model.key: model.fingerprint for model in models}


def count_points(store: Store, collection: str, source: Source) -> int:
    """Points the store holds of one source."""
    return store.count(collection, [Condition("source", "eq", source.name)])


def _nothing(_documents: Sequence[PlannedDocument]) -> None:
    pass


@dataclass(slots=True)
class SourceRun:
    """One pass over one source, or a part of one.

    Attributes:
        tally: added to.
        reject: takes each rejected record, with the source's name before it.
        add_stale: takes points to delete once every source has ended without an error.
        announce: told of the documents of each window before anything of them is written.
        read: records the source has yielded so far.
        unidentified: rejected records whose id could not be read.
    """

    source: Source
    collection: str
    delete: DeleteMode
    chunking: ChunkingOptions
    store: Store
    models: Sequence[Model]
    runner: BatchRunner
    sizing: WindowSizing
    tally: Tally
    seen: Seen
    reject: Callable[[str, Rejected], None]
    add_stale: Callable[[Iterable[str]], None]
    announce: Callable[[Sequence[PlannedDocument]], None] = _nothing
    read: int = 0
    unidentified: int = 0

    def run(self, writer: Writer, stop: Callable[[], bool], *, known_empty: bool) -> None:
        """Reads to the end, or until `stop` says True after a window; everything there is goes to the writer."""
        reader = Reader(
            self.source,
            look_up=lambda keys: self.store.fingerprints(self.collection, keys),
            chunker=Chunker(token_limits(self.models), self.chunking),
            models=model_fingerprints(self.models),
            delete=self.delete,
            seen=self.seen,
            reject=self.reject,
            bounds=lambda: self.sizing.bounds,
            vector_bytes=vector_bytes(self.models),
            known_empty=known_empty,
        )
        with Prefetch(reader.windows(), stop=stop) as windows:
            for window in windows:
                self._process(window, writer)

    def _process(self, window: Window, writer: Writer) -> None:
        tally = self.tally
        tally.read += window.read
        self.read += window.read
        tally.unchanged += window.unchanged
        tally.rejected += window.rejected
        tally.chunks_reused += window.reused
        self.unidentified += window.unidentified
        if window.documents:
            encoded = self.runner.run(wanted_texts(window.documents, [model.key for model in self.models]))
            result = collect_effects(window.documents, encoded)
            for failure in result.failures:
                self._fail(failure)
            self.announce(result.documents)
            writer.submit(result.effects)
            self.add_stale(result.stale)
            tally.written += result.written
            tally.updated += result.updated
            tally.chunks_inserted += result.chunks_inserted
            tally.chunks_written += result.chunks_written
            tally.chunks_reused += result.chunks_reused
        self.sizing.observe(window)
        self.runner.monitor.log_documents(tally.read, tally.done)

    def _fail(self, failure: Failure) -> None:
        document = failure.document.document
        position = f"{document.position} chunk {failure.chunk}"
        self.reject(self.source.name, Rejected(position, failure.reason, document.text[:1000], document.id))
        self.runner.monitor.log_error(position, failure.reason)
        self.tally.rejected += 1
