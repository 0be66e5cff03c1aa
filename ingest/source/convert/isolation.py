"""Conversions in worker processes: a file that crashes or hangs a library, or fills the memory, is rejected; the run goes on.

Web pages are among them. None was found that crashes their parsers, but the time for the options of one `<select>`, or for the
attributes of one tag, grows with the square of their number (240 kB take 2.5 s and 0.7 s), and 16 MiB of `<a href=x>y` take 2.3
GB of memory. Of the CPU time for the manual of Python, the process that reads has 5 %, the workers the rest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from ingest.errors import SourceError
from ingest.process import call_after_fork
from ingest.source.convert.page import Page
from ingest.source.convert.worker import IDLE_SECONDS, read_message, write_message
from ingest.source.fields import Unusable
from ingest.source.read_options import AS_FOUND, ReadOptions

SECONDS = 120
"""Most seconds per file."""


@dataclass(slots=True)
class _Worker:
    """A worker process, used by one thread at a time. It finds packages, and so plugins, in `path`."""

    process: subprocess.Popen[bytes]
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    free_since: float = field(default_factory=time.monotonic)

    @property
    def is_fresh(self) -> bool:
        """Whether it finds the same packages, and was used so recently that it cannot end before it reads the next request."""
        return (
            self.path == tuple(sys.path) and self.process.poll() is None and time.monotonic() - self.free_since < IDLE_SECONDS / 2
        )

    def ask(self, header: str, data: bytes, seconds: float) -> bytes | None:
        """Return the reply, or None if the process ended or was ended before it."""
        timer = threading.Timer(seconds, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            write_message(cast("BinaryIO", self.process.stdin), f"{header}\n".encode(), data)
            return read_message(cast("BinaryIO", self.process.stdout))
        except BrokenPipeError:
            return None
        finally:
            timer.cancel()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class _Pool:
    """The free worker processes of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[_Worker] = []

    def take(self) -> _Worker:
        """Return a worker, a new one if none is free. Ends those that are not fresh."""
        with self._lock:
            stale = [worker for worker in self._free if not worker.is_fresh]
            self._free = [worker for worker in self._free if worker not in stale]
            worker = self._free.pop() if self._free else None
        for each in stale:
            each.end()
        return worker or _Worker(_started())

    def give_back(self, worker: _Worker) -> None:
        worker.free_since = time.monotonic()
        with self._lock:
            self._free.append(worker)


_pool = _Pool()


def _forget() -> None:
    """Leave the workers to the parent of a fork."""
    global _pool  # noqa: PLW0603  one pool a process
    _pool = _Pool()


call_after_fork(_forget)


def convert_apart(
    data: bytes,
    format: str,  # noqa: A002  as in `Document.format`
    options: ReadOptions = AS_FOUND,
    *,
    seconds: float = SECONDS,
) -> Page:
    """Convert a file in a worker process. Raise `Unusable` if that fails in any way."""
    worker = _pool.take()
    started = time.monotonic()
    try:
        reply = worker.ask(f"{format} {options.html_content}", data, seconds)
    except BaseException:
        worker.end()
        raise
    if reply is None:
        worker.end()
        if time.monotonic() - started >= seconds:
            raise Unusable(f"the file takes more than {seconds:g} s to read as {format}")
        raise Unusable(f"the file cannot be read as {format}: its converter crashed")
    _pool.give_back(worker)
    found = json.loads(reply)
    if "reason" in found:
        raise Unusable(found["reason"])
    pages, anchors = (tuple((name, start) for name, start in found.pop(places)) for places in ("pages", "anchors"))
    return Page(**found, pages=pages, anchors=anchors)


def _started() -> subprocess.Popen[bytes]:
    """Start a worker, which shares neither the terminal's interrupts nor the working directory's modules."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-c", "from ingest.source.convert.worker import serve; serve()"]
    try:
        return subprocess.Popen(  # noqa: S603  our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except OSError as exc:
        raise SourceError(f"cannot start a process that converts files: {exc.strerror}; free some memory and run again") from exc
