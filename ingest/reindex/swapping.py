"""The swap of a reindex, and the removal of collections that it no longer needs."""

from __future__ import annotations

import logging

from ingest.errors import StoreError
from ingest.reindex.rebuild import Rebuild
from ingest.store.contract import Store
from ingest.sync.ownership import next_alias, previous_alias, swap_alias, why_kept

logger = logging.getLogger(__name__)

MAX_PASSES = 10
"""Maximum number of passes over a collection that keeps changing before a reindex gives up."""


class Cleanup:
    """The swap of a reindex of `name`, and the removal of collections that it no longer needs."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self.dropped: list[str] = []
        self.kept: dict[str, str] = {}

    def drop_abandoned(self, *, keep: str | None) -> None:
        """Drop the collection that an interrupted reindex left, unless it is `keep`."""
        aliases, alias = self._store.aliases(), next_alias(self._name)
        abandoned = aliases.get(alias)
        if abandoned is None:
            return
        wanted = {keep, aliases.get(self._name), aliases.get(previous_alias(self._name))}
        if abandoned in wanted or not self.drop(abandoned):
            self._store.set_aliases({alias: None})

    def retire_previous(self) -> None:
        """Let `drop_abandoned` drop the collection kept for a rollback, since another rollback takes its place."""
        aliases = self._store.aliases()
        if (older := aliases.get(previous_alias(self._name))) is not None:
            self._store.set_aliases({previous_alias(self._name): None, next_alias(self._name): older})

    def swap_unchanged(self, rebuild: Rebuild) -> None:
        """Swap the collections once they are equal and nothing was written since, see `in_use`. Raise `StoreError` if that fails.

        `drop_abandoned` then drops the collection that was kept for a rollback before.
        """
        live, target = rebuild.live, rebuild.target
        for _ in range(MAX_PASSES):
            self._store.set_aliases({swap_alias(self._name): live})
            check_live(self._store, self._name, live)  # after the alias: another swap removes it
            if rebuild.catch_up() == 0 and rebuild.is_complete and self._swap(live, target):
                return
        self._store.set_aliases({swap_alias(self._name): None})
        raise _kept_changing(rebuild)

    def _swap(self, live: str, target: str) -> bool:
        """Point the name to the new collection, if the swap alias still exists. Return whether it did."""
        older = self._store.aliases().get(previous_alias(self._name))
        unneeded = None if older in {None, live, target} or self._keeps(older) else older
        swapped = {self._name: target, previous_alias(self._name): live, next_alias(self._name): unneeded}
        return self._store.exchange_alias(swap_alias(self._name), swapped)

    def drop(self, collection: str) -> bool:
        """Drop a collection unless it must be kept. Return whether it was dropped."""
        if self._keeps(collection):
            return False
        self._store.drop(collection)
        self.dropped.append(collection)
        logger.info("dropped %s, which was not in use", collection)
        return True

    def _keeps(self, collection: str) -> bool:
        reason = why_kept(self._store, self._name, collection)
        if reason is not None and collection not in self.kept:
            self.kept[collection] = reason
            logger.warning(
                "the collection %s is no longer needed for %s but was not dropped (%s)", collection, self._name, reason
            )
        return reason is not None


def catch_up(rebuild: Rebuild) -> None:
    """Copy points until the new collection equals the live one. Raise `StoreError` if that keeps changing."""
    for _ in range(MAX_PASSES):
        if rebuild.catch_up() == 0 and rebuild.is_complete:
            return
    raise _kept_changing(rebuild)


def _kept_changing(rebuild: Rebuild) -> StoreError:
    return StoreError(
        f"the collection {rebuild.live} kept changing while {rebuild.target} was built from it, so they were not swapped: run"
        " reindex again when no other job is writing to it; it continues from there"
    )


def check_live(store: Store, name: str, live: str) -> None:
    """Raise `StoreError` if the name no longer points to `live`: what was written since is not in `live`, and would be lost."""
    if (current := store.aliases().get(name)) != live:
        raise StoreError(
            f"{name} points to {current} and no longer to {live}, since another reindex or a rollback swapped it meanwhile, so it"
            " was not swapped again: run reindex again when no other one is under way"
        )
