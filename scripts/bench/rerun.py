"""What a run costs when nothing has changed: documents a second, beside what encoding them would cost.

    .venv/bin/python scripts/bench/rerun.py [--documents 20000] [--repeat 5]

Generated documents of 60 words lie in a JSONL file and, encoded by `testing.HashEncoder` (384 dimensions), on a Qdrant server:
`QDRANT_URL`, Docker, or the pinned binary. Then the same file is run again, over REST and over gRPC in turn; nothing may be
encoded. For comparison, some of the documents are run for the first time with the real all-MiniLM-L6-v2. Medians count. Prints a
table and one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from measuring import machine, write_documents

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.receipt import Receipt
from ingest.source import open_source
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, generated_documents

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from qdrant_server import any_server

ENCODED = 500
"""Documents that the real model encodes."""

BOUND_PER_SECOND = 3000
BOUND_RATIO = 20


def main() -> None:
    arguments = _arguments()
    gc.set_threshold(50_000, 20, 50)  # as the command does
    with ExitStack() as stack:
        server = stack.enter_context(any_server())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rest = stack.enter_context(open_store(server.url))
        grpc = stack.enter_context(open_store(server.url, grpc_port=server.grpc_port, prefer_grpc=True))
        collection = f"bench_{uuid.uuid4().hex}"
        corpus = write_documents(folder / "corpus.jsonl", generated_documents(arguments.documents))
        try:
            first, _ = _run(collection, corpus, grpc, [HashEncoder()], folder)
            again: dict[str, list[float]] = {"REST": [], "gRPC": []}
            for _ in range(arguments.repeat):
                for name, store in (("REST", rest), ("gRPC", grpc)):
                    seconds, receipt = _run(collection, corpus, store, [HashEncoder()], folder)
                    if receipt.unchanged != arguments.documents or receipt.models:
                        sys.exit(f"something was done again: {receipt}")
                    again[name].append(arguments.documents / seconds)
            part = write_documents(folder / "part.jsonl", generated_documents(ENCODED))
            real = ModelManager(EnsembleConfig(["all-miniLM-l6", "bm25"])).members
            _run(
                f"{collection}_warm", write_documents(folder / "warm.jsonl", generated_documents(10, seed=1)), grpc, real, folder
            )
            encoding, _ = _run(f"{collection}_real", part, grpc, real, folder)
        finally:
            for name in (collection, f"{collection}_warm", f"{collection}_real"):
                if name in grpc.aliases():
                    grpc.drop(name)
    _report(arguments.documents, arguments.documents / first, again, ENCODED / encoding)


def _run(collection: str, corpus: Path, store: Store, members: Sequence[Model], folder: Path) -> tuple[float, Receipt]:
    started = time.perf_counter()
    with (
        BatchRunner(members, lease_directory=folder / "leases") as runner,
        RejectsFile(folder / "rejects") as rejects,
    ):
        receipt = run_job(
            Job(collection),
            [open_source(str(corpus))],
            store=store,
            ensemble=Ensemble(runner),
            rejects=rejects,
        )
    if not receipt.balanced:
        sys.exit(f"the run did not balance: {receipt}")
    return time.perf_counter() - started, receipt


def _report(documents: int, first: float, again: dict[str, list[float]], encoding: float) -> None:
    rates = {name: statistics.median(each) for name, each in again.items()}
    print(f"first run, hashed:        {first:8,.0f} documents/s over gRPC")
    for name, rate in rates.items():
        spread = f"{min(again[name]):,.0f} to {max(again[name]):,.0f}"
        print(f"again, over {name}:         {rate:8,.0f} documents/s ({spread}; bound: {BOUND_PER_SECOND:,})")
    print(f"first run, MiniLM + BM25: {encoding:8,.1f} documents/s")
    best = max(rates.values())
    print(f"nothing changed is {best / encoding:,.0f} times as fast as encoding (bound: {BOUND_RATIO})")
    result = {
        "machine": machine(),
        "documents": documents,
        "first_per_second": round(first),
        "again_per_second": {name: round(rate) for name, rate in rates.items()},
        "encoding_per_second": round(encoding, 1),
        "ratio": round(best / encoding, 1),
    }
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The cost of running again.")
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
