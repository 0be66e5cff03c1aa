"""Where a text may be cut: at its own structure, sized by characters. Which pieces fit a model is `chunking`'s business."""

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
    """A piece: it begins at `start` with what it repeats of the text before, if anything; its own part begins at `own`."""

    start: int
    own: int
    end: int


_BLOCK = 32_768
_BLOCK_CAPACITIES = 8
# The first of these that occurs in the second half of a block ends it.
_BORDERS = {"markdown": ("\n#", "\n\n", "\n", " "), "text": ("\n\n", "\n", ". ", " "), "code": ("\n\n", "\n", " ")}
_REPEAT_BORDERS = ("\n\n", "\n", ". ", " ")


@lru_cache(maxsize=256)
def splitter_kind(format: str) -> str:  # noqa: A002  the word of `Document.format`
    """The splitter a document of this format really gets: `text` where it is unknown or its grammar is not installed."""
    family, _, language = format.partition(":")
    if family == "code":
        return format if _grammar(language) is not None else "text"
    return format if format in _BORDERS else "text"


def splitter_version(kind: str) -> str:
    """What the borders of a kind of splitter depend on beside the text: library and grammar versions."""
    versions = f"semantic-text-splitter {version('semantic-text-splitter')}"
    family, _, language = kind.partition(":")
    if family == "code":
        grammar = f"tree-sitter-{language.replace('_', '-')}"
        try:
            versions += f", {grammar} {version(grammar)}"
        except PackageNotFoundError:  # a grammar module on the path that no distribution brought
            versions += f", {grammar}"
    return versions


def trim(text: str, span: Span) -> Span:
    """The span without the whitespace at its ends; empty where there was nothing else."""
    piece = text[span[0] : span[1]]
    end = span[0] + len(piece.rstrip())
    return min(end, span[0] + len(piece) - len(piece.lstrip())), end


def split(text: str, span: Span, kind: str, *, capacity: int, overlap: float) -> list[Cut]:
    """Cuts a span into trimmed pieces in order, none empty, only whitespace between their own parts.

    Args:
        kind: see `splitter_kind`.
        capacity: characters of a piece with what it repeats, at least 1.
        overlap: share of the capacity that repeats the text before, 0 to 0.5; the span's own beginning is preceded by it too.
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
    """Cuts a long span first: the splitters' time grows with the square of what they are given."""
    start, end = span
    while end - start > size:
        border = _border(text, start + size // 2, start + size, kind)
        yield start, border
        start = border
    yield start, end


def _border(text: str, low: int, high: int, kind: str) -> int:
    for separator in _BORDERS[kind.partition(":")[0]]:
        found = text.rfind(separator, low, high)
        if found >= 0:
            return found + 1
    return high


def _repeat_from(text: str, low: int, high: int) -> int:
    """Where the repeated part begins: at a paragraph, else a line, a sentence, a word, else at once."""
    if low == 0:
        return trim(text, (0, high + 1))[0]
    for separator in _REPEAT_BORDERS:
        found = text.find(separator, low, high)
        if 0 <= found < (low + high) // 2:
            low = found
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
    return module if hasattr(module, "language") else None  # a few packages hold several dialects under other names
