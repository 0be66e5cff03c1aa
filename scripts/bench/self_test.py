"""Whether `ingest eval --self` orders configurations as judged queries do: Kendall's tau over ten of them.

    .venv/bin/python scripts/bench/self_test.py FOLDER... [--queries 300] [--language auto]

Each folder is a BEIR data set with `corpus.jsonl`. The ten configurations are two vectors alone (the dense one in float32, BM25),
four fusions of both (reciprocal ranks, normalized scores, scores, scores with feedback), and with the last of these int8, scalar
and binary quantization, and a broken model, whose vectors say nothing about the text. They are ordered by nDCG@10 on the judged
queries and by MRR@10 of the self-test. Prints both for each configuration, and tau-b: 1 is the same order, 0 no relation.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from itertools import combinations
from math import sqrt
from pathlib import Path
from typing import Any, Literal

from measuring import machine

from ingest import Collection, CollectionOptions
from ingest.encode.ensemble import EncodingOptions
from ingest.encode.openvino.choice import BackendOptions
from ingest.search.self_test import SELF_TEST_QUERIES
from ingest.testing import HashEncoder

DENSE, SPARSE = "all-miniLM-l6", "bm25"

FUSIONS: dict[str, dict[str, Any]] = {
    "reciprocal ranks": {"fusion": "rrf"},
    "normalized scores": {"fusion": "dbsf"},
    "scores": {"feedback": False},
    "scores, feedback": {},
}

Measured = dict[str, tuple[float, float]]
"""Configuration → nDCG@10 on judged queries, MRR@10 in the self-test."""


def main() -> None:
    arguments = _arguments()
    report = {}
    for folder in arguments.folders:
        with tempfile.TemporaryDirectory() as scratch:
            measured = dict(_configurations(folder, Path(scratch), arguments.queries, arguments.language))
        tau = kendall_tau([judged for judged, _ in measured.values()], [own for _, own in measured.values()])
        print(f"{folder.name}: tau {tau:.3f}")
        for name, (judged, own) in measured.items():
            print(f"  {name:22} nDCG@10 {judged:.4f}   self-test MRR@10 {own:.4f}")
        report[folder.name] = {"tau": round(tau, 3), "configurations": measured}
    print(json.dumps({"machine": machine(), "queries": arguments.queries, "sets": report}))


def _configurations(folder: Path, scratch: Path, queries: int, language: str) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield every configuration with its figures. The float32 vectors are encoded once, for three collections."""
    corpus, float32 = folder / "corpus.jsonl", _encoding("float32")

    def collection(name: str, *, models: Sequence[Any] = (DENSE, SPARSE), **options: Any) -> Collection:
        return Collection(name, store=scratch / "qdrant", state=scratch, models=models, language=language, **options)

    def figures(measured: Collection, rows: Sequence[str] = ("fused",), **how: Any) -> list[tuple[float, float]]:
        judged = {row.name: row.scores.ndcg_10 for row in measured.evaluate(folder, **how).rows}
        own = {row.name: row.mrr_10.value for row in measured.self_test(queries=queries, **how).rows}
        return [(judged[row], own[row]) for row in rows]

    with collection("float32", encoding=float32) as measured:
        measured.export(corpus, scratch / "vectors")
        measured.load(scratch / "vectors")
        fused = {name: figures(measured, (DENSE, SPARSE, "fused"), **how) for name, how in FUSIONS.items()}
        alone = fused["scores, feedback"]
        yield from (("dense alone", alone[0]), ("BM25 alone", alone[1]))
        yield from ((name, found[2]) for name, found in fused.items())
    for quantization in ("scalar", "binary"):
        with collection(quantization, layout=CollectionOptions(quantization=quantization), encoding=float32) as measured:
            measured.load(scratch / "vectors")
            yield f"{quantization} quantization", figures(measured)[0]
    with collection("int8", encoding=_encoding("int8")) as measured:
        measured.sync(corpus)
        yield "int8", figures(measured)[0]
    with collection("broken", models=[HashEncoder("hash"), SPARSE]) as measured:
        measured.sync(corpus)
        yield "broken model", figures(measured)[0]


def _encoding(precision: Literal["float32", "int8"]) -> EncodingOptions:
    return EncodingOptions(backend_options=BackendOptions("openvino" if precision == "int8" else "torch", precision))


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Kendall's tau-b of two lists of figures, 0 if one of them is all the same."""
    pairs = [(a - b, c - d) for (a, c), (b, d) in combinations(zip(one, other, strict=True), 2)]
    agreement = sum((x * y > 0) - (x * y < 0) for x, y in pairs)
    scale = sqrt(sum(x != 0 for x, _ in pairs) * sum(y != 0 for _, y in pairs))
    return agreement / scale if scale else 0.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Whether a self-test orders configurations as judged queries do.")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="BEIR folder with corpus.jsonl")
    parser.add_argument("--queries", type=int, default=SELF_TEST_QUERIES, help="queries of each self-test")
    parser.add_argument("--language", default="auto", help="language of bm25")
    return parser.parse_args()


if __name__ == "__main__":
    main()
