"""Renaming a source: its points are copied with their vectors, so no model is needed. Also, whether a folder of it was renamed.

The id of a point depends on the name of its source, so a point cannot be renamed in place: it is written again under its new id,
and the old point is deleted once that write is acknowledged. A crash leaves some points under both names; a second move finishes
the work. The resulting points are those that a run under the new name would write for the same documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingest.errors import ConfigurationError
from ingest.identity import chunk_id, doc_key
from ingest.records import Payload, Point, Source, StoredPoint
from ingest.store.contract import Condition, Store
from ingest.store.request_sizes import batches
from ingest.store.schema import INGEST_FIELD, fingerprint_of
from ingest.store.writer import Effects, Writer
from ingest.sync.stored_sources import drop_note
from ingest.telemetry import ThroughputMonitor

MOVE_POINTS = 256
"""Number of points read and written at a time, with their vectors."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The result of a move.

    Attributes:
        points: number of points moved.
        left: number of points left under the old name, because they are damaged or another tool wrote them.
    """

    points: int
    left: int


def check_move(old: str | None, sources: Sequence[Source]) -> None:
    """Raise `ConfigurationError` unless the points of the source `old` can move to exactly one other source."""
    if old is not None and len(sources) != 1:
        raise ConfigurationError(
            f"the points of the source {old} can move to one source only, and {len(sources)} were given: run that one alone"
        )
    if old is not None and old == sources[0].name:
        raise ConfigurationError(f"the source is called {old} already: give its new name, --name")


def move_source(store: Store, collection: str, old: str, new: str) -> Moved:
    """Move all points of the source `old` to the source `new`. Existing points of `new` are not changed.

    A second move does nothing. Raises `StoreError`, and `ConfigurationError` if neither source has points: `old` is then probably
    misspelled.
    """
    of_old = [Condition("source", "eq", old)]
    most = store.count(collection, of_old) + store.count(collection, [Condition("source", "eq", new)])
    if most == 0:
        raise ConfigurationError(f"the collection {collection} has no source {old} to move from: see ingest collections info")
    moved = left = 0
    stored = store.scroll(collection, of_old, vectors=True, page=MOVE_POINTS)
    with Writer(store, collection) as writer:
        for page in batches(stored, lambda _: 1, MOVE_POINTS, MOVE_POINTS):
            pairs = [(point, copy) for point in page if (copy := _copy(point, old, new, most)) is not None]
            there = {point.id for point in store.retrieve(collection, [copy.id for _, copy in pairs], payload=False)}
            writer.submit(
                Effects(
                    upserts=[copy for _, copy in pairs if copy.id not in there],
                    deletes=[point.id for point, _ in pairs],
                )
            )
            moved += len(pairs)
            left += len(page) - len(pairs)
    if left == 0:
        drop_note(store, collection, old)
    return Moved(moved, left)


def folder_of(old: str | None, sources: Sequence[Source], store: Store, collection: str) -> str | None:
    """Return `old` as the name of a folder if it is no stored source, and files of the first source are stored in that folder."""
    if old is None or store.count(collection, [Condition("source", "eq", old)]):
        return None
    folder = old.strip("/")
    in_folder = [Condition("source", "eq", sources[0].name), Condition("folders", "eq", folder)]
    return folder if store.count(collection, in_folder) else None


def move_if_renamed(old: str | None, sources: Sequence[Source], store: Store, collection: str, monitor: ThroughputMonitor) -> int:
    """Move the points of the source `old` to the first source, and return their number. Does nothing if `old` is None."""
    if old is None:
        return 0
    moved = move_source(store, collection, old, sources[0].name)
    if moved.left:
        monitor.log_error(
            sources[0].name,
            f"{moved.left:,} points of the source {old} were left there, because they are damaged or another tool wrote them"
            " (see ingest collections forget)",
        )
    return moved.points


def _copy(point: StoredPoint, old: str, new: str, most: int) -> Point | None:
    """Return a copy of the point for the source `new`, or None if this package did not write the point for the source `old`.

    `most`: maximum number of points of one document of either source.
    """
    fingerprint = fingerprint_of(point.id, point.payload)
    text, doc_id = point.payload.get("text"), point.payload.get("doc_id")
    if (
        fingerprint is None
        or not isinstance(text, str)
        or not isinstance(doc_id, str)
        or fingerprint.doc_key != doc_key(old, doc_id)
    ):
        return None
    key = doc_key(new, doc_id)
    for nth in _possible(point.payload.get("chunk"), most):
        if chunk_id(fingerprint.doc_key, text, nth) == point.id:
            payload: Payload = {**point.payload, "source": new, INGEST_FIELD: {**point.payload[INGEST_FIELD], "doc_key": key}}
            return Point(chunk_id(key, text, nth), point.vectors, payload)
    return None


def _possible(index: object, most: int) -> Iterator[int]:
    """Yield the possible numbers of equal texts before a chunk, the likely ones first: none, or all texts before it."""
    yield 0
    if isinstance(index, int) and 0 < index < most:
        yield index
        yield from range(1, index)
