"""Reranking, end to end but for the store: a CrossEncoder that was trained here, real leases, real processes."""

from __future__ import annotations

import gc
import io
import json
import socket
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from lease_holder import ingestion_holds
from recording_models import RecordingModel
from sentence_transformers import CrossEncoder
from tiny_reranker import HITS, MAX_TOKENS, TEXTS, WORDS, hit, save, tiny_config, tiny_reranker
from transformers import BertForSequenceClassification

from ingest.encode.contract import Encoder
from ingest.encode.lease import lease_gpus
from ingest.encode.rerankers import CrossEncoderModel, CrossEncoderScorer, with_token_limit
from ingest.errors import ConfigurationError, ModelError
from ingest.records import DenseMatrix
from ingest.search.answer import RerankResult
from ingest.search.rerank import RerankMode, RerankPipeline, rerank_or_explain
from ingest.telemetry import ThroughputMonitor


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_reranker(tmp_path_factory.mktemp("reranker"))


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and no hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def scores_of(result: RerankResult) -> dict[str, float]:
    return {found.text: found.score for found in result.hits}


def predicted(folder: Path, query: str, texts: tuple[str, ...], **options: object) -> dict[str, float]:
    model = CrossEncoder(str(folder), device="cpu", local_files_only=True, **options)
    return dict(zip(texts, model.predict([(query, text) for text in texts]).tolist(), strict=True))


def test_every_question_finds_its_document(trained: Path) -> None:
    pipeline = RerankPipeline(trained)
    for word in WORDS:
        result = pipeline.rerank(f"which {word}?", HITS, limit=1)
        assert word in result.hits[0].text
    assert (result.model, result.device, result.fallback, result.candidates) == (str(trained), "cpu", None, len(HITS))
    assert result.candidates_per_second == pytest.approx(len(HITS) / result.seconds)


def test_a_reranked_hit_keeps_what_it_was_and_is_ordered_by_its_new_score(trained: Path) -> None:
    hits = RerankPipeline(str(trained)).rerank("chair", HITS).hits
    assert sorted(hits, key=lambda found: -found.score) == list(hits)
    assert all(found.score == found.rerank_score for found in hits)
    before = {found.id: found for found in HITS}
    assert all((found.fused_score, found.ranks) == (before[found.id].fused_score, before[found.id].ranks) for found in hits)
    assert {found.id for found in hits} == set(before)


@pytest.mark.parametrize("activation", [torch.nn.Sigmoid(), torch.nn.Identity()])
def test_scores_are_those_of_predict(trained: Path, tmp_path: Path, activation: torch.nn.Module) -> None:
    CrossEncoder(str(trained), device="cpu", activation_fn=activation).save_pretrained(str(tmp_path / "model"))
    texts = (*TEXTS, "chair " * 200, "", "🪑 مرحبا \x00", "the of and")
    for query in ("a chair", "", "lamp " * 50, "x" * 1000):
        expected = predicted(tmp_path / "model", query, texts)
        result = RerankPipeline(tmp_path / "model").rerank(query, [hit(number, text) for number, text in enumerate(texts)])
        assert scores_of(result) == pytest.approx(expected, abs=1e-5)


def test_scores_do_not_depend_on_how_many_are_read_together(trained: Path) -> None:
    many = [hit(number, f"{WORDS[number % 8]} {'and ' * (number % 40)}{number}") for number in range(150)]
    together = scores_of(RerankPipeline(trained).rerank("desk", many))
    assert together == pytest.approx(predicted(trained, "desk", tuple(found.text for found in many)), abs=1e-5)


def test_a_huge_question_is_cut_before_it_is_read_with_each_candidate(trained: Path) -> None:
    huge = "chair " * 20_000
    expected = predicted(trained, huge, TEXTS)
    assert scores_of(RerankPipeline(trained).rerank(huge, HITS)) == pytest.approx(expected, abs=1e-5)


def test_titles_are_read_with_the_text(trained: Path) -> None:
    titled = [hit(0, "it is blue", "the\n lamp"), hit(1, "it is blue", "the chair"), hit(2, "it is blue")]
    result = RerankPipeline(trained).rerank("chair", titled)
    assert result.hits[0].id == "1"
    expected = predicted(trained, "chair", ("the lamp\nit is blue", "the chair\nit is blue", "it is blue"))
    assert sorted(found.score for found in result.hits) == pytest.approx(sorted(expected.values()), abs=1e-5)


def test_a_shorter_limit_can_be_set_and_a_longer_one_than_the_model_takes_cannot(trained: Path) -> None:
    texts = ("other " * 20 + "chair", "chair " + "other " * 20)
    hits = [hit(number, text) for number, text in enumerate(texts)]
    expected = predicted(trained, "chair", texts, max_length=12)
    assert scores_of(RerankPipeline(trained, max_length=12).rerank("chair", hits)) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ModelError, match=f"takes {MAX_TOKENS} tokens"):
        RerankPipeline(trained, max_length=MAX_TOKENS + 1).rerank("chair", hits)


