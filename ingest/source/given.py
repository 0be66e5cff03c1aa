"""What a Python caller gives as sources: locations, sources, or records with a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from ingest.errors import ConfigurationError
from ingest.records import Rejected, Source
from ingest.source.memory import Record, records_source
from ingest.source.open import open_source

Given = str | Path | Source | Iterable[Record | Rejected] | Sequence[str | Path | Source]
"""A location, a source, several of them, or records: documents or mappings, which need a name."""


def sources_of(given: Given, *, name: str | None = None) -> list[Source]:
    """Return the sources that a caller means.

    Args:
        given: a path or URL as in `open_source`, a `Source`, a list of those, or any iterable of documents or mappings.
        name: the source's name. Records need one; a location has a default; a `Source` has its own.

    Raises `ConfigurationError` for what is none of these, for records without a name, and for one name for several sources;
    `SourceError` for a location where there is nothing.
    """
    if not isinstance(given, list | tuple) or not given or not all(isinstance(each, str | Path | Source) for each in given):
        return [_source_of(given, name)]
    if name is not None and len(given) > 1:
        raise ConfigurationError(f"name={name!r} cannot name {len(given)} sources: sync them one by one, or leave the name out")
    return [_source_of(each, name) for each in given]


def reads_once(source: Source) -> bool:
    """Return whether a source can be read only once. See `Source`."""
    return bool(getattr(source, "reads_once", False))


def _source_of(given: Given, name: str | None) -> Source:
    if isinstance(given, str | Path):
        return open_source(str(given), name=name)
    if isinstance(given, Source):
        if name is not None and name != given.name:
            raise ConfigurationError(f"the source is named {given.name!r}, not {name!r}: leave name= out")
        return given
    if name is None:
        raise ConfigurationError(
            f"a {type(given).__name__} of records has no name: pass name= with a text that stays the same between runs,"
            " because it is part of every id"
        )
    return records_source(cast("Iterable[Record | Rejected]", given), name=name)
