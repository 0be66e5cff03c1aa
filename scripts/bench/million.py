"""A million generated documents into the embedded engine in one run, and whether memory grows with more than their index.

    .venv/bin/python scripts/bench/million.py [--documents 1000000] [--allowed-bytes 1800]

Documents of 60 words are made as they are read, go through the whole pipeline with `testing.HashEncoder` (384 dimensions) and
are indexed in the end. Memory is the process's resident set, sampled at every tenth of the load. The engine keeps all ids and
the indexes of five payload fields in memory, about 1,600 bytes a document here, 450 of them for the index of the texts. (Without
these indexes, memory no longer grows after 50,000 documents.) Nothing else may grow: it fails if a document costs more than
`--allowed-bytes` from the first tenth of the load to its end (with much fewer than a million, what the engine has just written
and not yet let go of blurs that). The graph at the end is told apart: it is built over all points at once. Needs about 8 GB of
disk in the folder for temporary files. Prints one JSON object in the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.records import Document, Rejected
from ingest.store.edge.store import EdgeStore
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, generated_documents

SAMPLES = 10
WARM = 1
"""Index of the sample that the last one is compared with."""


@dataclass(slots=True)
class SampledSource:
    """Generated documents; notes what the process holds whenever another tenth of them has been read."""

    count: int
    name: str = "generated"
    memory_mb: list[float] = field(default_factory=list)

    def read(self) -> Iterator[Document | Rejected]:
        started = time.monotonic()
        for number, document in enumerate(generated_documents(self.count)):
            if number % (self.count // SAMPLES) == 0:
                self.memory_mb.append(resident_mb())
                print(
                    f"{number:>10,} documents read  {self.memory_mb[-1]:7.0f} MB  {time.monotonic() - started:7.1f} s", flush=True
                )
            yield document
        self.memory_mb.append(resident_mb())


def main() -> None:
    arguments = _arguments()
    gc.set_threshold(50_000, 20, 50)  # as the command does
    models, source = [HashEncoder()], SampledSource(arguments.documents)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            EdgeStore(folder / "qdrant") as store,
            BatchRunner(models, devices=("cpu",), lease_directory=folder / "leases") as runner,
            RejectsFile(folder / "rejects.jsonl") as rejects,
        ):
            receipt = run_job(Job("million"), [source], store=store, ensemble=Ensemble(runner), rejects=rejects)
    if not receipt.balanced or receipt.written != arguments.documents:
        sys.exit(f"the run did not balance: {receipt}")
    grown = (source.memory_mb[-1] - source.memory_mb[WARM]) * 2**20 / (arguments.documents * (SAMPLES - WARM) / SAMPLES)
    result = {
        "documents": arguments.documents,
        "seconds": round(receipt.seconds, 1),
        "memory_mb": [round(sample) for sample in source.memory_mb],
        "bytes_per_document": round(grown),
        "indexed_mb": round(resident_mb()),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(result))
    if grown > arguments.allowed_bytes:
        sys.exit(f"memory grew by {grown:.0f} bytes a document over the load")


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A million documents: does memory grow?")
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--allowed-bytes", type=float, default=1800.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
