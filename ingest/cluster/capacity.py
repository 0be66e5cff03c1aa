"""An estimate of the machines and hours that a job needs, from the rates that runs measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ingest.parameters import normalize, parse_integer, parse_number
from ingest.sync.preview import Preview

SCALES = (1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
"""Numbers of chunks in the table, in addition to the plan's own."""

WORKERS = (1, 8, 64)
"""Numbers of workers in the table."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """The assumptions of a sizing, in addition to the measured rates.

    Attributes:
        efficiency: share (0 to 1) of its time that a worker encodes; the rest is reading, writing and waiting for the last part.
        worker_price, node_price: price of one hour, in any currency.
        node_memory: memory of one Qdrant node, in GiB.
        node_share: share (0 to 1) of that memory available for vectors.
        overhead: memory of the vectors and their graph, as a multiple of the vectors alone.
        chunk_bytes: memory of a chunk without its vectors, in bytes: ids and payload indexes. The text is on disk.
        replicas: number of copies of each shard.
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
    """The estimate for one number of chunks and workers.

    Attributes:
        hours: duration; None if a model was never measured.
        cost: of the workers and nodes for that long; None if a model was never measured.
        qdrant_nodes: number of nodes that store the chunks.
    """

    documents: int
    chunks: int
    workers: int
    hours: float | None
    cost: float | None
    qdrant_nodes: int


@dataclass(frozen=True, slots=True)
class Sizing:
    """A table of estimates, and what they are based on.

    Attributes:
        per_second: chunks per second of one worker, all models one after another; None if a model was never measured.
        measured: model → chunks per second of one worker.
        unmeasured: models that were never measured.
        bytes_per_chunk: memory of one chunk in Qdrant, in bytes.
    """

    rows: tuple[SizingRow, ...]
    per_second: float | None
    measured: Mapping[str, float]
    unmeasured: tuple[str, ...]
    bytes_per_chunk: int
    assumptions: Assumptions


def size_plan(preview: Preview, assumptions: Assumptions = Assumptions()) -> Sizing:
    """Return the machines and hours that a plan needs, and those of the same job at larger scales."""
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
    """Return the machines and hours for a number of chunks, and for each of `SCALES`.

    Args:
        documents, chunks: those of the plan; every scale has the same ratio.
        models: keys of the models that encode them.
        rates: model key → measured chunks per second of one worker.
        vector_bytes: size of one chunk's vectors, in bytes.
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


def describe_sizing(sizing: Sizing) -> Sequence[str]:
    """Return what the estimates are based on, one sentence per line."""
    assumed = sizing.assumptions
    rates = ", ".join(f"{model} {rate:,.0f}" for model, rate in sizing.measured.items())
    together = "" if sizing.per_second is None else f"; all models one after another: {sizing.per_second:,.0f}"
    missing = f"never measured here: {', '.join(sizing.unmeasured)}; run a part of the source first" if sizing.unmeasured else ""
    nodes = (
        f"a Qdrant node has {assumed.node_memory:g} GiB, {assumed.node_share:.0%} of it for {sizing.bytes_per_chunk:,} bytes per"
        f" chunk (vectors × {assumed.overhead:g} + {assumed.chunk_bytes}), and costs {assumed.node_price:g} per hour;"
        f" replicas: {assumed.replicas}"
    )
    return [
        *([f"chunks per second of one worker, as measured by runs here: {rates}{together}"] if rates else []),
        *([missing] if missing else []),
        f"a worker encodes {assumed.efficiency:.0%} of the time and costs {assumed.worker_price:g} per hour",
        nodes,
    ]
