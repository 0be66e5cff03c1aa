"""Run the passes of an ensemble over windows of texts: one model at a time, each under its own lease, remote ones beside them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from ingest.encode.batch_stream import BatchStream, Failure
from ingest.encode.batching import AdaptiveBatchController, Indices
from ingest.encode.contract import CalibratedModel, Encoded, Encoder, FallbackModel, Model, as_remote
from ingest.encode.devices import check_devices, identity_of, is_accelerator, memory_snapshots, release_cached_memory
from ingest.encode.lease import DEFAULT_TIMEOUT, GPULease, devices_of, give_back, lease_gpus, name_places
from ingest.encode.pass_state import PassState
from ingest.encode.registry import EnsembleConfig
from ingest.encode.vectors import not_finite
from ingest.errors import DeviceError, ModelUnavailableError, UnknownModelError
from ingest.parameters import checked, parse_number
from ingest.process import HomeProcess
from ingest.retry import RetryPolicy
from ingest.telemetry import BatchProgressContext, PassReport, ThroughputMonitor

logger = logging.getLogger(__name__)

_INTERRUPT_SECONDS = 0.05
"""Time between two attempts to end the waits of remote models."""


class BatchRunner:
    """An encoder of windows of texts with an ensemble, one model on the devices at a time. Not thread-safe.

    Args:
        models: models in the order of their passes.
        config: source of `exclusive_mode`; its model keys are not used.
        devices: devices to compute on, one replica each; by default the first GPU for models that use one, else the CPU.
        monitor: receives lease, pass and progress events. The runner owns it, and jobs that use the runner report from it.
        lease_timeout: seconds to wait for the devices.
        lease_directory: folder of the lock files that processes share.
        controller: learned batch sizes.
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
        self._failed_devices: set[str] = set()
        self._window = 0
        self._stopping = threading.Event()

    @property
    def models(self) -> tuple[Model, ...]:
        """The models in the order of their passes."""
        return tuple(self._models.values())

    def run(
        self, texts: Mapping[str, Sequence[str]], *, check: Callable[[Model, Encoder], None] | None = None
    ) -> dict[str, Encoded]:
        """Encode one window: model key → texts. Returns model key → vectors in the same order. See `run_exclusive_ensemble`."""
        return self.run_exclusive_ensemble(texts, check=check)

    def run_exclusive_ensemble(
        self, texts: Mapping[str, Sequence[str]], *, check: Callable[[Model, Encoder], None] | None = None
    ) -> dict[str, Encoded]:
        """Run a pass of each model that has texts, in configured order: one lease per model, each distinct text once.

        Remote models lease nothing: their passes run meanwhile, in threads of their own.
        A text that cannot be encoded, has a vector that is not finite, or does not fit the device on its own is listed in
        `Encoded.failed`, and the pass continues. A model whose vectors are not finite in float16 continues in float32.
        The process keeps the devices until another one needs them, or until `close`.
        `check` is called at the start of each pass, under its lease; what it raises ends the run.
        One of several GPUs that fails is left out from then on, with a word in `monitor.errors`.

        Raises `UnknownModelError`, `LeaseTimeoutError`, `DeviceError` if a GPU fails and no other is left,
        `ModelUnavailableError` after the last retry, `ModelError` if a model is not available or makes unexpected vectors, and
        `PrecisionError`, before any vector, if it cannot compute in its precision.
        """
        self._home.check()
        for key in texts:
            if key not in self._models:
                raise UnknownModelError(f"no model of this ensemble is called {key!r}: it has {', '.join(self._models)}")
        self._window += 1
        self._stopping.clear()  # a run that failed has set it
        wanted = [model for key, model in self._models.items() if key in texts]
        remote = [model for model in wanted if model.runs_on == "remote"]
        local = [model for model in wanted if model.runs_on != "remote"]
        if not remote:
            return {model.key: self._pass(model, texts[model.key], check) for model in local}
        encoded = self._run_beside(remote, local, texts, check)
        return {model.key: encoded[model.key] for model in wanted}

    def _run_beside(
        self,
        remote: Sequence[Model],
        local: Sequence[Model],
        texts: Mapping[str, Sequence[str]],
        check: Callable[[Model, Encoder], None] | None,
    ) -> dict[str, Encoded]:
        """Run the passes of remote models in threads, while those of local models follow each other in this one."""
        with ThreadPoolExecutor(len(remote), thread_name_prefix="remote") as pool:
            running = {model.key: pool.submit(self._pass, model, texts[model.key], check) for model in remote}
            try:
                encoded = {model.key: self._pass(model, texts[model.key], check) for model in local}
                return encoded | {key: future.result() for key, future in running.items()}
            except BaseException:
                self._stopping.set()
                while wait(running.values(), timeout=_INTERRUPT_SECONDS).not_done:  # one may be about to wait
                    for model in remote:
                        _interrupt(model)
                raise

    def close(self) -> None:
        """Release the devices and offload their models. Idempotent; does nothing in a forked child."""
        if self._home.is_current:
            give_back(sorted(self._used_devices), self._lease_directory)
            self._used_devices.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _pass(self, model: Model, texts: Sequence[str], check: Callable[[Model, Encoder], None] | None) -> Encoded:
        """Run a pass. If one of several GPUs fails, leave it out from now on and repeat the pass on the others."""
        while True:
            devices = devices_of(model, self._devices)
            usable = tuple(device for device in devices if device not in self._failed_devices)
            try:
                return self._pass_on(usable or devices, model, texts, check)
            except DeviceError as exc:
                others = [device for device in usable if device != exc.device]
                if not others or exc.device not in usable:
                    raise
                self._failed_devices.add(exc.device)
                self.monitor.log_error(exc.device, exc)
                logger.warning("%s; continuing on %s", exc, ", ".join(others))

    def _pass_on(
        self,
        devices: tuple[str, ...],
        model: Model,
        texts: Sequence[str],
        check: Callable[[Model, Encoder], None] | None,
    ) -> Encoded:
        state = PassState.of(model, texts)
        if state.remaining:
            if isinstance(model, CalibratedModel):
                model.calibrate(state.encodable())
            self._used_devices.update(devices)
            with BatchProgressContext(self.monitor, model.key, state.remaining) as progress:
                lease = self._encode_under_lease(model, devices, state, progress, check)
                if state.overflowed and isinstance(model, FallbackModel):
                    logger.warning("%s; it computes in float32 from now on", not_finite(model))
                    model.use_float32()
                    state.overflowed = state.may_overflow = False
                    lease = self._encode_under_lease(model, devices, state, progress, check)
            self.monitor.log_pass(_report(model, lease, state, self._window))
        return state.result()

    def _encode_under_lease(
        self,
        model: Model,
        devices: tuple[str, ...],
        state: PassState,
        progress: BatchProgressContext,
        check: Callable[[Model, Encoder], None] | None,
    ) -> GPULease:
        """Encode the queue of a pass under one lease. Returns the lease, which has ended."""
        with lease_gpus(
            model,
            devices,
            exclusive=self._exclusive,
            timeout=self._lease_timeout,
            directory=self._lease_directory,
            monitor=self.monitor,
            keep=True,
        ) as lease:
            if check is not None:
                check(model, lease.encoder)
            computed = self._encode_all(model, lease, state, progress)
            state.check_room()
        state.seconds += lease.seconds
        state.compute_seconds += computed / len(lease.places)
        state.swap_seconds += lease.swap_seconds
        return lease

    def _encode_all(self, model: Model, lease: GPULease, state: PassState, progress: BatchProgressContext) -> float:
        """Encode on all devices. Returns the sum of the seconds in which they computed."""
        places = list(zip(lease.encoders, lease.places, strict=True))
        if len(places) == 1:
            return self._encode_on(model, *places[0], state, progress)
        # Threads, not processes: texts are tokenized already, so that a batch takes about 4 ms of Python. With fake GPUs that
        # take 50 ms for each, two threads took 0.50 and four 0.30 of the time of one.
        with ThreadPoolExecutor(len(places), thread_name_prefix="encode") as pool:
            try:
                running = [pool.submit(self._encode_on, model, encoder, device, state, progress) for encoder, device in places]
                return sum(future.result() for future in running)
            except BaseException:
                state.queue.clear()
                raise

    def _encode_on(self, model: Model, encoder: Encoder, device: str, state: PassState, progress: BatchProgressContext) -> float:
        """Encode batches until none are left. Halves a failed batch until the text that causes the failure is alone.

        Returns the seconds in which the device computed.
        """
        learned_on = identity_of(device) if is_accelerator(device) else device
        tokens = largest = 0
        take = partial(self._take, model, learned_on, state)
        stream = BatchStream(encoder, device, state.texts, take, self._retry, sleep=self._sleep)
        started = time.monotonic()
        try:
            for batch, result in stream:
                cost = state.queue.padded_cost(batch)
                if isinstance(result, Failure):
                    state.confine(batch, result.reason, device if result.out_of_memory else None)
                    if result.out_of_memory:
                        self._controller.overflowed(model.key, learned_on, cost)
                        release_cached_memory([device])
                    continue
                stored = state.store(batch, result, cost)
                tokens += int(state.lengths[batch].sum())
                largest = max(largest, cost)
                progress.advance(stored)
        except BaseException:
            state.queue.clear()
            _interrupt(model)
            raise
        if as_remote(model):
            return stream.computed_seconds
        seconds = time.monotonic() - started
        memory = memory_snapshots([device]).get(device)
        self._controller.succeeded(model.key, learned_on, tokens=tokens, largest=largest, seconds=seconds, memory=memory)
        return stream.computed_seconds

    def _take(self, model: Model, learned_on: str, state: PassState) -> Indices:
        """Return the next batch of a pass, none if the run is stopping."""
        if self._stopping.is_set():
            state.queue.clear()
        remote = as_remote(model)
        return state.take(remote.batch_tokens if remote else self._controller.budget(model.key, learned_on))

    def _sleep(self, seconds: float) -> None:
        """Wait between two attempts. Raises `ModelUnavailableError` if the run is stopping."""
        if self._stopping.wait(seconds):
            raise ModelUnavailableError("another model of the run failed", gave_up=True)


def _interrupt(model: Model) -> None:
    """End the waits of a remote model, so that a run that fails does not wait for the limits of an account."""
    if remote := as_remote(model):
        remote.interrupt()


def _report(model: Model, lease: GPULease, state: PassState, window: int) -> PassReport:
    remote = as_remote(model)
    usage = remote.take_usage() if remote else 0
    return PassReport(
        key=model.key,
        kind=model.kind,
        vector=model.key,
        dim=model.dim,
        dtype=model.dtype,
        device=name_places(lease.places),
        backend=model.backend,
        chunks=state.chunks,
        tokens=usage or state.tokens,
        padded_tokens=usage or state.padded_tokens,
        seconds=state.seconds,
        swap_seconds=state.swap_seconds,
        compute_seconds=state.compute_seconds,
        window=window,
        vram_gb=max(lease.summarize()["vram_delta_gb"].values(), default=0.0),
        identical=state.chunks - state.encoded,
    )
