"""Ready-made vectors into a Qdrant server: by the writer that runs use, and by `QdrantClient.upload_points` at its best settings.

    .venv/bin/python scripts/bench/upload.py [--points 20000] [--repeat 5] [--dim 384]

The server is that at `QDRANT_URL`, one in Docker, or the pinned binary.

Points with a dense vector and the payload of a chunk, from arrays and dictionaries in memory into a new collection with the
payload indexes that ingest makes, until the server has applied them all. First every combination of streams and batch size is
tried once, with `upload_points` and with `upload_collection`, which takes arrays; then the best of each and the writer alternate.
Everything goes over gRPC, which is the faster for all. Ratios are taken within a round, medians count. Prints a table and one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, median, spread
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from ingest.records import Payload, Point
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Manifest, Store, VectorSpec
from ingest.store.writer import Effects, Writer
from ingest.testing import generated_documents

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from qdrant_server import any_server

COLLECTION = "bench_upload"
VECTOR = "dense"
WINDOW = 2048
"""Points that a run hands to the writer at a time."""

STREAMS = (1, 2)
BATCHES = (64, 256, 1000)


@dataclass(frozen=True, slots=True)
class Points:
    ids: list[str]
    vectors: NDArray[np.float32]
    payloads: list[Payload]


def main() -> None:
    arguments = _arguments()
    points = _points(arguments.points, arguments.dim)
    with ExitStack() as stack:
        server = stack.enter_context(any_server())
        store = stack.enter_context(open_store(server.url, grpc_port=server.grpc_port, prefer_grpc=True))
        client = QdrantClient(url=server.url, grpc_port=server.grpc_port, prefer_grpc=True, check_compatibility=False, timeout=60)
        stack.callback(client.close)

        def rate(upload: Callable[[], None]) -> float:
            return _rate(store, client, points, upload)

        def best(how: Callable[[QdrantClient, Points, int, int], None]) -> tuple[int, int]:
            tried = {each: rate(partial(how, client, points, *each)) for each in product(STREAMS, BATCHES)}
            for (streams, batch), measured in tried.items():
                print(f"{how.__name__} parallel={streams} batch_size={batch}: {measured:,.0f}/s", file=sys.stderr)
            return max(tried, key=lambda each: tried[each])

        rate(lambda: _ours(store, points))  # the server's first collection is slower
        settings = {how: best(how) for how in (upload_points, upload_collection)}
        rates: dict[str, list[float]] = {"ingest": [], **{how.__name__: [] for how in settings}}
        for _ in range(arguments.repeat):
            rates["ingest"].append(rate(lambda: _ours(store, points)))
            for how, chosen in settings.items():
                rates[how.__name__].append(rate(partial(how, client, points, *chosen)))
    _report(arguments, rates, {how.__name__: chosen for how, chosen in settings.items()})


def upload_points(client: QdrantClient, points: Points, streams: int, batch: int) -> None:
    made = (
        models.PointStruct(id=id_, vector={VECTOR: vector.tolist()}, payload=payload)
        for id_, vector, payload in zip(points.ids, points.vectors, points.payloads, strict=True)
    )
    client.upload_points(COLLECTION, made, parallel=streams, batch_size=batch)


def upload_collection(client: QdrantClient, points: Points, streams: int, batch: int) -> None:
    vectors: Any = {VECTOR: points.vectors}
    client.upload_collection(COLLECTION, vectors, points.payloads, points.ids, parallel=streams, batch_size=batch)


def _ours(store: Store, points: Points) -> None:
    with Writer(store, COLLECTION) as writer:
        for start in range(0, len(points.ids), WINDOW):
            part = slice(start, start + WINDOW)
            columns = zip(points.ids[part], points.vectors[part], points.payloads[part], strict=True)
            writer.submit(Effects(upserts=[Point(id_, {VECTOR: vector}, payload) for id_, vector, payload in columns]))


def _rate(store: Store, client: QdrantClient, points: Points, upload: Callable[[], None]) -> float:
    """Points a second, until the server holds them all."""
    dim = points.vectors.shape[1]
    store.ensure(Manifest(COLLECTION, COLLECTION, (VectorSpec(VECTOR, dim, ""),)), CollectionOptions())
    try:
        started = time.perf_counter()
        upload()
        while client.count(COLLECTION, exact=True).count < len(points.ids):
            time.sleep(0.005)
        return len(points.ids) / (time.perf_counter() - started)
    finally:
        store.drop(COLLECTION)
        time.sleep(0.3)  # the server is still tidying up


def _points(count: int, dim: int) -> Points:
    vectors = np.random.default_rng(0).standard_normal((count, dim), dtype=np.float32)
    payloads: list[Payload] = []
    for number, document in enumerate(generated_documents(count)):
        made = {"doc_key": str(uuid.UUID(int=number)), "doc_fp": "a" * 32, "payload_fp": "b" * 32, "vectors": {VECTOR: "c" * 32}}
        payloads.append(
            {
                "text": document.text,
                "metadata": dict(document.metadata),
                "source": "bench",
                "doc_id": document.id,
                "chunk": 0,
                "start": 0,
                "end": len(document.text),
                "_ingest": {**made, "schema": 1},
            }
        )
    ids = [str(uuid.UUID(int=number + 1)) for number in range(count)]
    return Points(ids, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), payloads)


def _report(arguments: argparse.Namespace, rates: dict[str, list[float]], settings: dict[str, tuple[int, int]]) -> None:
    print(f"{machine()}: {arguments.points:,} points of {arguments.dim} dimensions, {arguments.repeat} rounds")
    ratios: dict[str, Sequence[float]] = {}
    for name, measured in rates.items():
        how = "" if name == "ingest" else f" with parallel={settings[name][0]}, batch_size={settings[name][1]}"
        print(f"{name:18} {spread(measured, 0)} points/s{how}")
    for name in settings:
        ratios[name] = [ours / theirs for ours, theirs in zip(rates["ingest"], rates[name], strict=True)]
        print(f"ingest is {spread(ratios[name])} times as fast as {name}" + (" (bound: 1)" if name == "upload_points" else ""))
    result = {
        "machine": machine(),
        "points": arguments.points,
        "dim": arguments.dim,
        "points_per_second": {name: round(median(measured)) for name, measured in rates.items()},
        "settings": {name: {"parallel": streams, "batch_size": batch} for name, (streams, batch) in settings.items()},
        "ratios": {name: [round(each, 3) for each in ratio] for name, ratio in ratios.items()},
    }
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Ready-made vectors into a server.")
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--dim", type=int, default=384)
    return parser.parse_args()


if __name__ == "__main__":
    main()
