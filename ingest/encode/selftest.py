"""Measure how fast this machine encodes with each backend and several batch sizes."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.contract import Model
from ingest.encode.devices import check_devices, default_devices, is_accelerator
from ingest.encode.models import ModelManager
from ingest.encode.openvino.calibration import common_pieces
from ingest.encode.openvino.choice import BackendOptions, CpuBackend
from ingest.encode.openvino.model import ConvertedPrecision
from ingest.encode.registry import CustomModels, EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.errors import MissingExtraError, ModelError
from ingest.process import usable_cores
from ingest.telemetry import ThroughputMonitor

TRIAL_SECONDS = 1.5
"""Approximate duration of each trial."""

_CPU_BUDGETS = (1_024, 2_048, 4_096)
_ACCELERATOR_BUDGETS = (8_192, 16_384, 65_536)
_MIN_TEXTS, _MAX_TEXTS = 16, 20_000
_WARM_UP_TEXTS = 4
_WORTHWHILE_SPEEDUP = 1.05
"""Speedup below which another batch size is not worth a change."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The speed of one backend, precision and batch size.

    Attributes:
        batch_tokens: padded tokens per batch.
        tokens_per_second: tokens without padding.
    """

    backend: str
    precision: str
    batch_tokens: int
    texts_per_second: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The result of the measurement.

    Attributes:
        threads: CPU threads that compute.
        best: the fastest trial; the one with default batches if it is about as fast.
        left_out: backend and precision that could not be tried → reason, a sentence.
        seconds: total duration, loading and converting included.
    """

    model: str
    device: str
    threads: int
    trials: tuple[Trial, ...]
    best: Trial
    left_out: dict[str, str]
    seconds: float


def run_selftest(
    key: str,
    *,
    cache_directory: Path,
    devices: Sequence[str] | None = None,
    lease_directory: Path | None = None,
    custom_models: CustomModels | None = None,
    trust_remote_code: Collection[str] = (),
) -> SelfTest:
    """Encode texts of Python's language reference with one model and each available backend, under leases like any run.

    Takes less than a minute with a small model. Converted models are kept for later runs. Raises `UnknownModelError`,
    `LeaseTimeoutError`, and `ModelError` if no backend can compute the model.
    """
    started = time.perf_counter()
    devices = default_devices() if devices is None else check_devices(devices)
    trials: list[Trial] = []
    left_out: dict[str, str] = {}
    for backend, precision in _combinations(devices):
        backend_options = BackendOptions(backend, precision, cache_directory=cache_directory)
        try:
            [model] = ModelManager(
                EnsembleConfig((key,)),
                devices=devices,
                custom_models=custom_models,
                trust_remote_code=trust_remote_code,
                backend_options=backend_options,
            ).members
            if not trials or model.backend == backend:  # some models have one backend only
                trials += _measure(model, devices, lease_directory)
        except (MissingExtraError, ModelError) as exc:
            left_out[f"{backend} {precision or ''}".strip()] = str(exc)
    if not trials:
        raise ModelError(f"model {key!r} could not be measured: {'; '.join(left_out.values())}")
    return SelfTest(
        model=key,
        device=",".join(devices),
        threads=usable_cores(),
        trials=tuple(trials),
        best=best_of(trials),
        left_out=left_out,
        seconds=round(time.perf_counter() - started, 1),
    )


def best_of(trials: Sequence[Trial]) -> Trial:
    """Return the fastest trial, or the one with default batches if it is about as fast with the same backend and precision."""
    fastest = max(trials, key=lambda trial: trial.texts_per_second)
    for trial in trials:
        alike = (trial.backend, trial.precision) == (fastest.backend, fastest.precision)
        if alike and _has_default_batches(trial) and trial.texts_per_second * _WORTHWHILE_SPEEDUP >= fastest.texts_per_second:
            return trial
    return fastest


def _has_default_batches(trial: Trial) -> bool:
    return trial.batch_tokens in (_CPU_BUDGETS[1], _ACCELERATOR_BUDGETS[1])


def _combinations(devices: Sequence[str]) -> Iterator[tuple[CpuBackend, ConvertedPrecision | None]]:
    yield "torch", None
    if not any(map(is_accelerator, devices)):
        yield "openvino", "float32"
        yield "openvino", "int8"


def _measure(model: Model, devices: Sequence[str], lease_directory: Path | None) -> Iterator[Trial]:
    texts = _texts(model)
    budgets = _ACCELERATOR_BUDGETS if any(map(is_accelerator, devices)) else _CPU_BUDGETS
    _encode(model, texts, devices, budgets[1], lease_directory)  # load, convert and warm up
    first = _encode(model, texts[:_WARM_UP_TEXTS], devices, budgets[1], lease_directory)
    count = int(min(_MAX_TEXTS, max(_MIN_TEXTS, first.texts_per_second * TRIAL_SECONDS)))
    sample = [f"{number // len(texts)}. {texts[number % len(texts)]}" for number in range(count)]
    for budget in budgets:
        yield _encode(model, sample, devices, budget, lease_directory)


def _encode(model: Model, texts: Sequence[str], devices: Sequence[str], budget: int, lease_directory: Path | None) -> Trial:
    """Encode the texts and return the speed. Raises `ModelError` if a text cannot be encoded."""
    monitor = ThroughputMonitor()
    controller = AdaptiveBatchController({model.key: budget}, cpu_tokens=budget)
    with BatchRunner([model], devices=devices, monitor=monitor, lease_directory=lease_directory, controller=controller) as runner:
        started = time.perf_counter()
        encoded = runner.run({model.key: texts})[model.key]
        seconds = time.perf_counter() - started
    for reason in encoded.failed.values():
        raise ModelError(f"model {model.key!r} could not encode a plain text: {reason}")
    [report] = monitor.model_reports()
    return Trial(model.backend, model.dtype, budget, round(len(texts) / seconds, 1), round(report.tokens / seconds))


def _texts(model: Model) -> list[str]:
    """Return texts of mixed lengths, within the model's limit."""
    texts = list(common_pieces())
    limit = model.token_limit
    fitting = (
        texts if limit is None else [text for text, n in zip(texts, limit.count(texts), strict=True) if n <= limit.max_tokens]
    )
    if not fitting:
        raise ModelError(f"no texts to measure {model.key!r} with: this Python lacks its language reference (pydoc_data)")
    return fitting
