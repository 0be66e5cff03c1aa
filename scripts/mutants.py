"""Break the code of leases, devices, batches, runner, rerankers and registry on purpose, one fault at a time, and run its tests.

    .venv/bin/python scripts/mutants.py              all mutants, about ten minutes
    .venv/bin/python scripts/mutants.py batching     those of the files whose name contains `batching`

Each mutant replaces one piece of source in a temporary copy of the project and runs the tests that should notice. It prints
`killed` or `survived` for each and exits with 1 if one survives that is not explained, or if its source is no longer there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 300.0
"""Seconds after which a mutant that hangs counts as killed."""


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


BATCHING = (
    Mutant("encode/batching.py", "np.argsort(-lengths[indices]", "np.argsort(0 * lengths[indices]", "test_encode_batching.py"),
    Mutant(
        "encode/batching.py",
        "return max(1, budget // max(1, int",
        "return max(1, 2 * budget // max(1, int",
        "test_encode_batching.py",
    ),
    Mutant(
        "encode/batching.py",
        "MAX_PADDING_SHARE * self._padded",
        "MAX_PADDING_SHARE * 10 * self._padded",
        "test_encode_batching.py",
    ),
    Mutant("encode/batching.py", "_BATCH_PADDING_SHARE = 0.08", "_BATCH_PADDING_SHARE = 0.1", "test_encode_batching.py"),
    Mutant("encode/batching.py", "        self._padding += int(padding[count - 1])\n", "", "test_encode_batching.py"),
    Mutant("encode/batching.py", "            self._returned.append(batch)", "            pass", "test_encode_batching.py"),
    Mutant("encode/batching.py", "speed < self.best[1] * _WORTHWHILE_SPEEDUP", "speed < 0", "test_encode_batching.py"),
    Mutant("encode/batching.py", "_WORTHWHILE_SPEEDUP = 1.03", "_WORTHWHILE_SPEEDUP = 1.0", "test_encode_batching.py"),
    Mutant("encode/batching.py", "speed = median(self.trials)", "speed = max(self.trials)", "test_encode_batching.py"),
    Mutant(
        "encode/batching.py",
        "self.tokens, self.settled = self.best[0], True",
        "self.tokens = self.best[0]",
        "test_encode_batching.py",
    ),
    Mutant(
        "encode/batching.py",
        "grown = int(min(self.tokens * _GROWTH, limit))",
        "grown = int(self.tokens * _GROWTH)",
        "test_encode_batching.py",
    ),
    Mutant("encode/batching.py", "limit = min(limit, self.ceiling * _CEILING_SHARE)", "pass", "test_encode_batching.py"),
    Mutant("encode/batching.py", "self.ceiling = int(self.ceiling * _CEILING_RECOVERY) + 1", "pass", "test_encode_batching.py"),
    Mutant(
        "encode/batching.py",
        "self.tokens = max(1, min(self.tokens, cost // 2))",
        "self.tokens = max(1, self.tokens - 1)",
        "test_encode_batching.py",
    ),
    Mutant("encode/batching.py", "largest < budget.tokens * _FULL", "largest < 0", "test_encode_batching.py"),
    Mutant("encode/batching.py", "                budget.end_trial()", "                pass", "test_encode_batching.py"),
    Mutant(
        "encode/batching.py", "            return self._cpu_tokens\n", "            return math.inf\n", "test_encode_batching.py"
    ),
    Mutant(
        "encode/batching.py", "memory.total_bytes * SOFT_LIMIT_SHARE if", "memory.total_bytes * 8 if", "test_encode_batching.py"
    ),
    Mutant(
        "encode/batching.py",
        "[*key, budget.proven, budget.ceiling]",
        "[*key, budget.tokens, budget.ceiling]",
        "test_encode_batching.py",
    ),
    Mutant("encode/batching.py", "if ceiling or is_accelerator(d)", "if True", "test_encode_batching.py"),
)

RUNNER = (
    Mutant("encode/runner.py", "dict.fromkeys(texts)", "dict.fromkeys(sorted(texts))", "test_encode_runner.py"),
    Mutant("encode/runner.py", "lengths <= limit.max_tokens", "lengths <= limit.max_tokens + 1", "test_encode_runner.py"),
    Mutant("encode/runner.py", "                    state.confine(batch, result.reason)\n", "", "test_encode_runner.py"),
    Mutant(
        "encode/runner.py",
        "                        self._controller.overflowed(model.key, device, cost)\n",
        "",
        "test_encode_runner.py",
    ),
    Mutant(
        "encode/runner.py",
        "partial(_try_batch, encoder, texts, device), self._retry",
        "partial(encoder.encode_documents, texts), self._retry",
        "test_encode_runner.py",
    ),
    Mutant("encode/runner.py", "                    model.use_float32()\n", "", "test_encode_runner.py"),
    Mutant("encode/runner.py", "self.queue.put_back(batch[~finite])", "pass", "test_encode_runner.py"),
    Mutant("encode/runner.py", "while not state.overflowed and len(", "while len(", "test_encode_runner.py"),
    Mutant(
        "encode/runner.py",
        "vectors if finite.all() else np.where(finite[:, np.newaxis], vectors, 0)",
        "vectors",
        "test_encode_runner.py",
    ),
    Mutant("encode/runner.py", "np.array_split(batch, 2)", "np.array_split(batch, 1)", "test_encode_runner.py"),
    Mutant(
        "encode/runner.py",
        "            give_back(sorted(self._used_devices), self._lease_directory)\n",
        "",
        "test_encode_runner.py",
    ),
    Mutant("encode/feeding.py", "if self.pads_left else", "if not self.pads_left else", "test_encode_tokens.py"),
    Mutant("encode/feeding.py", "return feed if same else None", "return feed", "test_encode_tokens.py"),
    Mutant(
        "encode/feeding.py",
        "        module.max_seq_length = limit\n    return",
        "        pass\n    return",
        "test_encode_tokens.py",
    ),
    Mutant("encode/tokens.py", "        self._drop(texts)", "        pass", "test_encode_tokens.py"),
    Mutant("encode/tokens.py", "        self._add(prompted, token_ids)\n", "", "test_encode_tokens.py"),
)

MUTANTS = (*BATCHING, *RUNNER)


def main(arguments: Sequence[str]) -> int:
    chosen = [mutant for mutant in MUTANTS if not arguments or any(name in mutant.file for name in arguments)]
    results: dict[str, list[Mutant]] = {"killed": [], "survived": [], "explained": [], "not found": []}
    with _copy_of_the_project() as copy:
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
        passed = _passes(copy, [test if "/" in test else f"unit/{test}" for test in mutant.tests.split()])
    finally:
        path.write_text(source)
    if passed:
        return "explained" if mutant.survives else "survived"
    return "killed"


def _passes(copy: Path, tests: Sequence[str]) -> bool:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    try:
        return (
            subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=TIMEOUT, check=False).returncode == 0
        )
    except subprocess.TimeoutExpired:
        return False


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
