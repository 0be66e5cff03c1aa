"""Sources of plugins: locations such as `wiki:Python`, where `wiki` is the name of a plugin."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ingest.errors import IngestError, SourceError
from ingest.plugins import Plugin, describe, find_plugin, plugin_names
from ingest.records import Document, Rejected
from ingest.source.fields import FieldMap
from ingest.source.memory import Record, RecordsSource

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_.+-]+):(?!//)")
"""The name of a plugin. A single letter is a drive, and `//` belongs to a URL."""


@dataclass(frozen=True, slots=True)
class PluginSource:
    """A location that a plugin reads.

    Attributes:
        location: the location as the plugin takes it.
        fields, max_record_bytes: see `RecordsSource`.
    """

    name: str
    location: str
    plugin: Plugin
    fields: FieldMap
    max_record_bytes: int

    def read(self) -> Iterator[Document | Rejected]:
        """Yield the documents. Whatever the plugin raises becomes a `SourceError`, so nothing is deleted."""
        return RecordsSource(self.name, self._records(), self.fields, self.max_record_bytes).read()

    def _records(self) -> Iterator[Record]:
        reader = self.plugin.make()
        try:
            yield from reader.read(self.location)
        except IngestError:
            raise
        except Exception as exc:
            raise SourceError(f"{self.plugin} cannot read {self.name} ({describe(exc)})") from exc


def is_scheme(name: str) -> bool:
    """Return whether a location can begin with this name and a colon."""
    return _SCHEME.fullmatch(f"{name}:") is not None


def find_source(location: str) -> Plugin | None:
    """Return the plugin that reads a location, or None. A file of that very name is a file."""
    scheme = _SCHEME.match(location)
    plugin = None if scheme is None else find_plugin("source", scheme[1])
    return None if plugin is None or os.path.exists(location) else plugin  # noqa: PTH110  a path that is too long does not exist


def plugin_hint(location: str) -> str:
    """Return what else to do about a location that does not exist, or "" if it does not begin like that of a plugin."""
    scheme = _SCHEME.match(location)
    if scheme is None:
        return ""
    installed = ", ".join(f"{name}:" for name in plugin_names("source")) or "none"
    return f", or install the plugin that reads {scheme[0]} (plugins that are installed read: {installed})"
