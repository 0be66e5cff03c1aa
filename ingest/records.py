"""The records that rooms exchange: frozen, slotted, with units.

Text offsets are characters, 0-based, half-open. Times are seconds. Sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from ingest.context import in_context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    DenseMatrix = NDArray[np.float32]
    """`(n, dim) float32`, C-contiguous, unit norm per row."""

Metadata = Mapping[str, Any]
"""JSON-representable values under string keys; belongs to the user and is filterable as `metadata.<key>`."""

RAW_LIMIT = 4096
"""Maximum bytes of a rejected record in the rejects file."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is stored of the file of a document, for filters. It does not decide whether the document has changed.

    Attributes:
        path: its path in the folder that was read, or its name.
        size: bytes, compressed if it is; None if the file system does not tell.
        modified: when it was changed last (ISO 8601, UTC); None if the file system does not tell.
    """

    path: str
    size: int | None = None
    modified: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """A part of a document that its source has cut already.

    Attributes:
        start, end: offsets in the text of the document; characters, half-open.
        metadata: of its chunks, in place of the document's.
    """

    start: int
    end: int
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a source.

    Attributes:
        id: unique within the source and stable between runs.
        text: not empty, no NUL, no lone surrogates.
        title: encoded as context in front of the text of every chunk.
        metadata: the user's own fields.
        format: how to split it: `text`, `markdown`, or `code:<language>`.
        position: its origin, for people: `path:line`, `path`, `table row 12`.
        url: address of the document, or None.
        pages: number and start (offset in `text`) of each page, in the order of the text; empty without pages.
        anchors: name (the fragment of a URL) and start of each place that a link can name, in the order of the text.
        first_line: number of the line of its file on which the text begins, from 1; None if its lines are not those of a file.
        file: facts about the file that the document is, or None.
        version: changes whenever the document may have changed, and is known without reading it; None if unknown. See `Unread`.
        parts: the parts that become chunks, in order; together they cover the text, apart from white space. A part that is too
            large for a model is cut again. Empty: the whole text is cut.
    """

    id: str
    text: str
    title: str | None = None
    metadata: Metadata = field(default_factory=dict)
    format: str = "text"
    position: str = ""
    url: str | None = None
    pages: tuple[tuple[int, int], ...] = ()
    anchors: tuple[tuple[str, int], ...] = ()
    first_line: int | None = None
    file: FileFacts | None = field(default=None, compare=False)
    parts: tuple[DocumentPart, ...] = ()
    version: str | None = field(default=None, compare=False)


class Versioned(NamedTuple):
    """A document that a source has, before it is read: its id and its version."""

    id: str
    version: str


@dataclass(frozen=True, slots=True)
class Unread:
    """A document that the source has and did not read, because its version is the stored one."""

    id: str
    position: str


class VersionedFile(NamedTuple):
    """A file of records that a source has, before it is read.

    Attributes:
        id: what the ids of its documents begin with, and those of no other documents of the source.
    """

    id: str
    version: str


