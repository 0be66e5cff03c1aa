"""Which documents the sources have, and what was stored of them: in shards by document key, each an actor with files of its own.

Nothing of it is gathered on the driver. A shard keeps of each document a row of about 40 bytes (key, part, seen), and with
`--delete full` one of about 90 for each stored point. 100 million documents of three chunks, in 16 shards, are 0.25 GB of seen
and 1.7 GB of stored rows in each shard's temporary file, and a few megabytes of its memory: SQLite's cache, and one batch.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from itertools import islice
from typing import Any

from ingest.cluster.connection import fetch, start_actor, streamed
from ingest.sync.plan import MissingAction
from ingest.sync.run_state import TOGETHER, ClaimedDocuments, PendingDeletes, SeenDocuments

SHARDS = 16
AHEAD = 32
"""Batches on their way to shards at once."""

StoredRow = tuple[str, str, str, float | None]
"""Point, document key, document id, time of the soft delete; see `PendingDeletes.add_stored`."""


class Shard:
    """The actor: of each source, the documents whose keys fall to it. Sources go by their numbers."""

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

    def add_missing(self, source: int, decide: Callable[[float | None], MissingAction]) -> None:
        self._deletes[source].add_missing(self._claimed[source], decide)

    def ask(self, source: int, question: str, *arguments: Any) -> Any:
        """What a method of `PendingDeletes` gives."""
        return getattr(self._deletes[source], question)(*arguments)

    def points(self, source: int, question: str, *arguments: Any) -> Iterator[list[str]]:
        """What one yields."""
        yield from getattr(self._deletes[source], question)(*arguments)

    def points_that_came_back(self, source: int) -> Iterator[list[str]]:
        yield from self._deletes[source].points_that_came_back(self._claimed[source])


class Shards:
    """All of them, for whoever has a handle: the driver and every worker."""

    def __init__(self, sources: int, number: int = SHARDS) -> None:
        self._actors = [start_actor(Shard, sources) for _ in range(number)]

    def claim(self, source: int, doc_keys: Iterable[str], part: int) -> None:
        keys = iter(doc_keys)
        while group := list(islice(keys, TOGETHER)):
            fetch([actor.claim.remote(source, chosen, part) for actor, chosen in self._by_shard(group)])

    def see(self, source: int, doc_keys: Collection[str], part: int) -> set[str]:
        """Those that belong to another part."""
        others = fetch([actor.see.remote(source, chosen, part) for actor, chosen in self._by_shard(doc_keys)])
        return set().union(*others)

    def protect(self, source: int, doc_keys: Collection[str]) -> None:
        fetch([actor.protect.remote(source, chosen) for actor, chosen in self._by_shard(doc_keys)])

    def add_stored(self, source: int, rows: Collection[StoredRow]) -> list[Any]:
        """References to be fetched: then they are there."""
        chosen: dict[int, list[StoredRow]] = {}
        for row in rows:
            chosen.setdefault(self._shard_of(row[1]), []).append(row)
        return [self._actors[shard].add_stored.remote(source, own) for shard, own in chosen.items()]

    def add_missing(self, source: int, decide: Callable[[float | None], MissingAction]) -> None:
        fetch([actor.add_missing.remote(source, decide) for actor in self._actors])

    def ask_all(self, source: int, question: str, *arguments: Any) -> list[Any]:
        answers: list[Any] = fetch([actor.ask.remote(source, question, *arguments) for actor in self._actors])
        return answers

    def points_of_all(self, source: int, question: str, *arguments: Any) -> Iterator[list[str]]:
        for actor in self._actors:
            yield from streamed(actor.points, source, question, *arguments)

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
    """What one part of a source has, as its reader asks; see `SeenDocuments`. `found`: those of `watched` that it has read."""

    def __init__(self, shards: Shards, source: int, part: int, watched: Container[str]) -> None:
        self._shards = shards
        self._source = source
        self._part = part
        self._watched = watched
        self._own = SeenDocuments()
        self._protected: list[str] = []
        self.found: set[str] = set()

    def see(self, doc_keys: Collection[str]) -> set[str]:
        again = self._own.see(doc_keys)
        fresh = [key for key in doc_keys if key not in again]
        others = self._shards.see(self._source, fresh, self._part)
        self.found.update(key for key in fresh if key in self._watched and key not in others)
        return again | others

    def protect(self, doc_key: str) -> None:
        self._protected.append(doc_key)
        if len(self._protected) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Returns when everything is where it belongs."""
        self._shards.protect(self._source, self._protected)
        self._protected.clear()

    def close(self) -> None:
        self._own.close()


class ShardedDeletes(PendingDeletes):
    """Pending deletes of a source of which only the stale points are here; what was stored, and is missing, is in the shards.

    They know themselves what was seen: what is given as that is not looked at.
    """

    def __init__(self, shards: Shards, source: int) -> None:
        super().__init__()
        self._shards = shards
        self._source = source
        self._rows: list[StoredRow] = []
        self._on_their_way: list[Any] = []

    def add_stored(self, point: str, doc_key: str, doc_id: str, soft_deleted_at: float | None = None) -> None:
        self._rows.append((point, doc_key, doc_id, soft_deleted_at))
        if len(self._rows) >= TOGETHER:
            self._send()

    def add_missing(self, _seen: Container[str], decide: Callable[[float | None], MissingAction]) -> None:
        self._settle_in()
        self._shards.add_missing(self._source, decide)

    def count_live_documents(self) -> int:
        return sum(self._shards.ask_all(self._source, "count_live_documents"))

    def count_newly_missing_documents(self) -> int:
        return sum(self._shards.ask_all(self._source, "count_newly_missing_documents"))

    def count_missing_documents(self, action: MissingAction) -> int:
        return sum(self._shards.ask_all(self._source, "count_missing_documents", action))

    def newly_missing_documents(self, limit: int) -> list[str]:
        return list(islice(heapq.merge(*self._shards.ask_all(self._source, "newly_missing_documents", limit)), limit))

    def points_of_missing(self, action: MissingAction) -> Iterator[list[str]]:
        yield from self._shards.points_of_all(self._source, "points_of_missing", action)

    def points_to_soft_delete(self) -> Iterator[list[str]]:
        yield from self._shards.points_of_all(self._source, "points_to_soft_delete")

    def points_that_came_back(self, _seen: Container[str]) -> Iterator[list[str]]:
        self._settle_in()
        yield from self._shards.points_that_came_back(self._source)

    def _send(self) -> None:
        self._on_their_way.extend(self._shards.add_stored(self._source, self._rows))
        self._rows = []
        if len(self._on_their_way) >= AHEAD:
            self._settle_in()

    def _settle_in(self) -> None:
        if self._rows:
            self._send()
        waited, self._on_their_way = self._on_their_way, []
        fetch(waited)
