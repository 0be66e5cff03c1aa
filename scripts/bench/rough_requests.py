"""What random requests do to `ingest serve`: its memory stays flat, and it stays well.

    .venv/bin/python scripts/bench/rough_requests.py [--requests 10000]

Three documents under BM25 in the embedded engine. Requests of every kind a client can get wrong, one after another from a seed:
JSON that is none, bodies that are huge, cut off or of another type, queries of random Unicode, headers without end, connections
that are half closed, reset or left open. Memory (VmRSS) is read after a quarter and at the end. Prints one JSON object, and exits
with 1 if `/healthz` is not 200, if an answer was 500, or if memory grew by more than 10 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

INGEST = str(Path(sys.executable).with_name("ingest"))
SEARCH = "/v1/collections/rules/search"
MOST_GROWTH = 1.1
OPEN = 50
"""Connections that are left open at a time."""

Send = Callable[["Client"], bytes]


class Client:
    """Raw connections to a server, by a seed."""

    def __init__(self, url: str, seed: int) -> None:
        address = urlsplit(url)
        self.random = random.Random(seed)
        self._address = (address.hostname or "", address.port or 0)
        self._open: deque[socket.socket] = deque()

    def connect(self) -> socket.socket:
        return socket.create_connection(self._address, timeout=30)

    def answer(self, data: bytes, *, half_closed: bool = False) -> bytes:
        """Send data and return the first line of the answer; empty if the server closed the connection."""
        with self.connect() as connection, contextlib.suppress(ConnectionError):
            connection.sendall(data)
            if half_closed:
                connection.shutdown(socket.SHUT_WR)
            return connection.recv(100).split(b"\r\n")[0]
        return b""

    def leave_open(self, data: bytes) -> bytes:
        """Send data, and close the connection only after many others."""
        connection = self.connect()
        connection.sendall(data)
        self._open.append(connection)
        if len(self._open) > OPEN:
            self._open.popleft().close()
        return b""

    def reset(self, data: bytes) -> bytes:
        """Send data and reset the connection."""
        with self.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(data)
        return b""

    def bytes_up_to(self, most: int) -> bytes:
        return self.random.randbytes(self.random.randrange(most))

    def text(self) -> str:
        characters = (
            chr(self.random.choice((self.random.randrange(128), self.random.randrange(0xD7FF), 0x1F600))) for _ in range(40)
        )
        return "".join(characters)


def post(body: bytes, *, length: int | None = None, kind: str = "application/json") -> bytes:
    head = f"POST {SEARCH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def get(path: str, *, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n".encode()


KINDS: dict[str, Send] = {
    "good": lambda c: c.answer(post(json.dumps({"query": "leave", "limit": c.random.randrange(1, 9)}).encode())),
    "unicode": lambda c: c.answer(post(json.dumps({"query": c.text()}).encode())),
    "unicode in the URL": lambda c: c.answer(get(f"{SEARCH}?q={quote(c.text())}")),
    "no JSON": lambda c: c.answer(post(c.bytes_up_to(2000))),
    "deep JSON": lambda c: c.answer(post(b"[" * 50_000)),
    "wrong types": lambda c: c.answer(post(json.dumps({"query": c.random.choice([1, [], {}, None]), "limit": -1}).encode())),
    "wrong filter": lambda c: c.answer(post(json.dumps({"query": "x", "where": c.text()}).encode())),
    "another type": lambda c: c.answer(post(b"{}", kind="text/plain")),
    "huge": lambda c: c.answer(post(b"x" * 2_000_000)),
    "cut off": lambda c: c.answer(post(b'{"query"', length=500), half_closed=True),
    "half closed": lambda c: c.answer(post(b'{"query": "leave"}'), half_closed=True),
    "reset": lambda c: c.reset(post(b'{"query": "leave"}')),
    "slow headers": lambda c: c.leave_open(b"GET / HTTP/1.1\r\nHost: lo"),
    "slow body": lambda c: c.leave_open(post(b"{", length=100)),
    "endless headers": lambda c: c.answer(get("/", more="x: y\r\n" * 20_000)),
    "long path": lambda c: c.answer(get("/v1/" + "x" * 20_000)),
    "odd path": lambda c: c.answer(get(f"/v1/collections/{quote(c.text())}/documents/{quote(c.text())}")),
    "no HTTP": lambda c: c.answer(c.bytes_up_to(500) + b"\r\n\r\n"),
    "another method": lambda c: c.answer(get(SEARCH).replace(b"GET", c.random.choice([b"PUT", b"TRACE", b"BREW"]))),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        records = [{"id": str(number), "text": f"Every employee has {number} days of leave."} for number in range(3)]
        Path(folder, "rules.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        run = [INGEST, "run", "rules.jsonl", "-c", "rules", "--dense", "none"]
        subprocess.run(run, cwd=folder, check=True, capture_output=True)
        command = [INGEST, "serve", "rules", "--port", "0", "--json"]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            try:
                report = attack(json.loads(process.stdout.readline())["url"], process.pid, arguments.requests, arguments.seed)
            finally:
                process.terminate()
    print(json.dumps(report, indent=1))
    grown = report["mib_at_the_end"] > report["mib_after_a_quarter"] * MOST_GROWTH
    sys.exit(1 if grown or report["healthz"] != 200 or any(" 500" in line for line in report["answers"]) else 0)


def attack(url: str, pid: int, requests: int, seed: int) -> dict[str, Any]:
    """Send random requests, and return what came back and how much memory the server has."""
    client, answers, quarter = Client(url, seed), Counter[str](), 0.0
    for number in range(requests):
        kind = client.random.choice(list(KINDS))
        with contextlib.suppress(ConnectionError):
            answers[KINDS[kind](client).decode("latin-1") or "no answer"] += 1
        if number == requests // 4:
            quarter = mebibytes(pid)
    health = HTTPConnection(urlsplit(url).netloc, timeout=60)
    health.request("GET", "/healthz")
    return {
        "requests": requests,
        "answers": dict(answers.most_common()),
        "mib_after_a_quarter": quarter,
        "mib_at_the_end": mebibytes(pid),
        "healthz": health.getresponse().status,
    }


def mebibytes(pid: int) -> float:
    """Return the resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return round(int(found[1]) / 1024, 1)


if __name__ == "__main__":
    main()
