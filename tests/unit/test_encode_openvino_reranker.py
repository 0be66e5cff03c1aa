"""A reranker converted for OpenVINO scores as before; without one, torch does, and no question waits for a conversion."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

import pytest
from tiny_reranker import HITS, WORDS, train_tiny_reranker

from ingest.encode.openvino_calibration import Guard
from ingest.encode.openvino_reranker import convert_reranker, converted_reranker
from ingest.encode.rerankers import reranker_config
from ingest.errors import ConfigurationError, PrecisionError
from ingest.search.rerank import RerankPipeline
from ingest.telemetry import ThroughputMonitor

PAIRS = [(f"which {asked}", f"a {stored} and another") for asked, stored in product(WORDS, WORDS)]
random.Random(0).shuffle(PAIRS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny_reranker(tmp_path_factory.mktemp("reranker"))


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
    with pytest.raises(PrecisionError, match="too coarse in int8"):
        convert_reranker(config, tmp_path, pairs=PAIRS, guard=Guard(mean=1.01))
    assert converted_reranker(config, tmp_path) is None
    assert (
        RerankPipeline(folder, devices=("cpu",), cache_directory=tmp_path).rerank("a clock", HITS).hits[0].text.endswith("clock")
    )


def test_only_cross_encoders_are_converted(tmp_path: Path) -> None:
    config = reranker_config("coderank-bi-encoder", trust_remote_code=["coderank-bi-encoder"])
    with pytest.raises(ConfigurationError, match="is no CrossEncoder"):
        convert_reranker(config, tmp_path)
    assert converted_reranker(config, tmp_path) is None
