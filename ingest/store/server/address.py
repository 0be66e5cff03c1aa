"""The address of a Qdrant server, the proxy on the way to it, and whether a key may be sent there. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from ingest.errors import ConfigurationError
from ingest.hosts import ip_of, is_loopback

USUAL_PORT = 6333
"""The default REST port. gRPC usually listens on the next one."""

_HOST = re.compile(rb"[\w.-]+")

_UNREADABLE = "the server's URL cannot be read: write http://host:6333 or https://host:6333"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The checked address of a server; it contains no secrets.

    Attributes:
        host: a name or an IP address, an IPv6 address without brackets.
        path: the prefix under which a reverse proxy serves Qdrant; empty or begins with a slash.
    """

    scheme: str
    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine, so that no other machine can read requests."""
        return is_loopback(self.host)


def parse_address(url: str) -> ServerAddress:
    """Return the checked address. Raises `ConfigurationError`, without secrets, for anything but a server's address."""
    try:
        parts = urlsplit(url)
        port = USUAL_PORT if parts.port is None else parts.port
        is_host = ":" in (parts.hostname or "") or _HOST.fullmatch((parts.hostname or "").encode("idna"))
    except ValueError:
        raise ConfigurationError(_UNREADABLE) from None  # its message may contain a password
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_host or not port:
        raise ConfigurationError(_UNREADABLE)
    if parts.username or parts.password or parts.query:
        raise ConfigurationError(
            f"the server's URL may contain only an address: give the key for {parts.hostname} as INGEST_API_KEY, not in the URL"
        )
    if parts.fragment:  # as copied from the dashboard; some put a key there
        raise ConfigurationError(
            f"the server's URL may contain only an address, nothing after a #: write {parts.scheme}://{parts.hostname}:{port},"
            " and give a key as INGEST_API_KEY"
        )
    return ServerAddress(parts.scheme, parts.hostname, port, parts.path.rstrip("/"))


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy from the environment. `url` may contain a password; `str` does not."""

    url: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def is_http(self) -> bool:
        """Whether the proxy speaks plain HTTP, the only kind that gRPC can use."""
        return urlsplit(self.url).scheme == "http"


def proxy_for(address: ServerAddress, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for requests to a server, or None for direct requests, as always to this machine.

    Args:
        environment: the proxies by scheme, with `all` and `no` (hosts without one), as `urllib.request.getproxies` returns them.
    """
    url = environment.get(address.scheme) or environment.get("all")
    if not url or address.is_loopback or _is_exempt(address, environment.get("no", "")):
        return None
    return Proxy(url if "://" in url else f"http://{url}")


def check_key_is_safe(address: ServerAddress, proxy: Proxy | None, *, allow_plain_http_key: bool) -> None:
    """Raise `ConfigurationError` if a key would be sent unencrypted to another machine without permission."""
    if address.scheme == "https" or address.is_loopback or allow_plain_http_key:
        return
    through = f" through the proxy {proxy}" if proxy else ""
    raise ConfigurationError(
        f"the API key would be sent unencrypted to {address}{through}: use https://, or set allow_plain_http_key"
        " (INGEST_ALLOW_PLAIN_HTTP_KEY=true) on a network you trust"
    )


def _is_exempt(address: ServerAddress, hosts: str) -> bool:
    """Return whether NO_PROXY names the host: by name, domain, IP address or network, with or without a port."""
    return any(_names(entry, address) for entry in hosts.lower().replace(",", " ").split())


def _names(entry: str, address: ServerAddress) -> bool:
    if entry == "*":
        return True
    host, ip = address.host, ip_of(address.host)
    with suppress(ValueError):  # if the entry is neither an IP address nor a network
        return ip in ipaddress.ip_network(entry.strip("[]"), strict=False)
    name, colon, port = entry.rpartition(":")
    if colon and port.isdecimal():
        return int(port) == address.port and _names(name, address)
    domain = entry.removeprefix("*").lstrip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))
