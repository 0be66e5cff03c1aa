"""Cutting a text along its structure, sized by characters. Whether a piece fits a model is decided in `chunking`."""

from __future__ import annotations

import importlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from types import ModuleType
from typing import NamedTuple

import regex  # type: ignore[import-untyped]
from semantic_text_splitter import CodeSplitter, TextSplitter

from ingest.source.outline import SECTION, Outline

Span = tuple[int, int]
"""Characters, 0-based, half-open."""


class Cut(NamedTuple):
    """A piece of a text: from `start` to `own` it repeats the preceding text (overlap); from `own` to `end` it is new."""

    start: int
    own: int
    end: int


TINY = 40
"""A piece of fewer characters joins its neighbor."""

_TEXT = 0  # strength of a border that the structure does not give
_FILLED = 4  # a piece of one part in this many of the capacity may end where no section begins
_EVENNESS = 1.1  # slack for borders when a piece is cut into equal parts
_BLOCK = 32_768
_BLOCK_CAPACITIES = 8
# The first of these separators that occurs in the second half of a block ends it.
_BORDERS = {"text": ("\n\n", "\n", ". ", " "), "code": ("\n\n", "\n", " ")}
_REPEAT_BORDERS = ("\n\n", "\n", ". ", " ")
_GRAPHEME = regex.compile(r"\X")
_LONG_GRAPHEME = 64  # characters; more than an emoji of a family has


@lru_cache(maxsize=256)
def splitter_kind(format: str) -> str:  # noqa: A002  as in `Document.format`
    """Return the splitter for a format: `text` if the format is unknown or its grammar is not installed."""
    family, _, language = format.partition(":")
    if family == "code":
        return format if _grammar(language) is not None else "text"
    return format if format == "markdown" else "text"


def splitter_version(kind: str) -> str:
    """Return the library and grammar versions on which the borders of a splitter depend."""
    versions = f"semantic-text-splitter {version('semantic-text-splitter')}"
    if kind == "markdown":
        versions += f", pyromark {version('pyromark')}"
    family, _, language = kind.partition(":")
    if family == "code":
        grammar = f"tree-sitter-{language.replace('_', '-')}"
        try:
            versions += f", {grammar} {version(grammar)}"
        except PackageNotFoundError:  # a grammar module without a distribution
            versions += f", {grammar}"
    return versions


def trim(text: str, span: Span) -> Span:
    """Return the span without the whitespace at its ends, or an empty span if it is all whitespace."""
    piece = text[span[0] : span[1]]
    end = span[0] + len(piece.rstrip())
    return min(end, span[0] + len(piece) - len(piece.lstrip())), end


def split(text: str, span: Span, kind: str, outline: Outline | None, *, capacity: int, overlap: float) -> list[Cut]:
    """Cut a span into trimmed pieces in order. No piece is empty, and only whitespace lies between the new parts of pieces.

    A piece is longer than the capacity only if it begins with headings that take more than half of that; it is then shorter than
    the span.

    Args:
        text: the whole text.
        span: the span to cut.
        kind: see `splitter_kind`.
        outline: the structure of a text in Markdown.
        capacity: most characters of a piece, overlap included; at least 1.
        overlap: share of the capacity that repeats preceding text, 0 to 0.5; the first piece repeats text before the span.
    """
    repeated = int(capacity * overlap)
    room = capacity - repeated
    spans = _split_plainly(text, span, kind, room) if outline is None else _split_outlined(text, span, outline, room)
    return [
        Cut(_repeat_from(text, max(0, own - repeated), own) if repeated else own, own, end)
        for own, end in _join_tiny(spans, room)
    ]


def _split_plainly(text: str, span: Span, kind: str, capacity: int) -> list[Span]:
    splitter = _splitter(kind, capacity)
    spans = [
        trim(text, (start + offset, start + offset + len(piece)))
        for start, end in _blocks(text, span, kind, max(_BLOCK, _BLOCK_CAPACITIES * capacity))
        for offset, piece in splitter.chunk_indices(text[start:end])
    ]
    return [(start, end) for start, end in spans if start < end]


def _split_outlined(text: str, span: Span, outline: Outline, capacity: int) -> list[Span]:
    """Cut where the strongest border is. A block that fits is not cut, and a heading stays with the text below it."""
    borders = list(_outlined_borders(text, span, outline, capacity))
    starts = [start for start, _ in borders]
    ends = [trim(text, (start, end))[1] for start, end in pairwise([*starts, span[1]])]
    spans: list[Span] = []
    first = 0
    while first < len(starts):
        following = max(first + 1, bisect_right(ends, starts[first] + capacity))
        if following < len(starts):
            following = max(range(first + 1, following + 1), key=partial(_fitness, borders, ends, first, capacity))
        spans.append((starts[first], ends[following - 1]))
        first = following
    trimmed = [trim(text, each) for each in spans]
    return [(start, end) for start, end in trimmed if start < end]


