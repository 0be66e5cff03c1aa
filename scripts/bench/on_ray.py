"""How much faster two workers on Ray are than one, with an encoder that keeps one CPU busy.

    .venv/bin/python scripts/bench/on_ray.py [--documents 2400] [--milliseconds 20] [--repeat 2] [--workers 1,2]

The encoder hashes for so many milliseconds of CPU time per text, on one thread. A Ray of this machine is started once and a
Qdrant server as the tests start theirs; each run writes a collection of its own. A run's time is all of it, workers starting and
the account included. Prints each run, the ratio of the medians, and one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

from ingest.cluster.connection import LOCAL, connected
from ingest.cluster.engine import ClusterOptions, run_on_ray
from ingest.cluster.worker import WorkerSetup
from ingest.encode.contract import Model
from ingest.records import DenseMatrix
from ingest.source import open_source
from ingest.source.partitions import PartSize
from ingest.store import open_store
from ingest.sync.job import Job
from ingest.sync.reading import WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.telemetry import ThroughputMonitor
from ingest.testing import HashEncoder, generated_documents

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from qdrant_server import any_server

WANTED = 1.7


class BusyEncoder(HashEncoder):
    """Takes its time, which is the CPU's."""

    def __init__(self, seconds: float) -> None:
        super().__init__("busy", 64)
        self._seconds = seconds

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        until = time.thread_time() + self._seconds * len(texts)
        block = bytes(1024)
        while time.thread_time() < until:
            sha256(block)
        return super().encode_documents(texts)


def busy(seconds: float) -> list[Model]:
    return [BusyEncoder(seconds)]


def main() -> None:
    arguments = _arguments()
    workers = [int(number) for number in arguments.workers.split(",")]
    taken: dict[int, list[float]] = {number: [] for number in workers}
    with any_server() as server, tempfile.TemporaryDirectory() as scratch, connected(LOCAL), open_store(server.url) as store:
        folder = Path(scratch)
        corpus = folder / "corpus.jsonl"
        with corpus.open("w") as stream:
            for document in generated_documents(arguments.documents):
                stream.write(json.dumps({"id": document.id, "text": document.text}) + "\n")
        make_models = partial(busy, arguments.milliseconds / 1000)
        for _ in range(arguments.repeat):
            for number in workers:
                started = time.perf_counter()
                with RejectsFile(folder / "rejects") as rejects:
                    receipt = run_on_ray(
                        Job(f"bench_{uuid.uuid4().hex}", bounds=WindowBounds(chunks=64)),
                        [open_source(str(corpus))],
                        cluster=ClusterOptions(workers=number, part_size=PartSize(16, least_bytes=1)),
                        setup=WorkerSetup(partial(open_store, server.url), make_models),
                        store=store,
                        rejects=rejects,
                        monitor=ThroughputMonitor(),
                    )
                if not receipt.balanced or receipt.written != arguments.documents:
                    sys.exit(f"the run is not what it should be: {receipt}")
                taken[number].append(time.perf_counter() - started)
                print(f"{number} workers: {taken[number][-1]:6.1f} s", flush=True)
    medians = {number: statistics.median(seconds) for number, seconds in taken.items()}
    ratio = medians[workers[0]] / medians[workers[-1]]
    print(f"{workers[-1]} workers are {ratio:.2f} times as fast as {workers[0]} (wanted: {WANTED})")
    result = {
        "documents": arguments.documents,
        "milliseconds": arguments.milliseconds,
        "cpus": os.cpu_count(),
        "seconds": {number: [round(each, 1) for each in seconds] for number, seconds in taken.items()},
        "ratio": round(ratio, 2),
    }
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One worker on Ray and two.")
    parser.add_argument("--documents", type=int, default=2400)
    parser.add_argument("--milliseconds", type=float, default=20.0)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--workers", default="1,2")
    return parser.parse_args()


if __name__ == "__main__":
    main()
