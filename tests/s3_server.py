"""An S3 server on a loopback port: moto's, as a process of its own, because it takes long to import. It notes every request."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import s3fs
from qdrant_server import free_ports, wait_until


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server.

    Attributes:
        options: for `open_source(storage_options=…)`.
        files: the file system to write with.
    """

    options: Mapping[str, Any]
    files: Any
    log: Path

    def make_bucket(self, name: str, objects: Mapping[str, bytes]) -> None:
        self.files.call_s3("create_bucket", Bucket=name)
        self.write({f"{name}/{key}": data for key, data in objects.items()})

    def write(self, objects: Mapping[str, bytes]) -> None:
        """Write objects, `bucket/key` → content."""
        self.files.pipe(dict(objects))

    def forget_requests(self) -> None:
        self.log.write_bytes(b"")

    def requests(self) -> list[str]:
        """Return method and path of every request since `forget_requests`, as in `GET /bucket?list-type=2`."""
        lines = self.log.read_text().replace("\0", "").splitlines()
        return [line.split('"')[1].rpartition(" ")[0] for line in lines if "HTTP/1.1" in line]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    options = {"key": "key", "secret": "secret", "endpoint_url": address, "default_block_size": 2**20}
    with tempfile.TemporaryDirectory(prefix="s3-") as folder:
        log = Path(folder) / "log"
        with log.open("ab") as output:  # appending: `forget_requests` empties it
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: _answers(address, process, log), "moto to start")
            yield S3Server(options, s3fs.S3FileSystem(**options, skip_instance_cache=True, use_listings_cache=False), log)
        finally:
            process.kill()
            process.wait()


def _answers(address: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"moto did not start: {log.read_text()}")
    try:
        urllib.request.urlopen(f"{address}/moto-api/", timeout=5).close()
    except (urllib.error.URLError, OSError):
        return False
    return True
