"""The sources of a collection: their documents, their last runs and locations, and removing a source.

Documents and points are counted in the collection. The time and the location of the last run are a note that is stored with the
collection (`Store.update_notes`), one for each source. A run that has read a source to its end replaces that source's note in one
request, after everything else. So runs of different sources never overwrite each other's notes, and a crash loses only the note.
Notes are informational. The only decision that depends on them is whether a run has to read everything again, which it does if
the note is missing, damaged or of the future. Beyond `MAX_NOTES`, the oldest notes are removed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ingest.errors import ConfigurationError, StoreError, StoreUnavailableError
from ingest.identity import digest
from ingest.parameters import checked, optional, parse_duration, parse_text
from ingest.records import Source
from ingest.source.reading_report import report_of
from ingest.store.contract import Condition, Store
from ingest.store.schema import SOFT_DELETED_FIELD
from ingest.store.writer import Writer
from ingest.sync.account import Tally
from ingest.sync.deletion import SourceDeletes, find_missing
from ingest.sync.in_use import collections_to_write
from ingest.sync.plan import DeleteMode, MissingAction
from ingest.sync.run_state import PendingDeletes
from ingest.telemetry import ThroughputMonitor

logger = logging.getLogger(__name__)

MAX_NOTES = 256
"""Maximum number of notes of a collection: about 75 KB, which a server reads with the settings of the collection."""

MAX_TEXT = 1000
"""Maximum length of a name or a location in a note, in characters. A source with a longer name has no note."""

_FIRST_CHUNK = Condition("chunk", "eq", 0)
"""Matches exactly one point of each document."""


@dataclass(frozen=True, slots=True)
class StoredSource:
    """One source of a collection.

    Attributes:
        documents: stored documents, soft-deleted ones included; None if the strict mode of the server does not allow counting.
        points: stored points.
        soft_deleted: soft-deleted documents; None if the strict mode of the server does not allow counting.
        last_run: time when a run last read the source to its end (ISO 8601, UTC); None if unknown.
        location: location of the source in that run; None if unknown.
        types: column of its CSV files → the type it had in that run.
    """

    name: str
    documents: int | None
    points: int
    soft_deleted: int | None
    last_run: str | None
    location: str | None
    types: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The result of `forget_source`, in documents except for `points`.

    Attributes:
        deleted: documents deleted.
        soft_deleted: documents soft-deleted by this call.
        in_grace_period: documents soft-deleted before, whose grace period has not passed.
        points: points deleted.
    """

    collection: str
    source: str
    deleted: int
    soft_deleted: int
    in_grace_period: int
    points: int


@dataclass(frozen=True, slots=True)
class _Note:
    """The note of a source: its name, and the location, the end (ISO 8601, UTC) and the column types of its last run.

    `checked` is the end of the last run that read everything, or None.
    """

    name: str
    location: str | None
    ended: str
    types: Mapping[str, str]
    checked: str | None


def location_of(source: Source) -> str | None:
    """Return the location of a source, which does not depend on its name, or None if the source has none."""
    origin = getattr(source, "origin", None)
    return origin if isinstance(origin, str) else None


def list_sources(store: Store, collection: str) -> list[StoredSource]:
    """Return the sources of a collection that have points or a note, sorted by name."""
    points = store.facet(collection, "source")
    documents, soft_deleted = _count_documents(store, collection)
    notes = {note.name: note for note in _notes(store, collection).values()}
    return [
        StoredSource(
            name,
            None if documents is None else documents.get(name, 0),
            points.get(name, 0),
            None if soft_deleted is None else soft_deleted.get(name, 0),
            notes[name].ended if name in notes else None,
            notes[name].location if name in notes else None,
            notes[name].types if name in notes else {},
        )
        for name in sorted(points.keys() | notes.keys())
    ]


def note_runs(store: Store, collection: str, sources: Sequence[Source], now: float, *, read_all: Collection[str] = ()) -> None:
    """Note that these sources were read to their ends at `now` (seconds since 1970). If the store refuses, log a warning.

    `read_all`: names of the sources of which every document was read, unchanged ones included.
    """
    ended = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    try:
        kept = _notes(store, collection)
        for source in sources:
            _warn_of_changed_types(source, kept)
        update: dict[str, dict[str, Any] | None] = {
            (key := _key(source.name)): _note(
                source, ended, ended if source.name in read_all else kept[key].checked if key in kept else None
            )
            for source in sources
            if len(source.name) <= MAX_TEXT
        }
        others = sorted((note.ended, key) for key, note in kept.items() if key not in update)
        update.update(dict.fromkeys(key for _, key in others[: max(0, len(others) + len(update) - MAX_NOTES)]))
        store.update_notes(collection, update)
    except StoreError as exc:  # for example, an API key that may write points only
        logger.warning("the run is done, but ingest collections info will not show when: %s", exc)


def _warn_of_changed_types(source: Source, kept: Mapping[str, _Note]) -> None:
    """Log a warning for columns whose type is another one than in the last run: filters that found documents may not now."""
    before = kept[_key(source.name)].types if _key(source.name) in kept else {}
    for column, column_type in report_of(source).types.items():
        if (old := before.get(column, column_type)) != column_type:
            logger.warning(
                "%s: the column %s was %s in the last run and is %s now; --type %s=%s keeps it",
                *(source.name, column, old),
                *(column_type, column, old.partition(" ")[0]),
            )


