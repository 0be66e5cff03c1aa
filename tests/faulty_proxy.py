"""A proxy between a client and a real Qdrant server (HTTP) that misbehaves on cue.

It knows where requests and answers begin and end, so that a fault can strike a certain request at a certain moment: above all
after the server has done what it was asked, and before the client knows.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Fault(Enum):
    """What befalls a request.

    CUT: the connection is reset before the server hears of it. LOST: the server does it, and the connection is reset instead of
    the answer. HALF: the server does it, and half of the answer arrives before the connection ends. GARBLED: the server does it,
    and the answer's body is noise. SILENT: it is taken, and nothing ever comes back.
    """

    CUT = "cut"
    LOST = "lost"
    HALF = "half"
    GARBLED = "garbled"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Answer:
    """Is given in the server's place, which does not hear of the request. `retry_after`: seconds."""

    status: int
    retry_after: int | None = None
    content: bytes = b'{"status":{"error":"told to"},"time":0.0}'


@dataclass(frozen=True, slots=True)
class Delay:
    """The request reaches the server this many seconds late."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `number` counts from 1 over all connections, `size` the bytes of its body."""

    number: int
    method: str
    path: str
    size: int = 0

    @property
    def writes(self) -> bool:
        """Whether it changes points."""
        return (self.method, self.path.partition("?")[0].partition("/points")[1:]) in _WRITES


_WRITES = {
    ("PUT", ("/points", "")),
    ("PUT", ("/points", "/vectors")),
    ("POST", ("/points", "/batch")),
    ("POST", ("/points", "/delete")),
}

Cue = Callable[[Request], Fault | Answer | Delay | None]


@dataclass(slots=True)
class _Message:
    """A request or an answer, read to its end."""

    head: bytes
    body: bytes

    @property
    def first_line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode()

    def below(self, prefix: str) -> bool:
        """Whether its path is below the prefix, which is then taken off."""
        method, _, rest = self.head.partition(b" ")
        if not rest.startswith(f"{prefix}/".encode()):
            return False
        self.head = method + b" " + rest.removeprefix(prefix.encode())
        return True

    @property
    def bytes(self) -> bytes:
        return self.head + self.body


@dataclass(slots=True)
class FaultyProxy:
    """`with FaultyProxy(server_url, cue) as proxy:` listens at `proxy.url`; `proxy.struck` says what befell which request.

    With a `prefix` it serves what is below that path alone, as a reverse proxy does, and 404 with a web page elsewhere.
    """

    target: str
    cue: Cue
    prefix: str = ""
    url: str = field(init=False, default="")
    struck: list[tuple[Request, Fault | Answer | Delay]] = field(init=False, default_factory=list)
    requests: int = field(init=False, default=0)
    _loop: asyncio.AbstractEventLoop = field(init=False, default_factory=asyncio.new_event_loop)
    _thread: threading.Thread = field(init=False)
    _stop: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __enter__(self) -> Self:
        listening = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(listening),), daemon=True)
        self._thread.start()
        listening.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self, listening: threading.Event) -> None:
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        listening.set()
        await self._stop.wait()
        server.close()
        conversations = asyncio.all_tasks() - {asyncio.current_task()}
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, which has one of its own to the server."""
        upstream = _Upstream(self.target)
        end = writer.close
        try:
            while (request := await _read_message(reader)) is not None:
                if not request.below(self.prefix):
                    writer.write(_NOT_THERE)
                    continue
                fault = self._fault_of(request)
                if isinstance(fault, Answer):
                    writer.write(_answer(fault))
                    continue
                if fault in {Fault.CUT, Fault.LOST}:
                    end = writer.transport.abort  # a reset, not a farewell
                answer = await self._forward(request, fault, upstream)
                if answer is None or fault is Fault.LOST:
                    return
                writer.write(_spoiled(answer, fault))
                await writer.drain()
                if fault is Fault.HALF:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # either side is gone, and so is this conversation
        finally:
            end()
            upstream.close()

    def _fault_of(self, request: _Message) -> Fault | Answer | Delay | None:
        self.requests += 1
        method, path, _ = request.first_line.split(" ", 2)
        about = Request(self.requests, method, path, len(request.body))
        fault = self.cue(about)
        if fault is not None:
            self.struck.append((about, fault))
        return fault

    async def _forward(self, request: _Message, fault: Fault | Delay | None, upstream: _Upstream) -> _Message | None:
        if fault is Fault.CUT:
            return None
        if fault is Fault.SILENT:
            await self._stop.wait()
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        return await upstream.ask(request)


@dataclass(slots=True)
class _Upstream:
    """A connection to the server, opened when it is needed."""

    target: str
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: _Message) -> _Message | None:
        if self._streams is None:
            address = urlsplit(self.target)
            self._streams = await asyncio.open_connection(address.hostname, address.port)
        reader, writer = self._streams
        writer.write(request.bytes)
        return await _read_message(reader)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


_NOT_THERE = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 18\r\n\r\n<html>nginx</html>"

_NOISE = bytes.maketrans(b'{}":,', b"\x01\x02\x03\x04\x05")
"""What is no JSON any more, of the same length: where an answer ends is not what is garbled."""


def _spoiled(answer: _Message, fault: Fault | Delay | None) -> bytes:
    if fault is Fault.GARBLED:
        return answer.head + answer.body.translate(_NOISE)
    return answer.bytes[: len(answer.bytes) - len(answer.body) // 2 - 1] if fault is Fault.HALF else answer.bytes


def _answer(fault: Answer) -> bytes:
    body = fault.content
    retry_after = f"Retry-After: {fault.retry_after}\r\n" if fault.retry_after is not None else ""
    return (
        f"HTTP/1.1 {fault.status} On Cue\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{retry_after}\r\n"
    ).encode() + body


async def _read_message(reader: asyncio.StreamReader) -> _Message | None:
    """The next request or answer, None at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as exc:
        if exc.partial:
            raise
        return None
    headers = {
        name.strip().lower(): value.strip()
        for line in head.split(b"\r\n")[1:]
        for name, separator, value in [line.partition(b":")]
        if separator
    }
    if headers.get(b"transfer-encoding") == b"chunked":
        return _Message(head, await _read_chunks(reader))
    return _Message(head, await reader.readexactly(int(headers.get(b"content-length", b"0"))))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        body += line + await reader.readexactly(size + 2)
        if size == 0:
            return body
