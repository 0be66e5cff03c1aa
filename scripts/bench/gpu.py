"""How much of a GPU the pipeline uses: three models against the bare forward pass and `SentenceTransformer.encode`.

    .venv/bin/python scripts/bench/gpu.py [--device cuda:0] [--chunks 20000] [--json FILE]
    .venv/bin/python scripts/bench/gpu.py --fake --chunks 60       tiny models on a fake GPU, to try the script on any machine

all-MiniLM-L6-v2, and a BERT-large and a 0.6 B decoder of random weights, which the script makes. For each: tokens per second of
the bare forward pass at its best batch, of `SentenceTransformer.encode` as it comes, and of the whole pipeline into an embedded
store; padding; the share of time in which the device computed; the time to move the model; peak memory. Then all three models in
turns, two processes at once, which take turns on the device, and the latency of searches while a run encodes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gpu_models
import numpy as np
import torch
from measuring import machine, read_texts, run_texts
from sentence_transformers import SentenceTransformer

from ingest.encode.accelerator import GIBIBYTE, current_accelerator, use_accelerator
from ingest.encode.batching import BatchQueue
from ingest.encode.contract import Model
from ingest.encode.dense import DenseEncoder, DenseModel
from ingest.encode.devices import is_accelerator, memory_snapshots, torch_device, wait_for_moves
from ingest.encode.lease import lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.registry import CustomModels, EnsembleConfig
from ingest.receipt import Receipt
from ingest.search.searcher import Searcher
from ingest.store import open_store
from ingest.testing import FakeAccelerator

MODELS = ("all-miniLM-l6", "bert-large", "decoder")
BUDGETS = (8_192, 16_384, 32_768, 65_536, 131_072)
SAMPLE_SECONDS = 0.02
QUERIES = 50


@dataclass(frozen=True, slots=True)
class Setup:
    """What all measurements share."""

    device: str
    chunks: int
    fake: bool
    folder: Path
    custom: CustomModels

    def models(self, *keys: str) -> list[DenseModel]:
        manager = ModelManager(EnsembleConfig(keys), devices=(self.device,), custom_models=self.custom)
        return [model for model in manager.members if isinstance(model, DenseModel)]

    def texts(self) -> list[str]:
        base = read_texts(None, self.chunks)
        return [f"{number // len(base)}. {base[number % len(base)]}"[:800] for number in range(self.chunks)]

    def run(self, name: str, models: Sequence[Model], texts: Sequence[str]) -> Receipt:
        """Run the whole pipeline into a new embedded store."""
        with open_store(self.folder / name) as store:
            devices = (self.device,)
            return run_texts(texts, "bench", store=store, members=models, folder=self.folder, devices=devices)


@dataclass(frozen=True, slots=True)
class Measured:
    """One model. Rates are tokens per second, without padding."""

    model: str
    dtype: str
    attention: str
    bare: float
    best_batch: int
    library: float
    pipeline: float
    padding_share: float
    computing_share: float
    waiting_share: float
    moving_share: float
    swap_seconds: float
    peak_gb: float


def main() -> None:
    arguments = _arguments()
    with ExitStack() as stack:
        if arguments.fake:
            stack.enter_context(use_accelerator(FakeAccelerator()))
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-gpu-")))
        setup = Setup(arguments.device, arguments.chunks, arguments.fake, folder, _custom_models(folder, arguments.fake))
        if arguments.worker:
            print(json.dumps(asdict(setup.run(arguments.worker, setup.models(MODELS[0]), setup.texts()))))
            return
        result = {
            "machine": machine(),
            "gpu": next((gpu.product for gpu in current_accelerator().gpus() if gpu.name == setup.device), "none"),
            "chunks": setup.chunks,
            "models": [asdict(_measure(setup, key)) for key in MODELS],
            "three_in_turn": _three_in_turn(setup),
            "two_processes": _two_processes(setup),
            "search_during_ingest": _search_during_ingest(setup),
        }
    _report(result)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


def _measure(setup: Setup, key: str) -> Measured:
    texts = setup.texts()
    [model] = setup.models(key)
    model.load()
    best_batch, bare = _bare(model, texts, setup)
    library = _library(model, texts, setup)
    [model] = setup.models(key)
    setup.run(f"warm-{key}", [model], texts[:20])
    with _peak_memory(setup.device) as peak:
        receipt = setup.run(key, [model], texts)
    report = receipt.models[0]
    with lease_gpus(model, (setup.device,), directory=setup.folder / "leases") as lease:
        pass
    return Measured(
        model=key,
        dtype=model.dtype,
        attention=str(getattr(model.module[0].auto_model.config, "_attn_implementation", "unknown")),
        bare=round(bare),
        best_batch=best_batch,
        library=round(library),
        pipeline=round(report.tokens / receipt.seconds),
        padding_share=report.padding_share,
        computing_share=report.computing_share,
        waiting_share=report.waiting_share,
        moving_share=report.moving_share,
        swap_seconds=round(lease.swap_seconds, 3),
        peak_gb=round(max(peak, default=0) / GIBIBYTE, 2),
    )


def _bare(model: DenseModel, texts: Sequence[str], setup: Setup) -> tuple[int, float]:
    """Return the best budget and its tokens per second: inputs on the device beforehand, forward pass only."""
    encoder = model.to_device(setup.device)
    assert isinstance(encoder, DenseEncoder)
    module, feed = encoder.replica.module, encoder.replica.feed
    assert feed is not None
    token_ids = feed.token_ids(texts, model.config.max_tokens)
    lengths = np.array([len(ids) for ids in token_ids], np.int64)
    rates: dict[int, float] = {}
    for budget in BUDGETS[:2] if setup.fake else BUDGETS:
        queue, batches = BatchQueue(lengths), []
        while len(batch := queue.take(budget)):
            batches.append(feed.stacked([token_ids[index] for index in batch]).to(torch_device(setup.device)))
        for timed in (False, True):
            started = time.perf_counter()
            with torch.inference_mode():
                for matrices in batches if timed else batches[:3]:
                    module(feed.features(matrices))
            wait_for_moves([setup.device])
            rates[budget] = float(lengths.sum()) / (time.perf_counter() - started)
    model.offload()
    best = max(rates, key=rates.__getitem__)
    return best, rates[best]


def _library(model: DenseModel, texts: Sequence[str], setup: Setup) -> float:
    """Return tokens per second of `SentenceTransformer.encode` with its defaults."""
    library = SentenceTransformer(str(model.files.folder), device=torch_device(setup.device), local_files_only=True)
    library.encode(texts[:64], show_progress_bar=False)
    started = time.perf_counter()
    library.encode(list(texts), show_progress_bar=False)
    return sum(model.tokens(texts)) / (time.perf_counter() - started)


def _three_in_turn(setup: Setup) -> dict[str, Any]:
    receipt = setup.run("three", setup.models(*MODELS), setup.texts())
    return {
        "seconds": receipt.seconds,
        "swap_share": receipt.swap_share,
        "tokens_per_second": {model.key: model.tokens_per_second for model in receipt.models},
    }


def _two_processes(setup: Setup) -> dict[str, Any]:
    """Run MiniLM in two processes that take turns on the device, each with all texts, into a store of its own."""
    command = [sys.executable, __file__, "--device", setup.device, "--chunks", str(setup.chunks), "--folder", str(setup.folder)]
    command += ["--fake"] if setup.fake else []
    started = time.perf_counter()
    workers = [
        subprocess.Popen([*command, "--worker", name], stdout=subprocess.PIPE, text=True) for name in ("process-1", "process-2")
    ]
    outputs = [worker.communicate()[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        sys.exit("a process of two failed")
    seconds = time.perf_counter() - started
    receipts = [json.loads(output.splitlines()[-1]) for output in outputs]
    return {
        "seconds": round(seconds, 1),
        "tokens_per_second": [receipt["models"][0]["tokens_per_second"] for receipt in receipts],
        "encoded_once": all(receipt["models"][0]["chunks"] == setup.chunks for receipt in receipts),
        "errors": [error for receipt in receipts for error in receipt["errors"]],
    }


def _search_during_ingest(setup: Setup) -> dict[str, Any]:
    """Search the first model's collection while a run of another encodes in another thread."""
    texts = setup.texts()
    latencies: dict[str, list[float]] = {"alone": [], "during": []}
    with Searcher.open(
        "bench", setup.folder / MODELS[0], devices=(setup.device,), lease_directory=setup.folder / "leases"
    ) as searcher:
        searcher.search("warm", limit=5)
        for query in texts[:QUERIES]:
            latencies["alone"].append(_seconds_of(searcher, query))
        run = threading.Thread(target=setup.run, args=("beside", setup.models(MODELS[0]), texts))
        run.start()
        while run.is_alive() and len(latencies["during"]) < 1000:
            latencies["during"].append(_seconds_of(searcher, texts[len(latencies["during"]) % len(texts)]))
        run.join()
    return {
        name: {"queries": len(seconds), "p50_ms": _percentile_ms(seconds, 50), "p95_ms": _percentile_ms(seconds, 95)}
        for name, seconds in latencies.items()
    }


