"""Runs the `ingest` command as a user would: in this process, or in one of its own where that is what a test is about."""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.cli import main

INGEST = str(Path(sys.executable).with_name("ingest"))

DEADLINE = 300.0
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
    """Return the environment offline, without settings or converted models of the person who runs the tests.

    Leases are kept in the working directory as well, so that no test waits for the models of another.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    own = {"INGEST_CACHE_DIR": ".ingest/cache", "INGEST_LEASE_DIR": ".ingest/leases"}
    return {**clean, "HF_HUB_OFFLINE": "1", **own, **settings}


def ingest(*arguments: str, cwd: Path, **settings: str) -> Outcome:
    """Run the command to its end in `cwd`, in this process; `settings` are environment variables.

    What libraries read from the environment when they are imported they have read already, and standard input is not the
    command's own: see `ingest_process`.
    """
    return _outcome(main, ["ingest", *arguments], cwd, settings)


def python(code: str, *, cwd: Path, **settings: str) -> Outcome:
    """Run a script in `cwd`, in this process; `settings` are environment variables."""
    return _outcome(lambda: exec(code, {"__name__": "__main__"}), ["-c"], cwd, settings)


def ingest_process(*arguments: str, cwd: Path, stdin: str | None = None, **settings: str) -> Outcome:
    """Run the command to its end in `cwd`, in a process of its own: seconds, for what it must import."""
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


def _outcome(work: Callable[[], object], argv: list[str], cwd: Path, settings: dict[str, str]) -> Outcome:
    out, err = _output("strict"), _output("backslashreplace")
    with _own_state(), chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        os.environ.clear()
        os.environ.update(environment(**settings))
        sys.argv = argv
        code = _exit_code(work)
    return Outcome(code, _written(out), _written(err))


def _exit_code(work: Callable[[], object]) -> int:
    try:
        work()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:  # noqa: BLE001  an interpreter would print it, too
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def _own_state() -> Iterator[None]:
    """Let the command change what belongs to a process, and change it back."""
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, ("ingest", "huggingface_hub"))]
    handlers, levels = root.handlers, [logger.level for logger in loggers]
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    variables, argv, hook, threshold = dict(os.environ), sys.argv, sys.excepthook, gc.get_threshold()
    root.handlers = []
    try:
        yield
    finally:
        root.handlers = handlers
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for number, handler in signals.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(variables)
        sys.argv, sys.excepthook = argv, hook
        gc.set_threshold(*threshold)


def _output(errors: str) -> io.TextIOWrapper[io.BytesIO]:
    return io.TextIOWrapper(io.BytesIO(), "utf-8", errors, write_through=True)


def _written(stream: io.TextIOWrapper[io.BytesIO]) -> str:
    return stream.buffer.getvalue().decode()


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
