"""A gRPC server behind a gateway that refuses bodies over a limit with HTTP status 413, as nginx does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from qdrant_client import grpc as messages

_FRAME_HEAD = 5
"""Bytes in front of a gRPC message: whether it is compressed, and its length."""


@dataclass(slots=True)
class Gateway:
    """Listens at `port`. `taken` holds the body of every call that was let through, `refused` the sizes of the others."""

    limit: int
    port: int = 0
    taken: list[tuple[str, bytes]] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def answer(self, path: str, body: bytes, health: bytes) -> bytes | None:
        """The message to answer a call with; None to refuse it."""
        if len(body) > self.limit:
            self.refused.append(len(body))
            return None
        self.taken.append((path, body[_FRAME_HEAD:]))
        return health if path.endswith("HealthCheck") else b""


@contextmanager
def grpc_gateway(limit: int, *, version: str = "1.16.3") -> Iterator[Gateway]:
    """The server behind it says it is Qdrant, and that it did whatever it was asked."""
    gateway = Gateway(limit)
    health = messages.HealthCheckReply(title="qdrant", version=version).SerializeToString()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gateway.port = listening.getsockname()[1]

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    Thread(target=_converse, args=(connection, gateway, health), daemon=True).start()

        Thread(target=serve, daemon=True).start()
        yield gateway
        listening.shutdown(socket.SHUT_RDWR)


def _converse(connection: socket.socket, gateway: Gateway, health: bytes) -> None:
    http = H2Connection(H2Configuration(client_side=False))
    http.initiate_connection()
    paths: dict[int, str] = {}
    bodies: dict[int, bytes] = {}
    with connection, suppress(OSError):
        connection.sendall(http.data_to_send())
        while data := connection.recv(65536):
            for event in http.receive_data(data):
                if isinstance(event, RequestReceived):
                    paths[event.stream_id] = dict(event.headers)[b":path"].decode()
                    bodies[event.stream_id] = b""
                elif isinstance(event, DataReceived):
                    bodies[event.stream_id] += event.data
                    http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    path, body = paths[event.stream_id], bodies[event.stream_id]
                    _answer(http, event.stream_id, gateway.answer(path, body, health))
            connection.sendall(http.data_to_send())


def _answer(http: H2Connection, stream: int, message: bytes | None) -> None:
    if message is None:
        http.send_headers(stream, [(":status", "413"), ("content-type", "text/html")])
        http.send_data(stream, b"<html>413 Request Entity Too Large</html>", end_stream=True)
        return
    http.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
    http.send_data(stream, b"\0" + len(message).to_bytes(4, "big") + message)
    http.send_headers(stream, [("grpc-status", "0")], end_stream=True)
