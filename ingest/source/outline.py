"""The structure of a Markdown text: its headings, its tables, and where a piece of it may begin. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile, zip_longest
from typing import Any, NamedTuple

import numpy as np
import pyromark

ITEM, BLOCK, SECTION = 10, 20, 30
"""The strength of a border before a list item or table row, before any other block, and before a heading of level 6."""

_OPTIONS = pyromark.Options.ENABLE_TABLES | pyromark.Options.ENABLE_FOOTNOTES
_ATTRIBUTES = re.compile(r" ?\{[^{}]*#[\w:.-]+[^{}]*\}$")  # as in `# Name {#id}`
_LEVELS = 6
_CONTINUATION = 0x80  # in the first two bits: a byte of UTF-8 that begins no character
_INNER = frozenset({"Item", "TableHead", "TableRow"})
_HEADING_WORDS = {"SoftBreak": " ", "HardBreak": " ", "InlineHtml": "", "FootnoteReference": ""}
_DEEPEST = 16  # nested lists whose items are borders


class Heading(NamedTuple):
    """A heading: its span with the whitespace below it, and the headings of its section, itself included."""

    start: int
    end: int
    path: tuple[str, ...]


class Table(NamedTuple):
    """The body of a table, and its header row."""

    start: int
    end: int
    header: str


class Block(NamedTuple):
    """A block with the headings directly above it.

    Attributes:
        start: its first character, or that of the first heading above it.
        body: the first character after those headings.
        strength: strength of the border before it.
        inner: borders in it, ascending, with their strengths: its list items or table rows.
    """

    start: int
    body: int
    strength: int
    inner: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Outline:
    """The structure of a text. Everything is in the order of the text."""

    headings: tuple[Heading, ...] = ()
    tables: tuple[Table, ...] = ()
    blocks: tuple[Block, ...] = ()

    def section(self, start: int, end: int) -> tuple[str, ...]:
        """Return the headings of the innermost section that contains everything between two offsets."""
        at = bisect_right(self.headings, start, key=_start) - 1
        path = self.headings[at].path if at >= 0 else ()
        opening = at >= 0 and self.headings[at].start == start
        for before, heading in enumerate(self.headings[at + 1 :], at):
            if heading.start >= end:
                break
            # Headings at the start of a piece, one directly below the other, open its section.
            opening = opening and self.headings[before].end >= heading.start and heading.path[:-1] == path
            path = heading.path if opening else _common(path, heading.path)
        return path

    def above(self, start: int) -> tuple[str, ...]:
        """Return the headings of the section at an offset, without one that begins there."""
        at = bisect_left(self.headings, start, key=_start)
        if at < len(self.headings) and self.headings[at].start == start:
            return self.headings[at].path[:-1]
        return self.headings[at - 1].path if at else ()

    def table_header(self, start: int) -> str | None:
        """Return the header row of the table whose body contains an offset."""
        at = bisect_right(self.tables, start, key=_start) - 1
        return self.tables[at].header if at >= 0 and start < self.tables[at].end else None


def outline_of(text: str) -> Outline:
    """Return the structure of a Markdown text."""
    reader = _Reader(text)
    parts = reader.parts
    headings: list[Heading] = []
    blocks: list[Block] = []
    open_: list[tuple[int, str]] = []  # level and name of each heading whose section has not ended
    above: _Part | None = None  # the first of the headings without a block so far
    highest = _LEVELS
    for part, following in zip_longest(parts, parts[1:]):
        inner: list[tuple[int, int]] = []
        if part.level:
            open_ = [each for each in open_ if each[0] < part.level]
            open_.append((part.level, _ATTRIBUTES.sub("", " ".join("".join(part.words).split()))))
            end = following.start if following else len(text)
            empty = not text[part.end : end].strip()
            headings.append(Heading(part.start, end if empty else part.end, tuple(name for _, name in open_ if name)))
            above, highest = above or part, min(highest, part.level)
            if empty:
                continue
            body = part.end  # of text that makes no block, such as the address of a link
        else:
            body, inner = part.start, part.inner
        blocks.append(
            Block(above.start, body, SECTION + _LEVELS - highest, tuple(inner))
            if above
            else Block(part.start, body, BLOCK, tuple(inner))
        )
        above, highest = None, _LEVELS
    return Outline(tuple(headings), tuple(reader.tables), tuple(blocks))


@dataclass(slots=True)
class _Part:
    """A block of the topmost level. `level` and `words` are those of a heading; `inner` is as in `Block`."""

    start: int
    end: int
    level: int = 0
    words: list[str] = field(default_factory=list)
    inner: list[tuple[int, int]] = field(default_factory=list)


class _Reader:
    """A reader of the parser's events.

    Attributes:
        parts: the blocks of the topmost level.
        tables: the tables with a row.
    """

    def __init__(self, text: str) -> None:
        self.parts: list[_Part] = []
        self.tables: list[Table] = []
        self._text = text
        self._character = _offsets(text)
        self._header = ""
        depth = lists = 0
        for event, span in pyromark.events_with_range(text, options=_OPTIONS):
            kind, value = _kind_and_value(event)
            name = value if isinstance(value, str) else next(iter(value))
            if kind == "Start":
                if depth == 0:
                    level = int(value["Heading"]["level"][1]) if name == "Heading" else 0
                    self.parts.append(_Part(*self._span(span), level))
                elif name in _INNER and depth < _DEEPEST:
                    self._begin_inner(name, span, depth=depth, lists=lists)
                depth += 1
                lists += name == "List"
            elif kind == "End":
                depth -= 1
                lists -= name == "List"
            elif depth == 0:  # a rule between blocks
                self.parts.append(_Part(*self._span(span)))
            elif self.parts[-1].level:
                self.parts[-1].words.append(_HEADING_WORDS.get(kind, name))

    def _begin_inner(self, name: str, span: pyromark.event.Range, *, depth: int, lists: int) -> None:
        part = self.parts[-1]
        start, end = self._span(span)
        if name == "Item":
            part.inner.append((start, max(1, ITEM + 1 - lists)))
        elif depth > 1:  # a table in a quote or list
            return
        elif name == "TableHead":
            self._header = self._text[start:end].strip()
        elif self.tables and self.tables[-1].end == part.end:
            part.inner.append((start, ITEM))
        else:  # the first row stays with the header
            self.tables.append(Table(start, part.end, self._header))

    def _span(self, span: pyromark.event.Range) -> tuple[int, int]:
        return self._character(span["start"]), self._character(span["end"])


def _kind_and_value(event: Any) -> tuple[str, Any]:
    """Return the kind of an event and its value: a name, or a mapping of one name to its details."""
    if isinstance(event, str):
        return event, ""
    ((kind, value),) = event.items()
    return kind, value


def _offsets(text: str) -> Callable[[int], int]:
    """Return a function from an offset in the UTF-8 bytes of a text to the offset of that character."""
    if text.isascii():
        return lambda offset: offset
    begins = (np.frombuffer(text.encode(), np.uint8) & 0xC0) != _CONTINUATION
    characters = np.concatenate(([0], np.cumsum(begins)))
    return lambda offset: int(characters[offset])


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _start(part: Heading | Table) -> int:
    return part.start
