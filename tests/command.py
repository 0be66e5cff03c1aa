"""Runs the real `ingest` command, as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INGEST = str(Path(sys.executable).with_name("ingest"))

DEADLINE = 120.0
"""Seconds after which what has not happened will not: far more than it takes, for slow machines."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(**settings: str) -> dict[str, str]:
    """The environment without any settings or converted models of the person who runs the tests, offline."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    return {**clean, "HF_HUB_OFFLINE": "1", "INGEST_CACHE_DIR": ".ingest/cache", **settings}


def ingest(*arguments: str, cwd: Path, stdin: str | None = None, **settings: str) -> Outcome:
    """Runs the command to its end in `cwd`; `settings` are environment variables."""
    done = subprocess.run(
        [INGEST, *arguments],
        cwd=cwd,
        env=environment(**settings),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def ended(process: subprocess.Popen[Any], seconds: float) -> bool:
    """Whether a process has ended, after at most so many seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def until(happened: Callable[[], Any], process: subprocess.Popen[Any]) -> Any:
    """Asks until the answer is true, and gives it. Fails where the process ends before, or it takes too long."""
    deadline = time.monotonic() + DEADLINE
    while not (answer := happened()):
        assert not ended(process, 0.02), "the process ended before"
        assert time.monotonic() < deadline, "it did not happen in time"
    return answer


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path
