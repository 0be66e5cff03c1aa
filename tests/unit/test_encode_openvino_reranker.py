"""A reranker converted for OpenVINO scores as before; without one, torch does, and no question waits for a conversion."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tiny_reranker import HITS, WORDS, tiny_reranker

from ingest.encode.openvino.calibration import ScoreGuard, ScoreLikeness
from ingest.encode.openvino.reranker import convert_reranker, converted_reranker
from ingest.encode.rerankers import reranker_config
from ingest.errors import ConfigurationError, PrecisionError
from ingest.search.rerank import RerankPipeline
from ingest.telemetry import ThroughputMonitor

PAIRS = [(f"which {asked}", f"a {stored} and another") for asked, stored in product(WORDS, WORDS)]
random.Random(0).shuffle(PAIRS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_reranker(tmp_path_factory.mktemp("reranker"))


def test_a_converted_reranker_scores_as_torch_does(folder: Path, tmp_path: Path) -> None:
    config = reranker_config(folder)
    assert converted_reranker(config, tmp_path) is None
    convert_reranker(config, tmp_path, pairs=PAIRS)
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("model.*")}
    convert_reranker(config, tmp_path, pairs=PAIRS)
    assert kept
    assert kept == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("model.*")}

    monitor = ThroughputMonitor()
    converted = RerankPipeline(folder, devices=("cpu",), cache_directory=tmp_path, monitor=monitor)
    torch = RerankPipeline(folder, devices=("cpu",))
    for query in ("a clock", "chair", "which " + "lamp " * 500):
        expected, found = torch.rerank(query, HITS), converted.rerank(query, HITS)
        assert found.hits[0].id == expected.hits[0].id
        scores = {hit.id: hit.rerank_score for hit in expected.hits}
        assert {hit.id: hit.rerank_score for hit in found.hits} == pytest.approx(scores, abs=0.1)
    [report] = monitor.model_reports()
    assert (report.backend, report.dtype) == ("openvino", "int8")


def test_a_reranker_too_coarse_in_int8_is_left_to_torch(folder: Path, tmp_path: Path) -> None:
    config = reranker_config(folder)
    with pytest.raises(PrecisionError, match=r"too inaccurate in int8 \(scores against float32: .* torch computes it instead"):
        convert_reranker(config, tmp_path, pairs=PAIRS, guard=ScoreGuard(correlation=1.01))
    assert converted_reranker(config, tmp_path) is None
    assert (
        RerankPipeline(folder, devices=("cpu",), cache_directory=tmp_path).rerank("a clock", HITS).hits[0].text.endswith("clock")
    )


def test_one_relevant_document_that_loses_its_score_is_too_coarse_however_many_pairs_are_easy() -> None:
    easy = np.repeat(np.array([0.01, 0.99], np.float32), 30)
    expected, found = np.append(easy, np.float32(0.94)), np.append(easy, np.float32(0.42))
    likeness = ScoreLikeness.of(expected, found)
    assert likeness.correlation > 0.99
    assert likeness.worst == pytest.approx(0.53, abs=0.01)
    assert not ScoreGuard().passes(likeness)
    assert not ScoreGuard().passes(ScoreLikeness.of(10 * expected - 5, 10 * found - 5))  # of a model that gives logits
    near = ScoreLikeness.of(expected, expected + np.float32(0.05))
    assert ScoreGuard().passes(near)
    assert not ScoreGuard(correlation=1.01).passes(near)
    assert not ScoreGuard(worst=-0.01).passes(near)
    assert not ScoreGuard().passes(ScoreLikeness.of(np.zeros(4, np.float32), np.zeros(4, np.float32)))  # which tells nothing


def test_only_cross_encoders_are_converted(tmp_path: Path) -> None:
    config = reranker_config("coderank-bi-encoder", trust_remote_code=["coderank-bi-encoder"])
    with pytest.raises(ConfigurationError, match="is not a CrossEncoder"):
        convert_reranker(config, tmp_path)
    assert converted_reranker(config, tmp_path) is None
