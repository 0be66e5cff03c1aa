"""Passes over windows: each model in its turn, under its own lease, over the texts that need it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ingest.encode.batching import AdaptiveBatchController, BatchQueue, Indices
from ingest.encode.contract import CalibratedModel, Encoded, Encoder, Model, Vectors
from ingest.encode.devices import check_devices, is_out_of_memory, memory_snapshots, release_cached_memory
from ingest.encode.lease import DEFAULT_TIMEOUT, GPULease, devices_of, give_back, lease_gpus
from ingest.encode.registry import EnsembleConfig
from ingest.encode.vectors import finite_rows, not_finite
from ingest.errors import ModelError, ModelUnavailableError, UnknownModelError
from ingest.parameters import checked, parse_number
from ingest.process import HomeProcess
from ingest.records import SparseVector
from ingest.retry import RetryPolicy, call_with_retries
from ingest.telemetry import BatchProgressContext, PassReport, ThroughputMonitor

UNCOUNTED_COST = 2
"""Tokens a text is taken to cost a model that counts none: a thousand texts per batch on a processor."""

_EMPTY = SparseVector(np.empty(0, np.uint32), np.empty(0, np.float32))


class BatchRunner:
    """Encodes windows of texts with an ensemble, one model on the devices at a time. One thread at a time.

    Args:
        models: in the order of their passes.
        config: for `exclusive_mode`; the members are `models`.
        devices: to compute on, one replica each; by default the first card for models that use one, else the processor.
        monitor: receives lease, pass and progress events. The runner owns it, and jobs that use the runner report from it.
        lease_timeout: seconds to wait for the devices.
        lease_directory: where processes meet to take turns.
        controller: keeps what was learned about batches.
        retry: limits on the retries of a batch while its model is unavailable.
    """

    def __init__(
        self,
        models: Sequence[Model],
        *,
        config: EnsembleConfig | None = None,
        devices: Sequence[str] | None = None,
        monitor: ThroughputMonitor | None = None,
        lease_timeout: float = DEFAULT_TIMEOUT,
        lease_directory: Path | None = None,
        controller: AdaptiveBatchController | None = None,
        retry: RetryPolicy = RetryPolicy(),
    ) -> None:
        self._home = HomeProcess("this BatchRunner")
        self._models = {model.key: model for model in models}
        self._exclusive = config is None or config.exclusive_mode
        self._devices = None if devices is None else check_devices(devices)
        self.monitor = monitor or ThroughputMonitor()
        self._lease_timeout = checked("lease_timeout", parse_number, lease_timeout)
        self._lease_directory = lease_directory
        self._controller = controller or AdaptiveBatchController()
        self._retry = retry
        self._used_devices: set[str] = set()
        self._window = 0

    def run(self, texts: Mapping[str, Sequence[str]]) -> dict[str, Encoded]:
        """One window: model key → texts, answered by model key → vectors in the same order. See `run_exclusive_ensemble`."""
        return self.run_exclusive_ensemble(texts)

    def run_exclusive_ensemble(self, texts: Mapping[str, Sequence[str]]) -> dict[str, Encoded]:
        """A pass of each model that has texts, in configured order: one lease each, equal texts once, batches by token budget.

        A text that cannot be encoded, comes out not finite, or alone does not fit the device, stands in `Encoded.failed` and the
        pass goes on.
        The devices stay with this process until another one wants them, or `close`.
        Raises `UnknownModelError`, `LeaseTimeoutError`, `ModelUnavailableError` once the retries are used up, and `ModelError`
        when a model cannot be had or does not make its vectors, `PrecisionError` before it has made any where it cannot be
        computed in its precision.
        """
        self._home.check()
        for key in texts:
            if key not in self._models:
                raise UnknownModelError(f"no member of this ensemble is called {key!r}: it has {', '.join(self._models)}")
        self._window += 1
        return {key: self._pass(model, texts[key]) for key, model in self._models.items() if key in texts}

    def close(self) -> None:
        """Give the devices back and move what sits there into host memory. Idempotent; does nothing in a forked child."""
        if self._home.is_current:
            give_back(sorted(self._used_devices), self._lease_directory)
            self._used_devices.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _pass(self, model: Model, texts: Sequence[str]) -> Encoded:
        work = _Work.of(model, texts)
        if work.remaining:
            if isinstance(model, CalibratedModel):
                model.calibrate(work.encodable())
            devices = devices_of(model, self._devices)
            self._used_devices.update(devices)
            with (
                BatchProgressContext(self.monitor, model.key, work.remaining) as progress,
                lease_gpus(
                    model,
                    devices,
                    exclusive=self._exclusive,
                    timeout=self._lease_timeout,
                    directory=self._lease_directory,
                    monitor=self.monitor,
                    keep=True,
                ) as lease,
            ):
                self._encode_all(model, lease, work, progress)
            self.monitor.log_pass(_report(model, lease, work, self._window))
        return work.result()

    def _encode_all(self, model: Model, lease: GPULease, work: _Work, progress: BatchProgressContext) -> None:
        places = list(zip(lease.encoders, lease.places, strict=True))
        if len(places) == 1:
            self._encode_on(model, *places[0], work, progress)
            return
        with ThreadPoolExecutor(len(places), thread_name_prefix="encode") as pool:
            try:
                running = [pool.submit(self._encode_on, model, encoder, device, work, progress) for encoder, device in places]
                for future in running:
                    future.result()
            finally:
                work.queue.clear()

    def _encode_on(self, model: Model, encoder: Encoder, device: str, work: _Work, progress: BatchProgressContext) -> None:
        """Takes batches until none are left. A batch that does not go through is taken apart until the text at fault is alone."""
        while len(batch := work.queue.take(self._controller.budget(model.key, device))):
            cost = work.queue.padded_cost(batch)
            texts = [work.texts[index] for index in batch]
            try:
                vectors = call_with_retries(partial(encoder.encode_documents, texts), self._retry)
            except ModelUnavailableError:  # whatever the texts
                work.queue.clear()
                raise
            except ModelError as exc:
                work.confine(batch, str(exc))
                continue
            except Exception as exc:
                if not is_out_of_memory(exc):
                    work.queue.clear()
                    raise
                self._controller.overflowed(model.key, device, cost)
                work.confine(batch, f"does not fit the memory of {device} even alone")
                release_cached_memory([device])
                continue
            work.store(batch, vectors, cost)
            self._controller.succeeded(model.key, device, cost, memory_snapshots([device]).get(device))
            progress.advance(len(batch))


@dataclass(slots=True)
class _Work:
    """One pass: distinct texts, what they cost, where they go.

    `rows[i]` is the distinct text behind asked text i, None where all differ. `failed` counts distinct texts.
    """

    model: Model
    texts: list[str]
    rows: Indices | None
    lengths: NDArray[np.int64]
    counted: bool
    queue: BatchQueue
    matrix: NDArray[np.float32] | None
    vectors: list[SparseVector]
    failed: dict[int, str]
    encoded: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, model: Model, texts: Sequence[str]) -> _Work:
        places = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        distinct = list(places)
        limit = model.token_limit
        failed: dict[int, str] = {}
        if limit is None or not distinct:
            lengths = np.full(len(distinct), UNCOUNTED_COST, np.int64)
            possible = np.arange(len(distinct))
        else:
            lengths = np.asarray(limit.count(distinct), np.int64)
            possible = np.flatnonzero(lengths <= limit.max_tokens)
            for index in np.flatnonzero(lengths > limit.max_tokens):
                failed[int(index)] = f"{lengths[index]} tokens, and {model.key} takes {limit.max_tokens}"
        return cls(
            model=model,
            texts=distinct,
            rows=None if len(distinct) == len(texts) else np.fromiter(map(places.__getitem__, texts), np.intp, len(texts)),
            lengths=lengths,
            counted=limit is not None,
            queue=BatchQueue(lengths, possible),
            matrix=None if model.dim is None else np.zeros((len(distinct), model.dim), np.float32),
            vectors=[] if model.dim is not None else [_EMPTY] * len(distinct),
            failed=failed,
        )

    @property
    def asked(self) -> int:
        """Return how many of the texts that were asked for have a vector, equal ones counted each."""
        if self.rows is None:
            return self.encoded
        return len(self.rows) - int(np.isin(self.rows, list(self.failed)).sum())

    @property
    def remaining(self) -> int:
        """Texts yet to be encoded."""
        return len(self.texts) - len(self.failed) - self.encoded

    def encodable(self) -> list[str]:
        """The texts that are within the model's limit."""
        return [text for index, text in enumerate(self.texts) if index not in self.failed]

    def store(self, batch: Indices, vectors: Vectors, cost: int) -> None:
        """Takes the vectors of a batch. What is not finite is set aside; what is not this model's kind raises `ModelError`."""
        finite = finite_rows(self.model, vectors, len(batch))
        if self.matrix is not None and isinstance(vectors, np.ndarray):
            self.matrix[batch] = vectors if finite.all() else np.where(finite[:, np.newaxis], vectors, 0)
        else:
            for index in np.flatnonzero(finite):
                self.vectors[batch[index]] = vectors[index]
        with self._lock:
            self.encoded += int(finite.sum())
            self.failed.update(dict.fromkeys(batch[~finite].tolist(), not_finite(self.model)))
            if self.counted:
                self.tokens += int(self.lengths[batch].sum())
                self.padded_tokens += cost

    def confine(self, batch: Indices, reason: str) -> None:
        """Half by half, until the text at fault is alone and is set aside."""
        if len(batch) == 1:
            with self._lock:
                self.failed[int(batch[0])] = reason
            return
        for half in np.array_split(batch, 2):
            self.queue.put_back(half)

    def result(self) -> Encoded:
        if self.rows is None:
            return Encoded(self.vectors if self.matrix is None else self.matrix, dict(sorted(self.failed.items())))
        failed = (
            {index: self.failed[row] for index, row in enumerate(self.rows.tolist()) if row in self.failed} if self.failed else {}
        )
        if self.matrix is None:
            return Encoded([self.vectors[row] for row in self.rows], failed)
        return Encoded(self.matrix[self.rows], failed)


def _report(model: Model, lease: GPULease, work: _Work, window: int) -> PassReport:
    return PassReport(
        key=model.key,
        kind=model.kind,
        vector=model.key,
        dim=model.dim,
        dtype=model.dtype,
        device=",".join(lease.places),
        backend=model.backend,
        chunks=work.asked,
        tokens=work.tokens,
        padded_tokens=work.padded_tokens,
        seconds=lease.seconds,
        swap_seconds=lease.swap_seconds,
        window=window,
    )
