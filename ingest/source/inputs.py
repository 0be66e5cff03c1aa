"""Sources as a Python caller passes them: locations, sources, or records with a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from ingest.errors import ConfigurationError
from ingest.parameters import checked, parse_texts
from ingest.records import Rejected, Source
from ingest.source.memory import Record, records_source
from ingest.source.open import open_source

SourceLike = str | Path | Source | Iterable[Record | Rejected] | Sequence[str | Path | Source]
"""A location, a source, several of them, or records: documents or mappings, which need a name."""


def sources_of(
    source: SourceLike, *, name: str | None = None, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> list[Source]:
    """Return the sources for an argument of `Collection`.

    Args:
        source: a path or URL as in `open_source`, a `Source`, a list of those, or any iterable of documents or mappings.
        name: the source's name. Required for records; a location has a default; a `Source` has its own.
        include, exclude: patterns of the files of folders, as in `open_source`.

    Raises `ConfigurationError` for any other type, for records without a name, and for one name for several sources;
    patterns that no location takes; `SourceError` for a location that does not exist.
    """
    patterns = checked("include", parse_texts, include), checked("exclude", parse_texts, exclude)
    if not isinstance(source, list | tuple) or not source or not all(isinstance(each, str | Path | Source) for each in source):
        return [_source_of(source, name, patterns)]
    if name is not None and len(source) > 1:
        raise ConfigurationError(f"name={name!r} cannot name {len(source)} sources: sync them one by one, or leave the name out")
    return [_source_of(each, name, patterns) for each in source]


def reads_once(source: Source) -> bool:
    """Return whether a source can be read only once. See `Source`."""
    return bool(getattr(source, "reads_once", False))


def _source_of(source: SourceLike, name: str | None, patterns: tuple[Sequence[str], Sequence[str]]) -> Source:
    include, exclude = patterns
    if isinstance(source, str | Path):
        return open_source(str(source), name=name, include=include, exclude=exclude)
    if include or exclude:
        given = "include" if include else "exclude"
        raise ConfigurationError(f"{given} chooses the files of a folder: pass its path in place of a {type(source).__name__}")
    if isinstance(source, Source):
        if name is not None and name != source.name:
            raise ConfigurationError(f"the source is named {source.name!r}, not {name!r}: leave name= out")
        return source
    if name is None:
        raise ConfigurationError(
            f"a {type(source).__name__} of records has no name: pass name= with a text that stays the same between runs,"
            " because it is part of every id"
        )
    return records_source(cast("Iterable[Record | Rejected]", source), name=name)
