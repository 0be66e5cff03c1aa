"""What the benchmarks share: texts, the pipeline over them, the machine's name, and medians with their spread."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from ingest.encode.contract import StagedModel
from ingest.encode.models import ModelManager
from ingest.encode.openvino_choice import Computing
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.records import Document, Receipt
from ingest.source.chunking import Chunker, ChunkingOptions
from ingest.store.contract import Store
from ingest.sync.job import Job, run_job, token_limits
from ingest.sync.rejects import RejectsFile
from ingest.telemetry import ThroughputMonitor
from ingest.testing import ListSource

MIXED_TOKENS = (40, 90, 160, 250)
"""Sizes that the mix of texts is cut at, in turn."""


def members_of(keys: Sequence[str], backend: str = "torch", precision: str | None = None) -> list[StagedModel]:
    """Models on the processor, ready to run; int8 is converted and calibrated first if it never was on this machine."""
    computing = Computing(cast(Any, backend), cast(Any, precision))
    members = list(ModelManager(EnsembleConfig(keys), devices=("cpu",), computing=computing).members)
    return members


def read_texts(file: Path | None, count: int) -> list[str]:
    """The first `count` texts: of a JSONL file by their `text`, else the language reference of Python cut to mixed lengths."""
    if file is None:
        texts = list(_mixed_texts(count))
    else:
        texts = [json.loads(line)["text"] for line in file.read_text().splitlines() if line.strip()][:count]
        texts = [text for text in texts if text.strip()]
    if len(texts) < count:
        print(f"there are {len(texts)} texts, not {count}", file=sys.stderr)
    return texts


def _mixed_texts(count: int) -> Iterator[str]:
    from pydoc_data.topics import topics  # noqa: PLC0415

    limits = token_limits(members_of(["all-miniLM-l6"]))
    chunkers = [Chunker(limits, ChunkingOptions(tokens=tokens)) for tokens in MIXED_TOKENS]
    given = 0
    for number, (name, text) in enumerate(sorted(topics.items())):
        [chunks] = chunkers[number % len(chunkers)].chunk([Document(name, text)], [name])
        for chunk in chunks if isinstance(chunks, list) else []:
            if given == count:
                return
            given += 1
            yield chunk.text


def run_texts(texts: Sequence[str], collection: str, *, store: Store, members: Sequence[StagedModel], folder: Path) -> Receipt:
    """The whole pipeline, a document for each text, into a collection that must be new. Ends the process if it does not balance."""
    monitor = ThroughputMonitor()
    with (
        BatchRunner(members, devices=("cpu",), monitor=monitor, lease_directory=folder / "leases") as runner,
        RejectsFile(folder / f"rejects-{os.getpid()}.jsonl") as rejects,
    ):
        source = ListSource([Document(f"d{number}", text) for number, text in enumerate(texts)])
        receipt = run_job(Job(collection), [source], store=store, models=members, runner=runner, rejects=rejects, monitor=monitor)
    if not receipt.balanced or receipt.written != len(texts):
        sys.exit(f"the run did not balance: {receipt}")
    return receipt


def machine() -> str:
    """Processor, cores that may be used, Python."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
        platform.machine(),
    )
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`1.21 (1.18 to 1.25)`."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
