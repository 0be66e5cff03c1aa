"""The page: the result of every converter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Page:
    """The content of a file.

    Attributes:
        text: the text.
        format: the format of the text: `markdown`, `text` or `code:<language>`.
        title: the title, if the file has one.
        metadata: other facts the file states about itself, by name.
        pages: number and start of each page or slide, in characters of the text, if the file has pages.
        url: address of the page, if the file states it.
        anchors: name and start of each place that a link can name, as in `Document`.
        first_line: number of the line of the file on which the text begins, as in `Document`.
    """

    text: str
    format: str = "markdown"
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    pages: tuple[tuple[int, int], ...] = ()
    url: str | None = None
    anchors: tuple[tuple[str, int], ...] = ()
    first_line: int | None = None


def joined_pages(texts: Iterable[tuple[int, str]]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the text of all pages, with a blank line between two, and the number and start of each page."""
    starts, parts, length = [], [], 0
    for number, text in texts:
        if text:
            starts.append((number, length))
            parts.append(text)
            length += len(text) + 2
    return "\n\n".join(parts), tuple(starts)
