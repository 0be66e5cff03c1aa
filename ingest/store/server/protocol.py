"""The protocol spoken at a port, to tell a wrong port or scheme from a server that is down.

The client's errors do not tell: a TLS port, a gRPC port and a server that goes down all just end the connection. So the port is
probed after a failure to connect, and only then.
"""

from __future__ import annotations

import socket
import ssl
from typing import Literal

from ingest.store.server.address import USUAL_PORT, ServerAddress

Protocol = Literal["http", "grpc", "tls", "other"]

PROBE_SECONDS = 2.0
"""Maximum wait for an answer of the port."""

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

_TLS_ALERT = b"\x15\x03"

_HTTP2_FRAME_HEAD = 4
"""Bytes of an HTTP/2 frame up to its type: three of the length, and the type."""

_HTTP2_SETTINGS_OR_GOAWAY = (0x04, 0x07)
"""Types of the first frame that a server sends."""


def protocol_at(host: str, port: int) -> Protocol | None:
    """Return the protocol spoken at a port, or None if nothing answers.

    HTTP/2 without TLS counts as gRPC. Only a request for `/` without a key and a TLS greeting are sent.
    """
    response = _first_bytes(host, port)
    if not response:
        return "tls" if response == b"" and _speaks_tls(host, port) else None
    if response.startswith(b"HTTP/1"):
        return "http"
    if response.startswith(_TLS_ALERT):
        return "tls"
    is_frame = len(response) >= _HTTP2_FRAME_HEAD and response[:2] == b"\0\0" and response[3] in _HTTP2_SETTINGS_OR_GOAWAY
    return "grpc" if is_frame else "other"


def explain_rest(address: ServerAddress) -> str | None:
    """Return what is wrong with the address of a server that does not answer, or None if it may only be down."""
    match address.scheme, protocol_at(address.host, address.port):
        case _, "grpc":
            return f"speaks gRPC at port {address.port}: give the port for REST, usually {USUAL_PORT}"
        case "https", "http":
            return "speaks HTTP without TLS: write http://"
        case "http", "tls":
            return "speaks TLS: write https://"
        case _, "other":
            return "does not speak HTTP: check the address and the port"
    return None


def explain_grpc(address: ServerAddress, port: int) -> str | None:
    """Return what is wrong with the gRPC port of a server, or None if it may only be down."""
    match address.scheme, protocol_at(address.host, port):
        case _, "http":
            return "speaks HTTP/1, not gRPC: give the gRPC port, usually one above the port for REST"
        case "https", "grpc":
            return "speaks gRPC without TLS, and the address is https://: give the gRPC port of that server"
        case _, "other":
            return "does not speak gRPC: check the port"
        case "http", "tls":
            return "speaks TLS, and the address is http://: give the gRPC port of that server, or write https://"
    return None


def _first_bytes(host: str, port: int) -> bytes | None:
    """Return the first bytes of the answer to an HTTP request, none if the connection ends; None without a connection."""
    try:
        with socket.create_connection((host, port), PROBE_SECONDS) as connection:
            connection.sendall(_REQUEST)
            return connection.recv(16)
    except ConnectionResetError:
        return b""
    except OSError:
        return None


def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # only to recognize TLS: no request is sent
    try:
        with socket.create_connection((host, port), PROBE_SECONDS) as connection, context.wrap_socket(connection):
            return True
    except OSError:  # includes ssl.SSLError
        return False
