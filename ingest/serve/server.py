"""The application on a port, until a signal ends it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingest.errors import ConfigurationError
from ingest.serve.access import OWNER, is_loopback

HEADER_SECONDS = 10.0
"""Seconds in which the headers of a request must arrive, and an idle connection may wait for the next one."""

MAX_HEADER_BYTES = 64 * 1024
"""Most bytes of the headers of a request."""

MAX_CONNECTIONS = 1000
"""Connections and requests at which new requests are answered with 503."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def bind(host: str, port: int, *, public: bool) -> socket.socket:
    """Return a listening socket.

    Args:
        port: 0 for a free one.
        public: whether other machines may reach it.

    Raises `ConfigurationError` for a host that others reach if they must not, and for an address that is taken or not ours.
    """
    if not public and not is_loopback(host):
        raise ConfigurationError(f"{host} can be reached from other machines: pass --token-file, or serve on 127.0.0.1")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as exc:
        raise ConfigurationError(f"cannot serve at {host}:{port} ({exc.strerror}): choose another --host or --port") from exc
    return listening


def address_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(app: ASGIApp, sockets: list[socket.socket], *, grace: float) -> None:
    """Serve until SIGINT or SIGTERM; then finish what is under way, for at most `grace` seconds. A second signal ends it at once.

    Call it in the main thread.
    """
    config = uvicorn.Config(
        app,
        http=_GuardedProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,  # it has the queries
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=int(HEADER_SECONDS),
        timeout_graceful_shutdown=int(grace),
    )
    with _signals_only_stop():
        uvicorn.Server(config).run(sockets=sockets)


class _GuardedProtocol(HttpToolsProtocol):
    """Closes a connection whose headers are too long or do not arrive in time: uvicorn itself would wait and read forever."""

    _expiry: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if transport.get_extra_info("socket").family == getattr(socket, "AF_UNIX", None):
            self.app_state = {**self.app_state, OWNER: True}
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        if self._expiry is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_headers()
        if self._expiry is not None:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._expiry is not None and self._header_bytes > MAX_HEADER_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._expect_nothing()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        self._header_bytes = 0
        self._expiry = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    def _expect_nothing(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


@contextmanager
def _signals_only_stop() -> Iterator[None]:
    """Ignore the signals that uvicorn raises again after it has stopped: what follows is an orderly end."""

    def ignore(_number: int, _frame: FrameType | None) -> None:
        return

    before = {number: signal.signal(number, ignore) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
