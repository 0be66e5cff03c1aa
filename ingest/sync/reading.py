"""The first stage: from documents to planned windows. Reads the source and the stored fingerprints, and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ingest.encode.contract import Model
from ingest.encode.ensemble import fingerprints, token_limits, vector_bytes
from ingest.errors import SourceError
from ingest.identity import doc_key
from ingest.parameters import normalize, parse_integer
from ingest.records import (
    Chunk,
    Document,
    FileBegin,
    FileEnd,
    Fingerprint,
    Payload,
    Rejected,
    Source,
    Unread,
    Versioned,
    VersionedFile,
)
from ingest.source.chunking import Chunker, ChunkingOptions
from ingest.source.reading_report import report_of
from ingest.source.usable import usable_records
from ingest.store.schema import build_payload
from ingest.sync.fingerprints import DocumentDigest, digest_document, fingerprint_chunks
from ingest.sync.plan import DeleteMode, DocumentPlan, is_unchanged, plan_document
from ingest.sync.record_files import FileReading, Mark, marks_of
from ingest.sync.versions import StoredVersions, has_version, versioned

BATCH_DOCUMENTS = 256
"""Number of documents looked up and chunked together, with one round trip to the store and one tokenizer call."""

BATCH_CHARACTERS = 4_000_000
"""A batch also ends at this number of characters."""


LookUp = Callable[[Sequence[str]], Sequence[Fingerprint]]
"""Document keys → fingerprints of their stored points."""

_Record = Document | Rejected | Unread
_Item = _Record | FileReading


class Seen(Protocol):
    """The documents that the source has, by key. See `SeenDocuments` for an implementation."""

    def see(self, doc_keys: Collection[str]) -> set[str]: ...

    def protect(self, doc_key: str) -> None: ...


class PlannedDocument(NamedTuple):
    """A document that is not known to be unchanged, with its plan.

    `chunks`, `payloads` (without `_ingest`) and `fingerprints` are parallel to `plan.actions`.
    """

    document: Document
    plan: DocumentPlan
    chunks: tuple[Chunk, ...]
    payloads: tuple[Payload, ...]
    fingerprints: tuple[Fingerprint, ...]


@dataclass(slots=True)
class Window:
    """The documents that are planned, encoded and written together, and the counts of those that require no work.

    Attributes:
        documents: whole documents that require work; of an unchanged one, only its version is written.
        read: number of documents read from the source, rejected ones included.
        unread: unchanged documents that were not read.
        unidentified: text with which ids begin → rejected records with such an id that could not be read.
        reused: chunks of unchanged documents.
        chunks: chunks of `documents`.
        marks: point id → mark to write once this window and those before it are acknowledged. See `FileReading.marks`.
        bytes: memory of `documents`: texts, chunks and vectors.
        position: bytes of the source's files up to the end of this window, see `Source`.
    """

    documents: list[PlannedDocument] = field(default_factory=list)
    read: int = 0
    unchanged: int = 0
    unread: int = 0
    rejected: int = 0
    unidentified: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    chunks: int = 0
    bytes: int = 0
    position: int = 0
    marks: dict[str, str | None] = field(default_factory=dict)

    def add(self, planned: PlannedDocument, *, vector_bytes: int) -> None:
        """Add a document. `vector_bytes` is the size of one chunk's vectors."""
        self.unchanged += planned.plan.status == "unchanged"
        if not planned.plan.has_work:
            self.reused += len(planned.chunks)
        else:
            self.documents.append(planned)
            self.chunks += len(planned.chunks)
            # Each text is in memory twice: as a whole and in chunks.
            self.bytes += 2 * len(planned.document.text) + len(planned.chunks) * vector_bytes


@dataclass(frozen=True, slots=True)
class WindowBounds:
    """The bounds of a window. It ends with the document that reaches one of them.

    The bounds of chunks and documents are those of the first window: `ingest.sync.sizing` raises them during the run.

    Attributes:
        chunks: chunks to encode.
        documents: documents read, unchanged ones included.
        bytes: memory of texts, chunks and vectors.
    """

    chunks: int = 2048
    documents: int = 8192
    bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        for name in ("chunks", "documents", "bytes"):
            normalize(self, name, parse_integer, least=1)


