"""The real command on a Ray of its own: stopped, killed, and run again."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from command import DEADLINE, INGEST, environment, ingest, until, write_jsonl
from qdrant_server import Address
from sync_bench import SyncBench, text_of

from ingest.store import open_store

SETTINGS = {"INGEST_WINDOW_CHUNKS": "4"}


def test_a_run_that_is_stopped_or_killed_is_picked_up_by_the_next(server: Address, collection: str, tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"id": f"d{n}", "text": f"{n}. {text_of('ab')}"} for n in range(1600)])
    run = ["run", str(corpus), "--dense", "none", "--store", server.url, "--json"]
    on_ray = [*run, "-c", collection, "--engine", "ray", "--workers", "2"]
    with open_store(server.url) as store:

        def points() -> int:
            return store.count(collection) if collection in store.aliases() else 0

        stopped, out, err = _interrupt(on_ray, signal.SIGTERM, lambda: points() > 0, tmp_path)
        assert stopped == 130, err
        receipt = json.loads(out)
        assert (receipt["stopped"], receipt["balanced"]) == (True, True), err
        assert 0 < receipt["written"] == receipt["read"] < 1600
        written = points()
        assert written >= receipt["written"]

        killed, _, _ = _interrupt(on_ray, signal.SIGKILL, lambda: points() > written, tmp_path)
        assert killed == -signal.SIGKILL

        for _ in range(10):  # one machine goes on with it as well, and sooner
            last = ingest(*run, "-c", collection, cwd=tmp_path)
            if last.code == 0:  # the workers outlive the killed driver for a moment, and what they write unbalances a receipt
                break
        assert last.code == 0, last.err
        assert last.json["read"] == 1600
        assert last.json["unchanged"] > receipt["written"]
        assert ingest(*run, "-c", f"{collection}_alone", cwd=tmp_path).code == 0
        benches = [SyncBench(store, name, tmp_path) for name in (collection, f"{collection}_alone")]
        assert benches[0].stored() == benches[1].stored()


def _interrupt(command: list[str], number: signal.Signals, ready: Callable[[], bool], folder: Path) -> tuple[int, str, str]:
    """Sends the signal when it is ready; gives the exit code, standard output and standard error."""
    with subprocess.Popen(
        [INGEST, *command], cwd=folder, env=environment(**SETTINGS), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until(ready, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out, err
