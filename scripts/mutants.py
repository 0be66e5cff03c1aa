"""Break the code of leases, devices, batches, runner, rerankers and registry on purpose, one fault at a time, and run its tests.

    .venv/bin/python scripts/mutants.py              all mutants, about twenty minutes
    .venv/bin/python scripts/mutants.py batching     those of the files whose name contains `batching`

Each mutant of `mutants.txt` replaces one piece of source in a temporary copy of the project and runs the tests that should
notice. It prints `killed` or `survived` for each, and exits with 1 if one survives that is not explained there, if its source is
no longer there, or if the tests fail without any mutant.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sentence_transformers  # noqa: F401  imported once, for all forks
import torch

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_suffix(".txt")

TIMEOUT = 500.0
"""Seconds after which a mutant that hangs counts as killed, and tests without a mutant as failed."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault.

    Attributes:
        file: file to change, under `ingest/`.
        old: text that occurs there exactly once.
        new: its replacement.
        tests: test files that should fail, under `tests/unit/` unless they name their folder.
        survives: why no test can notice, or "".
    """

    file: str
    old: str
    new: str
    tests: str
    survives: str = ""

    @property
    def paths(self) -> list[str]:
        """The test files under `tests/`."""
        return [test if "/" in test else f"unit/{test}" for test in self.tests.split()]


def read_mutants(file: Path) -> list[Mutant]:
    """Read one mutant a line: `file | old | new | tests`, then ` | why it survives`, with backslash and n for a line break."""
    mutants = []
    for line in file.read_text().splitlines():
        path, old, new, *rest = line.split(" | ")
        mutants.append(Mutant(path, old.replace("\\n", "\n"), new.replace("\\n", "\n"), *rest))
    return mutants


def main(arguments: Sequence[str]) -> int:
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.dont_write_bytecode = True
    torch.set_num_threads(1)
    chosen = [mutant for mutant in read_mutants(LIST) if not arguments or any(name in mutant.file for name in arguments)]
    results: dict[str, list[Mutant]] = {"killed": [], "survived": [], "explained": [], "not found": []}
    with _copy_of_the_project() as copy:
        if not _passes(copy, sorted({test for mutant in chosen for test in mutant.paths})):
            print("the tests fail without any mutant")
            return 1
        for mutant in chosen:
            result = _try(copy, mutant)
            results[result].append(mutant)
            print(f"{result:9}  {mutant.file}: {mutant.old.strip()!r} -> {mutant.new.strip()!r}", flush=True)
    print(", ".join(f"{len(mutants)} {result}" for result, mutants in results.items() if mutants))
    return 1 if results["survived"] or results["not found"] else 0


def _try(copy: Path, mutant: Mutant) -> str:
    path = copy / "ingest" / mutant.file
    source = path.read_text()
    if source.count(mutant.old) != 1:
        return "not found"
    path.write_text(source.replace(mutant.old, mutant.new))
    try:
        passed = _passes(copy, mutant.paths)
    finally:
        path.write_text(source)
    if passed:
        return "explained" if mutant.survives else "survived"
    return "killed"


def _passes(copy: Path, tests: Sequence[str]) -> bool:
    """Run the tests in a fork of this process, which has imported the large libraries already."""
    run = multiprocessing.get_context("fork").Process(target=_run_tests, args=(copy, tests))
    run.start()
    run.join(TIMEOUT)
    if run.is_alive():
        run.kill()
        run.join()
    return run.exitcode == 0


def _run_tests(copy: Path, tests: Sequence[str]) -> None:
    os.chdir(copy)
    sys.path[:0] = [str(copy), str(copy / "tests")]
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)]))


@contextmanager
def _copy_of_the_project() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder) / "project"
        for name in ("ingest", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        yield copy


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