class Reader:
    """A reader that turns a source into planned windows in bounded memory. Use it from one thread.

    Args:
        source: source to read; its `name` is part of every id.
        look_up: returns the fingerprints of the stored points of documents.
        models: models of the ensemble; they determine the size of chunks and the fingerprints of vectors.
        chunking: options of the chunker.
        delete: what the run may delete.
        seen: records the documents read.
        reject: receives the name of the source and each rejected record.
        bounds: returns the current bounds, which may grow while the source is read.
        known_empty: True if no points of this source are stored, so no fingerprints are looked up.
        versions: stored versions of documents, so that unchanged ones are not read. None: everything is read.
        notes_versions: whether the versions of the documents that are read become part of the plan.
    """

    def __init__(
        self,
        source: Source,
        *,
        look_up: LookUp,
        models: Sequence[Model],
        chunking: ChunkingOptions,
        delete: DeleteMode,
        seen: Seen,
        reject: Callable[[str, Rejected], None],
        bounds: Callable[[], WindowBounds],
        known_empty: bool,
        versions: StoredVersions | None = None,
        notes_versions: bool = False,
    ) -> None:
        self._source = source
        self._look_up = look_up
        self._chunker = Chunker(token_limits(models), chunking)
        self._models = fingerprints(models)
        self._delete = delete
        self._seen = seen
        self._reject_record = reject
        self._bounds = bounds
        self._vector_bytes = vector_bytes(models, chunking.tokens)
        self._known_empty = known_empty
        self._versions = None if known_empty else versions
        self._notes_versions = notes_versions
        self._unread: dict[str, tuple[str, int]] = {}  # document id → its key, and its number of chunks
        self._unread_files: dict[str, Mark] = {}  # by what the ids of their documents begin with
        self._files: dict[str, FileReading] = {}  # of documents that are not planned yet, by id
        self._chunkers: dict[str, str] = {}
        self._window = Window()

    def windows(self) -> Iterator[Window]:
        """Yield the windows of the source to its end. Raises the errors of the source, the chunker and the store."""
        for batch in _batches(usable_records(self._records(), self._source)):
            records = [item for item in batch if not isinstance(item, FileReading)]
            self._window.read += len(records)
            self._window.position = getattr(self._source, "position", 0)
            for planned in self._plan_batch(records):
                self._window.add(planned, vector_bytes=self._vector_bytes)
                if self._is_full():
                    yield self._take_window()
            for file in batch:
                if isinstance(file, FileReading):
                    self._window.marks.update(file.marks(self._chunker_fingerprint))
            if self._is_full():
                yield self._take_window()
        yield self._take_window()

    def _records(self) -> Iterator[_Item]:
        read_changed, read_files = (getattr(self._source, name, None) for name in ("read_changed", "read_files"))
        if callable(read_files) and (self._versions is not None or self._notes_versions):
            return self._of_files(read_files(self._unchanged_files))
        if self._versions is None or not callable(read_changed):
            return self._source.read()
        records: Iterator[_Record] = read_changed(self._unchanged)
        return records

    def _of_files(self, items: Iterable[_Record | FileBegin | FileEnd]) -> Iterator[_Item]:
        """Yield the records of files, and each file of records that was read to its end after its last record."""
        file: FileReading | None = None
        for item in items:
            if isinstance(item, FileBegin):
                file = FileReading(item)
            elif isinstance(item, FileEnd):
                if file is not None:
                    file.end(item)
                    yield file
                file = None
            elif isinstance(item, Unread) and (mark := self._unread_files.pop(item.id, None)) is not None:
                mark.report_to(report_of(self._source))
                yield from self._unread_documents(item)
            else:
                if file is not None and isinstance(item, Document) and str(item.id).startswith(file.begin.id):
                    self._files[item.id] = file
                elif file is not None:
                    file.usable = False
                yield item

    def _unread_documents(self, file: Unread) -> Iterator[Unread]:
        """Yield each document of a file of records that was not read."""
        if self._versions is not None:
            for doc_id, key, chunks in self._versions.documents_of(file.id):
                self._unread[doc_id] = (key, chunks)
                yield Unread(doc_id, file.position)

    def _unchanged_files(self, files: Sequence[Versioned | VersionedFile]) -> set[str]:
        """Return the ids of the documents and of the files of records that need not be read. See `_unchanged`."""
        if self._versions is None:
            return set()
        documents = [each for each in files if isinstance(each, Versioned)]
        unchanged = self._unchanged(documents) if documents else set()
        for each in files:
            if isinstance(each, VersionedFile):
                mark = self._versions.find_file(each.id, each.version, self._chunker_fingerprint)
                if mark is not None:
                    self._unread_files[each.id] = mark
                    unchanged.add(each.id)
        return unchanged

    def _unchanged(self, documents: Sequence[Versioned]) -> set[str]:
        """Return the ids of the documents that need not be read. Called by the source while it is read."""
        if self._versions is None:
            return set()
        keys = {doc_key(self._source.name, each.id): each for each in documents}
        if len(keys) < len(documents):  # two documents have one id: reading them tells which of them counts
            return set()
        unchanged = set()
        for key, (stored, chunks) in self._versions.find(keys).items():
            if has_version(stored, keys[key].version, self._chunker_fingerprint):
                doc_id = keys[key].id
                self._unread[doc_id] = (key, chunks)
                unchanged.add(doc_id)
        return unchanged

    def _is_full(self) -> bool:
        window, bounds = self._window, self._bounds()
        return window.chunks >= bounds.chunks or window.bytes >= bounds.bytes or window.read >= bounds.documents

    def _take_window(self) -> Window:
        window, self._window = self._window, Window(position=self._window.position)
        return window

    def _plan_batch(self, batch: Sequence[_Record]) -> Iterator[PlannedDocument]:
        """Yield the documents of a batch that are not known to be unchanged."""
        fresh = self._accept(batch)
        stored = self._stored(fresh)
        changed: dict[str, tuple[Document, DocumentDigest]] = {}
        for key, document in fresh.items():
            digests = digest_document(document, self._chunker_fingerprint(document.format))
            version = self._version_of(document)
            if (points := stored.get(key)) and is_unchanged(digests.whole, points, self._models, self._delete, version):
                if (file := self._files.pop(document.id, None)) is not None:
                    current = [point for point in points if point.doc_fp == digests.whole]
                    file.add(key, digests.whole, document.format, [point.id for point in current], marks_of(current))
                self._window.unchanged += 1
                self._window.reused += sum(
                    point.doc_fp == digests.whole for point in points
                )  # the others are points of an older version
            else:
                changed[key] = (document, digests)
        chunked = self._chunker.chunk([document for document, _ in changed.values()], list(changed))
        for (key, (document, digests)), chunks in zip(changed.items(), chunked, strict=True):
            file = self._files.pop(document.id, None)
            if isinstance(chunks, Rejected):
                self._reject(chunks)
                if file is not None:
                    file.usable = False
            else:
                if file is not None:
                    gone = dict.fromkeys(marks_of(stored.get(key, [])), "")  # at least with the payloads that are replaced
                    file.add(key, digests.whole, document.format, [chunk.id for chunk in chunks], gone)
                yield self._plan_document(document, key, digests, chunks, stored.get(key, []))

    def _accept(self, batch: Sequence[_Record]) -> dict[str, Document]:
        """Return document key → document for the usable records that were read. Count the unread ones, and reject the others."""
        fresh: dict[str, Document | Unread] = {}
        again: list[Document | Unread] = []
        for record in batch:
            if isinstance(record, Rejected):
                self._reject(record)
            elif (key := self._key_of(record)) in fresh:
                again.append(record)
            else:
                fresh[key] = record
        again.extend(fresh.pop(key) for key in self._seen.see(fresh))
        for record in again:
            if (file := self._files.get(record.id)) is not None:
                file.usable = False
            reason = f"the id {record.id!r} came before in this run: ids must be unique within a source"
            text = record.text[:200] if isinstance(record, Document) else ""
            self._reject(Rejected(record.position, reason, text, record.id))
        for record in fresh.values():
            if isinstance(record, Unread):
                self._skip(record)
        return {key: record for key, record in fresh.items() if isinstance(record, Document)}

    def _key_of(self, record: Document | Unread) -> str:
        known = self._unread.get(record.id) if isinstance(record, Unread) else None
        return doc_key(self._source.name, record.id) if known is None else known[0]

    def _skip(self, record: Unread) -> None:
        """Count a document that was not read. Raise `SourceError` if it is not known to be unchanged."""
        try:
            _, chunks = self._unread.pop(record.id)
        except KeyError:
            raise SourceError(
                f"{self._source.name} did not read {record.id!r}, which is not known to be unchanged: read everything with"
                " --check content"
            ) from None
        self._window.unchanged += 1
        self._window.unread += 1
        self._window.reused += chunks

    def _version_of(self, document: Document) -> str | None:
        """Return the version to store with a document, or None if it has none or versions are not noted."""
        if not self._notes_versions:
            return None
        return versioned(document.version, document.format, self._chunker_fingerprint)

    def _plan_document(
        self, document: Document, key: str, digests: DocumentDigest, chunks: Sequence[Chunk], stored: Sequence[Fingerprint]
    ) -> PlannedDocument:
        payloads = tuple([build_payload(document, chunk, self._source.name) for chunk in chunks])
        fingerprints = fingerprint_chunks(chunks, key, digests, self._models, self._version_of(document))
        plan = plan_document(fingerprints, stored, self._delete)
        return PlannedDocument(document, plan, tuple(chunks), payloads, fingerprints)

    def _stored(self, fresh: Mapping[str, Document]) -> dict[str, list[Fingerprint]]:
        stored: dict[str, list[Fingerprint]] = {}
        if fresh and not self._known_empty:
            for point in self._look_up(list(fresh)):
                stored.setdefault(point.doc_key, []).append(point)
        return stored

    def _chunker_fingerprint(self, document_format: str) -> str:
        known = self._chunkers.get(document_format)
        if known is None:
            known = self._chunkers[document_format] = self._chunker.fingerprint(document_format)
        return known

    def _reject(self, rejected: Rejected) -> None:
        self._reject_record(self._source.name, rejected)
        self._window.rejected += 1
        if rejected.unidentified:
            self._window.unidentified[rejected.id_prefix] += 1
        if rejected.doc_id is not None:
            self._seen.protect(doc_key(self._source.name, rejected.doc_id))


def _batches(records: Iterable[_Item]) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    characters = 0
    for record in records:
        batch.append(record)
        characters += len(record.text) if isinstance(record, Document) else 0
        if len(batch) >= BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