def test_no_candidates_are_no_work() -> None:
    assert RerankPipeline("ms-marco-minilm-l6").rerank("chair", []).hits == ()


def test_a_device_another_process_holds_is_not_waited_for_long(trained: Path, leases: Path) -> None:
    pipeline = RerankPipeline(trained, devices=["cpu:1"], lease_directory=leases, lease_timeout=0.05)
    free = pipeline.rerank("chair", HITS)
    assert (free.device, free.fallback) == ("cpu:1", None)
    with ingestion_holds("cpu:1", leases) as pid:
        held = pipeline.rerank("chair", HITS)
        answer = rerank_or_explain("auto", lambda: pipeline, "chair", HITS, 2)
    assert held.device == "cpu"
    assert held.fallback is not None
    assert f"process {pid}" in held.fallback
    assert held.hits == free.hits
    assert answer.reranked
    assert answer.note is not None
    assert "on the CPU" in answer.note


def test_a_device_another_thread_holds_is_not_waited_for_long(trained: Path, leases: Path) -> None:
    pipeline = RerankPipeline(trained, devices=["cpu:1"], lease_directory=leases, lease_timeout=0.05)
    with ThreadPoolExecutor(1) as thread, lease_gpus(RecordingModel("ingestion"), ["cpu:1"], directory=leases):
        result = thread.submit(pipeline.rerank, "chair", HITS).result()
    assert (result.device, result.hits[0].text) == ("cpu", "one blue chair")
    assert result.fallback is not None


def test_the_model_stays_on_its_device_from_query_to_query(trained: Path, leases: Path) -> None:
    pipeline = RerankPipeline(trained, devices=["cpu:1"], lease_directory=leases)
    pipeline.rerank("chair", HITS)
    model: Any
    (model,) = pipeline._models.values()
    replica = model._replicas["cpu:1"]
    for word in WORDS[:5]:
        assert word in pipeline.rerank(word, HITS, limit=1).hits[0].text
    assert model._replicas["cpu:1"] is replica
    pipeline.close()
    assert not model._replicas


def test_a_score_that_overflows_in_float16_is_computed_in_float32(trained: Path, caplog: pytest.LogCaptureFixture) -> None:
    class NoNumber(CrossEncoderScorer):
        def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
            return np.full((len(texts), 1), np.nan, np.float32)

    class Overflowing(CrossEncoderModel):
        """A model whose largest activation does not fit float16."""

        def _encoder(self, replica: Any) -> Encoder:
            return NoNumber(self.key, self.query, replica) if self.dtype == "float16" else super()._encoder(replica)

    class InFloat16(RerankPipeline):
        def _make(self, dtype: str) -> CrossEncoderModel:
            return Overflowing(with_token_limit(self.config), dtype="float16")

    expected = scores_of(RerankPipeline(trained).rerank("chair", HITS))
    pipeline = InFloat16(trained)
    for _ in range(2):
        assert scores_of(pipeline.rerank("chair", HITS)) == pytest.approx(expected, abs=1e-5)
    assert caplog.text.count("it computes in float32 from now on") == 1


def test_the_lease_is_given_back_to_another_process_that_waits(trained: Path, leases: Path) -> None:
    monitor = ThroughputMonitor(stream=io.StringIO())
    pipeline = RerankPipeline(trained, devices=["cpu:1"], lease_directory=leases, lease_timeout=0.05, monitor=monitor)
    pipeline.rerank("chair", HITS)
    with ingestion_holds("cpu:1", leases):
        pass
    assert [event.event for event in monitor.lease_events] == ["acquire", "release"]
    assert [(report.kind, report.device, report.chunks) for report in monitor.model_reports()] == [("reranker", "cpu:1", 6)]
    assert isinstance(monitor.stream, io.StringIO)
    told = json.loads(monitor.stream.getvalue().splitlines()[-1])
    assert (told["type"], told["device"], told["candidates"], told["fallback"]) == ("rerank", "cpu:1", 6, None)
    assert told["seconds"] > 0
    assert told["candidates_per_second"] > 0


def test_the_device_can_be_changed(trained: Path, leases: Path) -> None:
    pipeline = RerankPipeline(trained, devices=["cpu:1"], lease_directory=leases)
    assert pipeline.get_device() == "cpu:1"
    pipeline.set_cross_encoder_device("cpu:2")
    assert pipeline.get_device() == pipeline.rerank("chair", HITS).device == "cpu:2"
    pipeline.set_cross_encoder_device("cpu")
    assert pipeline.get_device() == pipeline.rerank("chair", HITS).device == "cpu"
    with pytest.raises(ConfigurationError, match=r"no device 'cuda:97'.*cpu"):
        pipeline.set_cross_encoder_device("cuda:97")
    assert pipeline.get_device() == "cpu"


