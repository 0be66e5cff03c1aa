"""Everything that is observed about a run, and nothing that decides. No document text ever passes through here."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from ingest.records import LeaseEvent, ModelReport

Clock = Callable[[], float]
"""Monotonic seconds."""

MAX_ERRORS = 100
"""Errors a receipt lists; the rest are counted."""


@dataclass(frozen=True, slots=True)
class PassReport:
    """One model over one window.

    Attributes:
        chunks: texts encoded, equal ones counted once.
        tokens: tokens that carried text; `padded_tokens`: tokens computed, padding included.
        seconds: under the lease, model movement included; `swap_seconds`: the movement alone.
        window: number of the window, from 1.
    """

    key: str
    kind: str
    vector: str
    dim: int | None
    dtype: str
    device: str
    backend: str
    chunks: int
    tokens: int
    padded_tokens: int
    seconds: float
    swap_seconds: float
    window: int


class ProgressListener(Protocol):
    """Whoever draws progress. Called from the run's threads; must not block or raise."""

    def documents(self, read: int, done: int) -> None:
        """`read` documents came from the source so far, `done` are stored, unchanged or rejected."""
        ...

    def pass_started(self, model: str, chunks: int) -> None: ...

    def pass_advanced(self, model: str, chunks: int) -> None: ...

    def pass_ended(self, model: str) -> None: ...


class SilentProgress:
    """Draws nothing."""

    def documents(self, read: int, done: int) -> None:
        pass

    def pass_started(self, model: str, chunks: int) -> None:
        pass

    def pass_advanced(self, model: str, chunks: int) -> None:
        pass

    def pass_ended(self, model: str) -> None:
        pass


class BatchProgressContext:
    """The progress of one pass: `with BatchProgressContext(listener, model, chunks) as progress: progress.advance(16)`."""

    def __init__(self, listener: ProgressListener, model: str, chunks: int) -> None:
        self._listener = listener
        self._model = model
        self._chunks = chunks

    def __enter__(self) -> Self:
        self._listener.pass_started(self._model, self._chunks)
        return self

    def advance(self, chunks: int) -> None:
        """`chunks` more are encoded."""
        self._listener.pass_advanced(self._model, chunks)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.pass_ended(self._model)


@dataclass(slots=True)
class _Totals:
    report: PassReport
    chunks: int = 0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class ThroughputMonitor:
    """Collects lease events, passes and errors of one run. Safe from any thread.

    Args:
        clock: monotonic seconds; `at` in events counts from the monitor's construction.
        stream: where each event is also written as one JSON line, flushed at once, or None.
        listener: who draws progress.
    """

    clock: Clock = time.monotonic
    stream: TextIO | None = None
    listener: ProgressListener = field(default_factory=SilentProgress)
    _started: float = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _lease_events: list[LeaseEvent] = field(init=False, default_factory=list)
    _totals: dict[str, _Totals] = field(init=False, default_factory=dict)
    _errors: list[str] = field(init=False, default_factory=list)
    _error_count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def elapsed(self) -> float:
        """Seconds since construction."""
        return self.clock() - self._started

    def log_lease(self, event: str, model: str, devices: Sequence[str], vram: Mapping[str, int]) -> None:
        """A lease was taken (`acquire`) or given back (`release`). `vram`: device → bytes in use, empty without a GPU."""
        record = LeaseEvent(event=event, model=model, devices=tuple(devices), at=round(self.elapsed(), 6), vram=dict(vram))
        with self._lock:
            self._lease_events.append(record)
            self._write({"type": "lease", **asdict(record)})

    def log_pass(self, report: PassReport) -> None:
        """A model went over a window."""
        with self._lock:
            totals = self._totals.setdefault(report.key, _Totals(report))
            totals.report = report
            totals.chunks += report.chunks
            totals.tokens += report.tokens
            totals.seconds += report.seconds
            self._write({"type": "pass", "at": round(self.elapsed(), 6), **asdict(report)})

    def log_error(self, where: str, error: BaseException | str) -> None:
        """Something went wrong and the run went on; it will stand in the receipt."""
        message = f"{where}: {error}"
        with self._lock:
            self._error_count += 1
            if len(self._errors) < MAX_ERRORS:
                self._errors.append(message)
            self._write({"type": "error", "at": round(self.elapsed(), 6), "message": message})

    @property
    def lease_events(self) -> tuple[LeaseEvent, ...]:
        """All so far, in order."""
        with self._lock:
            return tuple(self._lease_events)

    @property
    def errors(self) -> tuple[str, ...]:
        """The first `MAX_ERRORS`, and one line for the rest."""
        with self._lock:
            more = self._error_count - len(self._errors)
            return (*self._errors, *([f"… and {more} more"] if more else []))

    def model_reports(self) -> tuple[ModelReport, ...]:
        """One per model that ran, in the order of their first pass."""
        with self._lock:
            return tuple(
                ModelReport(
                    key=total.report.key,
                    kind=total.report.kind,
                    vector=total.report.vector,
                    dim=total.report.dim,
                    dtype=total.report.dtype,
                    device=total.report.device,
                    backend=total.report.backend,
                    chunks=total.chunks,
                    tokens=total.tokens,
                    seconds=round(total.seconds, 3),
                )
                for total in self._totals.values()
            )

    def _write(self, event: Mapping[str, Any]) -> None:
        if self.stream is not None:
            self.stream.write(json.dumps(event) + "\n")
            self.stream.flush()
