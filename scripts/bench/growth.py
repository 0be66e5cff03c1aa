"""How cost grows with chunks and with models, without the cost of any model: time, memory, and how long a second run takes.

    .venv/bin/python scripts/bench/growth.py [--sizes 1000,10000,100000] [--models 1,2,3] [--million] [--plot FILE]

Generated documents of 60 words, a chunk each, go through the whole pipeline into the embedded engine, under one, two or three
`testing.HashEncoder` (384 dimensions); then the same run again, which finds nothing to do. Each measurement has a process of its
own. `--million` adds 1,000,000 chunks under one model (about 5 minutes and 8 GB of disk). Prints a table and one JSON object and
draws a plot (extra `bench`).
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import machine

from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.receipt import Receipt
from ingest.records import Document, Rejected
from ingest.store.edge.store import EdgeStore
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, generated_documents

PLOT = Path(__file__).with_name("growth.png")
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Generated:
    """Documents that are made as they are read."""

    count: int
    name: str = "generated"

    def read(self) -> Iterator[Document | Rejected]:
        yield from generated_documents(self.count)


def main() -> None:
    arguments = _arguments()
    if arguments.child:
        print(json.dumps(measure(arguments.sizes[0], arguments.models[0])))
        return
    cases = [(size, models) for models in arguments.models for size in arguments.sizes]
    cases += [(MILLION, 1)] if arguments.million else []
    print(f"{machine()}\n{'chunks':>10} {'models':>6} {'first run':>11} {'chunks/s':>9} {'again':>8} {'peak':>8}")
    rows = []
    for size, models in cases:
        row = _measured_apart(size, models)
        rows.append(row)
        print(
            f"{size:>10,} {models:>6} {row['seconds']:>9.1f} s {size / row['seconds']:>9,.0f} {row['again_seconds']:>6.1f} s"
            f" {row['peak_mb']:>5.0f} MB",
            flush=True,
        )
    print(json.dumps({"machine": machine(), "rows": rows}))
    _draw(rows, arguments.plot)


def measure(size: int, models: int) -> dict[str, Any]:
    """Both runs, in this process."""
    gc.set_threshold(50_000, 20, 50)  # as the command does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.perf_counter()
        first = _run(size, models, folder)
        between = time.perf_counter()
        again = _run(size, models, folder)
        ended = time.perf_counter()
    if not (first.balanced and first.written == size and again.balanced and again.unchanged == size):
        sys.exit(f"the runs did not balance: {first} {again}")
    return {
        "chunks": size,
        "models": models,
        "seconds": round(between - started, 2),
        "again_seconds": round(ended - between, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _run(size: int, models: int, folder: Path) -> Receipt:
    members = [HashEncoder(f"hash{number}") for number in range(models)]
    with (
        EdgeStore(folder / "qdrant") as store,
        BatchRunner(members, devices=("cpu",), lease_directory=folder / "leases") as runner,
        RejectsFile(folder / "rejects.jsonl") as rejects,
    ):
        return run_job(Job("growth"), [Generated(size)], store=store, ensemble=Ensemble(runner), rejects=rejects)


def _measured_apart(size: int, models: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", "--sizes", str(size), "--models", str(models)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def _draw(rows: Sequence[dict[str, Any]], file: Path) -> None:
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plot without matplotlib: pip install 'qdrant-ingest[bench]'", file=sys.stderr)
        return
    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    titles = {"seconds": "first run, seconds", "again_seconds": "nothing changed, seconds", "peak_mb": "peak memory, MB"}
    for panel, (figures, title) in zip(panels, titles.items(), strict=True):
        for models in sorted({row["models"] for row in rows}):
            of_models = [row for row in rows if row["models"] == models]
            label = f"{models} model" + "s" * (models > 1)
            panel.plot([row["chunks"] for row in of_models], [row[figures] for row in of_models], marker="o", label=label)
        panel.set(title=title, xlabel="chunks", xscale="log")
        panel.set_yscale("linear" if figures == "peak_mb" else "log")
        panel.set_ylim(bottom=0 if figures == "peak_mb" else None)
        panel.grid(visible=True, alpha=0.3)
    panels[0].legend()
    figure.suptitle(f"The pipeline without the cost of models, embedded engine. {machine()}", fontsize=10)
    figure.savefig(file, dpi=110)
    print(f"drawn into {file}", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    def numbers(given: str) -> list[int]:
        return [int(each) for each in given.split(",")]

    parser = argparse.ArgumentParser(description="How cost grows.")
    parser.add_argument("--sizes", type=numbers, default=[1_000, 10_000, 100_000])
    parser.add_argument("--models", type=numbers, default=[1, 2, 3])
    parser.add_argument("--million", action="store_true", help="a million chunks under one model as well")
    parser.add_argument("--plot", type=Path, default=PLOT)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