def is_check_due(store: Store, collection: str, source: Source, every: float | None, now: float) -> bool:
    """Return whether the last run that read all of a source was at least `every` seconds before `now`, or is unknown.

    `every`: None for never due. `now`: seconds since 1970.
    """
    if every is None:
        return False
    note = _notes(store, collection).get(_key(source.name))
    try:
        since = now - datetime.fromisoformat(note.checked if note and note.checked else "").timestamp()
    except ValueError:
        return True
    return not 0 <= since < every


def other_names(store: Store, collection: str, source: Source) -> list[str]:
    """Return the other source names under which documents from this source's location are stored."""
    location = location_of(source)
    if location is None:
        return []
    # A source without a name is named after its location, and may have been stored before notes existed.
    names = {location, *(note.name for note in _notes(store, collection).values() if note.location == location)}
    names.discard(source.name)
    return sorted(name for name in names if store.count(collection, [Condition("source", "eq", name)]))


def warn_of_other_names(
    store: Store, collection: str, sources: Sequence[Source], monitor: ThroughputMonitor, *, called: str
) -> None:
    """Log an error for each source whose location is also stored under another name.

    `called`: name of the collection in messages.
    """
    ours = {source.name for source in sources}
    for source in sources:
        for name in other_names(store, collection, source):
            if name not in ours:
                monitor.log_error(
                    source.name,
                    f"documents from this location are also stored as the source {name}, and search finds both: take them along"
                    f" with --moved-from {name}, or delete them with ingest collections forget {called} --source {name}",
                )


def forget_source(
    store: Store,
    collection: str,
    source: str,
    *,
    delete_after: float | str | timedelta | None = None,
    now: Callable[[], float] = time.time,
) -> Forgotten:
    """Delete all documents of one source, as a `full` run would if the source were empty. The deletion brake does not apply.

    With `delete_after`, the documents are soft-deleted first; a call after the grace period deletes them. Points of other sources
    and of other tools are kept. After an interruption, the next call continues.

    Raises `ConfigurationError` if the collection has no such source, `CollectionNotFoundError`, `StoreError`.
    """
    checked("source", parse_text, source)
    grace = checked("delete_after", optional(parse_duration), delete_after)
    of_source = [Condition("source", "eq", source)]
    if store.count(collection, of_source) == 0 and _key(source) not in _notes(store, collection):
        raise ConfigurationError(
            f"the collection {collection} has no source {source}: ingest collections info {collection} lists those it has"
        )
    moment, tally, in_grace_period = now(), Tally(), 0
    for stored_as in collections_to_write(store, collection):
        with PendingDeletes() as deletes:
            source_deletes = SourceDeletes(source, stored_as, DeleteMode.FULL, grace, store, ThroughputMonitor(), (), deletes)
            source_deletes.note_stored()
            find_missing(deletes, (), (), now=moment, delete_after=grace)
            with Writer(store, stored_as) as writer:
                source_deletes.delete_missing(writer, moment, tally)
            in_grace_period = deletes.count_missing_documents(MissingAction.KEEP)
        if not (tally.soft_deleted or in_grace_period):
            drop_note(store, stored_as, source)
    return Forgotten(collection, source, tally.deleted, tally.soft_deleted, in_grace_period, tally.chunks_deleted)


def drop_note(store: Store, collection: str, source: str) -> None:
    """Remove the note of a source."""
    if _key(source) in _notes(store, collection):
        store.update_notes(collection, {_key(source): None})


def _count_documents(store: Store, collection: str) -> tuple[dict[str, int] | None, dict[str, int] | None]:
    """Return the numbers of documents and of soft-deleted documents of each source."""
    try:
        documents = store.facet(collection, "source", [_FIRST_CHUNK])
        return documents, store.facet(collection, "source", [_FIRST_CHUNK, Condition(SOFT_DELETED_FIELD, "exists", value=True)])
    except StoreUnavailableError:
        raise
    except StoreError as exc:  # strict mode may refuse a filter on a field without an index
        logger.warning("documents are not counted: %s", exc)
        return None, None


def _notes(store: Store, collection: str) -> dict[str, _Note]:
    """Return the notes of sources by key; notes of other kinds are skipped."""
    return {key: note for key, value in store.notes(collection).items() if (note := _parsed(value)) is not None}


def _parsed(value: object) -> _Note | None:
    if not isinstance(value, Mapping):
        return None
    name, location, ended = (value.get(field) for field in ("source", "location", "ended"))
    if isinstance(name, str) and isinstance(ended, str) and (location is None or isinstance(location, str)):
        types = value.get("types")
        checked = value.get("checked")
        checked = checked if isinstance(checked, str) else None
        return _Note(name, location, ended, types if isinstance(types, Mapping) else {}, checked)
    return None


def _note(source: Source, ended: str, checked: str | None) -> dict[str, Any]:
    location = location_of(source)
    types = report_of(source).types
    kept = {"types": types} if types and sum(map(len, types)) <= MAX_TEXT else {}
    return {
        "source": source.name,
        "location": location if location and len(location) <= MAX_TEXT else None,
        "ended": ended,
        "checked": checked,
        **kept,
    }


def _key(source: str) -> str:
    return digest(["source", source])
