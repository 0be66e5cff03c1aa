"""How many machines for how long, from what runs measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ingest.parameters import normalize, parse_integer, parse_number
from ingest.sync.preview import Preview

SCALES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
"""Chunks, beside those of the plan itself."""

WORKERS = (1, 8, 64)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a sizing rests on beside what was measured.

    Attributes:
        efficiency: share (0 to 1) of its time that a worker encodes; the rest it reads, writes and waits for the last part.
        worker_price, node_price: of an hour, in whatever money.
        node_memory: GiB of one Qdrant node, of which `node_share` (0 to 1) holds vectors.
        overhead: memory of vectors with their graph, as a multiple of the vectors'.
        chunk_bytes: memory of a chunk beside its vectors: ids and payload indexes. Its text lies on disk.
        replicas: copies of each shard.
    """

    efficiency: float = 0.85
    worker_price: float = 1.0
    node_price: float = 0.5
    node_memory: float = 64.0
    node_share: float = 0.8
    overhead: float = 1.5
    chunk_bytes: int = 200
    replicas: int = 1

    def __post_init__(self) -> None:
        for name in ("efficiency", "node_share"):
            normalize(self, name, parse_number, most=1.0, positive=True)
        for name in ("worker_price", "node_price"):
            normalize(self, name, parse_number)
        for name in ("node_memory", "overhead"):
            normalize(self, name, parse_number, positive=True)
        normalize(self, "chunk_bytes", parse_integer, least=0)
        normalize(self, "replicas", parse_integer, least=1)


@dataclass(frozen=True, slots=True)
class SizingRow:
    """So many chunks, encoded by so many workers. `hours` and `cost` (of workers and nodes meanwhile) are None if unmeasured."""

    documents: int
    chunks: int
    workers: int
    hours: float | None
    cost: float | None
    qdrant_nodes: int


@dataclass(frozen=True, slots=True)
class Sizing:
    """A table of how large a job is, and what it rests on.

    Attributes:
        per_second: chunks that one worker encodes with all models, one after another; None where one was never measured.
        measured: model → chunks a second of one worker.
        unmeasured: models.
        bytes_per_chunk: of memory in Qdrant.
    """

    rows: tuple[SizingRow, ...]
    per_second: float | None
    measured: Mapping[str, float]
    unmeasured: tuple[str, ...]
    bytes_per_chunk: int
    assumptions: Assumptions


def size_plan(preview: Preview, assumptions: Assumptions = Assumptions()) -> Sizing:
    """Return how many machines it takes, for how long, to do what a plan says is to be done, and the same at larger scales."""
    return size_job(
        preview.added + preview.updated,
        max(preview.chunks.values(), default=0),
        preview.chunks,
        preview.rates,
        vector_bytes=preview.vector_bytes,
        assumptions=assumptions,
    )


def size_job(
    documents: int,
    chunks: int,
    models: Collection[str],
    rates: Mapping[str, float],
    *,
    vector_bytes: int,
    assumptions: Assumptions,
) -> Sizing:
    """For the chunks of a plan and for `SCALES`.

    Args:
        documents, chunks: of the plan; their ratio holds for every scale.
        models: keys of the models that encode them.
        rates: model key → measured chunks per second of one worker.
        vector_bytes: of one chunk's vectors.
    """
    measured = {model: rates[model] for model in models if model in rates}
    unmeasured = tuple(model for model in models if model not in rates)
    per_second = None if unmeasured or not measured else 1 / math.fsum(1 / rate for rate in measured.values())
    each = round(vector_bytes * assumptions.overhead) + assumptions.chunk_bytes
    scales = sorted({chunks, *SCALES} - {0})
    per_chunk = documents / chunks if chunks else 1.0
    rows = tuple(
        _row(round(scale * per_chunk), scale, workers, per_second=per_second, each=each, assumed=assumptions)
        for scale in scales
        for workers in WORKERS
    )
    return Sizing(rows, per_second, measured, unmeasured, each, assumptions)


def _row(documents: int, chunks: int, workers: int, *, per_second: float | None, each: int, assumed: Assumptions) -> SizingRow:
    memory = assumed.node_memory * 2**30 * assumed.node_share
    nodes = max(1, math.ceil(chunks * each * assumed.replicas / memory))
    if per_second is None:
        return SizingRow(documents, chunks, workers, None, None, nodes)
    hours = chunks / (per_second * workers * assumed.efficiency) / 3600
    cost = hours * (workers * assumed.worker_price + nodes * assumed.node_price)
    return SizingRow(documents, chunks, workers, round(hours, 3), round(cost, 2), nodes)


def in_words(sizing: Sizing) -> Sequence[str]:
    """What the table rests on, a sentence a line."""
    assumed = sizing.assumptions
    rates = ", ".join(f"{model} {rate:,.0f}" for model, rate in sizing.measured.items())
    together = "" if sizing.per_second is None else f"; one after another {sizing.per_second:,.0f}"
    missing = f"never measured here: {', '.join(sizing.unmeasured)}: run a part of the source first" if sizing.unmeasured else ""
    nodes = (
        f"a Qdrant node has {assumed.node_memory:g} GiB, {assumed.node_share:.0%} of it for {sizing.bytes_per_chunk:,} bytes a"
        f" chunk (vectors × {assumed.overhead:g} and {assumed.chunk_bytes}), and costs {assumed.node_price:g} an hour;"
        f" copies: {assumed.replicas}"
    )
    return [
        *([f"chunks a second of one worker, as runs measured them here: {rates}{together}"] if rates else []),
        *([missing] if missing else []),
        f"a worker encodes {assumed.efficiency:.0%} of the time and costs {assumed.worker_price:g} an hour",
        nodes,
    ]
