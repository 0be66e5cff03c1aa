"""Reranking 50 candidates on the CPU: a converted CrossEncoder (OpenVINO, int8) beside plain `CrossEncoder.predict`.

    .venv/bin/python scripts/bench/rerank.py [--reranker KEY_OR_FOLDER] [--beir FOLDER] [--questions 40] [--candidates 50]

Questions and texts are those of a BEIR folder (`corpus.jsonl`, `queries.jsonl`), else the topics of Python's language reference;
the candidates of a question are the nearest by all-MiniLM-L6-v2. The model is converted first if it never was on this machine.
Both ways answer every question, which of them first alternating, after some to warm up. Medians count; the top ten of both are
compared. Prints a table and one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import machine, members_of, read_texts

from ingest.encode.openvino.cache import default_cache_directory
from ingest.encode.openvino.reranker import convert_reranker
from ingest.encode.rerankers import reranker_config
from ingest.encode.resolve import resolve
from ingest.encode.runner import BatchRunner
from ingest.records import Hit
from ingest.search.rerank import RerankPipeline

TOP = 10
BOUND_SPEED = 2.5
BOUND_OVERLAP = 0.95
WARM_UP = 3

Order = Callable[[str, Sequence[str]], list[int]]
"""Question and candidates to the candidates' numbers, best first."""


def main() -> None:
    arguments = _arguments()
    texts, questions = _corpus(arguments.beir, arguments.questions + WARM_UP)
    candidates = _nearest(texts, questions, arguments.candidates)
    config = reranker_config(arguments.reranker)
    convert_reranker(config, default_cache_directory())
    ours, plain = _ours(arguments.reranker), _plain(str(resolve(config).folder))
    seconds: list[tuple[float, float]] = []
    overlaps = []
    for number, (question, numbers) in enumerate(zip(questions, candidates, strict=True)):
        asked = [texts[index] for index in numbers]
        ways = (plain, ours) if number % 2 else (ours, plain)
        timed = {way: _timed(way, question, asked) for way in ways}
        if number >= WARM_UP:
            seconds.append((timed[ours][0], timed[plain][0]))
            overlaps.append(len(set(timed[ours][1][:TOP]) & set(timed[plain][1][:TOP])) / TOP)
    _report(arguments, seconds, overlaps)


def _ours(model: str) -> Order:
    pipeline = RerankPipeline(model, devices=["cpu"], cache_directory=default_cache_directory())

    def order(question: str, texts: Sequence[str]) -> list[int]:
        hits = [
            Hit(str(number), 0.0, text, str(number), None, "bench", 0, 0, len(text), {}, {}, 0.0)
            for number, text in enumerate(texts)
        ]
        return [int(hit.id) for hit in pipeline.rerank(question, hits).hits]

    return order


def _plain(folder: str) -> Order:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(folder, device="cpu")

    def order(question: str, texts: Sequence[str]) -> list[int]:
        scores = model.predict([(question, text) for text in texts], show_progress_bar=False)
        return [int(number) for number in np.argsort(-np.asarray(scores), kind="stable")]

    return order


def _timed(way: Order, question: str, texts: Sequence[str]) -> tuple[float, list[int]]:
    started = time.perf_counter()
    order = way(question, texts)
    return time.perf_counter() - started, order


def _corpus(folder: Path | None, questions: int) -> tuple[list[str], list[str]]:
    if folder is None:
        from pydoc_data.topics import topics

        return read_texts(None, 3000), [f"how does {name} work?" for name in sorted(topics)][:questions]
    lines = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    asked = [json.loads(line)["text"] for line in (folder / "queries.jsonl").read_text().splitlines()]
    return [text for line in lines if (text := f"{line.get('title', '')}\n{line['text']}".strip())], asked[:questions]


def _nearest(texts: Sequence[str], questions: Sequence[str], count: int) -> list[list[int]]:
    [model] = members_of(["all-miniLM-l6"], "openvino", "float32")
    limit = model.token_limit
    assert limit is not None
    fitting = [text if n <= limit.max_tokens else text[:600] for text, n in zip(texts, limit.count(texts), strict=True)]
    with BatchRunner([model], devices=("cpu",)) as runner:
        vectors: Any = runner.run({model.key: [*fitting, *questions]})[model.key].vectors
    scores = vectors[len(texts) :] @ vectors[: len(texts)].T
    return [[int(index) for index in np.argsort(-row)[:count]] for row in scores]


def _report(arguments: argparse.Namespace, seconds: Sequence[tuple[float, float]], overlaps: Sequence[float]) -> None:
    ours, plain = (statistics.median(each) for each in zip(*seconds, strict=True))
    ratios = sorted(theirs / mine for mine, theirs in seconds)
    low, ratio, high = (ratios[int(share * (len(ratios) - 1))] for share in (0.1, 0.5, 0.9))
    overlap = statistics.mean(overlaps)
    print(f"{machine()}: {len(seconds)} questions, {arguments.candidates} candidates each, {arguments.reranker}")
    print(f"OpenVINO int8            {ours * 1000:7.0f} ms")
    print(f"CrossEncoder.predict     {plain * 1000:7.0f} ms")
    print(f"{ratio:.2f} times as fast ({low:.2f} to {high:.2f}, first to last tenth; bound: {BOUND_SPEED:g})")
    print(f"{overlap:.1%} of the top {TOP} are the same (bound: {BOUND_OVERLAP:.0%})")
    result = {
        "machine": machine(),
        "questions": len(seconds),
        "candidates": arguments.candidates,
        "ours_ms": round(ours * 1000, 1),
        "plain_ms": round(plain * 1000, 1),
        "ratio": round(ratio, 2),
        "ratio_tenths": [round(low, 2), round(high, 2)],
        "overlap": round(overlap, 3),
    }
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Reranking on the CPU.")
    parser.add_argument("--reranker", default="ms-marco-minilm-l6", help="a registry key, or the folder of a CrossEncoder")
    parser.add_argument("--beir", type=Path, help="a folder with corpus.jsonl and queries.jsonl")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--candidates", type=int, default=50)
    return parser.parse_args()


if __name__ == "__main__":
    main()
