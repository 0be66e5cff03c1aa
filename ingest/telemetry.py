"""Observation of a run. Nothing here decides anything, and no document text passes through."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from ingest.receipt import LeaseEvent, ModelReport

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Clock = Callable[[], float]
"""Seconds."""

MAX_ERRORS = 100
"""Maximum number of errors that a receipt lists; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run.

    Attributes:
        read: documents read from the sources so far.
        done: documents that are stored, unchanged or rejected.
        model: key of the encoding model, or None between passes.
        encoded: distinct texts encoded in this pass.
        chunks: distinct texts of this pass.
        total: documents of the sources, or None if counting them is not cheap.
        read_share: share of the sources' bytes that the documents read take, 0 to 1, or None if that is not known.
    """

    read: int
    done: int
    model: str | None = None
    encoded: int = 0
    chunks: int = 0
    total: int | None = None
    read_share: float | None = None

    @property
    def share(self) -> float | None:
        """About how much of the run is done, 0 to 1: documents, and what a model has encoded of those in the window."""
        under_way = (self.read - self.done) * self.encoded / self.chunks if self.chunks else 0.0
        if self.total:
            return min(1.0, (self.done + under_way) / self.total)
        if self.read_share is None or not self.read:
            return None
        return min(1.0, (self.done + under_way) / self.read * self.read_share)


@dataclass(frozen=True, slots=True)
class PassReport:
    """The pass of one model over one window.

    Attributes:
        chunks: texts that got a vector. Equal texts are encoded once but each counts, as in `ingest plan`.
        identical: how many of them got the vector of an equal text before them.
        tokens: tokens of text.
        padded_tokens: tokens computed, padding included.
        seconds: time under the lease, moving the model included, reading its weights excluded.
        swap_seconds: time spent moving the model.
        compute_seconds: time in which a device computed, on average of the devices.
        window: number of the window, from 1.
        vram_gb: the most GiB of one GPU's memory that the model used, its batches included; 0 without a GPU.
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
    compute_seconds: float
    window: int
    vram_gb: float = 0.0
    identical: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Tokens of text per second."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def padding_share(self) -> float:
        """Share of padding in the computed tokens, 0 to 1."""
        return 1 - self.tokens / self.padded_tokens if self.padded_tokens else 0.0


class BatchProgressContext:
    """The progress of one pass: `with BatchProgressContext(monitor, model, chunks) as progress: progress.advance(16)`.

    Safe from several threads.
    """

    def __init__(self, monitor: ThroughputMonitor, model: str, chunks: int) -> None:
        self._monitor = monitor
        self._model = model
        self._chunks = chunks
        self._encoded = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._monitor.log_encoding(self._model, 0, self._chunks)
        return self

    def advance(self, chunks: int) -> None:
        """Report that `chunks` more are encoded."""
        with self._lock:
            self._encoded += chunks
            self._monitor.log_encoding(self._model, self._encoded, self._chunks)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._monitor.log_documents(*self._monitor.documents)


@dataclass(slots=True)
class _Totals:
    report: PassReport
    chunks: int = 0
    identical: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    seconds: float = 0.0
    swap_seconds: float = 0.0
    compute_seconds: float = 0.0
    vram_gb: float = 0.0

    def add(self, report: PassReport) -> None:
        """Add a pass."""
        self.report = report
        self.chunks += report.chunks
        self.identical += report.identical
        self.tokens += report.tokens
        self.padded_tokens += report.padded_tokens
        self.seconds += report.seconds
        self.swap_seconds += report.swap_seconds
        self.compute_seconds += report.compute_seconds
        self.vram_gb = max(self.vram_gb, report.vram_gb)

    def model_report(self) -> ModelReport:
        """Return the sum of the passes."""
        computing, moving = self._share(self.compute_seconds), self._share(self.swap_seconds)
        return ModelReport(
            key=self.report.key,
            kind=self.report.kind,
            vector=self.report.vector,
            dim=self.report.dim,
            dtype=self.report.dtype,
            device=self.report.device,
            backend=self.report.backend,
            chunks=self.chunks,
            tokens=self.tokens,
            seconds=round(self.seconds, 6),
            tokens_per_second=round(self.tokens / self.seconds, 1) if self.seconds else 0.0,
            padding_share=round(1 - self.tokens / self.padded_tokens, 4) if self.padded_tokens else 0.0,
            computing_share=computing,
            waiting_share=round(max(0.0, 1 - computing - moving), 4) if self.seconds else 0.0,
            moving_share=moving,
            vram_gb=self.vram_gb,
            identical=self.identical,
        )

    def _share(self, seconds: float) -> float:
        return round(min(1.0, seconds / self.seconds), 4) if self.seconds else 0.0


