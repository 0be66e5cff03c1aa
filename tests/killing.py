"""Kills runs at moments that a seed chooses, and shows that what is stored in the end is what an undisturbed run leaves."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import INGEST, ended, environment, ingest, write_jsonl
from corpus import python_topics
from sync_bench import SyncBench

from ingest.store import open_store

WINDOW_CHUNKS = 16
PASSES = 9
"""About as many windows as a run has that edits half of its documents."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a run was killed: so many seconds after it had encoded so many windows."""

    passes: int
    seconds: float


def kill_runs(folder: Path, *, times: int, seed: int) -> Iterator[Moment]:
    """Runs over a corpus that is another each time are killed until `times` were; each picks up what the last one left.

    Then one is left in peace, and so is one into another store: raises `AssertionError` if they do not hold the same.
    """
    chance = random.Random(seed)
    killed = 0
    for version in range(times * 3):
        corpus = write_jsonl(folder / "corpus.jsonl", corpus_of(version))
        if killed == times:
            break
        moment = Moment(chance.randrange(PASSES + 1), chance.uniform(0, 0.1))
        if _kill_run(corpus, folder, moment, telemetry=folder / f"telemetry-{version}.jsonl"):
            killed += 1
            yield moment
    assert killed == times, f"of {times * 3} runs {killed} lived until they were killed"
    for store in ("war", "peace"):
        receipt = ingest(*_command(corpus, store), "--json", cwd=folder, **_settings()).json
        assert receipt["balanced"], receipt
    with open_store(folder / "war") as war, open_store(folder / "peace") as peace:
        assert SyncBench(war, "docs", folder).stored() == SyncBench(peace, "docs", folder).stored()


def corpus_of(version: int) -> list[dict[str, Any]]:
    """Each version edits half of the documents of the last one, and leaves out others than it did."""
    records = python_topics(79, characters=4000)
    for number, record in enumerate(records):
        record["text"] = f"Version {(version + number) // 2}.\n\n{record['text']}"
        record["metadata"] = {"version": version}
    return [record for number, record in enumerate(records) if number % 10 != version % 10]


def _kill_run(corpus: Path, folder: Path, moment: Moment, telemetry: Path) -> bool:
    """Whether the run lived until then."""
    command = [INGEST, *_command(corpus, "war"), "--telemetry", str(telemetry)]
    with subprocess.Popen(
        command, cwd=folder, env=environment(**_settings()), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as victim:
        while not ended(victim, 0.005) and _passes(telemetry) < moment.passes:
            pass
        if not ended(victim, moment.seconds):
            victim.send_signal(signal.SIGKILL)
    return victim.returncode == -signal.SIGKILL


def _command(corpus: Path, store: str) -> list[str]:
    return ["run", str(corpus), "-c", "docs", "--dense", "none", "--delete", "full", "--max-delete", "100%", "--store", store]


def _settings() -> dict[str, str]:
    return {"INGEST_WINDOW_CHUNKS": str(WINDOW_CHUNKS)}


def _passes(telemetry: Path) -> int:
    """-1 before it runs at all."""
    return telemetry.read_text().count('"type": "pass"') if telemetry.exists() else -1
