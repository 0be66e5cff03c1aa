"""The documents that the sources have and their stored points, in shards by document key. Each shard is an actor with own files.

None of this is collected on the driver. A shard keeps a row of about 40 bytes (key, part, seen) for each document, and with
`--delete full` a row of about 90 bytes for each stored point. For 100 million documents of three chunks, each of 16 shards has a
temporary file with 0.25 GB of documents and 1.7 GB of stored points, and uses a few megabytes of memory: SQLite's cache and one
batch.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from itertools import islice
from typing import Any

from ingest.cluster.connection import fetch, start_actor, streamed
from ingest.sync.plan import MissingAction
from ingest.sync.run_state import BATCH_POINTS, ClaimedDocuments, PendingDeletes, SeenDocuments

SHARDS = 16
"""Maximum number of shards."""

MAX_IN_FLIGHT = 32
"""Batches sent to shards and not yet acknowledged."""

StoredRow = tuple[str, str, str, float | None]
"""Point, document key, document id, time of the soft delete; see `PendingDeletes.add_stored`."""


class DocumentShard:
    """The actor with the documents of one shard, for each source. Sources are identified by number."""

    def __init__(self, sources: int) -> None:
        self._claimed = [ClaimedDocuments() for _ in range(sources)]
        self._deletes = [PendingDeletes() for _ in range(sources)]

    def claim(self, source: int, doc_keys: Collection[str], part: int) -> None:
        self._claimed[source].claim(doc_keys, part)

    def see(self, source: int, doc_keys: Collection[str], part: int) -> set[str]:
        return self._claimed[source].see(doc_keys, part)

    def protect(self, source: int, doc_keys: Collection[str]) -> None:
        self._claimed[source].protect(doc_keys)

    def add_stored(self, source: int, rows: Iterable[StoredRow]) -> None:
        for row in rows:
            self._deletes[source].add_stored(*row)

    def add_missing(self, source: int, kept: Collection[str], decide: Callable[[float | None], MissingAction]) -> None:
        self._deletes[source].add_missing(self._claimed[source], kept, decide)

    def call(self, source: int, method: str, *arguments: Any) -> Any:
        """Return the result of a method of `PendingDeletes`."""
        return getattr(self._deletes[source], method)(*arguments)

    def points(self, source: int, method: str, *arguments: Any) -> Iterator[list[str]]:
        """Yield the batches of points of a method of `PendingDeletes`."""
        yield from getattr(self._deletes[source], method)(*arguments)

    def points_that_came_back(self, source: int) -> Iterator[list[str]]:
        yield from self._deletes[source].points_that_came_back(self._claimed[source])


class Shards:
    """Handles to all shards, for the driver and the workers."""

    def __init__(self, sources: int, number: int = SHARDS) -> None:
        self._actors = [start_actor(DocumentShard, sources) for _ in range(number)]

    def claim(self, source: int, doc_keys: Iterable[str], part: int) -> None:
        keys = iter(doc_keys)
        while group := list(islice(keys, BATCH_POINTS)):
            fetch([actor.claim.remote(source, chosen, part) for actor, chosen in self._by_shard(group)])

    def see(self, source: int, doc_keys: Collection[str], part: int) -> set[str]:
        """Mark documents as read, and return those that belong to another part."""
        others = fetch([actor.see.remote(source, chosen, part) for actor, chosen in self._by_shard(doc_keys)])
        return set().union(*others)

    def protect(self, source: int, doc_keys: Collection[str]) -> None:
        fetch([actor.protect.remote(source, chosen) for actor, chosen in self._by_shard(doc_keys)])

    def add_stored(self, source: int, rows: Collection[StoredRow]) -> list[Any]:
        """Send stored points to their shards, and return references: the points have been added once these are fetched."""
        chosen: dict[int, list[StoredRow]] = {}
        for row in rows:
            chosen.setdefault(self._shard_of(row[1]), []).append(row)
        return [self._actors[shard].add_stored.remote(source, own) for shard, own in chosen.items()]

    def add_missing(self, source: int, kept: Collection[str], decide: Callable[[float | None], MissingAction]) -> None:
        fetch([actor.add_missing.remote(source, kept, decide) for actor in self._actors])

    def call_all(self, source: int, method: str, *arguments: Any) -> list[Any]:
        results: list[Any] = fetch([actor.call.remote(source, method, *arguments) for actor in self._actors])
        return results

    def points_of_all(self, source: int, method: str, *arguments: Any) -> Iterator[list[str]]:
        for actor in self._actors:
            yield from streamed(actor.points, source, method, *arguments)

    def points_that_came_back(self, source: int) -> Iterator[list[str]]:
        for actor in self._actors:
            yield from streamed(actor.points_that_came_back, source)

    def _by_shard(self, doc_keys: Iterable[str]) -> Iterator[tuple[Any, list[str]]]:
        chosen: dict[int, list[str]] = {}
        for key in doc_keys:
            chosen.setdefault(self._shard_of(key), []).append(key)
        return ((self._actors[shard], keys) for shard, keys in chosen.items())

    def _shard_of(self, doc_key: str) -> int:
        return int(doc_key[:8], 16) % len(self._actors)


class PartSeen:
    """The documents seen in one part of a source; see `SeenDocuments`.

    Attributes:
        read_again: keys in `watched` that the part has read.
    """

    def __init__(self, shards: Shards, source: int, part: int, watched: Container[str]) -> None:
        self._shards = shards
        self._source = source
        self._part = part
        self._watched = watched
        self._own = SeenDocuments()
        self._protected: list[str] = []
        self.read_again: set[str] = set()

    def see(self, doc_keys: Collection[str]) -> set[str]:
        again = self._own.see(doc_keys)
        fresh = [key for key in doc_keys if key not in again]
        others = self._shards.see(self._source, fresh, self._part)
        self.read_again.update(key for key in fresh if key in self._watched and key not in others)
        return again | others

    def protect(self, doc_key: str) -> None:
        self._protected.append(doc_key)
        if len(self._protected) >= BATCH_POINTS:
            self.flush()

    def flush(self) -> None:
        """Send the protected documents to their shards, and wait until they have been added."""
        self._shards.protect(self._source, self._protected)
        self._protected.clear()

    def close(self) -> None:
        self._own.close()


class ShardedDeletes(PendingDeletes):
    """The pending deletes of a source. Only stale points are kept here; stored and missing documents are in the shards.

    The shards also know which documents were seen, so the `seen` argument of the methods is ignored.
    """

    def __init__(self, shards: Shards, source: int) -> None:
        super().__init__()
        self._shards = shards
        self._source = source
        self._rows: list[StoredRow] = []
        self._in_flight: list[Any] = []

    def add_stored(self, point: str, doc_key: str, doc_id: str, soft_deleted_at: float | None = None) -> None:
        self._rows.append((point, doc_key, doc_id, soft_deleted_at))
        if len(self._rows) >= BATCH_POINTS:
            self._send()

    def add_missing(self, _seen: Container[str], kept: Collection[str], decide: Callable[[float | None], MissingAction]) -> None:
        self._wait_until_added()
        self._shards.add_missing(self._source, list(kept), decide)

    def count_live_documents(self) -> int:
        return sum(self._shards.call_all(self._source, "count_live_documents"))

    def count_newly_missing_documents(self) -> int:
        return sum(self._shards.call_all(self._source, "count_newly_missing_documents"))

    def count_missing_documents(self, action: MissingAction) -> int:
        return sum(self._shards.call_all(self._source, "count_missing_documents", action))

    def newly_missing_documents(self, limit: int) -> list[str]:
        return list(islice(heapq.merge(*self._shards.call_all(self._source, "newly_missing_documents", limit)), limit))

    def points_of_missing(self, action: MissingAction) -> Iterator[list[str]]:
        yield from self._shards.points_of_all(self._source, "points_of_missing", action)

    def points_to_soft_delete(self) -> Iterator[list[str]]:
        yield from self._shards.points_of_all(self._source, "points_to_soft_delete")

    def points_that_came_back(self, _seen: Container[str]) -> Iterator[list[str]]:
        self._wait_until_added()
        yield from self._shards.points_that_came_back(self._source)

    def _send(self) -> None:
        self._in_flight.extend(self._shards.add_stored(self._source, self._rows))
        self._rows = []
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            self._wait_until_added()

    def _wait_until_added(self) -> None:
        if self._rows:
            self._send()
        sent, self._in_flight = self._in_flight, []
        fetch(sent)
