"""Several models, one at a time: within a run, between two runs on one host, and when a run is killed or waits in vain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from command import INGEST, environment, ingest, ingest_process, until, write_jsonl
from corpus import python_topics
from recording_models import RecordingModel
from tiny_models import DIM, tiny_dense, tiny_splade

from ingest.encode.lease import lease_gpus
from ingest.records import SparseVector
from ingest.store import open_store

PATIENCE_SECONDS = 120.0
SPARSE = ["stems", "bm25"]
"""Two models that need no weights, for tests of who computes when: a process with a dense one takes seconds to start."""

SPARSE_ONLY = """
dense = []
sparse = ["stems", "bm25"]
window_chunks = 2  # so small that a run takes many turns, and long enough to be stopped in one

[models.stems]
kind = "sparse"
hub_id = "Qdrant/bm25"
backend = "qdrant"
idf = true
"""


@pytest.fixture
def collection() -> str:
    return f"e2e_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture
def settings(leases: Path) -> dict[str, str]:
    """One processor to fight for."""
    return {"INGEST_DEVICE": "cpu", "INGEST_LEASE_DIR": str(leases)}


class Run:
    """An `ingest run` with the sparse models in a folder of its own, as it goes on."""

    def __init__(self, process: subprocess.Popen[str], telemetry: Path) -> None:
        self.process = process
        self._telemetry = telemetry

    def wait_until_it_waits(self) -> str:
        """For the lease; what it says of who holds it."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "waits for cpu" in line:
                return line
        return pytest.fail("it ended instead of waiting")

    def events(self) -> list[dict[str, Any]]:
        lines = self._telemetry.read_text().splitlines() if self._telemetry.exists() else []
        return [event for event in map(json.loads, lines) if event["type"] == "lease"]

    def stop_with_lease(self) -> None:
        """Stop the process while it holds the lease, which it does not between the last window and its end."""
        until(self.events, self.process)
        while True:
            self.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            assert self.process.poll() is None, "the run ended before it could be stopped"
            if self.events()[-1]["event"] == "acquire":
                return
            self.process.send_signal(signal.SIGCONT)

    def receipt(self) -> Any:
        out, err = self.process.communicate()
        assert self.process.returncode == 0, err
        return json.loads(out)


