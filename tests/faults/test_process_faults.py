"""Runs that are killed, told to stop, or find their clock, their model or their output broken."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from command import INGEST, Outcome, ended, environment, ingest, ingest_process, write_jsonl
from corpus import python_topics
from faulty_proxy import Cue, Delay, Fault, FaultyProxy
from killing import kill_runs
from qdrant_server import Address
from sync_bench import DAY, START, SyncBench, counts, document
from tiny_models import tiny_dense

from ingest.encode.registry import find_model
from ingest.store import open_store
from ingest.store.edge.store import EdgeStore

DEADLINE = 60.0
"""Seconds after which a process that should have ended is taken for one that hangs."""


def test_runs_killed_at_random_moments_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    assert len(list(kill_runs(tmp_path, times=3, seed=0))) == 3


# --- told to stop


def test_one_signal_finishes_the_window_two_wait_for_nobody_and_the_next_run_goes_on(
    server: Address, scratch: str, tmp_path: Path
) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", python_topics(79, characters=4000))
    run = ["run", str(corpus), "--dense", "none", "--json", "-c"]

    with stalled([*run, scratch], server, Delay(0.5), tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130, err
    receipt = json.loads(out)
    assert (receipt["stopped"], receipt["balanced"]) == (True, True)
    assert 0 < receipt["written"] < 79

    with stalled([*run, scratch], server, Fault.SILENT, tmp_path) as process:
        process.send_signal(signal.SIGINT)
        wait_for("SIGINT: stopping after this window", process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err

    finished, peace = (ingest(*run, name, "--store", server.url, cwd=tmp_path) for name in (scratch, f"{scratch}_peace"))
    assert (finished.code, finished.json["balanced"], peace.code) == (0, True, 0), finished.err
    assert 0 < finished.json["unchanged"] < 79
    with open_store(server.url) as store:
        assert SyncBench(store, scratch, tmp_path).stored() == SyncBench(store, f"{scratch}_peace", tmp_path).stored()


@pytest.fixture
def scratch(server: Address, collection: str) -> Iterator[str]:
    """The name of a collection; what is made under it, or a name that begins with it, is dropped after the test."""
    yield collection
    with open_store(server.url) as store:
        for made in store.collections():
            if made.name.startswith(collection):
                store.drop(made.name)


@contextmanager
def stalled(command: list[str], server: Address, fault: Fault | Delay, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A run of many windows that has its third write on the way, and is not answered yet."""
    writes = itertools.count(1)
    cue: Cue = lambda request: fault if request.writes and next(writes) == 3 else None  # noqa: E731  as short as it gets
    with FaultyProxy(server.url, cue) as proxy:
        process = subprocess.Popen(
            [INGEST, *command, "--store", proxy.url],
            cwd=folder,
            env=environment(INGEST_WINDOW_CHUNKS="16", INGEST_TIMEOUT=str(10 * DEADLINE)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            while not proxy.struck:
                assert not ended(process, 0.02), process.communicate()
            yield process


def wait_for(words: str, stream: IO[str] | None) -> None:
    assert stream is not None
    assert any(words in line for line in stream), f"it never said {words!r}"


# --- the clock


class BackwardClockBench(SyncBench):
    """Whose clock is a day earlier each time it is asked, after `clock` was set."""

    @property
    def clock(self) -> float:
        self._clock -= DAY
        return self._clock

    @clock.setter
    def clock(self, seconds: float) -> None:
        self._clock = seconds


def test_a_clock_that_jumps_back_deletes_nothing_early_and_ends_nothing_late(tmp_path: Path) -> None:
    documents = [document(f"d{number}", "ab") for number in range(10)]
    with EdgeStore(tmp_path / "qdrant") as store:
        bench = BackwardClockBench(store, "docs", tmp_path)
        bench.full(documents)
        assert counts(bench.full(documents[1:])) == {"read": 9, "unchanged": 9, "soft_deleted": 1}
        receipt = bench.full(documents[1:])
        assert counts(receipt) == {"read": 9, "unchanged": 9}
        assert receipt.seconds >= 0
        assert bench.soft_deleted().keys() == {"d0"}
        bench.clock = START + 30 * DAY
        assert counts(bench.full(documents[1:])) == {"read": 9, "unchanged": 9, "deleted": 1}


# --- the model


def cut_short(weights: Path) -> None:
    os.truncate(weights, weights.stat().st_size // 2)


def remove(weights: Path) -> None:
    weights.unlink()


@pytest.mark.parametrize("damage", [cut_short, remove])
def test_a_damaged_model_is_one_line_and_nothing_is_written(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    model = tiny_dense(tmp_path / "tiny")
    damage(model / "model.safetensors")
    (tmp_path / "ingest.toml").write_text(f'dense = "mine"\n[models.mine]\npath = "{model}"\ndim = 32\nmax_tokens = 128\n')
    check_refused(tmp_path, says="mine")


def test_weights_of_another_digest_are_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    minilm = find_model("all-miniLM-l6")
    cached = tmp_path / "hub" / f"models--{str(minilm.hub_id).replace('/', '--')}" / "snapshots" / str(minilm.revision)
    shutil.copytree(tiny_dense(tmp_path / "tiny"), cached)
    check_refused(tmp_path, says=f"not {minilm.weights_sha256}", HF_HUB_CACHE=str(tmp_path / "hub"))


def check_refused(folder: Path, *, says: str, **settings: str) -> None:
    corpus = write_jsonl(folder / "corpus.jsonl", [{"id": "a", "text": "A document."}])
    outcome = (ingest_process if settings else ingest)("run", str(corpus), "-c", "docs", cwd=folder, **settings)
    assert outcome.code in {1, 2}
    (line,) = (line for line in outcome.err.splitlines() if "INFO BM25 stems english words" not in line)
    assert line.startswith("error: ")
    assert says in line
    with EdgeStore(folder / ".ingest" / "qdrant") as store:
        assert [made.points for made in store.collections()] in ([], [0])


# --- the output


def test_nobody_reads_the_output(tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", python_topics(20, characters=4000))
    assert ingest("run", str(corpus), "-c", "docs", "--dense", "none", cwd=tmp_path).code == 0
    outcome = into_closed_pipe("search", "docs", "attribute", "-n", "500", "--json", cwd=tmp_path)
    assert (outcome.code, outcome.err) == (1, ""), "a broken pipe is as much as everybody else says of it"


def into_closed_pipe(*arguments: str, cwd: Path) -> Outcome:
    """As `ingest … | true`."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            [INGEST, *arguments],
            cwd=cwd,
            env=environment(INGEST_RERANK="off"),
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    return Outcome(done.returncode, "", done.stderr)