@dataclass(frozen=True, slots=True)
class FileBegin:
    """A file of records is read from here on. It had this version before it was opened. `id`: see `VersionedFile`."""

    id: str
    version: str


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The file that began was read to its end, and its version has not changed meanwhile.

    Attributes:
        types, notes: what reading it found out, see `ReadingReport`.
    """

    id: str
    types: Mapping[str, str]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be used: kept in the rejects file, never dropped silently.

    Attributes:
        position: file and line, or another way to find the record.
        reason: one sentence.
        raw: the original record, at most `RAW_LIMIT` bytes.
        doc_id: the document's id, or None if it cannot be read; protects the stored document from deletion.
        impossible_id: whether the id is one that no document can have, too long or with characters that no store accepts.
        id_prefix: the text with which an id that cannot be read begins; protects all stored documents with such an id.
    """

    position: str
    reason: str
    raw: str = ""
    doc_id: str | None = None
    impossible_id: bool = False
    id_prefix: str = ""

    @property
    def unidentified(self) -> bool:
        """Whether the id cannot be read: the record may belong to any stored document with an id that begins with `id_prefix`."""
        return self.doc_id is None and not self.impossible_id


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document that fits the smallest `max_tokens` of the ensemble.

    Attributes:
        id: UUID string, a function of source, document id, text and the count of equal texts before it (`chunk_id`).
        index: position in the document, from 0.
        start, end: `document.text[start:end] == text`; characters, half-open.
        text: the text that is stored and shown.
        context: the text that encoders read in front of it, or "": the title and the headings above the chunk, cut in the middle
            if they are long, and the header row if the chunk continues a table.
        section: the headings of the section that contains the chunk, outermost first.
        table_header: the header row of the table that the chunk continues, or None.
        page: number of the page on which the chunk begins, or None.
        anchor: name of the last anchor at or before the start of the chunk, or None.
        line: number of the line of the file on which the chunk begins, from 1, or None.
        metadata: the metadata of the chunk, in place of its document's, or None.
    """

    id: str
    index: int
    start: int
    end: int
    text: str
    context: str = ""
    section: tuple[str, ...] = ()
    table_header: str | None = None
    page: int | None = None
    anchor: str | None = None
    line: int | None = None
    metadata: Metadata | None = None

    @property
    def encoded_text(self) -> str:
        """The exact text that encoders read, without a model's own prompt."""
        return in_context(self.context, self.text)


@dataclass(frozen=True, slots=True)
class SparseVector:
    """One sparse vector: `indices (k,) uint32` ascending and unique, `values (k,) float32`. May be empty."""

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]


if TYPE_CHECKING:
    Vector = NDArray[np.float32] | SparseVector
    """One dense `(dim,) float32` row, one multivector `(tokens, dim) float32`, or one sparse vector."""

