"""The server store: a Qdrant server over REST or gRPC."""

from __future__ import annotations

import ipaddress
import re
import ssl
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models

from ingest.errors import CollectionNotFoundError, ConfigurationError, StoreError
from ingest.records import Fingerprint, Payload, Point, ScoredPoint, StoredPoint, Vector
from ingest.store.contract import CollectionInfo, CollectionOptions, Condition, Manifest, VectorQuery
from ingest.store.schema import (
    DOC_KEY_FIELD,
    INDEXED_FIELDS,
    INGEST_FIELD,
    check_same_columns,
    fingerprint_of,
    manifest_from_json,
    manifest_to_json,
)
from ingest.store.server_errors import ALREADY_EXISTS, VENDOR_ERRORS, not_found, one_line, reason_of, status_of, translate
from ingest.store.server_wire import (
    INDEX_TYPES,
    METADATA_KEY,
    collection_config,
    filter_to,
    selection_to,
    vector_to,
    vectors_from,
)

OLDEST_SERVER = (1, 16)
"""Before it, collections have no metadata to keep the manifest in."""

FINALIZE_SECONDS = 300.0
"""Longest wait for the server's optimizers; it goes on without us."""

_GRPC_OPTIONS = {"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 2000}
"""gRPC refuses for up to two minutes to try a server again that was down; how long to wait is for who asks to say."""

_PAGE = 5_000
"""Fingerprints fetched at a time."""

_SENDABLE_KEY = re.compile(r"[!-~]([ -~]*[!-~])?")
"""What a header can carry."""


class ServerStore:
    """The collections of the Qdrant server at `url`, version 1.16 or later.

    Args:
        url: `http://host:port` or `https://…`; port 6333 where it names none.
        api_key: never shown. Over plain http only to this machine, unless `allow_plain_http_key`: others could read it.
        ca_file: PEM file of the authority that signed the server's certificate, where the system does not know it.
        prefer_grpc: points travel over gRPC instead of REST.
        grpc_port: of the same host; the URL's port plus one if not given.
        timeout: seconds for one request.

    Raises `ConfigurationError` for arguments that do not go together (also if a server of another version answers at the gRPC
    port), `StoreUnavailableError` if nobody answers, `StoreError` if the server is too old or refuses the key.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        ca_file: str | Path | None = None,
        prefer_grpc: bool = False,
        grpc_port: int | None = None,
        timeout: float = 60.0,
        allow_plain_http_key: bool = False,
    ) -> None:
        self._location, port = _checked_location(url)
        grpc_port = grpc_port or port + 1
        if api_key and not _SENDABLE_KEY.fullmatch(api_key):
            raise ConfigurationError(
                "the API key holds characters that no server takes (all must be ASCII): check INGEST_API_KEY"
            )
        if api_key and not allow_plain_http_key and _is_readable_on_the_way(self._location):
            raise ConfigurationError(
                f"the API key would travel unencrypted to {self._location}: use https://, or allow it on a network you trust"
            )
        tls, authority = _certificates(ca_file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what it warns of was decided above
            self._client = QdrantClient(
                url=self._location,
                api_key=api_key,
                prefer_grpc=prefer_grpc,
                grpc_port=grpc_port,
                grpc_options={**_GRPC_OPTIONS, **authority},
                timeout=max(1, round(timeout)),
                check_compatibility=False,
                verify=tls,
            )
        self._closed = False
        try:
            self._check_version(grpc_port if prefer_grpc else None)
        except BaseException:
            self.close()
            raise

    @property
    def location(self) -> str:
        return self._location

    def ensure(self, manifest: Manifest, options: CollectionOptions) -> Manifest:
        name = manifest.collection
        try:
            found = self._collection(name)
        except CollectionNotFoundError:
            self._create(manifest, options)
            found = self._collection(name)
        if METADATA_KEY not in (found.config.metadata or {}) and self._is_ours_unfinished(found, manifest):
            self._put_manifest(manifest)
            found = self._collection(name)
        stored = self._manifest_of(name, found)
        for field, kind in INDEXED_FIELDS.items():
            if field not in found.payload_schema:
                with self._translated(name):
                    self._client.create_payload_index(name, field, field_schema=INDEX_TYPES[kind], wait=True)
        return stored

    def manifest(self, collection: str) -> Manifest:
        return self._manifest_of(collection, self._collection(collection))

    def write_manifest(self, manifest: Manifest) -> None:
        check_same_columns(self.manifest(manifest.collection), manifest)
        self._put_manifest(manifest)

    def collections(self) -> list[CollectionInfo]:
        with self._translated(None):
            names = sorted(found.name for found in self._client.get_collections().collections)
        infos = []
        for name in names:
            with suppress(CollectionNotFoundError):  # dropped by somebody meanwhile
                infos.append(self._info(name))
        return infos

    def drop(self, collection: str) -> None:
        with self._translated(collection):
            dropped = self._client.delete_collection(collection)
        if not dropped:
            raise not_found(collection, self._location)

    def fingerprints(self, collection: str, doc_keys: Sequence[str]) -> list[Fingerprint]:
        if not doc_keys:
            return []
        stored = self.scroll(collection, [Condition(DOC_KEY_FIELD, "any", tuple(doc_keys))], payload=[INGEST_FIELD], page=_PAGE)
        return [made for point in stored if (made := fingerprint_of(point.id, point.payload)) is not None]

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        if not points:
            return  # the server refuses to do nothing
        with self._translated(collection):
            made = [
                models.PointStruct(
                    id=point.id, vector={name: vector_to(value) for name, value in point.vectors.items()}, payload=point.payload
                )
                for point in points
            ]
            self._client.upsert(collection, made, wait=True)

    def update_vectors(self, collection: str, vectors: Mapping[str, Mapping[str, Vector]]) -> None:
        if not vectors:
            return  # the server refuses to do nothing
        with self._translated(collection):
            made = [
                models.PointVectors(id=point_id, vector={name: vector_to(value) for name, value in columns.items()})
                for point_id, columns in vectors.items()
            ]
            self._client.update_vectors(collection, made, wait=True)

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        if not payloads:
            return  # the server refuses to do nothing
        with self._translated(collection):
            operations = [
                models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(points=[point_id], payload=payload))
                for point_id, payload in payloads.items()
            ]
            self._client.batch_update_points(collection, operations, wait=True)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        if not ids:
            return  # the server refuses to do nothing
        with self._translated(collection):
            self._client.delete(collection, models.PointIdsList(points=list(ids)), wait=True)

    def scroll(
        self,
        collection: str,
        conditions: Sequence[Condition] = (),
        *,
        payload: Sequence[str] | bool = True,
        vectors: Sequence[str] | bool = False,
        page: int = 1000,
    ) -> Iterator[StoredPoint]:
        offset: Any = None
        while True:
            with self._translated(collection):
                records, offset = self._client.scroll(
                    collection,
                    scroll_filter=filter_to(conditions),
                    limit=page,
                    offset=offset,
                    with_payload=selection_to(payload),
                    with_vectors=selection_to(vectors),
                )
            for record in records:
                yield StoredPoint(str(record.id), record.payload or {}, vectors_from(record.vector))
            if offset is None:
                return

    def query(
        self, collection: str, queries: Sequence[VectorQuery], *, payload: Sequence[str] | bool = True
    ) -> list[list[ScoredPoint]]:
        with self._translated(collection):
            requests = [
                models.QueryRequest(
                    query=vector_to(query.value),
                    using=query.vector,
                    limit=query.limit,
                    filter=filter_to(query.conditions),
                    with_payload=selection_to(payload),
                )
                for query in queries
            ]
            answers = self._client.query_batch_points(collection, requests)
        return [[ScoredPoint(str(found.id), found.score, found.payload or {}) for found in answer.points] for answer in answers]

    def count(self, collection: str, conditions: Sequence[Condition] = ()) -> int:
        with self._translated(collection):
            return self._client.count(collection, count_filter=filter_to(conditions), exact=True).count

    def finalize(self, collection: str) -> None:
        deadline = time.monotonic() + FINALIZE_SECONDS
        while (found := self._collection(collection)).status == models.CollectionStatus.YELLOW and time.monotonic() < deadline:
            time.sleep(0.2)
        if found.status == models.CollectionStatus.RED:
            reason = one_line(str(found.optimizer_status))
            raise StoreError(f"Qdrant at {self._location} cannot index the collection {collection} ({reason}): see its log")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _check_version(self, grpc_port: int | None) -> None:
        with self._translated(None):
            version = self._client.http.service_api.root().version
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST_SERVER:
            oldest = ".".join(map(str, OLDEST_SERVER))
            raise StoreError(f"the Qdrant server at {self._location} has version {version}: upgrade it to {oldest} or later")
        if grpc_port is not None:
            self._check_same_over_grpc(version, grpc_port)

    def _check_same_over_grpc(self, version: str, port: int) -> None:
        """A neighbour's port is easily taken for the server's own, and then everything would be written there."""
        try:
            answering = self._client.info().version
        except VENDOR_ERRORS as exc:
            raise translate(exc, f"{self._location} (gRPC at port {port})", None) from exc
        if answering != version:
            raise ConfigurationError(
                f"the gRPC port {port} belongs to another server than {self._location}: Qdrant has version {answering} there, and"
                f" {version} here; give the gRPC port of this one"
            )

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

    def _collection(self, collection: str) -> models.CollectionInfo:
        with self._translated(collection):
            return self._client.get_collection(collection)

    def _create(self, manifest: Manifest, options: CollectionOptions) -> None:
        with self._translated(manifest.collection):
            try:
                self._client.create_collection(manifest.collection, **collection_config(manifest, options))
            except VENDOR_ERRORS as exc:
                if status_of(exc) not in ALREADY_EXISTS:  # somebody made it at the same time
                    raise

    def _put_manifest(self, manifest: Manifest) -> None:
        with self._translated(manifest.collection):
            self._client.update_collection(manifest.collection, metadata={METADATA_KEY: manifest_to_json(manifest)})

    def _manifest_of(self, collection: str, found: models.CollectionInfo) -> Manifest:
        metadata = found.config.metadata or {}
        if METADATA_KEY not in metadata:
            raise StoreError(
                f"the collection {collection} at {self._location} was not made by this package (it has no manifest):"
                " choose another name"
            )
        return manifest_from_json(metadata[METADATA_KEY], collection)

    def _is_ours_unfinished(self, found: models.CollectionInfo, manifest: Manifest) -> bool:
        """Whether there is nothing in it yet and its vectors are exactly ours: then it only lacks its manifest."""
        params = found.config.params
        if not isinstance(params.vectors or {}, dict):
            return False
        dense = {name: (vector.size, vector.distance) for name, vector in (params.vectors or {}).items()}  # type: ignore[union-attr]
        sparse = {name: vector.modifier for name, vector in (params.sparse_vectors or {}).items()}
        wanted = collection_config(manifest, CollectionOptions())
        return (
            dense == {name: (vector.size, vector.distance) for name, vector in wanted["vectors_config"].items()}
            and {name: modifier or models.Modifier.NONE for name, modifier in sparse.items()}
            == {name: vector.modifier for name, vector in wanted["sparse_vectors_config"].items()}
            and self.count(manifest.collection) == 0
        )

    @contextmanager
    def _translated(self, collection: str | None) -> Iterator[None]:
        """The one border where the client's exceptions become ours."""
        if self._closed:
            raise StoreError(f"the store {self._location} has been closed: open it again")
        try:
            yield
        except VENDOR_ERRORS as exc:
            error = translate(exc, self._location, collection)
            if isinstance(error, CollectionNotFoundError) and self._exists(collection):
                # The status is the same for a missing point and a missing collection.
                error = StoreError(f"a point to be changed is not in {collection} at {self._location}: {reason_of(exc)}")
            raise error from exc

    def _exists(self, collection: str | None) -> bool:
        try:
            return collection is not None and self._client.collection_exists(collection)
        except VENDOR_ERRORS:
            return False


def _checked_location(url: str) -> tuple[str, int]:
    """The address in full, and its port."""
    try:
        parts = urlsplit(url)
        port = parts.port or 6333
    except ValueError:
        # Its words can hold a password.
        raise ConfigurationError("the server's URL cannot be read: write http://host:6333 or https://host:6333") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError("the server's URL cannot be read: write http://host:6333 or https://host:6333")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError(
            f"the server's URL may hold only an address: give the key for {parts.hostname} as INGEST_API_KEY, not in the URL"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}", port


def _is_readable_on_the_way(location: str) -> bool:
    parts = urlsplit(location)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return False
    try:
        return not ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return True


def _certificates(ca_file: str | Path | None) -> tuple[ssl.SSLContext | bool, dict[str, Any]]:
    """What REST and gRPC want to know of the authority."""
    if ca_file is None:
        return True, {}
    try:
        return ssl.create_default_context(cafile=ca_file), {"root_certificates": Path(ca_file).read_bytes()}
    except OSError as exc:  # includes what is no certificate
        raise ConfigurationError(f"the certificate file {ca_file} cannot be used: {exc.strerror or exc}") from exc
