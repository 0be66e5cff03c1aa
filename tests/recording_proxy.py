"""A forward proxy that remembers what it was asked, key included, and leads to one server whatever host it is asked for."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

from qdrant_server import Address


@dataclass(slots=True)
class RecordingProxy:
    """Listens at `port`; `asked` holds method, target and key of every request.

    Attributes:
        leads_to: where requests go, CONNECT to its gRPC port; None refuses all with 403 and a web page.
    """

    leads_to: Address | None = None
    port: int = 0
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)


@contextmanager
def recording_proxy(leads_to: Address | None = None) -> Iterator[RecordingProxy]:
    proxy = RecordingProxy(leads_to)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _ask(self) -> None:
            proxy.asked.append((self.command, self.path, self.headers.get("api-key")))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if proxy.leads_to is None:
                self._answer(403, "text/html", b"<html>the proxy denies</html>")
            elif self.command == "CONNECT":
                self._tunnel(proxy.leads_to.grpc_port)
            else:
                self._forward(urlsplit(proxy.leads_to.url).netloc, body)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_CONNECT = _ask  # noqa: N815  names of the standard library's

        def _forward(self, server: str, body: bytes) -> None:
            target = urlsplit(self.path)
            path = target.path + (f"?{target.query}" if target.query else "")
            connection = http.client.HTTPConnection(server)
            connection.request(self.command, path, body, {**self.headers, "Accept-Encoding": "identity"})
            answer = connection.getresponse()
            self._answer(answer.status, answer.headers.get("Content-Type", ""), answer.read())
            connection.close()

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _tunnel(self, port: int) -> None:
            with socket.create_connection(("127.0.0.1", port)) as server:
                self.send_response(200)
                self.end_headers()
                back = Thread(target=_copy, args=(server, self.connection))
                back.start()
                _copy(self.connection, server)
                back.join()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        proxy.port = server.server_address[1]
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Until the source ends, then ends both: either side is gone, and so is the tunnel."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