@dataclass(slots=True)
class ThroughputMonitor:
    """A collector of the lease events, passes and errors of one run at a time. Safe from any thread.

    Args:
        clock: monotonic seconds; `at` in events counts from the start of the run (or the monitor's construction).
        wall_clock: seconds since the epoch, for `time` in `stream`; the same for all processes of a host.
        stream: stream to which each event is written as one JSON line, flushed at once, or None.
        on_progress: called with each `Progress`, from the run's threads; it must not block or raise.

    Attributes:
        position: bytes of the sources' files that the documents read so far take.
        freshness: returns the age of the oldest change that is not searchable yet, in seconds. None: nothing is watched.
    """

    clock: Clock = time.monotonic
    wall_clock: Clock = time.time
    stream: TextIO | None = None
    on_progress: Callable[[Progress], object] | None = None
    position: int = field(init=False, default=0)
    freshness: Callable[[], float] | None = None
    _started: float = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _lease_events: list[LeaseEvent] = field(init=False, default_factory=list)
    _totals: dict[str, _Totals] = field(init=False, default_factory=dict)
    _errors: list[str] = field(init=False, default_factory=list)
    _error_count: int = field(init=False, default=0)
    _documents: tuple[int, int] = field(init=False, default=(0, 0))
    _total: int | None = field(init=False, default=None)
    _bytes: int | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start a new run: reset the clock and forget everything observed before."""
        with self._lock:
            self._started = self.clock()
            self._lease_events.clear()
            self._totals.clear()
            self._errors.clear()
            self._error_count = 0
            self._documents = (0, 0)
            self._total = self._bytes = None
            self.position = 0

    def elapsed(self) -> float:
        """Return the seconds since the run started."""
        return self.clock() - self._started

    def log_lease(self, event: str, model: str, devices: Sequence[str], vram: Mapping[str, int]) -> None:
        """Record an `acquire` or `release` of a lease. `vram`: device → used bytes, empty without a GPU."""
        record = LeaseEvent(event=event, model=model, devices=tuple(devices), at=round(self.elapsed(), 6), vram=dict(vram))
        with self._lock:
            self._lease_events.append(record)
            self._write(lambda: {"type": "lease", **asdict(record)})

    def log_pass(self, report: PassReport) -> None:
        """Record a pass of a model."""
        with self._lock:
            totals = self._totals.setdefault(report.key, _Totals(report))
            totals.add(report)
            self._write(
                lambda: {
                    "type": "pass",
                    "at": round(self.elapsed(), 6),
                    **asdict(report),
                    "tokens_per_second": round(report.tokens_per_second, 1),
                    "padding_share": round(report.padding_share, 4),
                }
            )

    def log_rerank(self, model: str, device: str, candidates: int, seconds: float, fallback: str | None) -> None:
        """Record that a query's candidates were reranked on `device`. `fallback`: why not on the intended device, or None."""
        rate = round(candidates / seconds, 1) if seconds else 0.0
        with self._lock:
            self._write(
                lambda: {
                    "type": "rerank",
                    "at": round(self.elapsed(), 6),
                    "model": model,
                    "device": device,
                    "candidates": candidates,
                    "seconds": round(seconds, 6),
                    "candidates_per_second": rate,
                    "fallback": fallback,
                }
            )

    def expect(self, documents: int | None, size: int | None) -> None:
        """Note how many documents the run will read, and how many bytes their files have. None: not known."""
        self._total, self._bytes = documents, size

    def log_documents(self, read: int, done: int) -> None:
        """Report that `read` documents were read so far, and `done` of them are stored, unchanged or rejected."""
        with self._lock:
            self._documents = (read, done)
        if self.on_progress is not None:
            self.on_progress(self._progress())

    def log_encoding(self, model: str, encoded: int, chunks: int) -> None:
        """Report that a model has encoded `encoded` of the `chunks` of its pass."""
        if self.on_progress is not None:
            self.on_progress(self._progress(model, encoded, chunks))

    def _progress(self, model: str | None = None, encoded: int = 0, chunks: int = 0) -> Progress:
        share = min(1.0, self.position / self._bytes) if self._bytes else None
        return Progress(*self.documents, model, encoded, chunks, self._total, share)

    @property
    def documents(self) -> tuple[int, int]:
        """Documents read and done so far."""
        with self._lock:
            return self._documents

    @property
    def error_count(self) -> int:
        """Number of all errors, including those that `errors` does not list."""
        with self._lock:
            return self._error_count

    def log_error(self, subject: str, error: BaseException | str) -> None:
        """Record an error after which the run continues; it appears in the receipt."""
        message = f"{subject}: {error}"
        with self._lock:
            self._error_count += 1
            if len(self._errors) < MAX_ERRORS:
                self._errors.append(message)
            self._write(lambda: {"type": "error", "at": round(self.elapsed(), 6), "message": message})

    @property
    def lease_events(self) -> tuple[LeaseEvent, ...]:
        """All lease events so far, in order."""
        with self._lock:
            return tuple(self._lease_events)

    @property
    def errors(self) -> tuple[str, ...]:
        """The first `MAX_ERRORS` errors, and one line for the rest."""
        with self._lock:
            more = self._error_count - len(self._errors)
            return (*self._errors, *([f"… and {more} more"] if more else []))

    @property
    def swap_seconds(self) -> float:
        """Seconds spent moving models on and off devices so far."""
        with self._lock:
            return sum(total.swap_seconds for total in self._totals.values())

    def model_reports(self) -> tuple[ModelReport, ...]:
        """Return one report per model that ran, in the order of their first pass."""
        with self._lock:
            return tuple(total.model_report() for total in self._totals.values())

    def _write(self, make_event: Callable[[], Mapping[str, Any]]) -> None:
        """Write an event to the stream. Makes it only if there is one: each query has several."""
        if self.stream is not None:
            self.stream.write(json.dumps({"time": round(self.wall_clock(), 6), **make_event()}) + "\n")
            self.stream.flush()


