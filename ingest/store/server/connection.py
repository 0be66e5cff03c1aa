"""The connection to a Qdrant server, and the one border where the client's exceptions are translated."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
from qdrant_client.qdrant_remote import QdrantRemote

from ingest.errors import CollectionNotFoundError, ConfigurationError, StoreError
from ingest.process import ForkUnsafe, HomeProcess, keep_for_parent
from ingest.retry import RetryPolicy, call_with_retries
from ingest.store.server.address import USUAL_PORT, Proxy, check_key_is_safe, parse_address, proxy_for
from ingest.store.server.errors import VENDOR_ERRORS, is_broken, one_line, reason_of, translate, translate_greeting
from ingest.store.server.layout import OLDEST_SERVER
from ingest.store.server.protocol import explain_grpc, explain_rest
from ingest.store.server.rest import RestPoints
from ingest.store.server.transport import KEPT_SECONDS, DirectTransport

logger = logging.getLogger(__name__)

SUBSTRING_SERVER = (1, 19)
"""Older servers match the text of a field without a full-text index as a substring; this one has a match for substrings."""

_GRPC_OPTIONS = {"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 2000}
"""By default gRPC waits up to two minutes before it reconnects; here the retry policy decides."""

_GRPC = ForkUnsafe("a gRPC connection", instead="open the store with prefer_grpc=False, or fork before the first one is opened")
"""Calls in a forked child never end if the parent had calls under way at the fork."""

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT_SECONDS)
"""The limits of connections to a proxy. The client's default for a local server, no idle connections, makes its pool close
connections that another thread was just given."""

_UNCOMPRESSED = {"Accept-Encoding": "identity"}
"""The server sends a compressed response in several packets. The last waits until the client acknowledges the others, which Linux
delays by 40 ms."""

_PROBE_SECONDS = 2
"""Maximum wait for the gRPC port if gRPC was not requested."""

_SENDABLE_KEY = re.compile(r"[!-~]([ -~]*[!-~])?")
"""The characters that a header can carry."""


T = TypeVar("T")


class Connection:
    """A checked connection to a server. Its arguments and errors are those of `ServerStore`.

    Attributes:
        location: the server's address, without secrets.
        client: the client, for use inside `translated` only.
        rest: queries and reads of points over REST, for use inside `translated` only.
        grpc: whether points are sent over gRPC.
        timeout: seconds for one request.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        ca_file: str | Path | None,
        prefer_grpc: bool | None,
        grpc_port: int | None,
        timeout: float,
        allow_plain_http_key: bool,
        retry: RetryPolicy,
    ) -> None:
        self._retry = retry
        self._address = parse_address(url)
        self._proxy = proxy_for(self._address, urllib.request.getproxies())
        self.location = str(self._address)
        self._described = f"{self.location} through the proxy {self._proxy}" if self._proxy else self.location
        self.timeout = max(1, round(timeout))
        port = self._address.port
        if api_key and not _SENDABLE_KEY.fullmatch(api_key):
            raise ConfigurationError(
                "the API key has characters that no server accepts (all must be ASCII): check INGEST_API_KEY"
            )
        if api_key:
            check_key_is_safe(self._address, self._proxy, allow_plain_http_key=allow_plain_http_key)
        encrypted = self._address.scheme == "https" or (self._proxy is not None and not self._proxy.is_http)
        tls, authority = _certificates(ca_file, needed=encrypted)
        rest_proxy, grpc_proxy = _proxy_options(self._proxy, tls, prefer_grpc=prefer_grpc)
        transport = _transport(tls, rest_proxy)
        headers = {**_UNCOMPRESSED, "api-key": api_key} if api_key else _UNCOMPRESSED
        self.rest = RestPoints(transport, self.location, headers=headers, timeout=self.timeout)

        # QdrantClient would look for texts to embed in all that is sent, and read the schemas of all its models for that.
        def client(*, prefer_grpc: bool, timeout: int) -> QdrantRemote:
            if prefer_grpc:
                _GRPC.use()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # about choices made above
                return QdrantRemote(
                    url=self.location,
                    api_key=api_key,
                    prefer_grpc=prefer_grpc,
                    grpc_port=grpc_port or port + 1,
                    grpc_options={**_GRPC_OPTIONS, **authority, **grpc_proxy},
                    timeout=timeout,
                    check_compatibility=False,
                    headers=None if prefer_grpc else _UNCOMPRESSED,
                    transport=transport,
                    trust_env=False,  # the proxy is chosen above, and the certificates follow the environment
                )

        self._home = HomeProcess(f"the store {self.location}")
        self._closed = False
        self.client = client(prefer_grpc=False, timeout=self.timeout)
        keep_for_parent(self)
        try:
            version = call_with_retries(self._checked_version, retry)
            self.version = version
            self.version_numbers = version_numbers(version) or OLDEST_SERVER
            self.text_is_substring = self.version_numbers < SUBSTRING_SERVER
            if prefer_grpc is None:
                prefer_grpc = (
                    (grpc_port is not None or port == USUAL_PORT)
                    and _GRPC.is_usable
                    and self._answers_over_grpc(version, grpc_port or port + 1, client)
                )
            self.grpc = prefer_grpc
            if self.grpc:
                self.client.close()
                self.client = client(prefer_grpc=True, timeout=self.timeout)
                call_with_retries(partial(self._check_same_over_grpc, version, grpc_port or port + 1), retry)
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
            raise translate(exc, self._described, collection) from exc

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
        try:
            greeting = self.client.http.service_api.root()
        except VENDOR_ERRORS as exc:
            mistake = explain_rest(self._address) if is_broken(exc) and not self._proxy else None
            if mistake:
                raise StoreError(f"{self._described} {mistake}") from exc
            raise translate_greeting(exc, self._described) from exc
        if not greeting.title.lower().startswith("qdrant"):
            raise StoreError(f"{self._described} is not Qdrant, but {one_line(greeting.title)}: check the address")
        version = greeting.version
        if (numbers := version_numbers(version)) is None or numbers < OLDEST_SERVER:
            oldest = ".".join(map(str, OLDEST_SERVER))
            raise StoreError(f"the Qdrant server at {self.location} has version {version}: upgrade it to {oldest} or later")
        return version

    def _answers_over_grpc(self, version: str, port: int, client: Callable[..., QdrantRemote]) -> bool:
        """Return whether the same server answers over gRPC, with the same version, collections and aliases.

        gRPC was not requested here, so a failure is not an error.
        """
        if self._proxy or self._address.path:  # a proxy may not pass gRPC, whose requests have no path
            return False
        try:
            socket.create_connection((self._address.host, port), _PROBE_SECONDS).close()
        except OSError:
            return False
        other = client(prefer_grpc=True, timeout=_PROBE_SECONDS)
        try:
            with self.translated(None):
                return other.info().version == version and _names_on(other) == _names_on(self.client)
        except StoreError as exc:
            logger.debug("gRPC port %d of %s is not used: %s", port, self.location, exc)
            return False
        finally:
            other.close()

    def _check_same_over_grpc(self, version: str, port: int) -> None:
        """Raise `ConfigurationError` if the gRPC port belongs to another server, which would get all points."""
        try:
            answering = self.client.info().version
        except VENDOR_ERRORS as exc:
            mistake = explain_grpc(self._address, port) if is_broken(exc) and not self._proxy else None
            if mistake:
                raise StoreError(f"{self._described} (gRPC at port {port}) {mistake}") from exc
            raise translate(exc, f"{self._described} (gRPC at port {port})", None) from exc
        if answering != version:
            raise ConfigurationError(
                f"the gRPC port {port} belongs to another server than {self.location}: Qdrant has version {answering} there, and"
                f" {version} here; give the gRPC port of this one"
            )


