"""Cutting a text along its structure, sized by characters. Whether a piece fits a model is decided in `chunking`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import NamedTuple

from semantic_text_splitter import CodeSplitter, MarkdownSplitter, TextSplitter

Span = tuple[int, int]
"""Characters, 0-based, half-open."""


class Cut(NamedTuple):
    """A piece of a text: from `start` to `own` it repeats the preceding text (overlap); from `own` to `end` it is new."""

    start: int
    own: int
    end: int


_BLOCK = 32_768
_BLOCK_CAPACITIES = 8
# The first of these separators that occurs in the second half of a block ends it.
_BORDERS = {"markdown": ("\n#", "\n\n", "\n", " "), "text": ("\n\n", "\n", ". ", " "), "code": ("\n\n", "\n", " ")}
_REPEAT_BORDERS = ("\n\n", "\n", ". ", " ")


@lru_cache(maxsize=256)
def splitter_kind(format: str) -> str:  # noqa: A002  as in `Document.format`
    """Return the splitter for a format: `text` if the format is unknown or its grammar is not installed."""
    family, _, language = format.partition(":")
    if family == "code":
        return format if _grammar(language) is not None else "text"
    return format if format in _BORDERS else "text"


def splitter_version(kind: str) -> str:
    """Return the library and grammar versions on which the borders of a splitter depend."""
    versions = f"semantic-text-splitter {version('semantic-text-splitter')}"
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


def split(text: str, span: Span, kind: str, *, capacity: int, overlap: float) -> list[Cut]:
    """Cut a span into trimmed pieces in order. No piece is empty, and only whitespace lies between the new parts of pieces.

    Args:
        text: the whole text.
        span: the span to cut.
        kind: see `splitter_kind`.
        capacity: most characters of a piece, overlap included; at least 1.
        overlap: share of the capacity that repeats preceding text, 0 to 0.5; the first piece repeats text before the span.
    """
    repeated = int(capacity * overlap)
    splitter = _splitter(kind, capacity - repeated)
    pieces: list[Cut] = []
    for start, end in _blocks(text, span, kind, max(_BLOCK, _BLOCK_CAPACITIES * capacity)):
        for offset, piece in splitter.chunk_indices(text[start:end]):
            own, last = trim(text, (start + offset, start + offset + len(piece)))
            if own < last:
                first = _repeat_from(text, max(0, own - repeated), own) if repeated else own
                pieces.append(Cut(first, own, last))
    return pieces


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
    return high


def _repeat_from(text: str, low: int, high: int) -> int:
    """Return the start of the overlap: at a paragraph, else a line, a sentence, a word, else anywhere."""
    if low == 0:
        return trim(text, (0, high + 1))[0]
    for separator in _REPEAT_BORDERS:
        border = text.find(separator, low, high)
        if 0 <= border < (low + high) // 2:
            low = border
            break
    return min(high, trim(text, (low + 1, high + 1))[0])


@lru_cache(maxsize=256)
def _splitter(kind: str, capacity: int) -> TextSplitter | MarkdownSplitter | CodeSplitter:
    family, _, language = kind.partition(":")
    if family == "markdown":
        return MarkdownSplitter(capacity)
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
