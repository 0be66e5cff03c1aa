"""What the pipeline costs beside the engine: peak memory at two sizes, and its rate against a bare loop of upserts.

    .venv/bin/python scripts/bench/memory.py [--small 20000] [--large 200000] [--repeat 3]

Generated documents of 60 words go from a JSONL file through the whole pipeline with `testing.HashEncoder` (384 dimensions) into
the embedded engine. Then the very same points, read back from there, are upserted into a fresh engine by a bare loop: engine
points made of ready vectors and payloads (as the store makes them, the quickest way there is), a thousand at a time, and nothing
else. Each measurement has a process of its own; the two alternate, and the median of their ratios counts. Both end with the
engine flushed, optimized and closed. Prints a table and one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as engine
from measuring import machine, write_documents
from numpy.typing import NDArray

from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.source import open_source
from ingest.store.contract import CollectionOptions, Manifest, VectorSpec
from ingest.store.edge.store import EdgeStore
from ingest.store.edge.wire import vector_to
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, generated_documents

COLLECTION = "bench"
BATCH = 1000


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        print(json.dumps({"pipeline": run_pipeline, "bare": run_bare}[arguments.child](arguments.folder, arguments.small)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = _measure("pipeline", folder / "small", arguments.small)
        rounds = []
        for number in range(arguments.repeat):
            place = folder / f"large{number}"
            rounds.append((_measure("pipeline", place, arguments.large), _measure("bare", place, arguments.large)))
    _report(arguments, small, rounds)


def run_pipeline(folder: Path, count: int) -> dict[str, Any]:
    """Run the whole pipeline, from a file to acknowledged points. Times reading, planning, hashing, writing and the flush."""
    folder.mkdir(parents=True)
    corpus = write_documents(folder / "corpus.jsonl", generated_documents(count))
    gc.set_threshold(50_000, 20, 50)  # as the command does
    models = [HashEncoder()]
    before = _peak_megabytes()
    started = time.perf_counter()
    with (
        EdgeStore(folder / "qdrant") as store,
        BatchRunner(models, devices=("cpu",), lease_directory=folder / "leases") as runner,
        RejectsFile(folder / "rejects.jsonl") as rejects,
    ):
        receipt = run_job(
            Job(COLLECTION),
            [open_source(str(corpus))],
            store=store,
            ensemble=Ensemble(runner),
            rejects=rejects,
        )
    seconds = time.perf_counter() - started
    if not receipt.balanced or receipt.written != count:
        sys.exit(f"the run did not balance: {receipt}")
    return {"seconds": seconds, "peak_mb": _peak_megabytes(), "before_mb": before}


def run_bare(folder: Path, count: int) -> dict[str, Any]:
    """Write the same points to a fresh engine. Times building the engine's points, upserting them, and the end."""
    manifest = Manifest("bare", "bare", (VectorSpec("hash", 384, ""),))
    with EdgeStore(folder / "bare") as made:
        made.ensure(manifest, CollectionOptions())
    (shard_path,) = (folder / "bare" / "bare").glob("shard*")
    shard = engine.EdgeShard.load(str(shard_path))
    gc.set_threshold(50_000, 20, 50)  # as the command does
    seconds = 0.0
    written = 0
    with EdgeStore(folder / "qdrant") as store:
        batch: list[tuple[str, NDArray[np.float32], dict[str, Any]]] = []
        for point in store.scroll(COLLECTION, vectors=True, page=BATCH):
            batch.append((point.id, point.vectors["hash"], point.payload))  # type: ignore[arg-type]  # it is dense
            if len(batch) == BATCH:
                seconds += _upsert(shard, batch)
                written += len(batch)
                batch = []
        seconds += _upsert(shard, batch)
        written += len(batch)
    started = time.perf_counter()
    shard.flush()
    shard.optimize()
    shard.close()
    seconds += time.perf_counter() - started
    if written != count:
        sys.exit(f"{written} points were read back, not {count}")
    return {"seconds": seconds, "peak_mb": _peak_megabytes()}


def _upsert(shard: engine.EdgeShard, batch: list[tuple[str, NDArray[np.float32], dict[str, Any]]]) -> float:
    started = time.perf_counter()
    points = [engine.Point(id_, {"hash": vector_to(vector)}, payload) for id_, vector, payload in batch]
    shard.update(engine.UpdateOperation.upsert_points(points))
    del points  # to free them is a part of the loop
    return time.perf_counter() - started


def _measure(what: str, folder: Path, count: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", what, "--folder", str(folder), "--small", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    measured: dict[str, Any] = json.loads(done.stdout)
    print(f"{what:9} {count:>9,} documents  {measured['seconds']:6.1f} s  peak {measured['peak_mb']:5.0f} MB", flush=True)
    return measured


def _report(arguments: argparse.Namespace, small: dict[str, Any], rounds: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    ratios = [bare["seconds"] / pipeline["seconds"] for pipeline, bare in rounds]
    growth = max(pipeline["peak_mb"] for pipeline, _ in rounds) - small["peak_mb"]
    rate = arguments.large / statistics.median(pipeline["seconds"] for pipeline, _ in rounds)
    bare_rate = arguments.large / statistics.median(bare["seconds"] for _, bare in rounds)
    print(f"peak memory grows by {growth:.0f} MB from {arguments.small:,} to {arguments.large:,} documents (bound: 400)")
    print(f"pipeline {rate:,.0f}/s, bare loop {bare_rate:,.0f}/s: ratio {statistics.median(ratios):.2f} (bound: 0.60)")
    result = {
        "machine": machine(),
        "documents": [arguments.small, arguments.large],
        "peak_growth_mb": round(growth),
        "pipeline_per_second": round(rate),
        "bare_per_second": round(bare_rate),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }
    print(json.dumps(result))


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Peak memory and rate of the pipeline.")
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--large", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--child", choices=["pipeline", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
