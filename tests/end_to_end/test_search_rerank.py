"""`ingest search --rerank` with a CrossEncoder that was trained here: the real command, the embedded engine, real leases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import Outcome, ingest, ingest_process, write_jsonl
from lease_holder import ingestion_holds
from sentence_transformers import CrossEncoder
from tiny_reranker import tiny_reranker

QUESTION = "old chair"
SEARCH = ("search", "furniture", QUESTION, "--json", "--rerank")

# To BM25, what repeats a rare word of the question in few words comes first. Our CrossEncoder knows what is asked for: a chair.
DOCUMENTS = {
    "wrong": "old old old",
    "right": "there is one blue chair and a lamp",
    "titled": "it has four legs",
    "other": "an old red table",
}
TITLES = {"titled": "chair"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a reranker and a collection."""
    folder = tmp_path_factory.mktemp("desk")
    tiny_reranker(folder / "reranker")
    records = [{"id": id_, "text": text, "title": TITLES.get(id_)} for id_, text in DOCUMENTS.items()]
    source = write_jsonl(folder / "furniture.jsonl", records)
    done = ingest("run", str(source), "-c", "furniture", "--dense", "none", cwd=folder)
    assert done.code == 0, done.err
    return folder


def search(desk: Path, rerank: str, **settings: str) -> Outcome:
    return ingest(*SEARCH, rerank, cwd=desk, **settings)


def reranked(desk: Path, **settings: str) -> dict[str, Any]:
    done = search(desk, "on", INGEST_RERANKER="reranker", INGEST_LEASE_DIR="leases", **settings)
    assert done.code == 0, done.err
    answer: dict[str, Any] = done.json
    assert answer["reranked"]
    return answer


def scores(answer: dict[str, Any]) -> dict[str, float]:
    return {hit["doc_id"]: hit["score"] for hit in answer["hits"]}


def test_the_order_becomes_the_right_one_and_scores_are_those_of_predict(desk: Path) -> None:
    fused = search(desk, "off").json
    assert (fused["reranked"], fused["rerank"], fused["note"]) == (False, None, None)
    assert next(iter(scores(fused))) == "wrong"

    answer = reranked(desk, INGEST_DEVICE="cpu:1")
    order = list(scores(answer))
    assert set(order) == scores(fused).keys()
    assert set(order[:2]) == {"right", "titled"}
    model = CrossEncoder(str(desk / "reranker"), device="cpu", local_files_only=True)
    texts = {id_: f"{TITLES[id_]}\n{text}" if id_ in TITLES else text for id_, text in DOCUMENTS.items() if id_ in order}
    predicted = model.predict([(QUESTION, text) for text in texts.values()]).tolist()
    assert scores(answer) == pytest.approx(dict(zip(texts, predicted, strict=True)), abs=1e-5)
    assert all(hit["rerank_score"] == hit["score"] and hit["fused_score"] != hit["score"] for hit in answer["hits"])
    told = answer["rerank"]
    assert (told["model"], told["device"], told["fallback"], told["candidates"]) == ("reranker", "cpu:1", None, len(order))


def test_a_question_does_not_wait_for_an_ingestion_beyond_the_timeout(desk: Path) -> None:
    with ingestion_holds("cpu:1", desk / "leases") as pid:
        answer = reranked(desk, INGEST_DEVICE="cpu:1", INGEST_RERANK_LEASE_TIMEOUT="0.2")
    assert answer["rerank"]["device"] == "cpu"
    assert answer["note"] == answer["rerank"]["fallback"]
    assert "reranked on the CPU" in answer["note"]
    assert f"process {pid}" in answer["note"]
    assert set(list(scores(answer))[:2]) == {"right", "titled"}


def test_on_the_processor_a_question_waits_for_nobody(desk: Path) -> None:
    with ingestion_holds("cpu", desk / "leases"):
        answer = reranked(desk, INGEST_DEVICE="cpu", INGEST_RERANK_LEASE_TIMEOUT="3600")
    assert (answer["rerank"]["device"], answer["rerank"]["fallback"], answer["note"]) == ("cpu", None, None)


def test_without_the_model_auto_answers_in_the_fused_order_and_on_is_an_error(desk: Path) -> None:
    cache = {"HF_HUB_CACHE": str(desk / "nothing")}
    auto = ingest_process(*SEARCH, "auto", cwd=desk, **cache)
    assert auto.code == 0, auto.err
    assert (auto.json["reranked"], auto.json["rerank"]) == (False, None)
    assert auto.json["note"].startswith("not reranked: model 'ms-marco-minilm-l6'")
    [told] = auto.err.splitlines()
    assert "ingest models pull ms-marco-minilm-l6" in told
    assert ingest(*SEARCH, "auto", cwd=desk, **cache).err == ""
    assert ingest(*SEARCH, "auto", "--verbose", cwd=desk, **cache).err.splitlines() == [auto.json["note"]]
    assert next(iter(scores(auto.json))) == "wrong"

    on = ingest_process(*SEARCH, "on", cwd=desk, **cache)
    assert (on.code, on.json["type"]) == (1, "ModelError")
    assert len(on.err.splitlines()) == 1
    assert "ingest models pull ms-marco-minilm-l6" in on.err
