"""From documents to chunks that no model of the ensemble truncates.

Documents are cut by characters first; then the tokens of all pieces are counted in one call, and only pieces that are too large
are cut again. Searching each border with a tokenizer is hundreds of times slower. A document that surely fits is not counted.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter, itemgetter
from typing import Any

from ingest.context import heading_path, in_context, path_line
from ingest.errors import ConfigurationError
from ingest.identity import chunk_id, digest
from ingest.parameters import normalize, optional, parse_integer, parse_number, parse_text
from ingest.records import Chunk, Document, Rejected, TokenLimit
from ingest.source.borders import Borders, PluginBorders, checked_cuts
from ingest.source.fields import Unusable
from ingest.source.outline import Outline, outline_of
from ingest.source.splitting import Cut, Span, split, splitter_kind, splitter_version, trim

MAX_OVERLAP = 0.5
UNLIMITED_TOKENS = 500
"""Size of a chunk if no model limits it, in tokens of `CHARACTERS_PER_TOKEN`."""
CHARACTERS_PER_TOKEN = 4
CONTEXT_SHARE = 4
"""The title and headings in front of a chunk take at most one part in this many of its size, and so does a table's header row."""

_ALGORITHM = 4  # raise it with every change to the borders of the same document
_HEADROOM = 0.95  # pieces with equally many characters differ in tokens
_EVENNESS = 1.1  # slack for borders when a piece is cut into equal parts
_MARGIN = 8  # tokens that prompt and text may cost more together than apart
_WORD_COUNTED = 2**17  # characters up to which a document of few words is counted whole before it is cut
_TITLE_CHARACTERS = 16  # per token: a longer title is cut before it is counted
_COUNTED_AT_ONCE = 2**20  # characters per call, so that the output of a tokenizer stays small


@dataclass(frozen=True, slots=True)
class ChunkingOptions:
    """The size and overlap of chunks.

    Attributes:
        tokens: most tokens of a chunk with its context, without prompts and special tokens; None: the models' limit.
        overlap: share of a chunk repeated at the start of the next, 0 to 0.5.
        chunker: name of the plugin that cuts documents, whose chunks are cut again if they are too large; None: along their
            structure.

    Raises `ConfigurationError` for a value out of range.
    """

    tokens: int | None = None
    overlap: float = 0.0
    chunker: str | None = None

    def __post_init__(self) -> None:
        normalize(self, "tokens", optional(parse_integer), least=1)
        normalize(self, "overlap", parse_number, most=MAX_OVERLAP)
        normalize(self, "chunker", optional(parse_text))

    def to_json(self) -> dict[str, Any]:
        """Return the options as a manifest keeps them."""
        chunker = {} if self.chunker is None else {"chunker": self.chunker}
        return {"tokens": self.tokens, "overlap": self.overlap, **chunker}


def borders_of(options: ChunkingOptions) -> Borders | None:
    """Return what decides the borders of chunks; None: the structure of a document.

    Raises `ConfigurationError` if the plugin is not installed, and `PluginError` if it cannot be loaded.
    """
    return None if options.chunker is None else PluginBorders(options.chunker)


