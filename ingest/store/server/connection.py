"""The connection to a Qdrant server, and the one border where the client's exceptions are translated."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from qdrant_client.qdrant_remote import QdrantRemote

from ingest.errors import CollectionNotFoundError, ConfigurationError, StoreError
from ingest.process import HomeProcess, keep_for_parent
from ingest.retry import RetryPolicy, call_with_retries
from ingest.store.server.clients import GRPC, Clients
from ingest.store.server.errors import VENDOR_ERRORS, is_broken, one_line, reason_of, translate, translate_greeting
from ingest.store.server.layout import OLDEST_SERVER
from ingest.store.server.protocol import explain_grpc, explain_rest
from ingest.store.server.rest import RestPoints

logger = logging.getLogger(__name__)

SUBSTRING_SERVER = (1, 19)
"""Older servers match the text of a field without a full-text index as a substring; this one has a match for substrings."""

_PROBE_SECONDS = 2
"""Maximum wait for the gRPC port if gRPC was not requested."""


T = TypeVar("T")


class Connection:
    """A checked connection to a server. Its options and errors are those of `ServerStore`.

    Attributes:
        location: the server's address, without secrets.
        client: the client, for use inside `translated` only.
        rest: queries and reads of points over REST, for use inside `translated` only.
        grpc: whether points are sent over gRPC.
        timeout: seconds for one request.
    """

    def __init__(self, clients: Clients, *, prefer_grpc: bool | None, timeout: float, retry: RetryPolicy) -> None:
        self._clients, self._retry = clients, retry
        self.location = clients.location
        self.timeout = max(1, round(timeout))
        self.rest = RestPoints(clients.transport, self.location, headers=clients.headers, timeout=self.timeout)
        self._home = HomeProcess(f"the store {self.location}")
        self._closed = False
        self.client = clients.over_rest(self.timeout)
        keep_for_parent(self)
        try:
            self.version = call_with_retries(self._checked_version, retry)
            self.version_numbers = version_numbers(self.version) or OLDEST_SERVER
            self.text_is_substring = self.version_numbers < SUBSTRING_SERVER
            self.grpc = self._answers_over_grpc() if prefer_grpc is None else prefer_grpc
            if self.grpc:
                self.client.close()
                self.client = clients.over_grpc(self.timeout)
                call_with_retries(self._check_same_over_grpc, retry)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections. Idempotent; does nothing in a forked child, where they belong to the parent."""
        if self._home.is_current and not self._closed:
            self._closed = True
            self.client.close()

    def held_by_parent(self) -> Iterable[object]:
        """Return the client: a child that closed its connections would close them for both. See `Inherited`."""
        return [self.client]

    @contextmanager
    def translated(self, collection: str | None) -> Iterator[None]:
        """Translate the client's exceptions; the one border for that. Raises `ForkError` in a forked child."""
        self._home.check()
        if self._closed:
            raise StoreError(f"the store {self.location} has been closed: open it again")
        try:
            yield
        except (*VENDOR_ERRORS, AssertionError) as exc:  # the client asserts that a response has a result
            raise translate(exc, self._clients.described, collection) from exc

    def call(self, collection: str | None, request: Callable[[], T]) -> T:
        """Return the result of one idempotent request, translated and retried by itself."""

        def attempt() -> T:
            with self.translated(collection):
                return request()

        return call_with_retries(attempt, self._retry)

    @contextmanager
    def translated_points(self, collection: str) -> Iterator[None]:
        """Like `translated`, for requests that change points which must exist.

        Such a request has the same status for a missing point and for a missing collection. Only here does an existing collection
        mean a missing point: anywhere else another client may just have created the collection.
        """
        try:
            with self.translated(collection):
                yield
        except CollectionNotFoundError as error:
            if not self._exists(collection):
                raise
            cause = error.__cause__
            reason = reason_of(cause) if isinstance(cause, Exception) else str(error)
            raise StoreError(f"a point to be changed is not in {collection} at {self.location}: {reason}") from cause

    def _exists(self, collection: str) -> bool:
        try:
            with self.translated(collection):
                return self.client.collection_exists(collection)
        except StoreError:
            return False

    def _checked_version(self) -> str:
        clients = self._clients
        try:
            greeting = self.client.http.service_api.root()
        except VENDOR_ERRORS as exc:
            mistake = explain_rest(clients.address) if is_broken(exc) and not clients.proxy else None
            if mistake:
                raise StoreError(f"{clients.described} {mistake}") from exc
            raise translate_greeting(exc, clients.described) from exc
        if not greeting.title.lower().startswith("qdrant"):
            raise StoreError(f"{clients.described} is not Qdrant, but {one_line(greeting.title)}: check the address")
        version = greeting.version
        if (numbers := version_numbers(version)) is None or numbers < OLDEST_SERVER:
            oldest = ".".join(map(str, OLDEST_SERVER))
            raise StoreError(f"the Qdrant server at {self.location} has version {version}: upgrade it to {oldest} or later")
        return version

    def _answers_over_grpc(self) -> bool:
        """Return whether the same server answers over gRPC, with the same version, collections and aliases.

        gRPC was not requested here, so a failure is not an error.
        """
        clients = self._clients
        if not clients.may_try_grpc or not GRPC.is_usable:
            return False
        try:
            socket.create_connection((clients.address.host, clients.grpc_port), _PROBE_SECONDS).close()
        except OSError:
            return False
        other = clients.over_grpc(_PROBE_SECONDS)
        try:
            with self.translated(None):
                return other.info().version == self.version and _names_on(other) == _names_on(self.client)
        except StoreError as exc:
            logger.debug("gRPC port %d of %s is not used: %s", clients.grpc_port, self.location, exc)
            return False
        finally:
            other.close()

    def _check_same_over_grpc(self) -> None:
        """Raise `ConfigurationError` if the gRPC port belongs to another server, which would get all points."""
        clients, port = self._clients, self._clients.grpc_port
        try:
            answering = self.client.info().version
        except VENDOR_ERRORS as exc:
            mistake = explain_grpc(clients.address, port) if is_broken(exc) and not clients.proxy else None
            if mistake:
                raise StoreError(f"{clients.described} (gRPC at port {port}) {mistake}") from exc
            raise translate(exc, f"{clients.described} (gRPC at port {port})", None) from exc
        if answering != self.version:
            raise ConfigurationError(
                f"the gRPC port {port} belongs to another server than {self.location}: Qdrant has version {answering} there,and"
                f" {self.version} here; give the gRPC port of this one"
            )


def _names_on(client: QdrantRemote) -> tuple[set[str], set[str]]:
    """Return the names of the collections and of the aliases."""
    return (
        {found.name for found in client.get_collections().collections},
        {found.alias_name for found in client.get_aliases().aliases},
    )


def version_numbers(version: str) -> tuple[int, int] | None:
    """Return the major and minor number of a server's version, or None if it has none."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return None if numbers is None else (int(numbers[1]), int(numbers[2]))
