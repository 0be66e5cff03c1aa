"""The main job: the real command, the real models, the embedded engine and a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import INGEST, Outcome, environment, ingest, ingest_process, until, write_jsonl
from corpus import python_topics

from ingest.records import StoredPoint
from ingest.store import open_store

SPARSE_ONLY = {"INGEST_DENSE": "none"}
"""Where the dense model is not the point it is left out: loading it takes seconds each time."""

SMALL_WINDOWS = {**SPARSE_ONLY, "INGEST_WINDOW_CHUNKS": "4"}

QUESTION = "how are attribute references resolved?"


@pytest.fixture(params=["embedded", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where `--store` points."""
    return str(tmp_path / "qdrant") if request.param == "embedded" else request.getfixturevalue("server_url")


@pytest.fixture
def collection() -> str:
    return f"e2e_{uuid.uuid4().hex[:12]}"


def test_documents_go_in_and_the_same_answers_come_out_of_both_engines(tmp_path: Path, server_url: str, collection: str) -> None:
    embedded = _run_twice_and_ask(tmp_path, str(tmp_path / "qdrant"), collection, ingest_process)
    served = _run_twice_and_ask(tmp_path, server_url, collection, ingest)
    assert [(hit["id"], hit["ranks"]) for hit in embedded] == [(hit["id"], hit["ranks"]) for hit in served]


def _run_twice_and_ask(tmp_path: Path, place: str, collection: str, run_first: Callable[..., Outcome]) -> list[dict[str, Any]]:
    records = python_topics(12, characters=700)
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [*records, {"id": "empty", "text": " "}])
    with corpus.open("a") as stream:
        stream.write('{"id": "broken"\n')

    first = run_first("run", str(corpus), "-c", collection, "--store", place, "--max-rejects", "2", "--json", cwd=tmp_path)

    assert first.code == 0, first.err
    receipt = first.json
    assert {key: receipt[key] for key in ("read", "written", "updated", "unchanged", "deleted", "rejected", "balanced")} == {
        "read": 14,
        "written": 12,
        "updated": 0,
        "unchanged": 0,
        "deleted": 0,
        "rejected": 2,
        "balanced": True,
    }
    assert [(model["key"], model["kind"], model["dim"]) for model in receipt["models"]] == [
        ("all-miniLM-l6", "dense", 384),
        ("bm25", "sparse", None),
    ]
    assert [(event["event"], event["model"]) for event in receipt["lease_events"]] == [
        ("acquire", "all-miniLM-l6"),
        ("release", "all-miniLM-l6"),
        ("acquire", "bm25"),
        ("release", "bm25"),
    ]
    rejects = [json.loads(line) for line in (tmp_path / f".ingest/rejects/{collection}.jsonl").read_text().splitlines()]
    assert [Path(reject["position"].split(":")[0]).name for reject in rejects] == ["corpus.jsonl", "corpus.jsonl"]
    assert [reject["position"].rsplit(":", 1)[1] for reject in rejects] == ["13", "14"]

    second = ingest("run", str(corpus), "-c", collection, "--store", place, "--max-rejects", "2", "--json", cwd=tmp_path).json
    assert (second["unchanged"], second["written"], second["models"], second["balanced"]) == (12, 0, [], True)

    found = ingest("search", collection, QUESTION, "--store", place, "--json", cwd=tmp_path)
    assert found.code == 0, found.err
    hits: list[dict[str, Any]] = found.json["hits"]
    best = hits[0]
    assert best["doc_id"] == "attribute-references"
    assert set(best["ranks"]) == {"all-miniLM-l6", "bm25"}
    assert best["text"] in next(record["text"] for record in records if record["id"] == "attribute-references")
    return hits


def test_an_edit_encodes_only_the_chunks_it_touched(tmp_path: Path, collection: str) -> None:
    records = python_topics(3, characters=6000)
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)
    first = ingest("run", str(corpus), "-c", collection, "--json", cwd=tmp_path, **SPARSE_ONLY).json
    records[0]["text"] += "\n\nA new last paragraph about something else entirely."
    write_jsonl(corpus, records)

    plan = ingest("plan", str(corpus), "-c", collection, "--json", cwd=tmp_path, **SPARSE_ONLY).json
    assert (plan["updated"], plan["unchanged"], plan["chunks"]) == (1, 2, {"bm25": 1})
    second = ingest("run", str(corpus), "-c", collection, "--json", cwd=tmp_path, **SPARSE_ONLY).json

    assert (second["updated"], second["unchanged"], second["balanced"]) == (1, 2, True)
    assert second["chunks"]["written"] == 1
    assert [model["chunks"] for model in second["models"]] == [1]
    assert (
        second["chunks"]["written"] + second["chunks"]["reused"]
        == first["chunks"]["written"] - second["chunks"]["deleted"] + (second["chunks"]["written"])
    )


