"""Kills reindexes in place at moments that a seed chooses, and shows that what is searched is never a mix.

As a program, `reindex_killing.py FOLDER MODEL` is the victim: it says when it begins, and reindexes the store in FOLDER.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from reindexing import Bench, documents

from ingest.reindex.in_place import reindex_in_place
from ingest.reindex.reindex import roll_back
from ingest.store.edge.store import EdgeStore
from ingest.sync.reading import WindowBounds
from ingest.testing import HashEncoder

KEPT = HashEncoder("kept", 64)
MODELS = {name: HashEncoder(name, 128) for name in ("one", "two")}
DOCUMENTS = documents(300)
WINDOW = WindowBounds(chunks=64)


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill: seconds after the reindex began, the model that is searched then, and how many points have both vectors."""

    seconds: float
    searched: str
    filled: int


def kill_reindexes(folder: Path, *, times: int, seed: int) -> Iterator[Kill]:
    """Reindex from one model to the other and back, and kill that so often; each continues what the last one left.

    Raises `AssertionError` if the collection ever is neither what an ingestion with the one model leaves nor with the other.
    """
    expected = {}
    for name, model in MODELS.items():
        with EdgeStore(folder / f"ingested-{name}") as store:
            ingested = Bench(store, folder)
            ingested.run(DOCUMENTS, [KEPT, model])
            expected[name] = ingested.searched()
    with EdgeStore(folder / "store") as store:
        Bench(store, folder).run(DOCUMENTS, [KEPT, MODELS["one"]])
    rng, target, longest, killed = random.Random(seed), "two", 5.0, 0
    while killed < times:
        seconds = rng.uniform(0, longest)
        taken = _kill(folder, target, seconds)
        with EdgeStore(folder / "store") as store:
            bench = Bench(store, folder)
            searched = next(name for name in MODELS if name in store.manifest("docs").fingerprints)
            assert bench.searched() == expected[searched]
            if taken is None:
                points = [(payload["_ingest"]["vectors"].keys(), vectors.keys()) for payload, vectors in bench.content().values()]
                assert all(recorded <= stored for recorded, stored in points), "a point records a vector that it lacks"
                filled = sum(len(recorded) == len({KEPT.key, *MODELS}) for recorded, _ in points)
                killed += 1
                yield Kill(seconds, searched, filled)
            else:
                assert searched == target
                longest, target = taken, next(name for name in MODELS if name != target)
    with EdgeStore(folder / "store") as store:
        bench = Bench(store, folder)
        for name, model in MODELS.items():
            bench.reindex([KEPT, model], build=reindex_in_place)
            assert bench.searched() == expected[name]
        roll_back("docs", store=store)
        assert bench.searched() == expected["one"]


def _kill(folder: Path, model: str, seconds: float) -> float | None:
    """Reindex and kill that after so many seconds. Return the seconds it took, or None if it was killed."""
    command = [sys.executable, __file__, str(folder), model]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"begins\n"
        started = time.monotonic()
        try:
            assert victim.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            victim.kill()
            return None
        return time.monotonic() - started


def _reindex(folder: Path, model: str) -> None:
    with EdgeStore(folder / "store") as store:
        bench = Bench(store, folder)
        bench.job = replace(bench.job, bounds=WINDOW)
        sys.stdout.write("begins\n")
        sys.stdout.flush()
        bench.reindex([KEPT, MODELS[model]], keep_old=False, build=reindex_in_place)


if __name__ == "__main__":
    _reindex(Path(sys.argv[1]), sys.argv[2])
