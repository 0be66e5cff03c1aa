"""The collections of the embedded store: created, opened and locked, listed and dropped; their aliases, manifests and notes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import qdrant_edge as engine
from qdrant_edge import UpdateOperation

from ingest.errors import CollectionNotFoundError, StoreError
from ingest.process import HomeLock, HomeProcess, keep_for_parent
from ingest.store.contract import CollectionInfo, CollectionOptions, Filter, Manifest
from ingest.store.edge.aliases import AliasFile
from ingest.store.edge.directory import CollectionDirectory, collection_names
from ingest.store.edge.filters import filter_to
from ingest.store.edge.pages import release_pages
from ingest.store.edge.space import RESERVE, check_room, free_bytes, mebibytes, used_bytes
from ingest.store.edge.wire import collection_config, index_of, index_to, new_vector, same_index
from ingest.store.layout import taken_over
from ingest.store.payload_index import PayloadIndex
from ingest.store.schema import (
    VECTORS_FIELD,
    check_aliases_are_free,
    check_same_vectors,
    missing_indexes,
    no_collection,
    usual_names,
)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class OpenCollection:
    """A collection that this process has opened and locked. `written`: points written since the last flush."""

    directory: CollectionDirectory
    shard: engine.EdgeShard
    written: int = 0


class EdgeCollections:
    """The operations of `EdgeStore` on whole collections.

    A collection is opened and locked when it is first used.
    """

    def __init__(self, root: str | Path, *, reserve: int = RESERVE) -> None:
        self._root = Path(root).expanduser().absolute()
        self._reserve = reserve
        self._home = HomeProcess(f"the store {self._root}")
        self._mutex = HomeLock(self._home)
        self._aliases = AliasFile(self._root)
        self._open: dict[str, OpenCollection] = {}
        self._closed = False
        keep_for_parent(self)

    @property
    def location(self) -> str:
        return str(self._root)

    def ensure(self, manifest: Manifest, options: CollectionOptions, like: str | None = None) -> Manifest:
        with self._mutex:
            name = self._resolved(manifest.collection)
            wanted = {} if like is None else self._indexes(like)
            if name not in self._open:
                directory = CollectionDirectory(self._root, name)
                if not directory.exists:
                    options = options if like is None else taken_over(options, self.manifest(like).layout)
                    collection_config(manifest, options)  # raises for what the engine lacks
                directory.create()
                check_room(directory.path, self._reserve)
                self._load(directory, make=(manifest, options))
            opened = self._open[name]
            stored = opened.directory.read_manifest()
            with translated_engine(name):
                present = opened.shard.info().payload_schema
                for field, index in wanted.items():
                    if field in present and same_index(present[field], index):
                        continue
                    if field in present:
                        opened.shard.update(UpdateOperation.delete_field_index(field))
                    opened.shard.update(UpdateOperation.create_field_index(field, index.params or index.data_type))
                present = opened.shard.info().payload_schema
                found = {field: index_of(each) for field, each in present.items()}
                for field, missing in missing_indexes(found, options.indexes).items():
                    if field in found:
                        opened.shard.update(UpdateOperation.delete_field_index(field))
                    opened.shard.update(UpdateOperation.create_field_index(field, index_to(missing)))
            return stored

    def manifest(self, collection: str) -> Manifest:
        with self._mutex:
            return self._opened(collection).directory.read_manifest()

    def write_manifest(self, manifest: Manifest) -> None:
        with self._mutex:
            directory = self._opened(manifest.collection).directory
            check_same_vectors(directory.read_manifest(), manifest)
            directory.write_manifest(replace(manifest, collection=directory.name))

    def set_vectors(self, manifest: Manifest) -> None:
        with self._changing(manifest.collection) as opened:
            directory, shard = opened.directory, opened.shard
            stored, wanted = directory.read_manifest(), manifest.every_vector
            check_same_vectors(stored.searched, manifest.searched)
            for name, spec in stored.every_vector.items():
                if name not in wanted or wanted[name].shape != spec.shape:
                    # what the points record goes first: after a crash, none may record a vector that it lacks
                    shard.update(UpdateOperation.delete_payload_by_filter(engine.Filter(), [f'{VECTORS_FIELD}."{name}"']))
                    shard.update(UpdateOperation.delete_vector_name(name))
            directory.write_manifest(replace(manifest, collection=directory.name))
            others = replace(manifest, next=None).every_vector
            added = [spec for spec in wanted.values() if spec.name not in others]  # the others exist: they were searched
            options = taken_over(CollectionOptions(), manifest.layout)
            for spec in added:
                shard.update(new_vector(spec, options))
            if added:
                vectors = tuple(wanted.values())
                self._reload(opened, collection_config(replace(manifest, vectors=vectors), options))

    def collections(self) -> list[CollectionInfo]:
        with self._mutex:
            self._check_open()
            infos = []
            for name in collection_names(self._root):
                with suppress(CollectionNotFoundError):  # dropped meanwhile
                    infos.append(self._info(name))
            return infos

    def drop(self, collection: str) -> None:
        with self._mutex:
            name = self._resolved(collection)
            has_aliases = name in self._aliases.read().values()
            directory = CollectionDirectory(self._root, name)
            if opened := self._open.pop(name, None):
                directory = opened.directory
                with translated_engine(name):
                    opened.shard.close()
            else:  # not loaded for this, so that a damaged shard can be dropped
                _check_exists(directory)
                directory.lock()
            directory.discard()
            if has_aliases:
                with self._aliases.changing():
                    pass  # rewritten without the aliases of the dropped collection

    def aliases(self) -> dict[str, str]:
        with self._mutex:
            self._check_open()
            return self._aliases.read()

    def set_aliases(self, targets: Mapping[str, str | None]) -> None:
        self._change_aliases(targets)

    def exchange_alias(self, alias: str, targets: Mapping[str, str | None]) -> bool:
        return self._change_aliases({alias: None, **targets}, only_with=alias)

    def _change_aliases(self, targets: Mapping[str, str | None], *, only_with: str | None = None) -> bool:
        """Change the aliases, if the alias `only_with` exists. Return whether it does."""
        with self._mutex:
            self._check_open()
            directories = {
                alias: CollectionDirectory(self._root, self._resolved(target))
                for alias, target in targets.items()
                if target is not None
            }
            for directory in directories.values():
                _check_exists(directory)
            check_aliases_are_free(directories, collection_names(self._root), self.location)
            if not (directories or self._aliases.read()):
                return only_with is None  # nothing to remove, and perhaps no directory yet
            with self._aliases.changing() as aliases:
                if only_with is not None and only_with not in aliases:
                    return False
                for alias in targets:
                    aliases.pop(alias, None)
                aliases.update({alias: directory.name for alias, directory in directories.items()})
            return True

    def defer_indexing(self, collection: str) -> None:
        with self._mutex:
            self._opened(collection)

    def count(self, collection: str, conditions: Sequence[Filter] = ()) -> int:
        with self._using(collection) as opened:
            return opened.shard.count(engine.CountRequest(exact=True, filter=filter_to(conditions)))

    def indexes(self, collection: str) -> dict[str, PayloadIndex]:
        return {field: index_of(info) for field, info in self._indexes(collection).items()}

    def notes(self, collection: str) -> dict[str, Any]:
        with self._mutex:
            return self._opened(collection).directory.read_notes()

    def update_notes(self, collection: str, notes: Mapping[str, Any]) -> None:
        with self._mutex:
            directory = self._opened(collection).directory
            merged = {**directory.read_notes(), **notes}
            directory.write_notes({key: value for key, value in merged.items() if value is not None})

    def finalize(self, collection: str) -> None:
        with self._changing(collection) as opened:
            opened.shard.flush()
            if self._has_room_to_index(opened.directory):
                opened.shard.optimize()
            release_pages(opened.directory.path)

    def close(self) -> None:
        """Close the shards and release their locks. Idempotent; does nothing in a forked child, for they are the parent's."""
        if not self._home.is_current:
            return
        with self._mutex:
            self._closed = True
            for collection in list(self._open):
                self._release(collection)

    def held_by_parent(self) -> Iterable[object]:
        """See `Inherited`. A shard that is finalized writes its buffers to its files."""
        return self._open.values()

    @contextmanager
    def _using(self, collection: str) -> Iterator[OpenCollection]:
        with self._mutex:
            opened = self._opened(collection)
            with translated_engine(collection):
                yield opened

    @contextmanager
    def _changing(self, collection: str) -> Iterator[OpenCollection]:
        """Like `_using`, but for writes."""
        with self._using(collection) as opened:
            check_room(opened.directory.shard, self._reserve)
            yield opened

    def _opened(self, collection: str) -> OpenCollection:
        name = self._resolved(collection)
        if name not in self._open:
            directory = CollectionDirectory(self._root, name)
            _check_exists(directory)
            self._load(directory)
        return self._open[name]

    def _indexes(self, collection: str) -> dict[str, engine.PayloadIndexInfo]:
        """Return the payload indexes by field."""
        with self._using(collection) as opened:
            return opened.shard.info().payload_schema

    def _resolved(self, collection: str) -> str:
        """Return the name of the collection that has this name or alias."""
        self._check_open()
        return collection if collection in self._open else self._aliases.read().get(collection, collection)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"the store {self._root} has been closed: open it again")

    def _load(self, directory: CollectionDirectory, *, make: tuple[Manifest, CollectionOptions] | None = None) -> None:
        """Take the lock and open the shard. `make`: how to create a missing one first."""
        directory.lock()
        try:
            directory.forget_points()
            if make is not None and not directory.exists:  # under the lock, so leftovers are of a crash, not of another process
                directory.write_manifest(make[0])
                with directory.new_shard() as path, translated_engine(directory.name):
                    engine.EdgeShard.create(str(path), collection_config(*make)).close()
            with translated_engine(directory.name):
                shard = engine.EdgeShard.load(str(directory.shard))
        except BaseException:
            directory.unlock()
            raise
        self._open[directory.name] = OpenCollection(directory, shard)

    def _reload(self, opened: OpenCollection, config: engine.EdgeConfig) -> None:
        """Open the shard again with another configuration: only so does the engine take that of a vector that was added."""
        opened.shard.flush()
        opened.shard.close()
        try:
            opened.shard = engine.EdgeShard.load(str(opened.directory.shard), config)
        except BaseException:
            del self._open[opened.directory.name]
            opened.directory.unlock()
            raise

    def _info(self, collection: str) -> CollectionInfo:
        directory = CollectionDirectory(self._root, collection)
        ours, manifest = False, None
        try:
            ours = directory.ours
            manifest = directory.read_manifest() if ours else None
            points = directory.read_points()
            return CollectionInfo(collection, self._count_and_release(collection) if points is None else points, manifest, ours)
        except CollectionNotFoundError:
            raise
        except StoreError as exc:
            return CollectionInfo(collection, None, manifest, ours, str(exc))

    def _count_and_release(self, collection: str) -> int:
        already_open = collection in self._open
        try:
            return self.count(collection)
        finally:
            if not already_open and collection in self._open:
                self._release(collection)

    def _release(self, collection: str) -> None:
        opened = self._open.pop(collection)
        try:
            with translated_engine(collection):
                try:
                    points = opened.shard.count(engine.CountRequest(exact=True))
                finally:
                    opened.shard.close()
            with suppress(StoreError):  # without the number, as on a full disk, listing opens the shard and counts
                opened.directory.write_points(points)
        finally:
            opened.directory.unlock()

    def _has_room_to_index(self, directory: CollectionDirectory) -> bool:
        """Return whether the disk has room for a copy of the segments, which the engine makes to index them."""
        needed, free = used_bytes(directory.shard) + self._reserve, free_bytes(directory.shard)
        if free < needed:
            logger.warning(
                "everything is stored in %s, but its index is not brought up to date, so that a search may take longer: that can"
                " need %s of the disk and %s are free; make room and run it again",
                directory.read_manifest().raw_name,
                mebibytes(needed),
                mebibytes(free),
            )
        return free >= needed


@contextmanager
def translated_engine(collection: str) -> Iterator[None]:
    """Translate the exceptions of the engine; the one border for that."""
    try:
        yield
    except StoreError:
        raise
    except BaseException as exc:  # the engine raises nothing more specific than Exception …
        if (
            not isinstance(exc, Exception) and type(exc).__name__ != "PanicException"
        ):  # … and panics, whose type cannot be imported
            raise
        reason = (str(exc) or type(exc).__name__).splitlines()[0]
        raise StoreError(f"the embedded Qdrant refused a request on the collection {collection}: {reason}") from exc


def _check_exists(directory: CollectionDirectory) -> None:
    if not directory.exists:
        known = usual_names(collection_names(directory.root), AliasFile(directory.root).read())
        raise no_collection(directory.name, str(directory.root), known)
