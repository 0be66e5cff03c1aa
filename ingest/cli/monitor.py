"""The monitor of a command: progress on the terminal, telemetry and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from ingest.atomic_files import append_private
from ingest.cli.progress import open_progress
from ingest.errors import IngestError
from ingest.telemetry import ThroughputMonitor, serve_metrics


@contextmanager
def open_monitor(*, telemetry: Path | None = None, metrics_port: int | None = None) -> Iterator[ThroughputMonitor]:
    """Open a monitor that shows progress on stderr.

    Args:
        telemetry: file to which events are appended as JSON lines.
        metrics_port: loopback port on which metrics are served.

    Raises `IngestError` if the file cannot be written.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(_append_to(telemetry)) if telemetry else None
        progress = open_progress()
        stack.enter_context(progress)
        monitor = ThroughputMonitor(stream=stream, on_progress=progress)
        if metrics_port:
            stack.enter_context(serve_metrics(monitor, metrics_port))
        yield monitor


def _append_to(path: Path) -> TextIO:
    try:
        return append_private(path)
    except OSError as exc:
        raise IngestError(f"the telemetry file {path} cannot be written ({exc.strerror}): name another with --telemetry") from exc
