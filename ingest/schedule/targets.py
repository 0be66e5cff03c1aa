"""The sources that jobs write: no two jobs may write the same one, since each would undo the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ingest.errors import ConfigurationError


class Target(NamedTuple):
    """One source of one collection.

    Attributes:
        collection: normalized name of the collection.
        source: name or location of the source.
        query: SQL query of a source without a name of its own.
    """

    collection: str
    source: str
    query: str | None = None


def job_targets(collection: str, locations: Iterable[str], *, name: str | None, query: str | None) -> list[Target]:
    """Return what a job writes: the source called `name`, or else one source per location."""
    return [Target(collection, name) if name else Target(collection, location, query) for location in locations]


def check_targets(targets: Mapping[str, Sequence[Target]]) -> None:
    """Raise `ConfigurationError` if two jobs write the same source, or one job writes it twice. `targets`: job → its targets."""
    writers: dict[Target, str] = {}
    for job, written in targets.items():
        for target in written:
            if target in writers:
                raise ConfigurationError(
                    f"the jobs {writers[target]} and {job} both write the source {target.source} of {target.collection}, so that"
                    " each would undo the other: give one another name"
                )
            writers[target] = job
