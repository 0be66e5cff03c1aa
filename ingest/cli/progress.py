"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from ingest.cli.terminal import messages
from ingest.telemetry import Progress

logger = logging.getLogger(__name__)

LINE_SECONDS = 5.0
"""Shortest time between two log lines."""

STEPS = 1000
"""Steps of a bar: a share of 1 is this many."""


class TerminalProgress:
    """One bar with what is done, in percent if the documents or the bytes of the sources are known, and with the time left.

    Leaves nothing behind.

    A context manager to be called with each `Progress`.
    """

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self._task = self._bars.add_task("reading", total=None)
        self._most = 0.0

    def __call__(self, progress: Progress) -> None:
        share = progress.share
        self._most = max(self._most, share or 0.0)  # each model of a window begins anew
        self._bars.update(
            self._task,
            total=None if share is None else STEPS,
            completed=self._most * STEPS,
            description=describe_progress(progress),
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()


class LogProgress:
    """Progress as a log line every few seconds. A context manager to be called with each `Progress`."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if progress.model is not None and progress.encoded == 0:
            logger.debug("%s: %d chunks", progress.model, progress.chunks)
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            percent = "" if progress.share is None else f"{progress.share:.0%}: "
            logger.info("%s%s", percent, describe_progress(progress))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


def describe_progress(progress: Progress) -> str:
    """Return how far a run is: `120 of 418 documents, all-miniLM-l6 at chunk 512 of 2,048`, or `120 of 418 documents read, …`."""
    total = f"{progress.read:,} documents read" if progress.total is None else f"{progress.total:,} documents"
    documents = f"{progress.done:,} of {total}"
    if progress.model is None:
        return documents
    return f"{documents}, {progress.model} at chunk {progress.encoded:,} of {progress.chunks:,}"


def open_progress() -> TerminalProgress | LogProgress:
    """Return a bar if stderr is a terminal, otherwise log lines."""
    console = messages()
    if console.is_terminal:
        return TerminalProgress(console)
    return LogProgress()
