"""The collections of a store, listed for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from ingest.store.contract import CollectionInfo, Store


@dataclass(frozen=True, slots=True)
class ListedCollection:
    """A collection with its names: its aliases if it has any, the shortest first, else its own name."""

    names: tuple[str, ...]
    info: CollectionInfo


def listed_collections(store: Store) -> list[ListedCollection]:
    """Return the collections of a store. Raises `StoreError`."""
    aliases = store.aliases()
    return [ListedCollection(_names(info.name, aliases), info) for info in store.collections()]


def listing_json(listed: ListedCollection) -> dict[str, Any]:
    """Return the JSON object of a collection."""
    name, *aliases = listed.names
    return {**asdict(listed.info), "name": name, "aliases": aliases, "stored_as": listed.info.name}


def listing_table(found: Sequence[ListedCollection]) -> Table:
    """Return the collections as a table. Print it without markup: a problem may contain brackets."""
    table = Table("collection", "points", "vectors", "stored as")
    for listed in found:
        info, names = listed.info, listed.names
        points = "?" if info.points is None else f"{info.points:,}"
        table.add_row(", ".join(names), points, _vectors(info), "" if info.name in names else info.name)
    return table


def _names(collection: str, aliases: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted(alias for alias, target in aliases.items() if target == collection)) or (collection,)


def _vectors(info: CollectionInfo) -> str:
    if info.problem is not None:
        return info.problem
    if info.manifest is None:
        return "(not made by ingest)"
    return ", ".join(spec.name for spec in info.manifest.vectors)
