"""Documents into chunks that every model of the ensemble takes whole.

Cut by characters first, count the tokens of all pieces in one go, cut again only what overflows: searching for every border
with a tokenizer is hundreds of times slower. A document that surely fits is not counted at all.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ingest.errors import ConfigurationError
from ingest.parameters import normalize, optional, parse_integer, parse_number
from ingest.records import Chunk, Document, Rejected, TokenLimit, chunk_id, digest, title_line
from ingest.source.splitting import Cut, Span, split, splitter_kind, splitter_version, trim

MAX_OVERLAP = 0.5
UNLIMITED_TOKENS = 500
"""Size of a chunk where no model sets a bound, in tokens of `CHARACTERS_PER_TOKEN`."""
CHARACTERS_PER_TOKEN = 4
CONTEXT_SHARE = 4
"""The context takes at most one part in so many of a chunk."""

_ALGORITHM = 1  # raise it whenever the same document would be cut elsewhere
_HEADROOM = 0.95  # pieces of one size in characters differ in tokens
_EVENNESS = 1.1  # room for borders when a piece is cut into equal parts
_MARGIN = 8  # tokens by which prompt and text may cost more together than apart
_WORD_COUNTED = 2**17  # characters up to which a whole document of few words is counted before it is cut
_TITLE_CHARACTERS = 16  # per token: more of a title is not even counted
_COUNTED_AT_ONCE = 2**20  # characters, so that a tokenizer's output stays small beside a window


@dataclass(frozen=True, slots=True)
class ChunkingOptions:
    """How documents are cut.

    Attributes:
        tokens: wished size of a chunk with its context, without prompts and special tokens; None: as much as the models take.
        overlap: share of a chunk repeated at the start of the next, 0 to 0.5.

    Raises `ConfigurationError` where one of them is out of range.
    """

    tokens: int | None = None
    overlap: float = 0.0

    def __post_init__(self) -> None:
        normalize(self, "tokens", optional(parse_integer), least=1)
        normalize(self, "overlap", parse_number, most=MAX_OVERLAP)


class Chunker:
    """Cuts documents so that no model ever truncates a chunk. One thread at a time.

    Args:
        limits: what the models take; without any, a chunk is bounded by characters.
        options: the wished size and overlap.
    """

    def __init__(self, limits: Sequence[TokenLimit], options: ChunkingOptions = ChunkingOptions()) -> None:
        self._limits = tuple(limits)
        self._options = options
        self._gauge = _TokenGauge(self._limits, options.tokens) if limits else _CharacterGauge(options.tokens)

    def fingerprint(self, format: str) -> str:  # noqa: A002  the word of `Document.format`
        """Digest of all that decides the borders in a document of this format. Cheap: no tokenizer is loaded for it."""
        kind = splitter_kind(format)
        limits = [[limit.model, limit.max_tokens] for limit in self._limits]
        return digest([_ALGORITHM, self._options.tokens, self._options.overlap, limits, kind, splitter_version(kind)])

    def chunk(self, documents: Sequence[Document], doc_keys: Sequence[str]) -> list[list[Chunk] | Rejected]:
        """The chunks of each document in order, or why it cannot be cut small enough.

        Chunks hold all of the text but whitespace, have none at their ends, and fit every limit. A document that fits whole
        is one chunk; one with more words than tokens, or over 131,072 characters, is taken not to without counting.

        Args:
            doc_keys: `records.doc_key` of each document.

        Raises `ConfigurationError` where a model's prompt leaves no room for text, and what the token counters raise.
        """
        contexts = self._contexts(documents)
        chunked = [self._single(*each) for each in zip(documents, doc_keys, contexts, strict=True)]
        drafts = {index: _Draft(documents[index], contexts[index]) for index, chunks in enumerate(chunked) if not chunks}
        queue = [piece for draft in drafts.values() for piece in self._first_pieces(draft)]
        while queue:
            loads = self._gauge.loads([piece.encoded for piece in queue])
            queue = [smaller for piece, load in zip(queue, loads, strict=True) for smaller in self._settle(piece, load)]
        for index, draft in drafts.items():
            chunked[index] = draft.finish(doc_keys[index])
        return chunked

    def _single(self, document: Document, doc_key: str, context: str) -> list[Chunk] | Rejected:
        """The one chunk of a document that need not be counted, or nothing yet. Most documents end here, so it is short."""
        text = document.text.strip()
        if not text:
            return Rejected(document.position, "the text is empty", "", document.id)
        if not self._gauge.surely_fits(_encoded(context, text)):
            return []
        start = document.text.index(text)
        return [Chunk(chunk_id(doc_key, text, 0), 0, start, start + len(text), text, context)]

    def _first_pieces(self, draft: _Draft) -> Iterator[_Piece]:
        text = draft.document.text
        start, end = trim(text, (0, len(text)))
        whole = _Piece(draft, Cut(start, start, end), draft.context)
        if self._gauge.may_fit(whole.text):
            yield whole
        else:
            # A title of one endless word may be long in characters and yet few tokens.
            size = self._gauge.characters
            yield from self._cut(whole, max(size - len(draft.context) - 1, size - size // CONTEXT_SHARE - 1))

    def _settle(self, piece: _Piece, load: float) -> Iterator[_Piece]:
        """Keeps a piece that fits; else what to count next in its place."""
        length = piece.cut.end - piece.cut.start
        if load <= 1:
            piece.draft.settled.append(piece)
        elif length > 1:
            even = _EVENNESS * length / -(-load // 1)
            yield from self._cut(piece, min(int(length * _HEADROOM / load), int(even), length - 1))
        elif piece.context:
            yield _Piece(piece.draft, piece.cut, "")
        else:
            piece.draft.unfit = f"the character {piece.text!r} alone is {load:.3g} times what a chunk may cost: use larger chunks"

    def _cut(self, piece: _Piece, capacity: int) -> Iterator[_Piece]:
        draft = piece.draft
        kind = splitter_kind(draft.document.format)
        own = piece.cut.own, piece.cut.end
        for cut in split(draft.document.text, own, kind, capacity=max(1, capacity), overlap=self._options.overlap):
            yield _Piece(draft, cut, piece.context)

    def _contexts(self, documents: Sequence[Document]) -> list[str]:
        """Each document's title on one line, cut to its share of a chunk."""
        if not any(document.title for document in documents):
            return [""] * len(documents)
        longest = self._gauge.characters * _TITLE_CHARACTERS // (CONTEXT_SHARE * CHARACTERS_PER_TOKEN)
        titles = {title: _shorten(title_line(title), longest) for document in documents if (title := document.title)}
        pending = [title for title, context in titles.items() if not self._gauge.surely_fits(context, CONTEXT_SHARE)]
        while pending:
            loads = self._gauge.loads([titles[title] for title in pending])
            over = {title: load * CONTEXT_SHARE for title, load in zip(pending, loads, strict=True) if load * CONTEXT_SHARE > 1}
            for title, load in over.items():
                titles[title] = _shorten(titles[title], int(len(titles[title]) * _HEADROOM / load))
            pending = [title for title in over if titles[title]]
        return [titles[document.title] if document.title else "" for document in documents]


