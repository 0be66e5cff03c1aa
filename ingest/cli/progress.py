"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)

LINE_SECONDS = 5.0
"""A plain line at most this often."""


class TerminalProgress:
    """One line for the documents, one bar per model pass. A `ProgressListener` and a context manager."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._documents = self._progress.add_task("documents", total=None, rate="")
        self._passes: dict[str, TaskID] = {}
        self._started = time.monotonic()

    def documents(self, read: int, done: int) -> None:
        rate = done / max(time.monotonic() - self._started, 1e-9)
        self._progress.update(self._documents, completed=done, rate=f"{rate:,.0f}/s, {read:,} read")

    def pass_started(self, model: str, chunks: int) -> None:
        if model in self._passes:
            self._progress.reset(self._passes[model], total=chunks, visible=True)
        else:
            self._passes[model] = self._progress.add_task(model, total=chunks, rate="chunks")

    def pass_advanced(self, model: str, chunks: int) -> None:
        self._progress.advance(self._passes[model], chunks)

    def pass_ended(self, model: str) -> None:
        self._progress.update(self._passes[model], visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()


class LogProgress:
    """A log line now and then. A `ProgressListener` and a context manager."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()

    def documents(self, read: int, done: int) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            logger.info("%d documents read, %d done, %.0f/s", read, done, done / (now - self._started))

    def pass_started(self, model: str, chunks: int) -> None:
        logger.debug("%s: %d chunks", model, chunks)

    def pass_advanced(self, model: str, chunks: int) -> None:
        pass

    def pass_ended(self, model: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


def open_progress() -> TerminalProgress | LogProgress:
    """What suits stderr."""
    console = Console(stderr=True)
    if console.is_terminal:
        return TerminalProgress(console)
    return LogProgress()
