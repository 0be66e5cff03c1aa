"""The aliases and collections that belong to a name: those that a reindex created for it.

Everything else in a store belongs to other users, and may have any name. So a collection counts as created for a name only if its
own name, its manifest and the base name in that manifest all agree.
"""

from __future__ import annotations

from collections.abc import Mapping

from ingest.errors import CollectionNotFoundError, ConfigurationError, ForeignCollectionError, StoreError
from ingest.store.contract import CollectionInfo, Manifest, Store
from ingest.store.schema import is_version_of, no_collection, usual_names

_PREVIOUS = "__previous"
_NEXT = "__next"
_SWAP = "__swap"

ADOPTED_FROM = "adopted_from"
"""The note with the collection of another tool that a collection took the alias from."""


def previous_alias(name: str) -> str:
    """Return the alias of the collection that `name` stood for before the last swap."""
    return f"{name}{_PREVIOUS}"


def next_alias(name: str) -> str:
    """Return the alias of the collection that is being built to replace that of `name`, or of an abandoned one."""
    return f"{name}{_NEXT}"


def swap_alias(name: str) -> str:
    """Return the alias of the collection of `name` while a reindex is about to swap it. See `in_use`."""
    return f"{name}{_SWAP}"


def swap_aliases_of(aliases: Mapping[str, str], collection: str) -> list[str]:
    """Return the aliases of reindexes that are about to swap a collection."""
    return [alias for alias, target in aliases.items() if target == collection and alias.endswith(_SWAP)]


def check_name(name: str) -> None:
    """Raise `ConfigurationError` for a name that is reserved for the aliases of `ingest reindex`."""
    if name.endswith((_PREVIOUS, _NEXT, _SWAP)):
        raise ConfigurationError(
            f"the collection name {name!r} is reserved: ingest reindex keeps names that end in {_PREVIOUS}, {_NEXT} or"
            f" {_SWAP} for its own aliases; choose another name"
        )


def other_aliases(aliases: Mapping[str, str], collection: str, name: str) -> list[str]:
    """Return the aliases of a collection apart from `name` and those that a reindex keeps for it."""
    own = {name, previous_alias(name), next_alias(name), swap_alias(name)}
    return sorted(alias for alias, target in aliases.items() if target == collection and alias not in own)


def why_kept(store: Store, name: str, collection: str) -> str | None:
    """Return why a reindex of `name` must not drop a collection, or None if it may."""
    if others := other_aliases(store.aliases(), collection, name):
        return f"in use: the alias {', '.join(others)} names it"
    if not is_version_of(store.manifest(collection), name):
        return f"not created by ingest for {name}"
    return None


def check_aliases(store: Store, name: str) -> None:
    """Raise `ConfigurationError` if `name` or an alias kept for it stands for a collection that was not created for `name`."""
    aliases = store.aliases()
    for alias in (name, previous_alias(name), next_alias(name), swap_alias(name)):
        collection = aliases.get(alias, alias)
        try:
            manifest = store.manifest(collection)
        except CollectionNotFoundError:
            continue
        except ForeignCollectionError:
            manifest = None
        if alias not in aliases:
            raise ConfigurationError(
                f"a collection has the name {alias}, which ingest reindex needs for an alias: rename or drop it first"
            )
        if manifest is None or manifest.base_name != name:
            raise ConfigurationError(
                f"the alias {alias} stands for the collection {collection}, which was created {_for_whom(manifest)}:"
                f" ingest reindex {name} would change that alias, so point it elsewhere or remove it first"
            )


def check_spelling(spelled: str, name: str) -> None:
    """Raise `ConfigurationError` unless the name of a collection to drop is spelled as in the list of collections."""
    if spelled != name:
        raise ConfigurationError(f"{spelled} is another spelling of {name}: to drop the collection {name}, call it that")


def find_droppable(store: Store, name: str) -> CollectionInfo:
    """Return the collection that a user may drop under `name`. It is not opened, so a damaged collection can be dropped, too.

    Raises `CollectionNotFoundError`; `StoreError` if another tool made it; `ConfigurationError` if `name` is an alias of it and
    another alias names it as well, apart from those that a reindex keeps.
    """
    aliases = store.aliases()
    stored_as, infos = aliases.get(name, name), store.collections()
    for info in infos:
        if info.name != stored_as:
            continue
        if not info.ours:
            raise StoreError(
                f"the collection {name} in {store.location} was not dropped, because"
                f" {info.problem or 'it was not made by ingest: drop it with the tool that made it'}"
            )
        if name in aliases and (others := other_aliases(aliases, stored_as, name)):
            raise ConfigurationError(
                f"{name} was not dropped, because it is in use: the alias {', '.join(others)} names the same collection; to"
                f" delete it with all its aliases, drop it as {stored_as}"
            )
        return info
    raise no_collection(name, store.location, usual_names((info.name for info in infos), aliases))


def _for_whom(manifest: Manifest | None) -> str:
    if manifest is None:
        return "by another tool"
    return f"for {manifest.base_name}" if manifest.base_name else "for another name"
