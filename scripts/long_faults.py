"""What `scripts/faults` runs."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from killing import kill_runs
from qdrant_server import QdrantProcess
from reindex_killing import kill_reindexes
from sync_bench import SyncBench, counts, document

from ingest.records import Document, Rejected
from ingest.retry import RetryPolicy
from ingest.store import open_store

DOCUMENTS = [document(f"d{number}", "abc") for number in range(600)]


@dataclass(frozen=True, slots=True)
class Stalling:
    """Pauses the server for so many seconds in the middle of being read."""

    server: QdrantProcess
    seconds: float
    name: str = "list"

    def read(self) -> Iterator[Document | Rejected]:
        for number, each in enumerate(DOCUMENTS):
            if number == len(DOCUMENTS) // 2:
                self.server.pause()
                threading.Timer(self.seconds, self.server.resume).start()
            yield each


def kill(folder: Path, times: int = 20, seed: int = 1) -> None:
    for number, moment in enumerate(kill_runs(folder, times=times, seed=seed), start=1):
        print(f"{number:3}: killed {moment.seconds * 1000:.0f} ms after window {moment.passes}", flush=True)
    print(f"after {times} kills the collection equals that of an undisturbed run")


def reindex(folder: Path, times: int = 20, seed: int = 1) -> None:
    for number, each in enumerate(kill_reindexes(folder, times=times, seed=seed), start=1):
        said = f"vector {each.searched} is searched, {each.filled} points have both"
        print(f"{number:3}: killed after {each.seconds:.2f} s: {said}", flush=True)
    print(f"after {times} kills the collection equals that of an ingestion, and of another after a rollback")


def stall(folder: Path, seconds: int = 30) -> None:
    """Once within the time a request may take, once far beyond it."""
    for timeout in (2 * seconds, seconds / 10):
        place = folder / f"{timeout:.0f}"
        retry = RetryPolicy(attempts=100, seconds=10 * seconds)
        with QdrantProcess(place) as server, open_store(server.address.url, timeout=timeout, retry=retry) as store:
            peace, war = (SyncBench(store, name, place / name) for name in ("peace", "war"))
            peace.run(DOCUMENTS)
            started = time.monotonic()
            receipt = war.run([Stalling(server, seconds)])
            assert counts(receipt) == {"read": len(DOCUMENTS), "written": len(DOCUMENTS)}
            assert war.stored() == peace.stored()
            taken = time.monotonic() - started
            print(f"{seconds} s of silence, {timeout:.0f} s for a request: equal and balanced after {taken:.1f} s", flush=True)


if __name__ == "__main__":
    faults: dict[str, Callable[..., None]] = {"kill": kill, "reindex": reindex, "stall": stall}
    with tempfile.TemporaryDirectory() as name:
        faults[sys.argv[1]](Path(name), *map(int, sys.argv[2:]))
