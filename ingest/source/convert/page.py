"""What every converter returns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """The content of a file.

    Attributes:
        text: the text.
        format: the format of the text: `markdown`, `text` or `code:<language>`.
        title: the title, if the file has one.
    """

    text: str
    format: str = "markdown"
    title: str | None = None
