"""A soak: thousands of syncs of small edits in one process, and whether memory, open files or threads grow.

    .venv/bin/python scripts/bench/soak.py [--minutes 60] [--cycles 0] [--documents 500] [--store URL]

Each cycle edits, adds and removes some documents of a generated corpus and makes the collection equal to it, as a daemon does
time and again: a run with `--delete full`, every hundredth one with a source that breaks in the middle. The store is the embedded
engine in a temporary folder, opened and closed for each cycle as the command does, or a server. A receipt that does not balance
ends it at once. Memory, open files and threads are shown twenty times on the way; it fails if, after the first quarter, which is
warming up, memory rises by more than `--allowed-mb`, or files or threads rise at all. Prints one JSON object in the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.errors import SourceError
from ingest.receipt import Receipt
from ingest.records import Document
from ingest.store import open_store
from ingest.sync.job import Job
from ingest.sync.plan import DeleteMode
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import Crash, HashEncoder, ListSource, generated_documents

COLLECTION = "soak"
SAMPLES = 20
BREAKS_EVERY = 100
"""Cycles from one source that breaks to the next."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process holds after so many cycles and seconds."""

    cycles: int
    seconds: float
    memory_mb: float
    files: int
    threads: int


def main() -> None:
    arguments = _arguments()
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = arguments.store or str(folder / "qdrant")
        corpus = Corpus(arguments.documents)
        started = time.monotonic()
        cycle = 0
        while (done := _share_done(arguments, cycle, time.monotonic() - started)) < 1:
            if done >= len(samples) / SAMPLES:
                samples.append(_sample(cycle, time.monotonic() - started))
            _cycle(corpus, place, folder, cycle)
            cycle += 1
        samples.append(_sample(cycle, time.monotonic() - started))
        if arguments.store:
            with open_store(place) as store:
                store.drop(COLLECTION)
    _report(samples, arguments.allowed_mb)


class Corpus:
    """Documents by number, a few of which change from cycle to cycle; as many remain."""

    def __init__(self, size: int) -> None:
        self._chance = random.Random(0)
        self._texts = {number: document.text for number, document in enumerate(generated_documents(size))}
        self._next = size

    def edit(self) -> None:
        for number in self._chance.sample(sorted(self._texts), 5):
            self._texts[number] = f"{self._chance.random()} {self._texts[number][:400]}"
        for number in self._chance.sample(sorted(self._texts), 2):
            self._texts[self._next] = f"{self._chance.random()} {self._texts.pop(number)[:400]}"
            self._next += 1

    def documents(self) -> list[Document]:
        return [Document(f"d{number}", text) for number, text in self._texts.items()]


def _cycle(corpus: Corpus, place: str, folder: Path, number: int) -> None:
    corpus.edit()
    documents = corpus.documents()
    if number % BREAKS_EVERY == BREAKS_EVERY - 1:
        try:
            _run([*documents[: len(documents) // 2], Crash()], place, folder)
        except SourceError:
            return
        sys.exit("a source that broke was taken for one that ended")
    receipt = _run(documents, place, folder)
    if not receipt.balanced or receipt.read != len(documents):
        sys.exit(f"cycle {number} does not balance: {receipt}")


def _run(items: Sequence[Document | Crash], place: str, folder: Path) -> Receipt:
    models = [HashEncoder()]
    with (
        open_store(place) as store,
        BatchRunner(models, devices=("cpu",), lease_directory=folder / "leases") as runner,
        RejectsFile(folder / "rejects.jsonl") as rejects,
    ):
        return run_job(
            Job(COLLECTION, delete=DeleteMode.FULL),
            [ListSource(items)],
            store=store,
            ensemble=Ensemble(runner),
            rejects=rejects,
        )


def _share_done(arguments: argparse.Namespace, cycles: int, seconds: float) -> float:
    return float(cycles / arguments.cycles if arguments.cycles else seconds / (arguments.minutes * 60))


def _sample(cycles: int, seconds: float) -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    sample = Sample(
        cycles=cycles,
        seconds=round(seconds, 1),
        memory_mb=round(pages * resource.getpagesize() / 2**20, 1),
        files=len(list(Path("/proc/self/fd").iterdir())),
        threads=len(list(Path("/proc/self/task").iterdir())),
    )
    print(
        f"{sample.seconds:8.1f} s {sample.cycles:>8,} cycles  {sample.memory_mb:7.1f} MB"
        f"  {sample.files:3} files  {sample.threads:3} threads",
        flush=True,
    )
    return sample


def _report(samples: Sequence[Sample], allowed_mb: float) -> None:
    warm, end = samples[len(samples) // 4], samples[-1]
    grown = {name: round(getattr(end, name) - getattr(warm, name), 1) for name in ("memory_mb", "files", "threads")}
    steady = grown["memory_mb"] <= allowed_mb and grown["files"] <= 0 and grown["threads"] <= 0
    shown = {"start": samples[0], "warm": warm, "middle": samples[len(samples) // 2], "end": end}
    print(json.dumps({**{name: asdict(sample) for name, sample in shown.items()}, "grown": grown, "steady": steady}))
    if not steady:
        sys.exit(f"it grows: {grown}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Thousands of syncs of small edits: does anything grow?")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--cycles", type=int, default=0, help="so many cycles instead of so many minutes")
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--store", help="a server's URL; the embedded engine if not given")
    parser.add_argument("--allowed-mb", type=float, default=32.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
