"""`ingest serve` as a process of its own, on a real port."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from command import INGEST, environment, ingest, write_jsonl
from serving import RULES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("process")
    write_jsonl(folder / "rules.jsonl", RULES)
    outcome = ingest("run", "rules.jsonl", "-c", "rules", "--dense", "none", cwd=folder)
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [INGEST, "serve", "rules", "--port", "0", "--json"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    url: str = json.loads(line)["url"]
    return url


def connected(url: str) -> socket.socket:
    address = urlsplit(url)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=60)


def test_a_process_serves_until_a_signal_and_finishes_what_is_under_way(server: subprocess.Popen[str], folder: Path) -> None:
    url = url_of(server)
    answer = httpx.get(f"{url}/v1/collections/rules/search", params={"q": "days of leave"}, timeout=60).json()
    assert answer["hits"][0]["doc_id"] == "rules/leave"
    ask = ("search", "rules", "days of leave", "--where", "metadata.year>=2021", "--limit", "1")
    by_socket = ingest(*ask, "--json", cwd=folder)  # this process could not open the store
    assert [hit["doc_id"] for hit in by_socket.json["hits"]] == ["rules/leave"], by_socket.err
    wrong = ingest("search", "rules", "leave", "--vectors", "nothing", cwd=folder)
    assert (wrong.code, "has no vector 'nothing'" in wrong.err) == (2, True)
    blocked = ingest("run", "rules.jsonl", "-c", "rules", "--dense", "none", cwd=folder)
    assert (blocked.code, f"in use by process {server.pid}" in blocked.err) == (1, True)
    with connected(url) as flood:  # more headers than any client sends
        flood.sendall(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000)
        assert not closed_with(flood)
    with connected(url) as half:
        body = b'{"query": "leave"}'
        head = f"POST /v1/collections/rules/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        half.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body[:5])
        assert httpx.get(f"{url}/healthz", timeout=60).status_code == 200
        server.send_signal(signal.SIGTERM)
        half.sendall(body[5:])
        assert half.recv(15) == b"HTTP/1.1 200 OK"
    assert server.wait(60) == 0
    assert not (folder / ".ingest/qdrant/.serve.sock").exists()
    assert ingest(*ask, "--json", cwd=folder).json["hits"] == by_socket.json["hits"]


def closed_with(connection: socket.socket) -> bytes:
    """Return what the server sent before it closed the connection."""
    try:
        return connection.recv(1000)
    except ConnectionResetError:
        return b""