@dataclass(slots=True)
class _Draft:
    """A document on its way into chunks."""

    document: Document
    context: str
    settled: list[_Piece] = field(default_factory=list)
    unfit: str | None = None

    def finish(self, doc_key: str) -> list[Chunk] | Rejected:
        document = self.document
        if self.unfit is not None:
            return Rejected(document.position, self.unfit, document.text[:200], document.id)
        chunks: list[Chunk] = []
        times: dict[str, int] = {}
        for piece in sorted(self.settled, key=lambda piece: (piece.cut.start, -piece.cut.end)):
            start, _, end = piece.cut
            if chunks and end <= chunks[-1].end:  # an overlap has brought it already
                continue
            text = piece.text
            nth = times.get(text, 0)
            times[text] = nth + 1
            chunks.append(Chunk(chunk_id(doc_key, text, nth), len(chunks), start, end, text, piece.context))
        return chunks


@dataclass(slots=True)
class _Piece:
    draft: _Draft
    cut: Cut
    context: str

    @property
    def text(self) -> str:
        return self.draft.document.text[self.cut.start : self.cut.end]

    @property
    def encoded(self) -> str:
        return _encoded(self.context, self.text)


class _CharacterGauge:
    """Measures by characters, where no model sets a bound."""

    def __init__(self, tokens: int | None) -> None:
        self.characters = (tokens or UNLIMITED_TOKENS) * CHARACTERS_PER_TOKEN

    def surely_fits(self, text: str, share: int = 1) -> bool:
        return len(text) * share <= self.characters

    def may_fit(self, text: str) -> bool:  # noqa: ARG002  what does not surely fit does not fit
        return False

    def loads(self, texts: Sequence[str]) -> list[float]:
        return [len(text) / self.characters for text in texts]