def test_metadata_alone_never_reaches_a_model(tmp_path: Path, collection: str) -> None:
    records = python_topics(3)
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)
    ingest("run", str(corpus), "-c", collection, cwd=tmp_path, **SPARSE_ONLY)
    records[0]["metadata"] = {"length": -1}
    write_jsonl(corpus, records)
    receipt = ingest("run", str(corpus), "-c", collection, "--json", cwd=tmp_path, **SPARSE_ONLY).json
    assert (receipt["updated"], receipt["models"], receipt["balanced"]) == (1, [], True)
    hits = ingest("search", collection, QUESTION, "--where", "metadata.length=-1", "--json", cwd=tmp_path).json["hits"]
    assert {hit["doc_id"] for hit in hits} == {records[0]["id"]}


def test_a_plan_changes_nothing(tmp_path: Path, collection: str) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", python_topics(3))
    before = sorted(tmp_path.rglob("*"))
    plan = ingest("plan", str(corpus), "-c", collection, "--json", cwd=tmp_path).json
    assert (plan["added"], plan["exists"], plan["chunks"]["bm25"]) == (3, False, plan["chunks"]["all-miniLM-l6"])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, StoredPoint]]:
    """A corpus, and the points of a run over it that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    corpus = str(write_jsonl(folder / "corpus.jsonl", python_topics(32, characters=500)))
    os.utime(corpus, (1_500_000_000,) * 2)  # or a later run would store another version
    store = str(folder / "qdrant")
    done = ingest("run", corpus, "-c", "whole", "--store", store, cwd=folder, **SMALL_WINDOWS)
    assert done.code == 0, done.err
    return corpus, _points(store, "whole")


def test_a_killed_run_is_finished_by_the_next_as_if_nothing_had_happened(
    tmp_path: Path, place: str, collection: str, undisturbed: tuple[str, dict[str, StoredPoint]]
) -> None:
    corpus, whole = undisturbed
    telemetry = tmp_path / "telemetry.jsonl"
    run = ["run", corpus, "-c", collection, "--store", place, "--json"]

    with subprocess.Popen(
        [INGEST, *run, "--telemetry", str(telemetry)],
        cwd=tmp_path,
        env=environment(**SMALL_WINDOWS),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as victim:
        until(lambda: telemetry.exists() and telemetry.read_text().count('"type": "pass"') >= 4, victim)
        victim.send_signal(signal.SIGKILL)
    assert victim.returncode == -signal.SIGKILL, "the run ended before it could be killed"

    resumed = ingest(*run, cwd=tmp_path, **SMALL_WINDOWS)
    assert resumed.code == 0, resumed.err
    receipt = resumed.json
    assert receipt["balanced"]
    assert receipt["unchanged"] + receipt["updated"] > 0, "nothing had been written before the kill"
    assert receipt["read"] == 32

    broken = _points(place, collection)
    assert broken.keys() == whole.keys()
    for id_, point in whole.items():
        assert broken[id_].payload == point.payload
        for mine, theirs in zip(_sparse(broken[id_].vectors["bm25"]), _sparse(point.vectors["bm25"]), strict=True):
            assert mine == theirs


def _points(place: str, collection: str) -> dict[str, StoredPoint]:
    with open_store(place) as store:
        return {point.id: point for point in store.scroll(collection, payload=True, vectors=True)}


def _sparse(vector: object) -> tuple[list[int], list[float]]:
    return vector.indices.tolist(), vector.values.tolist()  # type: ignore[attr-defined]  # a SparseVector by its name


def test_full_deletes_what_is_gone_but_not_too_much_of_it(tmp_path: Path, place: str, collection: str) -> None:
    records = python_topics(10, characters=300)
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)
    run = ["run", str(corpus), "-c", collection, "--store", place, "--delete", "full", "--json"]
    ingest(*run, cwd=tmp_path, **SPARSE_ONLY)

    write_jsonl(corpus, records[:1])
    braked = ingest(*run, cwd=tmp_path, **SPARSE_ONLY)
    assert braked.code == 4
    assert braked.json["doc_ids"] == sorted(record["id"] for record in records[1:])
    assert "Traceback" not in braked.err

    write_jsonl(corpus, records[:9])
    receipt = ingest(*run, cwd=tmp_path, **SPARSE_ONLY).json
    assert (receipt["unchanged"], receipt["deleted"], receipt["balanced"]) == (9, 1, True)


def test_standard_input_is_a_source(tmp_path: Path, collection: str) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in python_topics(2, characters=300))
    outcome = ingest_process("run", "-", "-c", collection, "--json", cwd=tmp_path, stdin=lines, **SPARSE_ONLY)
    assert (outcome.code, outcome.json["written"]) == (0, 2), outcome.err


def test_more_rejects_than_allowed_is_exit_3(tmp_path: Path, collection: str) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "good"}\nbad\n')
    outcome = ingest("run", str(corpus), "-c", collection, "--dense", "none", "--json", cwd=tmp_path)
    assert (outcome.code, outcome.json["written"], outcome.json["rejected"], outcome.json["balanced"]) == (3, 1, 1, True)
