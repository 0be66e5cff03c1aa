"""The collections of a Qdrant server: created, listed and dropped; their manifests, aliases and indexes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from qdrant_client import models

from ingest.errors import CollectionNotFoundError, ConfigurationError, ForeignCollectionError, StoreError, StoreUnavailableError
from ingest.records import Fingerprint, Vector
from ingest.store.contract import CollectionInfo, CollectionOptions, Filter, Manifest
from ingest.store.filters import conditions_in
from ingest.store.payload_index import PayloadIndex
from ingest.store.schema import (
    check_aliases_are_free,
    check_same_vectors,
    manifest_from_json,
    manifest_to_json,
    missing_indexes,
    no_collection,
    usual_names,
)
from ingest.store.server.connection import Connection
from ingest.store.server.errors import ALREADY_EXISTS, KEY_REFUSED, has_status, one_line
from ingest.store.server.filters import filter_to
from ingest.store.server.layout import check_supported
from ingest.store.server.settings import (
    changed_indexes,
    changed_settings,
    check_can_be_taken_over,
    fixed_settings,
    vectors_left_out,
)
from ingest.store.server.wire import (
    DEFERRED_KEY,
    METADATA_KEY,
    NOTE_PREFIX,
    collection_config,
    has_vectors_of,
    index_of,
    index_to,
)

logger = logging.getLogger(__name__)

DEFAULT_INDEXING_THRESHOLD = 10_000
"""The default of a server: kilobytes of vectors in a segment from which it builds a graph."""

FINALIZE_SECONDS = 300.0
"""Maximum wait for the server's optimizers, which continue by themselves."""


