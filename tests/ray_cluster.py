"""Jobs on a real Ray of this machine, started once for all tests, beside the same jobs in this process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import word_rows
from sync_bench import Stored, SyncBench

from ingest.cluster.connection import LOCAL, connected
from ingest.cluster.engine import ClusterOptions, run_on_ray
from ingest.cluster.worker import WorkerSetup
from ingest.encode.contract import Model
from ingest.errors import ConfigurationError
from ingest.receipt import Receipt
from ingest.records import DenseMatrix, Source
from ingest.source.partitions import PartSize
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.store.retrying import RetryingStore
from ingest.sync.record_files import MARK
from ingest.sync.rejects import RejectsFile
from ingest.telemetry import ThroughputMonitor
from ingest.testing import FlakyStore, HashEncoder

TINY = PartSize(6, least_bytes=1, least_rows=1)
"""Parts of whatever is there."""


@contextmanager
def local_ray() -> Iterator[str]:
    """Gives its address for `ClusterOptions`: while it is there, every run in this process uses it."""
    with connected(LOCAL):
        register: Any = ray.cloudpickle.register_pickle_by_value
        for module in (sys.modules[__name__], word_rows):  # which workers cannot import
            register(module)
        yield LOCAL


def gcs_address() -> str:
    """Return the address at which other processes connect to the Ray of this one."""
    address: str = ray.get_runtime_context().gcs_address
    return address


def hashed() -> list[Model]:
    return [HashEncoder("hash", 8)]


def hashed_with_rows() -> list[Model]:
    return [*hashed(), word_rows.WordRows("rows", 4)]


@dataclass(slots=True)
class RayBench:
    """Runs jobs over one collection on Ray, and over another in this process, on the same server."""

    url: str
    store: Store
    collection: str
    folder: Path

    @property
    def alone(self) -> SyncBench:
        return SyncBench(self.store, f"{self.collection}_alone", self.folder)

    @property
    def here(self) -> SyncBench:
        """The collection that jobs on Ray write, from this process."""
        return SyncBench(self.store, self.collection, self.folder)

    def run(
        self,
        sources: Sequence[Source],
        *,
        make_models: Callable[[], Sequence[Model]] = hashed,
        open_worker_store: Callable[[], RetryingStore] | None = None,
        workers: int = 2,
        **changes: Any,
    ) -> Receipt:
        """`changes`: of the job."""
        with RejectsFile(self.folder / "ray-rejects.jsonl") as rejects:
            return run_on_ray(
                self.here.job(**changes),
                sources,
                cluster=ClusterOptions(workers=workers, part_size=TINY),
                setup=WorkerSetup(open_worker_store or partial(open_store, self.url), make_models),
                store=self.store,
                rejects=rejects,
                monitor=ThroughputMonitor(),
            )

    def stored(self) -> Stored:
        return self.here.stored()

    def assert_equal(self) -> None:
        """Compare the two collections. A cluster stores no versions of files of records."""
        assert _without_marks(self.stored()) == _without_marks(self.alone.stored())


def _without_marks(stored: Stored) -> Stored:
    found = {}
    for point, (payload, vectors) in stored.items():
        own = {name: value for name, value in payload["_ingest"].items() if not str(value).startswith(MARK)}
        found[point] = ({**payload, "_ingest": own}, vectors)
    return found


@dataclass(frozen=True, slots=True)
class Deadly:
    """Opens a store with which the first process that writes so many requests dies of SIGKILL before the last of them."""

    url: str
    marker: Path
    requests: int

    def __call__(self) -> RetryingStore:
        return open_store(self.url).through(lambda store: FlakyStore(store, self._die))

    def _die(self, _name: str, call: int) -> None:
        if call == self.requests and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class PoisonedEncoder(HashEncoder):
    """Whoever encodes a text with the word poison dies."""

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        if any("poison" in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_documents(texts)


def poisoned() -> list[Model]:
    return [PoisonedEncoder("hash", 8)]


class DoublingWorker:
    """Doubles a number. `start` is called first, in its process."""

    def __init__(self, start: Callable[[], None]) -> None:
        start()

    def __call__(self, number: int) -> int:
        return 2 * number


def nothing() -> None:
    pass


def misconfigured() -> None:
    raise ConfigurationError("no such model")


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
