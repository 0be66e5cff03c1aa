"""Progress on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from ingest.records import Progress

logger = logging.getLogger(__name__)

LINE_SECONDS = 5.0
"""Shortest time between two log lines."""


class TerminalProgress:
    """Progress bars: one for the documents and one per model. A context manager to be called with each `Progress`."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._documents = self._bars.add_task("documents", total=None, rate="")
        self._passes: dict[str, TaskID] = {}
        self._started = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        rate = progress.done / max(time.monotonic() - self._started, 1e-9)
        self._bars.update(self._documents, completed=progress.done, rate=f"{rate:,.0f}/s, {progress.read:,} read")
        for model, bar in self._passes.items():
            if model != progress.model:
                self._bars.update(bar, visible=False)
        if progress.model is not None:
            self._show_pass(progress.model, progress)

    def _show_pass(self, model: str, progress: Progress) -> None:
        if model not in self._passes:
            self._passes[model] = self._bars.add_task(model, total=progress.chunks, rate="chunks")
        elif progress.encoded == 0:
            self._bars.reset(self._passes[model], total=progress.chunks, visible=True)
        self._bars.update(self._passes[model], completed=progress.encoded)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()


class LogProgress:
    """Progress as a log line every few seconds. A context manager to be called with each `Progress`."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if progress.model is not None and progress.encoded == 0:
            logger.debug("%s: %d chunks", progress.model, progress.chunks)
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            rate = progress.done / (now - self._started)
            logger.info("%d documents read, %d done, %.0f/s", progress.read, progress.done, rate)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass


def open_progress() -> TerminalProgress | LogProgress:
    """Return bars if stderr is a terminal, otherwise log lines."""
    console = Console(stderr=True)
    if console.is_terminal:
        return TerminalProgress(console)
    return LogProgress()