class Chunker:
    """A chunker: cuts documents so that no model truncates a chunk. One thread at a time.

    Args:
        limits: the token limits of the models; without any, the size of a chunk is limited in characters.
        options: the size and overlap of chunks.
    """

    def __init__(self, limits: Sequence[TokenLimit], options: ChunkingOptions = ChunkingOptions()) -> None:
        self._limits = tuple(limits)
        self._options = options
        self._borders = borders_of(options)
        self._gauge = _TokenGauge(self._limits, options.tokens) if limits else _CharacterGauge(options.tokens)

    def fingerprint(self, format: str) -> str:  # noqa: A002  as in `Document.format`
        """Return a digest of everything that decides the borders in a document of this format. Loads no tokenizer."""
        kind = splitter_kind(format)
        limits = [[limit.model, limit.max_tokens] for limit in self._limits]
        own = [] if self._borders is None else [self._borders.fingerprint]
        return digest([_ALGORITHM, self._options.tokens, self._options.overlap, limits, kind, splitter_version(kind), *own])

    def chunk(self, documents: Sequence[Document], doc_keys: Sequence[str]) -> list[list[Chunk] | Rejected]:
        """Return the chunks of each document in order, or `Rejected` if it cannot be cut small enough.

        Together the chunks contain all of the text but whitespace; they have none at their ends, and fit every limit. A document
        that fits whole is one chunk, unless a plugin cuts it. A document with more words than tokens, or over 131,072 characters,
        is cut without counting.

        Args:
            documents: the documents to cut.
            doc_keys: `records.doc_key` of each document.

        Raises `ConfigurationError` if a model's prompt leaves no room for text, and the errors of the token counters.
        """
        titles = [heading_path(document.title, ()) for document in documents]
        contexts: _Contexts = {(): ""}
        self._fit(titles, contexts)
        chunked = [
            self._single(document, key, contexts[title]) for document, key, title in zip(documents, doc_keys, titles, strict=True)
        ]
        drafts = {index: _Draft(documents[index], contexts[titles[index]]) for index, chunks in enumerate(chunked) if not chunks}
        queue = [piece for draft in drafts.values() for piece in self._first_pieces(draft)]
        while queue:
            self._set_contexts(queue, contexts)
            loads = self._gauge.loads([piece.encoded for piece in queue])
            queue = [smaller for piece, load in zip(queue, loads, strict=True) for smaller in self._settle(piece, load)]
        for index, draft in drafts.items():
            chunked[index] = draft.finish(doc_keys[index])
        return chunked

    def _single(self, document: Document, doc_key: str, context: str) -> list[Chunk] | Rejected:
        """Return the only chunk of a document that surely fits, or no chunk. The path of most documents, so it is short."""
        text = document.text.strip()
        if not text:
            return Rejected(document.position, "the text is empty", "", document.id)
        if self._borders is not None or document.parts or not self._gauge.surely_fits(in_context(context, text)):
            return []
        start = document.text.index(text)
        outline = outline_of(document.text) if document.format == "markdown" and _may_have_headings(text) else Outline()
        return [_chunk(document, outline, doc_key, Cut(start, start, start + len(text)), context=context)]

    def _first_pieces(self, draft: _Draft) -> Iterator[_Piece]:
        text = draft.document.text
        if self._borders is not None or draft.document.parts:
            try:
                yield from [_Piece(draft, cut) for cut in self._given_cuts(draft.document)]
            except Unusable as exc:
                draft.unfit = str(exc)
            return
        start, end = trim(text, (0, len(text)))
        whole = _Piece(draft, Cut(start, start, end))
        if self._gauge.may_fit(whole.text):
            yield whole
        else:
            # A title of one endless word may be long in characters and yet few tokens.
            size = self._gauge.characters
            yield from self._cut(whole, max(size - len(draft.context) - 1, size - size // CONTEXT_SHARE - 1))

    def _given_cuts(self, document: Document) -> list[Cut]:
        """Return the pieces that the source of a document or a plugin has cut. Raises `Unusable`."""
        if self._borders is not None and not document.parts:
            return self._borders.cuts(document, self._gauge.characters)
        try:
            return checked_cuts(document.text, [(part.start, part.end) for part in document.parts])
        except ValueError as exc:
            raise Unusable(f"its source {exc}") from exc

    def _settle(self, piece: _Piece, load: float) -> Iterator[_Piece]:
        """Keep a piece that fits; otherwise yield the pieces to count in its place."""
        length = piece.cut.end - piece.cut.start
        if load <= 1:
            piece.draft.settled.append(piece)
        elif length > 1:
            even = _EVENNESS * length / -(-load // 1)
            yield from self._cut(piece, min(int(length * _HEADROOM / load), int(even), length - 1))
        elif piece.context:
            yield _Piece(piece.draft, piece.cut, "")
        else:
            piece.draft.unfit = (
                f"the character {piece.text!r} alone takes {load:.3g} times the tokens of a chunk: use larger chunks"
            )

    def _cut(self, piece: _Piece, capacity: int) -> Iterator[_Piece]:
        draft = piece.draft
        kind = splitter_kind(draft.document.format)
        own = piece.cut.own, piece.cut.end
        for cut in split(draft.document.text, own, kind, draft.outline, capacity=max(1, capacity), overlap=self._options.overlap):
            yield _Piece(draft, cut)

    def _set_contexts(self, pieces: Sequence[_Piece], contexts: _Contexts) -> None:
        """Give each new piece the title and headings above it, and the header row of a table that it continues."""
        fresh = [(piece, *piece.above()) for piece in pieces if piece.context is None]
        self._fit((path for _, *paths in fresh for path in paths), contexts)
        for piece, headings, header in fresh:
            piece.context = "\n".join(line for path in (headings, header) if (line := contexts[path]))

    def _fit(self, paths: Iterable[tuple[str, ...]], contexts: _Contexts) -> None:
        """Add the line of each path, cut to its share of a chunk."""
        new = {path for path in paths if path not in contexts}
        if not new:
            return
        longest = self._gauge.characters * _TITLE_CHARACTERS // (CONTEXT_SHARE * CHARACTERS_PER_TOKEN)
        contexts |= {path: path_line(path, longest) for path in new}
        pending = [path for path in new if not self._gauge.surely_fits(contexts[path], CONTEXT_SHARE)]
        while pending:
            loads = self._gauge.loads([contexts[path] for path in pending])
            over = {path: load * CONTEXT_SHARE for path, load in zip(pending, loads, strict=True) if load * CONTEXT_SHARE > 1}
            for path, load in over.items():
                contexts[path] = path_line(path, int(len(contexts[path]) * _HEADROOM / load))
            pending = [path for path in over if contexts[path]]


_Contexts = dict[tuple[str, ...], str]
"""The title and headings above a chunk, or a header row alone → its line."""


@dataclass(slots=True)
class _Draft:
    """A document that is being cut. `context` is its title, cut to its share of a chunk."""

    document: Document
    context: str
    outline: Outline | None = None
    settled: list[_Piece] = field(default_factory=list)
    unfit: str | None = None

    def __post_init__(self) -> None:
        if self.document.format == "markdown":
            self.outline = outline_of(self.document.text)

    def finish(self, doc_key: str) -> list[Chunk] | Rejected:
        document = self.document
        if self.unfit is not None:
            return Rejected(document.position, self.unfit, document.text[:200], document.id)
        chunks: list[Chunk] = []
        times: dict[str, int] = {}
        outline = self.outline or Outline()
        for piece in sorted(self.settled, key=lambda piece: (piece.cut.start, -piece.cut.end)):
            if chunks and piece.cut.end <= chunks[-1].end:  # inside the overlap of the previous chunk
                continue
            text = piece.text
            nth = times.get(text, 0)
            times[text] = nth + 1
            before = chunks[-1] if chunks else None
            chunks.append(_chunk(document, outline, doc_key, piece.cut, context=piece.context or "", before=before, nth=nth))
        return chunks


@dataclass(slots=True)
class _Piece:
    """A part of a document that may become a chunk. `context` is None until it is known."""

    draft: _Draft
    cut: Cut
    context: str | None = None

    @property
    def text(self) -> str:
        return self.draft.document.text[self.cut.start : self.cut.end]

    @property
    def encoded(self) -> str:
        return in_context(self.context or "", self.text)

    def above(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the title and headings above the piece, and the header row of the table that it continues."""
        title, outline = self.draft.document.title, self.draft.outline
        if outline is None:
            return heading_path(title, ()), ()
        header = outline.table_header(self.cut.own)
        return heading_path(title, outline.above(self.cut.own)), (header,) if header else ()


def _chunk(
    document: Document, outline: Outline, doc_key: str, cut: Cut, *, context: str, before: Chunk | None = None, nth: int = 0
) -> Chunk:
    """Return the chunk of a piece, which follows the chunk `before`. `nth` counts equal texts before it in the document."""
    text = document.text[cut.start : cut.end]
    page = bisect_right(document.pages, cut.own, key=itemgetter(1))
    anchor = bisect_right(document.anchors, cut.own, key=itemgetter(1))
    part = bisect_right(document.parts, cut.own, key=attrgetter("start"))
    return Chunk(
        id=chunk_id(doc_key, text, nth),
        index=before.index + 1 if before else 0,
        start=cut.start,
        end=cut.end,
        text=text,
        context=context,
        section=outline.section(cut.own, cut.end),
        table_header=outline.table_header(cut.own),
        page=document.pages[page - 1][0] if page else None,
        anchor=document.anchors[anchor - 1][0] if anchor else None,
        line=_line(document, cut.start, before),
        metadata=document.parts[part - 1].metadata if part else None,
    )


def _line(document: Document, start: int, before: Chunk | None) -> int | None:
    """Return the line of the file at `start`, counted from the chunk before it."""
    if before is None or before.line is None:
        return None if document.first_line is None else document.first_line + document.text.count("\n", 0, start)
    return before.line + document.text.count("\n", before.start, start)


def _may_have_headings(text: str) -> bool:
    return "#" in text or "\n=" in text or "\n-" in text


class _CharacterGauge:
    """A gauge in characters, for chunks that no model limits."""

    def __init__(self, tokens: int | None) -> None:
        self.characters = (tokens or UNLIMITED_TOKENS) * CHARACTERS_PER_TOKEN

    def surely_fits(self, text: str, share: int = 1) -> bool:
        return len(text) * share <= self.characters

    def may_fit(self, text: str) -> bool:  # noqa: ARG002  a text that does not surely fit does not fit
        return False

    def loads(self, texts: Sequence[str]) -> list[float]:
        return [len(text) / self.characters for text in texts]


class _TokenGauge:
    """A gauge in tokens of every model. It loads the tokenizers when the first text is counted.

    The load of a text is its tokens divided by the available tokens, in the model with the highest quotient; up to 1 fits.
    """

    def __init__(self, limits: Sequence[TokenLimit], tokens: int | None) -> None:
        self._limits = limits
        self._tokens = tokens

    @cached_property
    def _rooms(self) -> list[tuple[TokenLimit, int, int]]:
        """Return, per model, the tokens of prompt and special tokens, and the tokens left for a chunk."""
        rooms = []
        for limit in self._limits:
            overhead = limit.count([""])[0]
            room = limit.max_tokens - overhead
            if room < 1:
                raise ConfigurationError(
                    f"model {limit.model} accepts {limit.max_tokens} tokens and its prompt takes {overhead}: shorten the prompt"
                )
            rooms.append((limit, overhead, min(room, self._tokens or room)))
        return rooms

    @cached_property
    def _room(self) -> int:
        return min(room for _, _, room in self._rooms)

    @property
    def characters(self) -> int:
        """Return the characters of an ordinary text that about fills a chunk."""
        return self._room * CHARACTERS_PER_TOKEN

    def surely_fits(self, text: str, share: int = 1) -> bool:
        """Return whether the text fits a `share`-th of a chunk even at one token per byte."""
        return (len(text) + _MARGIN) * share <= self._room and (_most_tokens(text) + _MARGIN) * share <= self._room

    def may_fit(self, text: str) -> bool:
        """Return False if the text has more words than a chunk has tokens, or is too long to count."""
        return len(text) <= _WORD_COUNTED and len(text.split(None, self._room)) <= self._room

    def loads(self, texts: Sequence[str]) -> list[float]:
        loads = [0.0] * len(texts)
        for start, end in _counted_together(texts):
            for limit, overhead, room in self._rooms:
                for index, count in enumerate(limit.count(texts[start:end]), start):
                    loads[index] = max(loads[index], (count - overhead) / room)
        return loads


def _counted_together(texts: Sequence[str]) -> Iterator[Span]:
    start = size = 0
    for index, text in enumerate(texts):
        size += len(text)
        if size > _COUNTED_AT_ONCE and index > start:
            yield start, index
            start, size = index, len(text)
    yield start, len(texts)


def _most_tokens(text: str) -> int:
    """Return an upper bound of the tokens of a text: its bytes, also in NFKD, which a tokenizer may normalize to."""
    if text.isascii():
        return len(text)
    return max(len(text.encode()), len(unicodedata.normalize("NFKD", text).encode()))
