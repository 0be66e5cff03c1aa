"""Requests over kept connections: when one is used again, and what a failure becomes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Semaphore, Thread

import httpx
import pytest

from ingest.store.server.transport import DirectTransport

TIMEOUT = {"timeout": httpx.Timeout(5.0).as_dict()}
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Peer:
    """Answers each request of each connection with the same bytes.

    Args:
        answers: number of requests of a connection that it answers before it closes it, which releases `closed`.
    """

    def __init__(self, answer: bytes, *, answers: int = 100) -> None:
        self._answer, self._answers = answer, answers
        self.connections = 0
        self.closed = Semaphore(0)
        self.requests: list[bytes] = []

    @contextmanager
    def listening(self) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = Thread(target=self._serve, args=(listener,))
            thread.start()
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}/collections"
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                for _ in range(self._answers):
                    request = connection.recv(65536)
                    if not request:
                        break
                    self.requests.append(request)
                    connection.sendall(self._answer)
            self.closed.release()


@contextmanager
def transport() -> Iterator[Callable[[str], httpx.Response]]:
    with closing(DirectTransport(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))) as direct:
        yield lambda url: direct.handle_request(httpx.Request("POST", url, content=b"[1]", extensions=TIMEOUT))


def test_a_connection_is_used_again() -> None:
    peer = Peer(FINE)
    with peer.listening() as url, transport() as send:
        answers = [send(url).read() for _ in range(3)]
    assert answers == [b"{}"] * 3
    assert peer.connections == 1
    head, _, body = peer.requests[2].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /collections HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Content-Length: 3" in head
    assert body == b"[1]"


def test_a_connection_that_the_server_has_closed_is_not_used_again() -> None:
    peer = Peer(FINE, answers=1)
    with peer.listening() as url, transport() as send:
        for _ in range(3):
            assert send(url).status_code == httpx.codes.OK
            peer.closed.acquire()
    assert peer.connections == 3


def test_a_connection_that_the_server_will_close_is_not_kept() -> None:
    peer = Peer(FINE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), answers=2)
    with peer.listening() as url, transport() as send:
        assert [send(url).read() for _ in range(2)] == [b"{}"] * 2
    assert peer.connections == 2


def test_a_response_keeps_its_status_and_headers() -> None:
    peer = Peer(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
    with peer.listening() as url, transport() as send:
        response = send(url)
    assert (response.status_code, response.reason_phrase, response.headers["retry-after"]) == (429, "Slow Down", "7")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"\0\0\x12\x04\0\r\n\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", httpx.RemoteProtocolError),
    ],
    ids=["closed", "not HTTP", "cut"],
)
def test_a_broken_answer_is_an_error_of_the_connection(answer: bytes, kind: type[httpx.TransportError]) -> None:
    with Peer(answer, answers=1).listening() as url, transport() as send, pytest.raises(kind) as caught:
        send(url)
    assert str(caught.value).isprintable()


def test_silence_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, closing(DirectTransport(ssl.create_default_context())) as direct:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(httpx.ReadTimeout):
            direct.handle_request(httpx.Request("GET", url, extensions={"timeout": httpx.Timeout(0.01).as_dict()}))


def test_nobody_there_is_an_error_of_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with transport() as send, pytest.raises(httpx.ConnectError, match="refused"):
        send(f"http://127.0.0.1:{port}")
