"""How much work a window holds: more, as long as moving models takes too much of the run."""

from __future__ import annotations

from dataclasses import replace

from ingest.sync.reading import Window, WindowBounds
from ingest.telemetry import ThroughputMonitor

SWAP_SHARE = 0.02
"""Of the run's time, that moving models on and off devices may take."""


def next_bounds(bounds: WindowBounds, window: Window, *, swap_seconds: float, seconds: float) -> WindowBounds:
    """The bounds after a window that took `seconds`, of which `swap_seconds` went into moving models: the same, or twice as much.

    They grow only after a window that was as large as they allow; one that its bytes or the end of the source cut short would not
    have been larger. `bytes` never grows.
    """
    cut_short = window.chunks < bounds.chunks and window.read < bounds.documents
    if cut_short or swap_seconds <= seconds * SWAP_SHARE:
        return bounds
    return replace(bounds, chunks=2 * bounds.chunks, documents=2 * bounds.documents)


class WindowSizing:
    """The bounds in force as a run goes on. `bounds` may be read by another thread than the one that observes."""

    def __init__(self, start: WindowBounds, monitor: ThroughputMonitor) -> None:
        self.bounds = start
        self._monitor = monitor
        self._elapsed = 0.0
        self._swapped = 0.0

    def observe(self, window: Window) -> None:
        """A window has been encoded."""
        elapsed, swapped = self._monitor.elapsed(), self._monitor.swap_seconds
        self.bounds = next_bounds(self.bounds, window, swap_seconds=swapped - self._swapped, seconds=elapsed - self._elapsed)
        self._elapsed, self._swapped = elapsed, swapped
