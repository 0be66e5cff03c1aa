"""The collections that are served, opened when they are first asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol

from ingest.collection import Collection
from ingest.errors import CollectionNotFoundError, ConfigurationError
from ingest.serve.access import Grant
from ingest.serve.schemas import CollectionSummary
from ingest.serve.turns import WriteTurns
from ingest.store.contract import CollectionInfo, Store


class ReadableCollections(Protocol):
    """Collections by name, as `ServedCollections` has them."""

    def get(self, name: str) -> Collection: ...

    def summaries(self) -> list[CollectionSummary]: ...


class ServedCollections:
    """Collections of one open store.

    Args:
        store: the store, which stays open.
        open_collection: returns a collection of it by its normalized name.
        normalize: returns the normalized name of a collection; raises `ConfigurationError` for what is no name.
        names: the collections to serve, in any spelling. Empty: all that the store has and ever gets.
        early: collections to open before they are asked for, in any spelling. Those of `names` are, too.

    Attributes:
        turns: the turns to write, because a process takes one write at a time.
    """

    def __init__(
        self,
        store: Store,
        open_collection: Callable[[str], Collection],
        normalize: Callable[[str], str],
        names: Sequence[str] = (),
        early: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._open = open_collection
        self.normalize = normalize
        self.names = tuple(map(normalize, names))
        self.turns = WriteTurns()
        self._early = dict.fromkeys((*self.names, *map(normalize, early)))
        self._opened: dict[str, Collection] = {}
        self._opening = threading.Lock()
        self._closing = ExitStack()

    def get(self, name: str) -> Collection:
        """Return a collection by a name in any spelling. Raises `CollectionNotFoundError` if it is not served."""
        known = self.normalize(name)
        with self._opening:
            if known not in self._opened:
                if self.names and known not in self.names:
                    raise CollectionNotFoundError(f"the collection {known} is not served: {', '.join(self.names)} are")
                self._store.manifest(known)
                self._opened[known] = self._closing.enter_context(self._open(known))
            return self._opened[known]

    def summaries(self) -> list[CollectionSummary]:
        """Return what is served, by name."""
        aliases = self._store.aliases()
        found = [_summary(name, info) for info in self._store.collections() for name in _names(info, aliases)]
        return sorted((each for each in found if not self.names or each.name in self.names), key=lambda each: each.name)

    def warm_up(self) -> None:
        """Open the collections that are named and load their models, so that the first query does not wait for them.

        Raises `CollectionNotFoundError` if one does not exist.
        """
        for name in self._early:
            self.get(name).search("warm up", limit=1)

    def close(self) -> None:
        """Close the collections. The store stays open. Idempotent."""
        self._closing.close()


class AllowedCollections:
    """The collections that a client may read."""

    def __init__(self, served: ServedCollections, grant: Grant) -> None:
        self._served = served
        self._grant = grant

    def get(self, name: str) -> Collection:
        """Return a collection. Raises as `ServedCollections`, and `ConfigurationError` for one that the client may not read."""
        known = self._served.normalize(name)
        if not self._grant.allows(known, "read"):
            raise ConfigurationError(f"the token does not allow to read the collection {known}")
        return self._served.get(known)

    def summaries(self) -> list[CollectionSummary]:
        """Return what the client may read, by name."""
        return [each for each in self._served.summaries() if self._grant.allows(each.name, "read")]


def _names(info: CollectionInfo, aliases: Mapping[str, str]) -> list[str]:
    """Return the names of a collection that this package made: its aliases if it has any, else its own."""
    if not info.ours:
        return []
    return [alias for alias, target in aliases.items() if target == info.name] or [info.name]


def _summary(name: str, info: CollectionInfo) -> CollectionSummary:
    vectors = tuple(spec.name for spec in info.manifest.vectors) if info.manifest else ()
    return CollectionSummary(name, info.name, info.points, vectors, info.problem)
