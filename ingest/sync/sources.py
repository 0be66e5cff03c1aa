"""The check of a job's sources before a run: each requires a unique name, and for some deletes a certain end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ingest.errors import ConfigurationError, SourceError
from ingest.records import Source


def check_sources(sources: Iterable[Source], *, deletes_missing: bool) -> tuple[Source, ...]:
    """Return the sources if a document that they do not yield is certain to be missing. Does not read them.

    Two sources with the same name would each delete the documents of the other. A source whose `end_is_certain` is False may end
    early without an error, and the documents it did not yield would count as missing.

    Args:
        deletes_missing: whether documents missing from a source are deleted, soft-deleted or reported as orphans.

    Raises `ConfigurationError` before anything is changed.
    """
    if isinstance(sources, str) or not isinstance(sources, Iterable):
        raise ConfigurationError(f"sources: a {type(sources).__name__} is not a list of sources: give [open_source(…)]")
    checked = tuple(sources)
    for source in checked:
        if not callable(getattr(source, "read", None)) or not isinstance(name := getattr(source, "name", None), str):
            raise ConfigurationError(f"sources: a {type(source).__name__} is not a source: give what open_source returns")
        if not name.strip():
            raise ConfigurationError(f"sources: a {type(source).__name__} has no name: it is part of every id, so give it one")
    _check_names([source.name for source in checked])
    if deletes_missing and (part := next(filter(is_part, checked), None)):
        raise ConfigurationError(
            f"this is only a part of the source {part.name}, so no document counts as missing: sync all of it"
        )
    if deletes_missing and (uncertain := next((source for source in checked if not is_end_certain(source)), None)):
        raise ConfigurationError(
            f"the source {uncertain.name} cannot tell its end from a producer that died, so documents that never came would be"
            " taken for missing (--delete full, verify, an export that exists): write standard input to a file first"
        )
    return checked


def is_end_certain(source: Source) -> bool:
    """Return whether the source, read to its end without an error, has yielded everything it has. See `Source`."""
    return bool(getattr(source, "end_is_certain", True))


def is_part(source: Source) -> bool:
    """Return whether the source yields only some of its documents. See `Source`."""
    return bool(getattr(source, "is_part", False))


def are_files(sources: Iterable[Source]) -> bool:
    """Return whether documents of one of the sources are files. See `Source`."""
    return any(getattr(source, "yields_files", False) for source in sources)


def count_documents(sources: Sequence[Source]) -> int | None:
    """Return the number of documents of the sources, or None if one of them cannot count its own cheaply. See `Source`."""
    return _sum(sources, "count")


def count_bytes(sources: Sequence[Source]) -> int | None:
    """Return the bytes of the files that the sources read, or None if one of them does not know its own. See `Source`."""
    return _sum(sources, "size")


def _sum(sources: Sequence[Source], method: Literal["count", "size"]) -> int | None:
    """Return the sum of what a method of the sources returns, or None if one of them lacks it, fails, or returns None."""
    total = 0
    for source in sources:
        tell = getattr(source, method, None)
        try:
            found = tell() if callable(tell) else None
        except (SourceError, OSError):  # reading it reports the error
            return None
        if found is None:
            return None
        total += found
    return total


def _check_names(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"the source {', '.join(twice)} was given twice, and each would delete what the other wrote: give each source once,"
            " under a name of its own"
        )
