"""Whether `ingest eval --self` orders configurations as judged queries do: Kendall's tau over ten of them.

    .venv/bin/python scripts/bench/self_test.py FOLDER... [--queries 300] [--language auto]

Each folder is a BEIR data set with `corpus.jsonl`. The ten configurations are two vectors alone (the dense one in float32, BM25),
four fusions of both (reciprocal ranks, normalized scores, scores, scores with feedback), and with the last of these int8, scalar
and binary quantization, and a broken model, whose vectors say nothing about the text. They are ordered by nDCG@10 on the judged
queries and by MRR@10 of the self-test. Prints both for each configuration, and tau-b: 1 is the same order, 0 no relation. It is
computed over all pairs of configurations (`all`), over those that the judged queries tell apart, by more than two standard errors
of nDCG (`clear`), and over those of them that fuse both vectors (`fused`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from measuring import machine

from ingest import Collection, CollectionOptions
from ingest.encode.ensemble import EncodingOptions
from ingest.encode.openvino.choice import BackendOptions
from ingest.search.beir import load_beir
from ingest.search.fusion import CANDIDATES, documents
from ingest.search.metrics import Judge
from ingest.search.request import SearchRequest
from ingest.search.self_test import SELF_TEST_QUERIES, Mean
from ingest.testing import HashEncoder

DENSE, SPARSE = "all-miniLM-l6", "bm25"
ALONE = ("dense alone", "BM25 alone")

FUSIONS: dict[str, dict[str, Any]] = {
    "reciprocal ranks": {"fusion": "rrf"},
    "normalized scores": {"fusion": "dbsf"},
    "scores": {"feedback": False},
    "scores, feedback": {},
}

Judged = dict[str, float]
"""Query → nDCG@10."""

Figures = tuple[Judged, float]
"""Those of one configuration on judged queries, and its MRR@10 in the self-test."""


def main() -> None:
    arguments = _arguments()
    report = {}
    for folder in arguments.folders:
        with tempfile.TemporaryDirectory() as scratch:
            measured = dict(_configurations(folder, Path(scratch), arguments.queries, arguments.language))
        means = {name: (fmean(judged.values()), own) for name, (judged, own) in measured.items()}
        taus = {name: (round(kendall_tau(pairs, measured), 3), len(pairs)) for name, pairs in _pairs(measured).items()}
        print(f"{folder.name}: " + ", ".join(f"tau {tau:.3f} over {pairs} {name} pairs" for name, (tau, pairs) in taus.items()))
        for name, (judged, own) in means.items():
            print(f"  {name:22} nDCG@10 {judged:.4f}   self-test MRR@10 {own:.4f}")
        report[folder.name] = {"tau": taus, "configurations": means}
    print(json.dumps({"machine": machine(), "queries": arguments.queries, "sets": report}))


def _configurations(folder: Path, scratch: Path, queries: int, language: str) -> Iterator[tuple[str, Figures]]:
    """Yield every configuration with its figures. The float32 vectors are encoded once, for three collections."""
    corpus, float32 = folder / "corpus.jsonl", _encoding("float32")

    def collection(name: str, *, models: Sequence[Any] = (DENSE, SPARSE), **options: Any) -> Collection:
        return Collection(name, store=scratch / "qdrant", state=scratch, models=models, language=language, **options)

    def figures(measured: Collection, rows: Sequence[str] = ("fused",), **how: Any) -> list[Figures]:
        judged = _judged(measured, folder, **how)
        own = {row.name: row.mrr_10.value for row in measured.self_test(queries=queries, **how).rows}
        return [(judged[row], own[row]) for row in rows]

    with collection("float32", encoding=float32) as measured:
        measured.export(corpus, scratch / "vectors")
        measured.load(scratch / "vectors")
        fused = {name: figures(measured, (DENSE, SPARSE, "fused"), **how) for name, how in FUSIONS.items()}
        alone = fused["scores, feedback"]
        yield from zip(ALONE, alone[:2], strict=True)
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


def _judged(collection: Collection, folder: Path, **how: Any) -> dict[str, Judged]:
    """Return the judged figures of each vector and of `fused`, whose documents are ranked as `ingest eval` does."""
    queries, view, request = load_beir(folder), collection.searcher.view(), SearchRequest(**how)
    runs: dict[str, dict[str, list[str]]] = {}
    for query_id, text in queries.texts.items():
        found = view.candidates(text, request, depth=CANDIDATES)
        runs.setdefault("fused", {})[query_id] = documents(found.fused, found.final)
        for name, ranking in found.rankings.items():
            runs.setdefault(name, {})[query_id] = list(dict.fromkeys(str(point.payload["doc_id"]) for point in ranking))
    judge = Judge(queries.judgements)
    return {name: judge.ndcg_10(run) for name, run in runs.items()}


def _encoding(precision: Literal["float32", "int8"]) -> EncodingOptions:
    return EncodingOptions(backend_options=BackendOptions("openvino" if precision == "int8" else "torch", precision))


def _pairs(measured: Mapping[str, Figures]) -> dict[str, list[tuple[str, str]]]:
    """Return the pairs of configurations that are compared."""
    every = list(combinations(measured, 2))
    clear = [(one, other) for one, other in every if _apart(measured[one][0], measured[other][0])]
    return {"all": every, "clear": clear, "fused": [pair for pair in clear if not any(name in ALONE for name in pair)]}


def _apart(one: Judged, other: Judged) -> bool:
    """Return whether two configurations differ by more than two standard errors on the same queries."""
    change = Mean.of([value - other[query] for query, value in one.items()])
    return abs(change.value) > 2 * change.error


def kendall_tau(compared: Sequence[tuple[str, str]], measured: Mapping[str, Figures]) -> float:
    """Return Kendall's tau-b over these pairs of configurations, 0 if one of the two figures is the same in all of them."""
    figures = {name: (fmean(judged.values()), own) for name, (judged, own) in measured.items()}
    pairs = [(figures[one][0] - figures[other][0], figures[one][1] - figures[other][1]) for one, other in compared]
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
