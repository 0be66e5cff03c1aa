"""How soon a change in a watched folder is searchable, and whether memory grows with the changes.

    .venv/bin/python scripts/bench/watch.py [--files 1000] [--edits 200] [--events 100000] [--dense all-miniLM-l6|none]

`ingest run --watch` follows a folder of generated documents, on a Qdrant server that is started as the tests start theirs.
First, files are edited one after another, while another thread searches without a pause: the time from closing a file until a
search finds a word that only this edit has. Then files are written in a storm of events, and the resident memory of the command
is measured after each tenth of them. Prints one JSON object; fails if the 95th percentile is 2 s or more, or if memory grows by
more than a tenth after the first fifth.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

from measuring import machine

from ingest.search.searcher import Searcher
from ingest.store import open_store
from ingest.testing import generated_documents

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from command import INGEST, environment
from qdrant_server import any_server

COLLECTION = "watched"
P95_SECONDS = 2.0
GROWTH = 1.1
SETTLE_SECONDS = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--dense", default="all-miniLM-l6")
    arguments = parser.parse_args()
    with any_server() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name, "docs")
        folder.mkdir()
        for document in generated_documents(arguments.files):
            (folder / f"{document.id}.md").write_text(document.text)
        command = [
            INGEST,
            "run",
            str(folder),
            "-c",
            COLLECTION,
            "--store",
            server.url,
            "--dense",
            arguments.dense,
            "--watch",
            "--json",
        ]
        with subprocess.Popen(command, cwd=name, env=environment(), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            json.loads(process.stdout.readline())
            threading.Thread(target=lambda: [None for _ in process.stdout or ()], daemon=True).start()
            try:
                seconds = latencies(folder, server.url, arguments.edits)
                memory = memory_of_storm(folder, process.pid, arguments.events)
            finally:
                process.send_signal(signal.SIGINT)
    p95 = statistics.quantiles(seconds, n=20)[-1]
    found = {"median": statistics.median(seconds), "p95": p95, "max": max(seconds), "memory_mib": memory}
    print(json.dumps({"machine": machine(), **vars(arguments), **found}))
    return int(p95 >= P95_SECONDS or max(memory[2:]) > memory[1] * GROWTH)


def latencies(folder: Path, url: str, edits: int) -> list[float]:
    """Return the seconds from each edit until it is found."""
    files, seconds, ended = sorted(folder.iterdir()), [], threading.Event()
    with open_store(url) as store, Searcher.open(COLLECTION, store) as searcher:

        def search() -> None:
            while not ended.is_set():
                searcher.search("what is found", rerank="off")

        others = threading.Thread(target=search)
        others.start()
        for number in range(edits):
            word = uuid.uuid4().hex
            files[number % len(files)].write_text(f"An edit with the word {word}.")
            closed = time.monotonic()
            while not any(word in hit.text for hit in searcher.search(word, vectors=["bm25"], limit=1, rerank="off")):
                time.sleep(0.01)
            seconds.append(time.monotonic() - closed)
        ended.set()
        others.join()
    return seconds


def memory_of_storm(folder: Path, pid: int, events: int) -> list[float]:
    """Return the resident memory of a process in MiB, after each tenth of the events."""
    files, memory = sorted(folder.iterdir()), []
    for number in range(events):
        files[number % len(files)].write_text(f"Version {number} of the text.")
        if (number + 1) % (events // 10) == 0:
            time.sleep(SETTLE_SECONDS / 10)
            memory.append(resident(pid))
    return memory


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