Payload = dict[str, Any]
"""JSON-representable."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point to store: a UUID, one vector per name, a payload."""

    id: str
    vectors: Mapping[str, Vector]
    payload: Payload


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A stored point; `vectors` and `payload` have the requested parts."""

    id: str
    payload: Payload
    vectors: Mapping[str, Vector] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScoredPoint:
    """One result of a query of one named vector. Higher scores are better."""

    id: str
    score: float
    payload: Payload


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The origin of a stored point, as far as planning needs it.

    Attributes:
        id: the point's UUID string.
        doc_key: UUID string of its document.
        doc_fp: digest of the whole document and of the way it was chunked.
        doc_chunks: number of chunks that document version has.
        text_fp: digest of the text that the encoders read.
        payload_fp: digest of the visible payload.
        vectors: vector name → fingerprint of its model.
        soft_deleted_at: when its document was soft-deleted (ISO 8601, UTC); None if it was not.
        context: the text that was encoded in front of the chunk's text; None for the title on one line.
        version: the version of its document when it was read last, see `ingest.sync.versions`; None if unknown. No part of
            comparisons: a point is as good with an old version, but its document has to be read again.
    """

    id: str
    doc_key: str
    doc_fp: str
    doc_chunks: int
    text_fp: str
    payload_fp: str
    vectors: Mapping[str, str]
    soft_deleted_at: str | None = None
    context: str | None = None
    version: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    Attributes:
        id: the chunk's UUID string.
        chunk: position in its document, from 0; `start` and `end` are its offsets there (characters, half-open).
        score: the score that orders the list: the rerank score if reranked, else the max-sim if multivectors ordered it, else the
            fused score.
        ranks: vector name → rank in that vector's own list (with feedback: its second), from 1; a vector that did not find the
            chunk is absent. A multivector ranks the fused candidates.
        fused_score: weighted fusion score, 0 or more, comparable within one collection: see `search.fusion.fuse`.
        rerank_score: score of the cross-encoder, or None.
        vector_scores: vector name → score of the store in that vector, like `ranks`.
        contributions: vector name → contribution of the vector to `fused_score`, like `ranks`.
        before, after: texts of the neighbouring chunks, in document order, if requested.
        collection: name of the collection, in a search over several.
        snippet: the best passage of the text, at most 300 characters, if requested.
        highlights: ranges (characters of `snippet`, half-open) of the words that match the query.
        group: in a grouped search the value of the field that the hit is grouped by; of `doc_id`, the key of the document.
        section, table_header, page, anchor, line: see `Chunk`.
        url: address of the document, or None.
    """

    id: str
    score: float
    text: str
    doc_id: str
    title: str | None
    source: str
    chunk: int
    start: int
    end: int
    metadata: Metadata
    ranks: Mapping[str, int]
    fused_score: float
    rerank_score: float | None = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    vector_scores: Mapping[str, float] = field(default_factory=dict)
    contributions: Mapping[str, float] = field(default_factory=dict)
    group: str | int | float | bool | None = None
    collection: str | None = None
    snippet: str | None = None
    highlights: tuple[tuple[int, int], ...] = ()
    section: tuple[str, ...] = ()
    table_header: str | None = None
    page: int | None = None
    url: str | None = None
    anchor: str | None = None
    line: int | None = None

    @property
    def place(self) -> str:
        """Where a reader finds the chunk: `url#anchor`, `path:line`, `path, page 3`, or the id of the document."""
        if self.url is not None:
            place = f"{self.url}#{self.anchor}" if self.anchor else self.url
        else:
            place = self.doc_id if self.line is None else f"{self.doc_id}:{self.line}"
        return place if self.page is None else f"{place}, page {self.page}"


@runtime_checkable
class Source(Protocol):
    """A source of documents.

    `name` is stable between runs, because it is part of every id. `read()` streams: it never has the whole source in memory. It
    yields malformed records as `Rejected` and raises `SourceError` for an unreadable source. One thread calls it at a time.

    Optional: `end_is_certain: bool`, True if absent. A source that cannot tell its end from a producer that died, such as
    standard input, sets it to False. It is refused wherever documents that it did not yield would count as missing.

    Optional: `is_part: bool`, False if absent. Whether it yields only some documents of the source of its name. It is refused
    wherever documents that it did not yield would count as missing, and a run of it is not noted as one of the source.

    Optional: `origin: str | None`, the absolute path or the URL that it reads, without secrets. It shows a run that the same
    documents are stored under another name.

    Optional: `reads_once: bool`, False if absent. If True, a second `read` raises `SourceError`.

    Optional: `yields_files: bool`, False if absent. Whether its documents are files, whose facts are then indexed.

    Optional: `read_changed(unchanged) -> Iterator[Document | Rejected | Unread]`, like `read`, but without reading documents that
    have not changed. It passes ids and versions of documents to `unchanged`, some hundreds at a time, and yields `Unread` for the
    ids that it returns. A document that it reads has the `version` that was known before it was read.

    Optional: `count() -> int | None`, the number of documents that `read` will yield, to show progress; None if counting is slow.

    Optional: `size() -> int | None`, the bytes of the files that `read` will read, for the progress of a run that cannot count
    its documents, and `position: int`, about how many of these bytes the records yielded so far take. None: not known.
    """

    @property
    def name(self) -> str: ...

    def read(self) -> Iterator[Document | Rejected]: ...


Unchanged = Callable[[Sequence[Versioned]], Collection[str]]
"""Return the ids of the documents that are stored with the given version, so that they need not be read."""

TokenCounter = Callable[[Sequence[str]], Sequence[int]]
"""Return the tokens of each text for a model, document prompt and special tokens included, nothing truncated."""


@dataclass(frozen=True, slots=True)
class TokenLimit:
    """The limit of one model on a chunk: at most `max_tokens`, counted by `count`."""

    model: str
    max_tokens: int
    count: TokenCounter


def __getattr__(name: str) -> Any:
    """Return an alias of arrays: numpy is imported when the first module asks for one, and listing collections does without."""
    if name not in {"DenseMatrix", "Vector"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import numpy as np  # noqa: PLC0415
    from numpy.typing import NDArray  # noqa: PLC0415

    dense = NDArray[np.float32]
    globals().update(np=np, NDArray=NDArray, DenseMatrix=dense, Vector=dense | SparseVector)
    return globals()[name]