@contextmanager
def started(folder: Path, *arguments: str, **settings: str) -> Iterator[Run]:
    folder.mkdir()
    (folder / "ingest.toml").write_text(SPARSE_ONLY)
    telemetry = folder / "telemetry.jsonl"
    with subprocess.Popen(
        [INGEST, "run", *arguments, "--telemetry", str(telemetry), "--json"],
        cwd=folder,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        # A test that waits for what never comes must end, too.
        patience = threading.Timer(PATIENCE_SECONDS, process.kill)
        patience.start()
        try:
            yield Run(process, telemetry)
        finally:
            patience.cancel()
            process.kill()


def test_two_runs_into_one_collection_take_turns_and_both_balance(
    tmp_path: Path, server_url: str, collection: str, leases: Path, settings: dict[str, str]
) -> None:
    topics = python_topics(64, characters=400)
    corpora = [write_jsonl(tmp_path / f"{name}.jsonl", part) for name, part in (("even", topics[::2]), ("odd", topics[1::2]))]
    run = ["-c", collection, "--store", server_url]
    with (
        started(tmp_path / "first", str(corpora[0]), *run, **settings) as first,
        started(tmp_path / "second", str(corpora[1]), *run, **settings) as second,
    ):
        with lease_gpus(RecordingModel("starter"), ("cpu",), directory=leases):
            for each in (first, second):
                assert f"leased by process {os.getpid()}" in each.wait_until_it_waits()
        receipts = [first.receipt(), second.receipt()]
    assert [(receipt["written"], receipt["balanced"], receipt["errors"]) for receipt in receipts] == [(32, True, [])] * 2

    held = []
    for number, each in enumerate((first, second)):
        events = each.events()
        assert [event["event"] for event in events] == ["acquire", "release"] * (len(events) // 2)
        assert [event["model"] for event in events[::2]] == SPARSE * (len(events) // 4)
        held += [(begin["time"], end["time"], number) for begin, end in zip(events[::2], events[1::2], strict=True)]
    held.sort()
    assert all(end <= following for (_, end, _), (following, _, _) in pairwise(held)), held
    turns = [number for number, _ in groupby(number for _, _, number in held)]
    assert len(turns) > 4, turns


def test_four_models_make_four_vectors_of_every_chunk(
    tmp_path: Path, server_url: str, collection: str, settings: dict[str, str]
) -> None:
    (tmp_path / "ingest.toml").write_text(
        f"""
        dense = ["all-miniLM-l6", "tiny"]
        sparse = ["bm25", "tiny-splade"]
        window_chunks = 8

        [models.tiny]
        path = "{tiny_dense(tmp_path / "tiny")}"
        dim = {DIM}
        max_tokens = 256
        pooling = "mean"

        [models.tiny-splade]
        kind = "sparse"
        path = "{tiny_splade(tmp_path / "splade")}"
        max_tokens = 256
        """
    )
    models = ["all-miniLM-l6", "tiny", "bm25", "tiny-splade"]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", python_topics(12, characters=600))
    place = ["--store", server_url, "--json"]

    outcome = ingest("run", str(corpus), "-c", collection, *place, "--telemetry", "telemetry.jsonl", cwd=tmp_path, **settings)
    assert outcome.code == 0, outcome.err
    receipt = outcome.json
    chunks = receipt["chunks"]["written"]
    assert (receipt["written"], receipt["balanced"]) == (12, True)
    assert receipt["window"] >= 8
    assert 0 < receipt["swap_share"] < 1
    assert [(model["key"], model["kind"], model["dim"], model["dtype"], model["chunks"]) for model in receipt["models"]] == [
        ("all-miniLM-l6", "dense", 384, "float32", chunks),
        ("tiny", "dense", DIM, "float32", chunks),
        ("bm25", "sparse", None, "float32", chunks),
        ("tiny-splade", "sparse", None, "float32", chunks),
    ]
    telemetry = (tmp_path / "telemetry.jsonl").read_text()
    passes = [line for line in map(json.loads, telemetry.splitlines()) if line["type"] == "pass"]
    windows = passes[-1]["window"]
    assert windows > 1
    assert [(each["window"], each["key"]) for each in passes] == [
        (window + 1, key) for window in range(windows) for key in models
    ]
    assert [(event["event"], event["model"]) for event in receipt["lease_events"]] == [
        (what, key) for _ in range(windows) for key in models for what in ("acquire", "release")
    ]
    assert "attribute" not in telemetry, "a document's text is in the telemetry"

    info = ingest("collections", "info", collection, *place, cwd=tmp_path).json
    assert [(spec["name"], spec["dim"], spec["model"]["dtype"]) for spec in info["vectors"]] == [
        ("all-miniLM-l6", 384, "float32"),
        ("tiny", DIM, "float32"),
        ("bm25", None, "float32"),
        ("tiny-splade", None, "float32"),
    ]
    with open_store(server_url) as store:
        points = list(store.scroll(collection, vectors=True))
    assert len(points) == chunks
    for point in points:
        assert set(point.vectors) == set(models)
        for key, dim in (("all-miniLM-l6", 384), ("tiny", DIM)):
            assert point.vectors[key].shape == (dim,)  # type: ignore[union-attr]  # dense ones are arrays
        for key in ("bm25", "tiny-splade"):
            assert isinstance(point.vectors[key], SparseVector)

    found = ingest("search", collection, "how are attribute references resolved?", *place, cwd=tmp_path)
    assert found.code == 0, found.err
    best = found.json["hits"][0]
    assert best["doc_id"] == "attribute-references"
    assert set(best["ranks"]) == set(models)


def test_the_next_run_gets_on_when_the_one_that_holds_the_lease_is_killed(
    tmp_path: Path, server_url: str, collection: str, settings: dict[str, str]
) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", python_topics(64, characters=400))
    run = [str(corpus), "-c", collection, "--store", server_url]
    with started(tmp_path / "first", *run, **settings) as holder:
        holder.stop_with_lease()
        with started(tmp_path / "second", *run, **settings) as waiting:
            says = waiting.wait_until_it_waits()
            assert f"leased by process {holder.process.pid} on " in says
            assert "(ingest run, model " in says
            holder.process.send_signal(signal.SIGKILL)
            receipt = waiting.receipt()
    assert holder.process.returncode == -signal.SIGKILL
    assert (receipt["read"], receipt["rejected"], receipt["balanced"]) == (64, 0, True)


def test_a_run_that_waits_in_vain_says_for_whom(
    tmp_path: Path, server_url: str, collection: str, leases: Path, settings: dict[str, str]
) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", python_topics(1))
    with lease_gpus(RecordingModel("house-model"), ("cpu",), directory=leases):
        outcome = ingest_process(
            *("run", str(corpus), "-c", collection, "--dense", "none", "--store", server_url),
            cwd=tmp_path,
            INGEST_LEASE_TIMEOUT="0.5",
            **settings,
        )
    assert outcome.code == 1
    (error,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert f"cpu is leased by process {os.getpid()} on " in error
    assert "model house-model, since 20" in error
    assert "Traceback" not in outcome.err