@contextmanager
def serve_metrics(monitor: ThroughputMonitor, port: int, host: str = "127.0.0.1") -> Iterator[int]:
    """Serve the monitor's figures to Prometheus at `http://host:port/metrics` during the context; yields the port (0: any).

    Raises `ConfigurationError` if the port is taken.
    """
    from ingest.metrics_server import serve_observations  # noqa: PLC0415  most runs serve nothing

    with serve_observations(MonitorCollector(monitor), port, host) as served:
        yield served


FRESHNESS = "Age of the oldest change in a watched folder that is not searchable yet; 0 if there is none."
"""The help text of the metric `ingest_freshness_seconds`."""


class MonitorCollector:
    """A Prometheus collector that reads the monitor on each scrape."""

    def __init__(self, monitor: ThroughputMonitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

        if self._monitor.freshness is not None:
            yield GaugeMetricFamily("ingest_freshness_seconds", FRESHNESS, value=self._monitor.freshness())
        read, done = self._monitor.documents
        yield CounterMetricFamily("ingest_documents_read", "Documents read from the sources.", value=read)
        yield CounterMetricFamily("ingest_documents_done", "Documents stored, unchanged or rejected.", value=done)
        yield CounterMetricFamily("ingest_errors", "Errors after which the run continued.", value=self._monitor.error_count)
        yield CounterMetricFamily(
            "ingest_swap_seconds", "Seconds spent moving models on and off devices.", value=self._monitor.swap_seconds
        )
        leases = Counter(event.model for event in self._monitor.lease_events if event.event == "acquire")
        taken = CounterMetricFamily("ingest_leases", "Leases taken.", labels=["model"])
        for model, count in leases.items():
            taken.add_metric([model], count)
        yield taken
        for figure, what in (("chunks", "Chunks encoded."), ("tokens", "Tokens encoded."), ("seconds", "Time under lease.")):
            family = CounterMetricFamily(f"ingest_encoded_{figure}", what, labels=["model", "device"])
            for report in self._monitor.model_reports():
                family.add_metric([report.key, report.device], getattr(report, figure))
            yield family
