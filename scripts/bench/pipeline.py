"""What the pipeline costs beside encoding, and what moving models costs in a run with two of them.

    .venv/bin/python scripts/bench/pipeline.py [--texts FILE] [--count 800] [--repeat 3] [--backends torch,openvino] [--swap 0]

The same texts with all-MiniLM-L6-v2 on the CPU: bare, which is the encoder over batches made beforehand, the longest texts
first, and nothing else; and through the whole pipeline into a Qdrant server on the same machine (reading, plan, tokens counted,
encoding, fingerprints, upload, receipt). Which comes first alternates, ratios are taken within a round, medians count. For torch,
`SentenceTransformer.encode` is shown as well. `--swap N` also runs N chunks through two models, twice the same weights, and shows
the receipt's share of time that went into moving them. Prints a table and one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, median, members_of, read_texts, run_texts, spread

from ingest.encode.batching import CPU_TOKENS, BatchQueue
from ingest.encode.contract import CalibratedModel, Model
from ingest.store import open_store
from ingest.store.contract import Store

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from qdrant_server import any_server

MODEL = "all-miniLM-l6"
PRECISIONS = {"torch": None, "openvino": "int8"}
BOUND = 0.95
SWAP_BOUND = 0.02


def main() -> None:
    arguments = _arguments()
    texts = read_texts(arguments.texts, arguments.count)
    with ExitStack() as stack:
        server = stack.enter_context(any_server())
        store = stack.enter_context(open_store(server.url, grpc_port=server.grpc_port))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        measured = {
            backend: _measure(backend, texts, arguments.repeat, store=store, folder=folder) for backend in arguments.backends
        }
        swap = _swap(arguments.backends[-1], texts, arguments.swap, store=store, folder=folder) if arguments.swap else None
    _report(texts, measured, swap)


def _measure(backend: str, texts: Sequence[str], repeat: int, *, store: Store, folder: Path) -> dict[str, list[float]]:
    """Return variant → texts per second, round by round."""
    [model] = members_of([MODEL], backend, PRECISIONS[backend])
    if isinstance(model, CalibratedModel):
        model.calibrate(texts)
    ways: dict[str, Callable[[], None]] = {
        "bare": _bare(model, texts),
        "pipeline": lambda: _pipeline([model], texts, backend, store, folder),
    }
    if backend == "torch":
        ways["SentenceTransformer.encode"] = _sentence_transformer(texts)
    for run in ways.values():  # warm
        run()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(repeat):
        for name in list(ways) if number % 2 else reversed(ways):
            started = time.perf_counter()
            ways[name]()
            rates[name].append(len(texts) / (time.perf_counter() - started))
            print(f"{backend} {name}: {rates[name][-1]:.1f}/s", file=sys.stderr)
    return rates


def _bare(model: Model, texts: Sequence[str]) -> Callable[[], None]:
    model.load()
    encoder, limit = model.to_device("cpu"), model.token_limit
    assert limit is not None
    queue, batches = BatchQueue(np.asarray(limit.count(texts), np.int64)), []
    while len(batch := queue.take(CPU_TOKENS)):
        batches.append([texts[index] for index in batch])

    def run() -> None:
        for batch in batches:
            encoder.encode_documents(batch)

    return run


def _pipeline(members: Sequence[Model], texts: Sequence[str], name: str, store: Store, folder: Path) -> None:
    run_texts(texts, f"bench_{name}", store=store, members=members, folder=folder)
    store.drop(f"bench_{name}")


def _sentence_transformer(texts: Sequence[str]) -> Callable[[], None]:
    from sentence_transformers import SentenceTransformer

    from ingest.encode.registry import find_model
    from ingest.encode.resolve import resolve

    model = SentenceTransformer(str(resolve(find_model(MODEL)).folder), device="cpu")

    def run() -> None:
        model.encode(list(texts), show_progress_bar=False)

    return run


def _swap(backend: str, texts: Sequence[str], count: int, *, store: Store, folder: Path) -> dict[str, Any]:
    """Run so many chunks through two models that take turns, and return the share of swaps."""
    second = folder / "second"
    from ingest.encode.registry import find_model
    from ingest.encode.resolve import resolve

    second.symlink_to(resolve(find_model(MODEL)).folder)
    own = {"kind": "dense", "path": second, "dim": 384, "max_tokens": 256, "pooling": "mean"}
    members = members_of([MODEL, "second"], backend, PRECISIONS[backend], custom_models={"second": own})
    _pipeline(members, texts[:100], "warm", store, folder)
    chunks = [f"{number}: {texts[number % len(texts)]}"[:700] for number in range(count)]
    receipt = run_texts(chunks, "bench_swap", store=store, members=members, folder=folder)
    return {"backend": backend, "chunks": count, "models": 2, "seconds": receipt.seconds, "swap_share": receipt.swap_share}


def _report(texts: Sequence[str], measured: dict[str, dict[str, list[float]]], swap: dict[str, Any] | None) -> None:
    print(f"{machine()}: {len(texts)} texts of {sum(map(len, texts)) / len(texts):,.0f} characters")
    ratios = {}
    for backend, rates in measured.items():
        for name, rate in rates.items():
            print(f"{backend:9} {name:28} {spread(rate, 1)} texts/s")
        ratios[backend] = [whole / bare for whole, bare in zip(rates["pipeline"], rates["bare"], strict=True)]
        print(f"{backend:9} pipeline / bare              {spread(ratios[backend], 3)} (bound: {BOUND})")
    if swap is not None:
        share, seconds = swap["swap_share"], swap["seconds"]
        print(f"moving two models took {share:.2%} of {seconds:.0f} s for {swap['chunks']:,} chunks (bound: {SWAP_BOUND:.0%})")
    result = {
        "machine": machine(),
        "texts": len(texts),
        "texts_per_second": {
            backend: {name: round(median(rate), 1) for name, rate in rates.items()} for backend, rates in measured.items()
        },
        "ratios": {backend: [round(each, 3) for each in ratio] for backend, ratio in ratios.items()},
        "swap": swap,
    }
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The pipeline beside bare encoding.")
    parser.add_argument("--texts", type=Path, help="a JSONL file; from Python's language reference if not given")
    parser.add_argument("--count", type=int, default=800)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--backends", type=lambda names: names.split(","), default=["torch", "openvino"])
    parser.add_argument("--swap", type=int, default=0, help="chunks to run through two models as well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
