"""What the benchmarks share: texts, the pipeline over them, the machine's name, and medians with their spread."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble, token_limits
from ingest.encode.models import ModelManager
from ingest.encode.openvino.choice import BackendOptions
from ingest.encode.registry import CustomModels, EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.receipt import Receipt
from ingest.records import Document
from ingest.source.chunking import Chunker, ChunkingOptions
from ingest.store.contract import Store
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import ListSource

MIXED_TOKENS = (120, 250)
"""Sizes that the mix of texts is cut at."""


def members_of(
    keys: Sequence[str], backend: str = "torch", precision: str | None = None, *, custom_models: CustomModels | None = None
) -> list[Model]:
    """Models on the CPU. One in int8 is converted by its first run, unless it was on this machine before."""
    backend_options = BackendOptions(cast(Any, backend), cast(Any, precision))
    manager = ModelManager(EnsembleConfig(keys), devices=("cpu",), backend_options=backend_options, custom_models=custom_models)
    return list(manager.members)


def read_texts(file: Path | None, count: int) -> list[str]:
    """Return the first `count` distinct texts: of a JSONL file (`text`), else of Python's language reference in mixed lengths."""
    found = (
        _mixed_texts() if file is None else (json.loads(line)["text"] for line in file.read_text().splitlines() if line.strip())
    )
    texts = list(dict.fromkeys(text for text in found if text.strip()))[:count]
    if len(texts) < count:
        print(f"there are {len(texts)} texts, not {count}", file=sys.stderr)
    return texts


def _mixed_texts() -> list[str]:
    """Return the language reference cut at several sizes, in a random order that is always the same."""
    from pydoc_data.topics import topics

    limits, texts = token_limits(members_of(["all-miniLM-l6"])), []
    for tokens in MIXED_TOKENS:
        chunker = Chunker(limits, ChunkingOptions(tokens=tokens))
        for chunks in chunker.chunk([Document(name, text) for name, text in sorted(topics.items())], sorted(topics)):
            texts += [chunk.text for chunk in chunks] if isinstance(chunks, list) else []
    random.Random(0).shuffle(texts)
    return texts


def run_texts(
    texts: Sequence[str],
    collection: str,
    *,
    store: Store,
    members: Sequence[Model],
    folder: Path,
    devices: Sequence[str] = ("cpu",),
) -> Receipt:
    """Run the whole pipeline, one document per text, into a new collection. Exits if the receipt does not balance."""
    with (
        BatchRunner(members, devices=devices, lease_directory=folder / "leases") as runner,
        RejectsFile(folder / f"rejects-{os.getpid()}.jsonl") as rejects,
    ):
        source = ListSource([Document(f"d{number}", text) for number, text in enumerate(texts)])
        receipt = run_job(Job(collection), [source], store=store, ensemble=Ensemble(runner), rejects=rejects)
    if not receipt.balanced or receipt.written != len(texts):
        sys.exit(f"the run did not balance: {receipt}")
    return receipt


def write_documents(path: Path, documents: Iterable[Document]) -> Path:
    """As JSON Lines."""
    with path.open("w") as stream:
        for document in documents:
            stream.write(json.dumps({"id": document.id, "text": document.text, "metadata": dict(document.metadata)}) + "\n")
    return path


def machine() -> str:
    """CPU, cores that may be used, Python."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`1.21 (1.18 to 1.25)`."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
