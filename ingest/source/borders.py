"""Where a document is cut, if something other than its structure decides that: a plugin, or its source."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, Protocol

from ingest.errors import ConfigurationError
from ingest.identity import digest
from ingest.plugins import describe, find_plugin, plugin_names
from ingest.records import Document
from ingest.source.fields import Unusable
from ingest.source.splitting import Cut, Span, trim

SHOWN_CHARACTERS = 40


class Borders(Protocol):
    """The borders of chunks."""

    @property
    def fingerprint(self) -> str:
        """A digest of everything that decides the borders."""
        ...

    def cuts(self, document: Document, characters: int) -> list[Cut]:
        """Return the pieces of a document in order. Raises `Unusable` if it cannot be cut.

        Args:
            characters: about as many as fit a chunk.
        """
        ...


class PluginBorders:
    """The borders that the chunker of a plugin finds.

    Raises `ConfigurationError` if no plugin has that name, and `PluginError` if it cannot be loaded.
    """

    def __init__(self, name: str) -> None:
        plugin = find_plugin("chunker", name)
        if plugin is None:
            known = ", ".join(plugin_names("chunker")) or "none"
            raise ConfigurationError(f"no chunker is called {name!r}: install the plugin that brings it (installed: {known})")
        self._plugin = plugin
        self._chunker = plugin.make()
        self.fingerprint = digest([plugin.identity, str(getattr(self._chunker, "revision", ""))])

    def cuts(self, document: Document, characters: int) -> list[Cut]:
        try:
            spans = list(self._chunker.spans(document.text, format=document.format, characters=characters))
        except Exception as exc:
            raise Unusable(f"{self._plugin} failed ({describe(exc)})") from exc
        try:
            return checked_cuts(document.text, spans)
        except ValueError as exc:
            raise Unusable(f"{self._plugin} {exc}") from exc


def checked_cuts(text: str, spans: Iterable[Any]) -> list[Cut]:
    """Return spans as pieces without white space at their ends. Raises `ValueError` unless they cover the text in order."""
    cuts: list[Cut] = []
    covered = 0
    for each in spans:
        start, end = _span(each, len(text))
        if cuts and (start < cuts[-1].start or end <= covered):
            raise ValueError(f"returned the chunk {start} to {end} after one that ends at {covered}")
        _check_blank(text, covered, start)
        piece = trim(text, (start, end))
        if piece[0] < piece[1]:
            cuts.append(Cut(piece[0], max(piece[0], min(covered, piece[1] - 1)), piece[1]))
        covered = end
    _check_blank(text, covered, len(text))
    return cuts


def _span(value: Any, length: int) -> Span:
    try:
        start, end = map(operator.index, value)
    except (TypeError, ValueError):
        raise ValueError(f"returned {value!r:.60} instead of the start and end of a chunk") from None
    if not 0 <= start < end <= length:
        raise ValueError(f"returned the chunk {start} to {end} of a text with {length} characters")
    return start, end


def _check_blank(text: str, start: int, end: int) -> None:
    if left_out := text[start:end].strip():
        raise ValueError(f"leaves out {left_out[:SHOWN_CHARACTERS]!r}, at character {start}")