def _seconds_of(searcher: Searcher, query: str) -> float:
    started = time.perf_counter()
    searcher.search(query[:100], limit=5)
    return time.perf_counter() - started


def _percentile_ms(seconds: Sequence[float], share: int) -> float:
    return round(float(np.percentile(seconds, share)) * 1000, 1) if seconds else 0.0


@contextmanager
def _peak_memory(device: str) -> Iterator[list[int]]:
    """Collect the used bytes of the GPU while the context lasts."""
    used: list[int] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            used.extend(snapshot.used_bytes for snapshot in memory_snapshots([device]).values())

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield used
    finally:
        ended.set()
        sampler.join()


def _custom_models(folder: Path, tiny: bool) -> CustomModels:
    made = folder / "models.json"
    if not made.exists():
        torch.manual_seed(0)
        custom: dict[str, Mapping[str, Any]] = {
            "bert-large": gpu_models.bert_large(folder / "bert-large", tiny=tiny),
            "decoder": gpu_models.decoder(folder / "decoder", tiny=tiny),
        }
        made.write_text(json.dumps(custom, default=str))
    loaded: CustomModels = json.loads(made.read_text())
    return loaded


def _report(result: Mapping[str, Any]) -> None:
    print(f"{result['gpu']}, {result['machine']}: {result['chunks']:,} chunks, tokens/s without padding")
    print("| model | dtype, attention | bare | best batch | library | pipeline | of bare | padding | computing | swap | peak |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for each in result["models"]:
        print(
            f"| {each['model']} | {each['dtype']}, {each['attention']} | {each['bare']:,} | {each['best_batch']:,} "
            f"| {each['library']:,} | {each['pipeline']:,} | {each['pipeline'] / each['bare']:.2f} | {each['padding_share']:.1%} "
            f"| {each['computing_share']:.0%} | {each['swap_seconds']:.3f} s | {each['peak_gb']:.1f} GiB |"
        )
    for name in ("three_in_turn", "two_processes", "search_during_ingest"):
        print(f"{name}: {json.dumps(result[name])}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--fake", action="store_true", help="Tiny models on a fake GPU.")
    parser.add_argument("--json", type=Path, help="File for the result as JSON.")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not is_accelerator(arguments.device):
        parser.error("--device must be a GPU")
    return arguments


if __name__ == "__main__":
    main()