class _TokenGauge:
    """Measures against every model; the tokenizers are first asked when a text must be measured.

    A load is the tokens a text costs, over those there is room for, in the model where that is most: it fits up to 1.
    """

    def __init__(self, limits: Sequence[TokenLimit], tokens: int | None) -> None:
        self._limits = limits
        self._tokens = tokens

    @cached_property
    def _rooms(self) -> list[tuple[TokenLimit, int, int]]:
        """Per model: what the prompt and special tokens cost, and the tokens left for a chunk."""
        rooms = []
        for limit in self._limits:
            overhead = limit.count([""])[0]
            room = limit.max_tokens - overhead
            if room < 1:
                raise ConfigurationError(
                    f"model {limit.model} takes {limit.max_tokens} tokens and its prompt costs {overhead}: shorten the prompt"
                )
            rooms.append((limit, overhead, min(room, self._tokens or room)))
        return rooms

    @cached_property
    def _room(self) -> int:
        return min(room for _, _, room in self._rooms)

    @property
    def characters(self) -> int:
        """Of an ordinary text that about fills the smallest room."""
        return self._room * CHARACTERS_PER_TOKEN

    def surely_fits(self, text: str, share: int = 1) -> bool:
        """Whether it fits, or a `share`-th of the room, even at a token for every byte."""
        return (len(text) + _MARGIN) * share <= self._room and (_most_tokens(text) + _MARGIN) * share <= self._room

    def may_fit(self, text: str) -> bool:
        """False where it has more words than tokens it may cost, or is too long to find out."""
        return len(text) <= _WORD_COUNTED and len(text.split(None, self._room)) <= self._room

    def loads(self, texts: Sequence[str]) -> list[float]:
        loads = [0.0] * len(texts)
        for start, end in _counted_together(texts):
            for limit, overhead, room in self._rooms:
                for index, count in enumerate(limit.count(texts[start:end]), start):
                    loads[index] = max(loads[index], (count - overhead) / room)
        return loads


def _encoded(context: str, text: str) -> str:
    """What `Chunk.encoded_text` will be."""
    return f"{context}\n{text}" if context else text


def _counted_together(texts: Sequence[str]) -> Iterator[Span]:
    start = size = 0
    for index, text in enumerate(texts):
        size += len(text)
        if size > _COUNTED_AT_ONCE and index > start:
            yield start, index
            start, size = index, len(text)
    yield start, len(texts)


def _most_tokens(text: str) -> int:
    """Bytes, also of the form a tokenizer may normalize to: one character can decompose into many."""
    if text.isascii():
        return len(text)
    return max(len(text.encode()), len(unicodedata.normalize("NFKD", text).encode()))


def _shorten(text: str, length: int) -> str:
    """At most `length` characters, at a word's end where that costs no more than half."""
    if len(text) <= length:
        return text
    cut = text[:length]
    if text[length : length + 1] != " ":
        words = cut.rpartition(" ")[0]
        cut = words if len(words) * 2 > length else cut
    return cut.strip()
