"""The page: the result of every converter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Page:
    """The content of a file.

    Attributes:
        text: the text.
        format: the format of the text: `markdown`, `text` or `code:<language>`.
        title: the title, if the file has one.
        metadata: other facts the file states about itself, by name.
    """

    text: str
    format: str = "markdown"
    title: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