class ServerCollections:
    """The operations of `ServerStore` on whole collections.

    Most are a chain of requests, so each request is retried by itself: a chain repeated as a whole might never reach its end.
    Each is idempotent, because a request whose response was lost is sent again. The server accepts an alias in place of the name
    of a collection in every request but those that delete a collection or point an alias at one.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._client = connection.client
        self._call = connection.call

    @property
    def location(self) -> str:
        return self._connection.location

    def ensure(self, manifest: Manifest, options: CollectionOptions, like: str | None = None) -> Manifest:
        name = self._resolved(manifest.collection)
        model = None if like is None else self._collection(like)
        if model is not None:
            check_can_be_taken_over(model, like or "")
        try:
            found = self._collection(name)
        except CollectionNotFoundError:
            self._create(manifest, options, model)
            found = self._created(name)
        if METADATA_KEY not in (found.config.metadata or {}) and has_vectors_of(found, manifest) and self.count(name) == 0:
            self._put_manifest(name, manifest)  # empty, with exactly these vectors: only the manifest is missing
            found = self._collection(name)
        stored = self._manifest_of(name, found)
        self._restore_indexing(name, found)
        if model is not None:
            self._take_over(name, found, model, options)
            found = self._collection(name)
        present = {field: index_of(each) for field, each in found.payload_schema.items()}
        for field, missing in missing_indexes(present, options.indexes).items():
            if field in present:
                self._call(name, partial(self._client.delete_payload_index, name, field, wait=True))
            self._create_index(name, field, index_to(missing))
        if found.config.optimizer_config.indexing_threshold == 0 and DEFERRED_KEY not in (found.config.metadata or {}):
            self._warn_of_no_index(name)
        return stored

    def manifest(self, collection: str) -> Manifest:
        name = self._resolved(collection)
        try:
            found = self._collection(name)
        except CollectionNotFoundError as exc:
            raise no_collection(name, self.location, self._usual_names()) from exc
        return self._manifest_of(name, found)

    def _usual_names(self) -> list[str]:
        """Return the names that people use; none where a key may not list them."""
        try:
            return usual_names(self._names(), self.aliases())
        except StoreError:
            return []

    def write_manifest(self, manifest: Manifest) -> None:
        stored = self.manifest(manifest.collection)
        check_same_vectors(stored, manifest)
        self._put_manifest(stored.collection, manifest)

    def set_vectors(self, manifest: Manifest) -> None:
        raise self._no_new_vectors(manifest.collection)

    def fill_vectors(self, collection: str, filled: Sequence[tuple[Fingerprint, Mapping[str, Vector]]]) -> None:  # noqa: ARG002
        raise self._no_new_vectors(collection)

    def _no_new_vectors(self, collection: str) -> ConfigurationError:
        return ConfigurationError(
            f"the named vectors of {collection} cannot be changed in place: that requires the embedded engine, and"
            f" {self.location} is Qdrant {self._connection.version}; leave --in-place out to build a new collection beside it"
            " (blue-green)"
        )

    def collections(self) -> list[CollectionInfo]:
        infos = []
        for name in sorted(self._names()):
            with suppress(CollectionNotFoundError):  # dropped meanwhile
                infos.append(self._info(name))
        return infos

    def drop(self, collection: str) -> None:
        name = self._resolved(collection)
        if name not in self._names():
            raise no_collection(name, self.location)
        # With its aliases. The server says whether there was such a collection, which says nothing when the request is repeated.
        self._call(name, lambda: self._client.delete_collection(name))

    def aliases(self) -> dict[str, str]:
        """Return the aliases. See `Store.aliases`.

        The server lists them collection by collection, so an alias that moves meanwhile is missing or listed twice (once in 4,000
        times). The list is read until it is the same twice.
        """
        before, now = self._listed_aliases(), self._listed_aliases()
        while now != before:
            before, now = now, self._listed_aliases()
        return dict(now)

    def set_aliases(self, targets: Mapping[str, str | None]) -> None:
        changes = self._alias_changes(targets)
        self._call(None, lambda: self._client.update_collection_aliases(changes))

    def exchange_alias(self, alias: str, targets: Mapping[str, str | None]) -> bool:
        changes = self._alias_changes(targets)
        # The server refuses to rename an alias that does not exist, and then does nothing of the rest either.
        replaced = next(each for each, target in targets.items() if target is not None)
        renamed = models.RenameAliasOperation(rename_alias=models.RenameAlias(old_alias_name=alias, new_alias_name=replaced))
        try:
            self._call(None, lambda: self._client.update_collection_aliases([renamed, *changes]))
        except StoreError:
            if alias in self.aliases():
                raise
            return False
        return True

    def _alias_changes(
        self, targets: Mapping[str, str | None]
    ) -> list[models.CreateAliasOperation | models.DeleteAliasOperation]:
        aliases, names = self.aliases(), self._names()
        wanted = {alias: aliases.get(target, target) for alias, target in targets.items() if target is not None}
        for name in wanted.values():
            if name not in names:  # the server checks this too, but after a part of the changes
                raise no_collection(name, self.location)
        check_aliases_are_free(wanted, names, self.location)
        created = [
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=alias))
            for alias, name in wanted.items()
        ]
        removed = [
            models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
            for alias in targets.keys() - wanted.keys()
        ]
        return [*created, *removed]

    def count(self, collection: str, conditions: Sequence[Filter] = ()) -> int:
        selected = self._filter(collection, conditions)
        return self._call(collection, lambda: self._client.count(collection, count_filter=selected, exact=True).count)

    def indexes(self, collection: str) -> dict[str, PayloadIndex]:
        return {field: index_of(info) for field, info in self._collection(collection).payload_schema.items()}

    def notes(self, collection: str) -> dict[str, Any]:
        metadata = self._collection(collection).config.metadata or {}
        return {
            key.removeprefix(NOTE_PREFIX): value
            for key, value in metadata.items()
            if key.startswith(NOTE_PREFIX) and value is not None
        }

    def update_notes(self, collection: str, notes: Mapping[str, Any]) -> None:
        if not notes:
            return
        self._update(collection, metadata={NOTE_PREFIX + key: value for key, value in notes.items()})

    def defer_indexing(self, collection: str) -> None:
        threshold = self._collection(collection).config.optimizer_config.indexing_threshold
        if threshold == 0:  # already deferred, or switched off by the operator
            return
        self._set_indexing(collection, 0, {DEFERRED_KEY: threshold or DEFAULT_INDEXING_THRESHOLD})

    def finalize(self, collection: str) -> None:
        self._restore_indexing(collection, self._collection(collection))
        deadline = time.monotonic() + FINALIZE_SECONDS
        while (found := self._collection(collection)).status == models.CollectionStatus.YELLOW and time.monotonic() < deadline:
            time.sleep(0.2)
        if found.status == models.CollectionStatus.RED:
            reason = one_line(str(found.optimizer_status))
            raise StoreError(f"Qdrant at {self.location} cannot index the collection {collection} ({reason}): see its log")

    def _restore_indexing(self, collection: str, found: models.CollectionInfo) -> None:
        """Undo `defer_indexing`, of this process or one that crashed."""
        threshold = (found.config.metadata or {}).get(DEFERRED_KEY)
        if threshold is not None:
            self._set_indexing(collection, int(threshold), {DEFERRED_KEY: None})  # which removes it

    def _set_indexing(self, collection: str, threshold: int, metadata: dict[str, int | None]) -> None:
        """Set the indexing threshold. A key that may only write points cannot; that is logged, because it costs only time."""
        try:
            self._update(
                collection, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=threshold), metadata=metadata
            )
        except StoreError as error:
            if not has_status(error, KEY_REFUSED):
                raise
            logger.warning(
                "the indexing_threshold of the collection %s at %s was not set to %d, because the API key does not allow it;"
                " the run may take longer",
                collection,
                self.location,
                threshold,
            )

    def _warn_of_no_index(self, collection: str) -> None:
        logger.warning(
            "no index is built for the collection %s at %s, so a search compares with every point: its indexing_threshold is 0,"
            " and ingest did not set it; if that is not intended, set optimizers_config.indexing_threshold to %d with"
            " PATCH /collections/%s",
            collection,
            self.location,
            DEFAULT_INDEXING_THRESHOLD,
            collection,
        )

    def _resolved(self, collection: str) -> str:
        """Return the name of the collection that has this name or alias."""
        for _ in range(2):  # an unlisted name may be an alias that moves: see `aliases`
            if name := dict(self._listed_aliases()).get(collection):
                return name
        return collection

    def _listed_aliases(self) -> list[tuple[str, str]]:
        """Return the pairs of alias and collection in one response, sorted."""
        listed = self._call(None, self._client.get_aliases).aliases
        return sorted((alias.alias_name, alias.collection_name) for alias in listed)

    def _names(self) -> set[str]:
        return {collection.name for collection in self._call(None, self._client.get_collections).collections}

    def _info(self, collection: str) -> CollectionInfo:
        ours, manifest = False, None
        try:
            found = self._collection(collection)
            ours = METADATA_KEY in (found.config.metadata or {})
            manifest = self._manifest_of(collection, found) if ours else None
            return CollectionInfo(collection, self.count(collection), manifest, ours)
        except CollectionNotFoundError:
            raise
        except StoreError as exc:
            return CollectionInfo(collection, None, manifest, ours, str(exc))

    def _filter(self, collection: str, filters: Sequence[Filter], among: Sequence[str] | None = None) -> models.Filter | None:
        """Return the client's filter. Raises `ConfigurationError` for a substring that an old server cannot find."""
        if not self._connection.text_is_substring:
            return filter_to(filters, among, text_is_substring=False)
        texts = {condition.field for condition, _ in conditions_in(filters) if condition.operator == "text"}
        schema = self._collection(collection).payload_schema if texts else {}
        if matched_by_words := sorted(field for field in texts & schema.keys() if index_of(schema[field]).type == "text"):
            raise ConfigurationError(
                f"{matched_by_words[0]} has a full-text index, with which this server finds whole words, not any text: remove"
                " the index, or upgrade the server to 1.19"
            )
        return filter_to(filters, among, text_is_substring=True)

    def _collection(self, collection: str) -> models.CollectionInfo:
        return self._call(collection, lambda: self._client.get_collection(collection))

    def _update(self, collection: str, **changes: Any) -> None:
        self._call(collection, lambda: self._client.update_collection(collection, **changes))

    def _create_index(self, collection: str, field: str, schema: models.PayloadFieldSchema) -> None:
        self._call(collection, lambda: self._client.create_payload_index(collection, field, field_schema=schema, wait=True))

    def _strict_mode(self, collection: str) -> dict[str, int]:
        """Return the limits that the strict mode of a collection sets; none where a token may not read them."""
        try:
            strict = self._collection(collection).config.strict_mode_config
        except StoreUnavailableError:
            raise
        except StoreError:
            return {}
        return strict.model_dump(exclude_none=True) if strict is not None and strict.enabled else {}

    def _create(self, manifest: Manifest, options: CollectionOptions, like: models.CollectionInfo | None) -> None:
        version = self._connection.version_numbers
        check_supported(options, version, self.location)
        config = collection_config(manifest, options, version)
        if like is not None:
            config |= fixed_settings(like, config, options)
        try:
            self._call(manifest.collection, lambda: self._client.create_collection(manifest.collection, **config))
        except StoreError as error:  # where it exists, another client created it meanwhile, or an attempt whose response was lost
            if not has_status(error, ALREADY_EXISTS):
                raise

    def _created(self, collection: str) -> models.CollectionInfo:
        """Return a collection that was just created. The server refuses to create it again before other requests find it."""
        try:
            return self._collection(collection)
        except CollectionNotFoundError as exc:
            raise StoreUnavailableError(
                f"the collection {collection} at {self.location} is being created by another client: try again in a moment"
            ) from exc

    def _take_over(
        self, collection: str, found: models.CollectionInfo, like: models.CollectionInfo, options: CollectionOptions
    ) -> None:
        """Give the collection `found` the settings and payload indexes of `like`."""
        for field, index in changed_indexes(like, found).items():
            if field in found.payload_schema:
                self._call(collection, partial(self._client.delete_payload_index, collection, field, wait=True))
            self._create_index(collection, field, index)
        if changed := changed_settings(like, found, options):
            self._update(collection, **changed)
        if left_out := vectors_left_out(like, found):
            logger.warning(
                "the settings of the vectors %s are not in the collection %s at %s, which has no such vectors",
                ", ".join(left_out),
                collection,
                self.location,
            )

    def _put_manifest(self, collection: str, manifest: Manifest) -> None:
        self._update(collection, metadata={METADATA_KEY: manifest_to_json(replace(manifest, collection=collection))})

    def _manifest_of(self, collection: str, found: models.CollectionInfo) -> Manifest:
        metadata = found.config.metadata or {}
        if METADATA_KEY not in metadata:
            raise ForeignCollectionError(
                f"the collection {collection} at {self.location} was not made by this package (it has no manifest):"
                " choose another name"
            )
        return manifest_from_json(metadata[METADATA_KEY], collection)
