"""HTTP requests without a proxy over kept connections, in a third of the time that the transport of httpx takes.

That one parses a response in Python, and manages kinds of connections that Qdrant does not use. It takes as long for a request as
the server does, and a search is up to four of them.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse

import httpx

KEPT_SECONDS = 2.0
"""Seconds that an idle connection is kept. The server closes it after five, so no request meets a closing one."""

_PORTS = {"http": 80, "https": 443}

_Origin = tuple[str, str, int]
"""Scheme, host and port."""


class DirectTransport(httpx.BaseTransport):
    """A transport over HTTP/1.1. It keeps its connections, as many as were in use at one time. Safe from several threads.

    Args:
        tls: the certificates to trust.

    Raises the exceptions of httpx.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._tls.set_alpn_protocols(["http/1.1"])  # else a gRPC port would accept the connection and not the request
        self._idle: deque[tuple[_Origin, socket.socket, float]] = deque()  # the connection used last is the last one
        self._closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        origin = (request.url.scheme, request.url.host, request.url.port or _PORTS[request.url.scheme])
        timeouts = request.extensions.get("timeout", {})
        connection = self._kept(origin) or self._connected(origin, timeouts.get("connect"))
        try:
            connection.settimeout(timeouts.get("read"))
            response, stays_open = _answer(connection, request)
        except BaseException:
            connection.close()
            raise
        if stays_open and not self._closed:
            self._idle.append((origin, connection, time.monotonic()))
        else:
            connection.close()
        return response

    def close(self) -> None:
        """Close the idle connections now, and those in use after their request."""
        self._closed = True
        while self._idle:
            self._idle.pop()[1].close()

    def _kept(self, origin: _Origin) -> socket.socket | None:
        """Return an idle connection that the server has not closed, or None. Close those that are idle for too long."""
        while True:
            try:
                of, connection, used = self._idle.pop()
            except IndexError:
                return None
            if of == origin and time.monotonic() - used < KEPT_SECONDS and not _is_readable(connection):
                return connection
            connection.close()

    def _connected(self, origin: _Origin, timeout: float | None) -> socket.socket:
        scheme, host, port = origin
        with _mapped(httpx.ConnectTimeout, httpx.ConnectError):
            connection = socket.create_connection((host, port), timeout)
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self._tls.wrap_socket(connection, server_hostname=host) if scheme == "https" else connection
            except BaseException:
                connection.close()
                raise


def _answer(connection: socket.socket, request: httpx.Request) -> tuple[httpx.Response, bool]:
    """Send a request and return its response, and whether the connection stays open."""
    head = b"%b %b HTTP/1.1\r\n" % (request.method.encode("ascii"), request.url.raw_path)
    fields = b"".join(b"%b: %b\r\n" % field for field in request.headers.raw)
    with _mapped(httpx.WriteTimeout, httpx.WriteError):
        connection.sendall(b"%b%b\r\n%b" % (head, fields, request.read()))
    with _mapped(httpx.ReadTimeout, httpx.ReadError), HTTPResponse(connection, method=request.method) as received:
        received.begin()
        content = received.read()
        response = httpx.Response(
            received.status,
            headers=received.getheaders(),
            stream=httpx.ByteStream(content),
            extensions={"reason_phrase": received.reason.encode("latin-1")},
            request=request,
        )
        return response, not received.will_close


@contextmanager
def _mapped(timeout: type[httpx.TransportError], failure: type[httpx.TransportError]) -> Iterator[None]:
    """Raise the exceptions of httpx for those of a connection."""
    try:
        yield
    except TimeoutError as exc:
        raise timeout(str(exc)) from exc
    except HTTPException as exc:
        raise httpx.RemoteProtocolError(_printable(str(exc)) or type(exc).__name__) from exc
    except OSError as exc:
        raise failure(str(exc)) from exc


def _printable(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def _is_readable(connection: socket.socket) -> bool:
    """Return whether an idle connection can be read from: the server has closed it."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
