"""The clients of one Qdrant server: where it is, and what a connection to it requires."""

from __future__ import annotations

import re
import ssl
import urllib.request
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
from qdrant_client.qdrant_remote import QdrantRemote

from ingest.errors import ConfigurationError
from ingest.process import ForkUnsafe
from ingest.store.server.address import USUAL_PORT, Proxy, ServerAddress, check_key_is_safe, parse_address, proxy_for
from ingest.store.server.transport import KEPT_SECONDS, DirectTransport

_GRPC_OPTIONS = {"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 2000}
"""By default gRPC waits up to two minutes before it reconnects; here the retry policy decides."""

GRPC = ForkUnsafe("a gRPC connection", instead="open the store with prefer_grpc=False, or fork before the first one is opened")
"""Calls in a forked child never end if the parent had calls under way at the fork."""

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEPT_SECONDS)
"""The limits of connections to a proxy. The client's default for a local server, no idle connections, makes its pool close
connections that another thread was just given."""

_UNCOMPRESSED = {"Accept-Encoding": "identity"}
"""The server sends a compressed response in several packets. The last waits until the client acknowledges the others, which Linux
delays by 40 ms."""

_SENDABLE_KEY = re.compile(r"[!-~]([ -~]*[!-~])?")
"""The characters that a header can carry."""


@dataclass(frozen=True, slots=True)
class Clients:
    """The checked options that all clients of one server share.

    Attributes:
        address: the server's address.
        proxy: the proxy through which it is reached, or None.
        transport: the connections of all requests over REST.
        grpc_port: port for gRPC on the same host.
        grpc_is_likely: whether the port was chosen, or is the default beside the usual port for REST.
    """

    address: ServerAddress
    proxy: Proxy | None
    transport: httpx.BaseTransport
    grpc_port: int
    grpc_is_likely: bool
    _api_key: str | None = field(repr=False)
    _grpc_options: dict[str, Any] = field(repr=False)  # may contain the password of a proxy

    @classmethod
    def of(
        cls,
        url: str,
        *,
        api_key: str | None,
        ca_file: str | Path | None,
        prefer_grpc: bool | None,
        grpc_port: int | None,
        allow_plain_http_key: bool,
    ) -> Self:
        """Check the options, which are those of `ServerStore`. Nothing is sent. Raises `ConfigurationError`."""
        address = parse_address(url)
        proxy = proxy_for(address, urllib.request.getproxies())
        if api_key and not _SENDABLE_KEY.fullmatch(api_key):
            raise ConfigurationError(
                "the API key has characters that no server accepts (all must be ASCII): check INGEST_API_KEY"
            )
        if api_key:
            check_key_is_safe(address, proxy, allow_plain_http_key=allow_plain_http_key)
        encrypted = address.scheme == "https" or (proxy is not None and not proxy.is_http)
        tls, authority = _certificates(ca_file, needed=encrypted)
        rest_proxy, grpc_proxy = _proxy_options(proxy, tls, prefer_grpc=prefer_grpc)
        return cls(
            address,
            proxy,
            _transport(tls, rest_proxy),
            grpc_port or address.port + 1,
            grpc_port is not None or address.port == USUAL_PORT,
            api_key,
            {**_GRPC_OPTIONS, **authority, **grpc_proxy},
        )

    @property
    def location(self) -> str:
        """The server's address, without secrets."""
        return str(self.address)

    @property
    def described(self) -> str:
        """The server's address and the proxy, without secrets."""
        return f"{self.location} through the proxy {self.proxy}" if self.proxy else self.location

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each request over REST. They contain the key."""
        return {**_UNCOMPRESSED, "api-key": self._api_key} if self._api_key else _UNCOMPRESSED

    @property
    def may_try_grpc(self) -> bool:
        """Whether gRPC may be tried without a request for it. A proxy may not pass it, and its requests have no path."""
        return self.grpc_is_likely and not self.proxy and not self.address.path

    def over_rest(self, timeout: int) -> QdrantRemote:
        """Return a client that sends everything over REST. Nothing is sent."""
        return self._client(timeout, prefer_grpc=False)

    def over_grpc(self, timeout: int) -> QdrantRemote:
        """Return a client that sends over gRPC what can be. Nothing is sent. Raises `ForkError` in some forked children."""
        GRPC.use()
        return self._client(timeout, prefer_grpc=True)

    def _client(self, timeout: int, *, prefer_grpc: bool) -> QdrantRemote:
        # QdrantClient would look for texts to embed in all that is sent, and read the schemas of all its models for that.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about choices made here
            return QdrantRemote(
                url=self.location,
                api_key=self._api_key,
                prefer_grpc=prefer_grpc,
                grpc_port=self.grpc_port,
                grpc_options=self._grpc_options,
                timeout=timeout,
                check_compatibility=False,
                headers=None if prefer_grpc else _UNCOMPRESSED,
                transport=self.transport,
                trust_env=False,  # the proxy is chosen here, and the certificates follow the environment
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
