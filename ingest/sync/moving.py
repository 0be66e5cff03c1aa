"""A source under a new name: its points are copied with their vectors, and no model is needed.

A point's id depends on its source's name, so it cannot be renamed in place: it is written again under its new id, and the old one
is deleted once that is acknowledged. A crash leaves some points under both names; moving again finishes. What is stored then is
what a run under the new name would have made of the same documents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingest.errors import ConfigurationError
from ingest.records import Payload, Point, Source, StoredPoint, chunk_id, doc_key
from ingest.store.contract import Condition, Store
from ingest.store.request_sizes import batches
from ingest.store.schema import INGEST_FIELD, fingerprint_of
from ingest.store.writer import Effects, Writer
from ingest.sync.stored_sources import drop_note
from ingest.telemetry import ThroughputMonitor

BATCH_POINTS = 256
"""Points read and written at a time, with their vectors."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Points that were moved, and those that were left under the old name: damaged, or written by another tool."""

    points: int
    left: int


def check_move(old: str | None, sources: Sequence[Source]) -> None:
    """Raise `ConfigurationError` unless there is exactly one source for the points of the source `old` to go to."""
    if old is not None and len(sources) != 1:
        raise ConfigurationError(
            f"the points of the source {old} can move to one source only, and {len(sources)} were given: run that one alone"
        )
    if old is not None and old == sources[0].name:
        raise ConfigurationError(f"the source is called {old} already: give its new name, --name")


def move_source(store: Store, collection: str, old: str, new: str) -> Moved:
    """Move all points of the source `old` to the source `new`. Points that `new` has already are kept as they are.

    Moving again does nothing more. Raises `ConfigurationError` if there are points of neither, so that a slip in the old name is
    not taken for a finished move; `StoreError`.
    """
    of_old = [Condition("source", "eq", old)]
    most = store.count(collection, of_old) + store.count(collection, [Condition("source", "eq", new)])
    if most == 0:
        raise ConfigurationError(f"the collection {collection} has no source {old} to move from: see ingest collections info")
    moved = left = 0
    stored = store.scroll(collection, of_old, vectors=True, page=BATCH_POINTS)
    with Writer(store, collection) as writer:
        for page in batches(stored, lambda _: 1, BATCH_POINTS, BATCH_POINTS):
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


def take_along(old: str | None, sources: Sequence[Source], store: Store, collection: str, monitor: ThroughputMonitor) -> int:
    """Move the points of `old`, if that is a name, to the only source there then is, and return how many there were."""
    if old is None:
        return 0
    moved = move_source(store, collection, old, sources[0].name)
    if moved.left:
        monitor.log_error(
            sources[0].name,
            f"{moved.left:,} points of the source {old} were left there, since they are damaged or another tool wrote them"
            " (see ingest collections forget)",
        )
    return moved.points


def _copy(point: StoredPoint, old: str, new: str, most: int) -> Point | None:
    """Return the point as one of the source `new`; None if it is not what this package stores of the source `old`.

    `most`: points that a document of the two can have.
    """
    made, text, doc_id = fingerprint_of(point.id, point.payload), point.payload.get("text"), point.payload.get("doc_id")
    if made is None or not isinstance(text, str) or not isinstance(doc_id, str) or made.doc_key != doc_key(old, doc_id):
        return None
    key = doc_key(new, doc_id)
    for nth in _possible(point.payload.get("chunk"), most):
        if chunk_id(made.doc_key, text, nth) == point.id:
            payload: Payload = {**point.payload, "source": new, INGEST_FIELD: {**point.payload[INGEST_FIELD], "doc_key": key}}
            return Point(chunk_id(key, text, nth), point.vectors, payload)
    return None


def _possible(index: object, most: int) -> Iterator[int]:
    """Yield how many equal texts may come before a chunk, the likely counts first: none, or all that come before it."""
    yield 0
    if isinstance(index, int) and 0 < index < most:
        yield index
        yield from range(1, index)