def _fitness(
    borders: Sequence[tuple[int, int]], ends: Sequence[int], first: int, capacity: int, last: int
) -> tuple[int, int, int]:
    """Return how good it is to end the piece that begins at border `first` before border `last`."""
    start, strength = borders[last]
    length = ends[last - 1] - borders[first][0]
    filled = length * _FILLED >= capacity or strength >= SECTION
    return (length >= _least(capacity)) + (length >= _least(capacity) and filled), strength, start


def _outlined_borders(text: str, span: Span, outline: Outline, capacity: int) -> Iterator[tuple[int, int]]:
    """Yield where a piece of a span may begin, with the strength of the border: blocks, and the parts of too long blocks."""
    start, end = span
    blocks = outline.blocks
    first = max(0, bisect_right(blocks, start, key=lambda block: block.start) - 1)
    strength = _TEXT
    for index in range(first, len(blocks)):
        block = blocks[index]
        if block.start >= end:
            break
        until = min(end, blocks[index + 1].start) if index + 1 < len(blocks) else end
        begin = start if index == first else block.start
        yield begin, block.strength if begin == block.start else strength
        if until - begin > capacity:
            body = max(begin, block.body)
            inner = [(offset, each) for offset, each in block.inner if body < offset < until]
            for (own, own_strength), (next_, _) in pairwise([(begin, _TEXT), *inner, (until, _TEXT)]):
                if own_strength:
                    yield own, own_strength
                yield from _text_borders(text, own, max(own, body), next_, capacity)
    if not blocks or blocks[0].start >= end:
        yield start, _TEXT
        yield from _text_borders(text, start, start, end, capacity)


def _text_borders(text: str, start: int, body: int, end: int, capacity: int) -> Iterator[tuple[int, int]]:
    """Yield the borders in a part that is too long. The headings from `start` to `body` stay with the text below them."""
    last = trim(text, (start, end))[1]
    if last - start <= capacity:
        return
    room = capacity - (body - start)
    length = end - body
    if room * 2 < capacity:  # long headings: the first piece is too long, and shorter than the part, so that it can be cut again
        body = body if last - body > 1 else start
        room, length = min(capacity, max(1, (last - body) // 2)), end - body
    even = min(room, int(_EVENNESS * length / -(-length // room)) + 1)
    for piece, _ in _split_plainly(text, (body, end), "text", even)[1:]:
        yield piece, _TEXT


def _join_tiny(spans: Sequence[Span], capacity: int) -> list[Span]:
    """Return the spans with each tiny one joined to the one before or after it, if the two fit together."""
    joined: list[Span] = []
    for start, end in spans:
        tiny = end - start < _least(capacity) or (joined and joined[-1][1] - joined[-1][0] < _least(capacity))
        if tiny and joined and end - joined[-1][0] <= capacity:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined


def _least(capacity: int) -> int:
    return min(TINY, capacity // _FILLED)


def _blocks(text: str, span: Span, kind: str, size: int) -> Iterator[Span]:
    """Yield parts of a long span: the time of a splitter grows with the square of its input."""
    start, end = span
    while end - start > size:
        border = _border(text, start + size // 2, start + size, kind)
        yield start, border
        start = border
    yield start, end


def _border(text: str, low: int, high: int, kind: str) -> int:
    for separator in _BORDERS[kind.partition(":")[0]]:
        border = text.rfind(separator, low, high)
        if border >= 0:
            return border + 1
    return max((start for start in _grapheme_starts(text, low, high) if start > low), default=high)


def _repeat_from(text: str, low: int, high: int) -> int:
    """Return the start of the overlap: at a paragraph, else a line, a sentence, a word, else between two graphemes."""
    if low == 0:
        return trim(text, (0, high + 1))[0]
    for separator in _REPEAT_BORDERS:
        border = text.find(separator, low, high)
        if 0 <= border < (low + high) // 2:
            return min(high, trim(text, (border + 1, high + 1))[0])
    starts = _grapheme_starts(text, max(0, low - _LONG_GRAPHEME), high)
    return min(high, trim(text, (next((start for start in starts if start > low), high), high + 1))[0])


def _grapheme_starts(text: str, low: int, high: int) -> Iterator[int]:
    """Yield where graphemes begin, from `low` to `high`. Those of `low`, and of a few characters behind it, may be wrong."""
    for grapheme in _GRAPHEME.finditer(text, low):
        if grapheme.start() > high:
            return
        yield grapheme.start()


@lru_cache(maxsize=256)
def _splitter(kind: str, capacity: int) -> TextSplitter | CodeSplitter:
    family, _, language = kind.partition(":")
    grammar = _grammar(language) if family == "code" else None
    return CodeSplitter(grammar.language(), capacity) if grammar is not None else TextSplitter(capacity)


@lru_cache(maxsize=64)
def _grammar(language: str) -> ModuleType | None:
    if not language.isidentifier():
        return None
    try:
        module = importlib.import_module(f"tree_sitter_{language}")
    except ImportError:
        return None
    return module if hasattr(module, "language") else None  # some packages name several dialects otherwise
