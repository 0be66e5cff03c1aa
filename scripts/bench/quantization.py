"""Layouts of vectors compared: nDCG@10, memory and latency of each datatype and quantization, on a labelled collection.

    .venv/bin/python scripts/bench/quantization.py BEIR_DIR [--chunks 200000] [--queries 200] [--stores embedded,server]

The beginnings of the documents of a BEIR folder are encoded once by all-miniLM-l6, and distractors added up to `--chunks`: their
vectors with random noise. Each layout stores the same vectors. The embedded engine then opens them in a new process and searches,
so that its resident memory is that of a search; a server, started for each layout, has built them as well. nDCG@10 is that of the
vector alone, as a search finds it; `exact` compares with all stored vectors. Without quantization the embedded engine has no
graph below 1 GB. Prints a Markdown table, and one JSON object in the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, median, members_of
from numpy.typing import NDArray

from ingest.encode.embedder import Embedder
from ingest.errors import ConfigurationError
from ingest.records import Point
from ingest.search.beir import load_beir
from ingest.search.metrics import Judge
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Manifest, Store, VectorQuery, VectorSpec

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from qdrant_server import any_server

MODEL, CHARACTERS = "all-miniLM-l6", 500
COLLECTION, VECTOR, BATCH = "bench_quantization", "dense", 1_000
NOISE = 0.9
"""Length of the noise that makes a distractor of a document, whose vector has length 1: a cosine of 0.74."""

LAYOUTS = [
    *(CollectionOptions(datatype=datatype, quantization="none") for datatype in ("float32", "float16", "turbo8")),
    *(
        CollectionOptions(quantization=kind)
        for kind in (
            "scalar", "turbo-8", "turbo-4", "turbo-2", "turbo-1.5", "turbo-1", "binary-2", "binary-1.5", "binary", "product-16",
        )
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Data:
    """Unit vectors, the id of the document of each (None for a distractor), and judged queries."""

    vectors: NDArray[np.float32]
    documents: list[str | None]
    queries: NDArray[np.float32]
    query_ids: list[str]
    judgements: Mapping[str, Mapping[str, int]]

    def id(self, number: int) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))


def main() -> None:
    arguments = _arguments()
    data = _data(arguments.beir_dir, arguments.chunks, arguments.queries)
    print(f"{len(data.vectors):,} chunks, {data.vectors.shape[1]} dimensions, {len(data.queries)} queries, {machine()}\n")
    print("| engine | layout | nDCG@10 | exact | MB to search | resident MB | p50 ms |\n|---|---|---:|---:|---:|---:|---:|")
    rows = []
    for engine in arguments.stores.split(","):
        for options in LAYOUTS:
            name = options.datatype if options.quantization == "none" else options.quantization
            try:
                found = _embedded(data, options) if engine == "embedded" else _in_new_process(_serve, data, options)
            except ConfigurationError as exc:
                print(f"{name}: {exc}", file=sys.stderr)
                continue
            row = {"engine": engine, "layout": name, "searched_mb": len(data.vectors) * _bytes(options, data) / 2**20, **found}
            rows.append(row)
            numbers = [
                f"{row['ndcg']:.4f}",
                f"{row['exact']:.4f}",
                *(f"{row[key]:,.1f}" for key in ("searched_mb", "rss_mb", "p50_ms")),
            ]
            print(f"| {engine} | {name} | {' | '.join(numbers)} |", flush=True)
    print(json.dumps({"machine": machine(), "chunks": len(data.vectors), "rows": rows}))


def _embedded(data: Data, options: CollectionOptions) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        _in_new_process(_build_in, folder, data, options)
        found: dict[str, float] = _in_new_process(_search_in, folder, data)
        return found


def _in_new_process(function: Any, *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _build_in(folder: str, data: Data, options: CollectionOptions) -> None:
    with open_store(folder) as store:
        _build(store, data, options)


def _search_in(folder: str, data: Data) -> dict[str, float]:
    before = _resident_mb("self")
    with open_store(folder) as store:
        found = _measure(store, data)
        return {**found, "rss_mb": _resident_mb("self") - before}


def _serve(data: Data, options: CollectionOptions) -> dict[str, float]:
    with any_server() as address, open_store(address.url, grpc_port=address.grpc_port) as store:
        _build(store, data, options)
        found = _measure(store, data)
        children = Path("/proc/self/task").glob("*/children")
        [server] = {child for file in children for child in file.read_text().split() if "qdrant" in _command(child)}
        return {**found, "rss_mb": _resident_mb(server)}


def _build(store: Store, data: Data, options: CollectionOptions) -> None:
    spec = VectorSpec(VECTOR, data.vectors.shape[1], "bench")
    store.ensure(Manifest(COLLECTION, COLLECTION, (spec,)), options)
    store.defer_indexing(COLLECTION)
    for start in range(0, len(data.vectors), BATCH):
        numbers = range(start, min(start + BATCH, len(data.vectors)))
        points = [Point(data.id(n), {VECTOR: data.vectors[n]}, {"doc_id": data.documents[n]}) for n in numbers]
        store.upsert(COLLECTION, points)
    store.finalize(COLLECTION)


def _measure(store: Store, data: Data) -> dict[str, float]:
    """Return the quality and the latency of a search of one vector at a time, after a first round."""
    documents = {data.id(number): document or f"distractor {number}" for number, document in enumerate(data.documents)}
    judge = Judge(data.judgements)
    runs: dict[bool, dict[str, list[str]]] = {False: {}, True: {}}
    seconds = []
    for exact in (True, False, False):
        for query_id, vector in zip(data.query_ids, data.queries, strict=True):
            started = time.perf_counter()
            [hits] = store.query(COLLECTION, [VectorQuery(VECTOR, vector, 10, exact=exact)], payload=False)
            seconds.append(time.perf_counter() - started)
            runs[exact][query_id] = [documents[hit.id] for hit in hits]
    last = seconds[-len(data.queries) :]
    return {
        "ndcg": judge.scores(runs[False]).ndcg_10,
        "exact": judge.scores(runs[True]).ndcg_10,
        "p50_ms": median(last) * 1000,
    }


def _data(folder: Path, chunks: int, queries: int) -> Data:
    judged = load_beir(folder).first(queries)
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    texts = {each["_id"]: f"{each.get('title', '')}\n{each['text']}".strip() for each in corpus}
    texts = {name: text[:CHARACTERS] for name, text in texts.items() if text}
    embedder = Embedder(lambda: members_of([MODEL]), [MODEL], devices=("cpu",))
    vectors = embedder.embed(MODEL, list(texts.values()), as_query=True).vectors  # which truncates it
    asked = embedder.embed(MODEL, list(judged.texts.values()), as_query=True).vectors
    rng = np.random.default_rng(0)
    originals = vectors[rng.integers(0, len(vectors), max(0, chunks - len(vectors)))]
    noise = rng.standard_normal(originals.shape, np.float32) * np.float32(NOISE / np.sqrt(vectors.shape[1]))
    distractors = originals + noise
    distractors /= np.linalg.norm(distractors, axis=1, keepdims=True)
    names: list[str | None] = [*texts, *[None] * len(distractors)]
    return Data(np.concatenate([vectors, distractors]), names, asked, list(judged.texts), judged.judgements)


def _bytes(options: CollectionOptions, data: Data) -> float:
    """Return the bytes of the vector that a search reads first, without what an encoding adds."""
    dim = float(data.vectors.shape[1])
    kind, _, size = options.quantization.partition("-")
    if kind == "none":
        return dim * {"float32": 4, "float16": 2, "turbo16": 2, "turbo8": 1, "turbo4": 0.5}[options.datatype]
    return dim * {"scalar": 1.0, "product": 4 / float(size or 1)}.get(kind, float(size or 1) / 8)


def _resident_mb(pid: str) -> float:
    return resource.getpagesize() * int(Path(f"/proc/{pid}/statm").read_text().split()[1]) / 2**20


def _command(pid: str) -> str:
    return Path(f"/proc/{pid}/comm").read_text()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Layouts of vectors compared.")
    parser.add_argument("beir_dir", type=Path)
    parser.add_argument("--chunks", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--stores", default="embedded,server")
    return parser.parse_args()


if __name__ == "__main__":
    main()