def _names_on(client: QdrantRemote) -> tuple[set[str], set[str]]:
    """Return the names of the collections and of the aliases."""
    return (
        {found.name for found in client.get_collections().collections},
        {found.alias_name for found in client.get_aliases().aliases},
    )


def _proxy_options(
    proxy: Proxy | None, tls: ssl.SSLContext, *, prefer_grpc: bool | None
) -> tuple[httpx.Proxy | None, dict[str, Any]]:
    """Return the proxy options of REST and gRPC, which by themselves would not choose the same proxy."""
    if proxy is None:
        return None, {"grpc.enable_http_proxy": 0}
    if prefer_grpc and not proxy.is_http:
        raise ConfigurationError(f"gRPC cannot use the proxy {proxy}: set prefer_grpc to false, or name the host in NO_PROXY")
    try:
        rest_proxy = httpx.Proxy(proxy.url)
        httpx.HTTPTransport(proxy=rest_proxy, verify=tls).close()  # a SOCKS proxy requires a package that may not be installed
    except (ValueError, httpx.InvalidURL, ImportError):  # whose message may contain the password
        raise ConfigurationError(
            f"the proxy {proxy} cannot be used: give one of http://, or name the host in NO_PROXY to do without"
        ) from None
    return rest_proxy, {"grpc.http_proxy": proxy.url}


def _transport(tls: ssl.SSLContext, proxy: httpx.Proxy | None) -> httpx.BaseTransport:
    if proxy is None:
        return DirectTransport(tls)
    return httpx.HTTPTransport(verify=tls, limits=_LIMITS, proxy=proxy, trust_env=False)


def _certificates(ca_file: str | Path | None, *, needed: bool) -> tuple[ssl.SSLContext, dict[str, Any]]:
    """Return the certificate options of REST and gRPC.

    For plain HTTP they trust no server: loading the system's certificates takes longer than the first request.
    """
    if ca_file is None:
        return httpx.create_ssl_context() if needed else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), {}
    try:
        return ssl.create_default_context(cafile=ca_file), {"root_certificates": Path(ca_file).read_bytes()}
    except OSError as exc:  # also for a file that is not a certificate
        raise ConfigurationError(f"the certificate file {ca_file} cannot be used: {exc.strerror or exc}") from exc


def version_numbers(version: str) -> tuple[int, int] | None:
    """Return the major and minor number of a server's version, or None if it has none."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return None if numbers is None else (int(numbers[1]), int(numbers[2]))
