"""The size of windows: it grows while moving models takes too large a share of the run."""

from __future__ import annotations

from dataclasses import replace

from ingest.sync.reading import Window, WindowBounds
from ingest.telemetry import ThroughputMonitor

SWAP_SHARE = 0.02
"""Maximum share of the run's time for moving models on and off devices."""


def next_bounds(bounds: WindowBounds, window: Window, *, swap_seconds: float, seconds: float) -> WindowBounds:
    """Return the bounds of the next window: the same as those of the last one, or twice as large.

    They grow only after a window that reached them: one that ended early, at its bytes or at the end of the source, would not
    have been larger. `bytes` never grows.

    Args:
        seconds: duration of the last window.
        swap_seconds: part of it that was spent moving models.
    """
    cut_short = window.chunks < bounds.chunks and window.read < bounds.documents
    if cut_short or swap_seconds <= seconds * SWAP_SHARE:
        return bounds
    return replace(bounds, chunks=2 * bounds.chunks, documents=2 * bounds.documents)


class WindowSizing:
    """The current bounds of a run. One thread calls `observe`; another may read `bounds`."""

    def __init__(self, start: WindowBounds, monitor: ThroughputMonitor) -> None:
        self.bounds = start
        self._monitor = monitor
        self._elapsed = 0.0
        self._swapped = 0.0

    def observe(self, window: Window) -> None:
        """Update the bounds after a window has been encoded."""
        elapsed, swapped = self._monitor.elapsed(), self._monitor.swap_seconds
        self.bounds = next_bounds(self.bounds, window, swap_seconds=swapped - self._swapped, seconds=elapsed - self._elapsed)
        self._elapsed, self._swapped = elapsed, swapped