def test_unloading_frees_the_weights_and_the_next_question_loads_them_again(trained: Path) -> None:
    pipeline = RerankPipeline(trained)
    before = pipeline.rerank("chair", HITS)
    model: Any
    (model,) = pipeline._models.values()
    weights = weakref.ref(next(model._host.parameters()))
    del model
    gc.disable()  # which might free what nothing else frees
    try:
        pipeline.unload_reranker()
        pipeline.unload_reranker()
        assert weights() is None
    finally:
        gc.enable()
    assert pipeline.rerank("chair", HITS).hits == before.hits


def test_threads_get_what_one_gets(trained: Path, leases: Path) -> None:
    pipeline = RerankPipeline(trained, devices=["cpu:1"], lease_directory=leases, lease_timeout=60.0)
    alone = {word: pipeline.rerank(word, HITS).hits for word in WORDS}
    pipeline.unload_reranker()
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda word: (word, pipeline.rerank(word, HITS).hits), WORDS * 5))
    assert all(hits == alone[word] for word, hits in together)


@pytest.mark.parametrize("mode", get_args(RerankMode))
def test_modes_with_a_model(trained: Path, mode: RerankMode) -> None:
    answer = rerank_or_explain(mode, lambda: RerankPipeline(trained), "chair", HITS, 2)
    assert answer.reranked == (mode != "off") == (answer.details is not None)
    assert answer.note is None
    assert len(answer.hits) == 2
    assert answer.hits[0].text == (TEXTS[0] if mode == "off" else "one blue chair")


def test_modes_without_a_model() -> None:
    pipeline = RerankPipeline()
    auto = rerank_or_explain("auto", lambda: pipeline, "chair", HITS, 2)
    assert (auto.hits, auto.reranked, auto.details) == (HITS[:2], False, None)
    assert auto.note is not None
    assert auto.note.startswith("not reranked: model 'ms-marco-minilm-l6' is not on this machine")
    assert "\n" not in auto.note
    with pytest.raises(ModelError, match="ms-marco-minilm-l6"):
        rerank_or_explain("on", lambda: pipeline, "chair", HITS, 2)
    with pytest.raises(ConfigurationError, match="auto, on, off"):
        rerank_or_explain("yes", lambda: pipeline, "chair", HITS, 2)  # type: ignore[arg-type]  # wrong on purpose


def test_off_asks_for_no_model() -> None:
    def never() -> RerankPipeline:
        raise AssertionError

    assert rerank_or_explain("off", never, "chair", HITS, 3).hits == HITS[:3]


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_where_nothing_is_found_there_is_nothing_to_rerank(mode: RerankMode, trained: Path) -> None:
    answer = rerank_or_explain(mode, lambda: RerankPipeline(trained), "chair", [])
    assert (answer.hits, answer.reranked) == ((), True)


def test_a_hub_that_says_nothing_is_not_waited_for_and_not_asked_by_the_next_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    visits: list[socket.socket] = []
    arrived = threading.Event()

    def listen() -> None:
        while True:
            try:
                visits.append(silent.accept()[0])
            except OSError:
                return
            arrived.set()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        listening = threading.Thread(target=listen)
        listening.start()
        try:
            pipeline = RerankPipeline()
            first = rerank_or_explain("auto", lambda: pipeline, "chair", HITS, 2)
            asked = len(visits)
            second = rerank_or_explain("auto", lambda: pipeline, "chair", HITS, 2)
        finally:
            silent.shutdown(socket.SHUT_RDWR)
            listening.join()
    assert arrived.is_set()
    for visit in visits:
        visit.close()
    assert len(visits) == asked
    assert first == second
    assert not first.reranked


def test_a_model_that_cannot_be_loaded_is_not_tried_again_with_every_question(trained: Path, tmp_path: Path) -> None:
    broken = save(BertForSequenceClassification(tiny_config(labels=3)), tmp_path / "broken")
    pipeline = RerankPipeline(broken)
    first = rerank_or_explain("auto", lambda: pipeline, "chair", HITS, 2)
    assert first.note is not None
    assert "3 numbers" in first.note
    save(BertForSequenceClassification.from_pretrained(trained), broken)
    assert rerank_or_explain("auto", lambda: pipeline, "chair", HITS, 2) == first
    assert rerank_or_explain("on", lambda: pipeline, "chair", HITS, 2).reranked
    assert rerank_or_explain("auto", lambda: pipeline, "chair", HITS, 2).reranked
