"""How fast this machine encodes, and in which way it is fastest: each backend, with batches of several sizes."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.contract import Model
from ingest.encode.devices import check_devices, default_devices, is_accelerator
from ingest.encode.models import ModelManager
from ingest.encode.openvino.calibration import common_pieces
from ingest.encode.openvino.choice import Backend, BackendOptions
from ingest.encode.openvino.model import Precision
from ingest.encode.registry import CustomModels, EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.errors import MissingExtraError, ModelError
from ingest.telemetry import ThroughputMonitor

TRIAL_SECONDS = 1.5
"""About as long as each way is measured."""

_PROCESSOR_BUDGETS = (1_024, 2_048, 4_096)
_ACCELERATOR_BUDGETS = (8_192, 16_384, 65_536)
_FEWEST, _MOST = 16, 20_000
_FIRST = 4
_NEAR = 1.05
"""A way that is no faster than this times another is not worth a change."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to encode. `batch_tokens`: padded, per batch; `tokens_per_second`: without padding."""

    backend: str
    precision: str
    batch_tokens: int
    texts_per_second: float
    tokens_per_second: float


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What was measured.

    Attributes:
        threads: of the processor, that compute.
        best: the fastest trial, with usual batches where they are about as fast.
        left_out: way that could not be tried → why, a sentence.
        seconds: of all, loading and converting included.
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
    """Encodes texts that every Python has with one model, in each way this machine has for it, under leases like any run.

    Takes less than a minute with a small model. What is to be converted for it is kept for the runs to come.
    Raises `UnknownModelError`, `LeaseTimeoutError`, and `ModelError` where it can be computed in no way.
    """
    started = time.perf_counter()
    devices = default_devices() if devices is None else check_devices(devices)
    trials: list[Trial] = []
    left_out: dict[str, str] = {}
    for backend, precision in _ways(devices):
        backend_options = BackendOptions(backend, precision, cache_directory=cache_directory)
        try:
            [model] = ModelManager(
                EnsembleConfig((key,)),
                devices=devices,
                custom_models=custom_models,
                trust_remote_code=trust_remote_code,
                backend_options=backend_options,
            ).members
            if not trials or model.backend == backend:  # some have one way alone, whatever is asked for
                trials += _measure(model, devices, lease_directory)
        except (MissingExtraError, ModelError) as exc:
            left_out[f"{backend} {precision or ''}".strip()] = str(exc)
    if not trials:
        raise ModelError(f"model {key!r} could not be measured: {'; '.join(left_out.values())}")
    return SelfTest(
        model=key,
        device=",".join(devices),
        threads=len(os.sched_getaffinity(0)),
        trials=tuple(trials),
        best=best_of(trials),
        left_out=left_out,
        seconds=round(time.perf_counter() - started, 1),
    )


def best_of(trials: Sequence[Trial]) -> Trial:
    """The fastest, unless the same backend and precision is about as fast with the batches it has if nobody says otherwise."""
    fastest = max(trials, key=lambda trial: trial.texts_per_second)
    for trial in trials:
        alike = (trial.backend, trial.precision) == (fastest.backend, fastest.precision)
        if alike and _is_usual(trial) and trial.texts_per_second * _NEAR >= fastest.texts_per_second:
            return trial
    return fastest


def _is_usual(trial: Trial) -> bool:
    return trial.batch_tokens in (_PROCESSOR_BUDGETS[1], _ACCELERATOR_BUDGETS[1])


def _ways(devices: Sequence[str]) -> Iterator[tuple[Backend, Precision | None]]:
    yield "torch", None
    if not any(map(is_accelerator, devices)):
        yield "openvino", "float32"
        yield "openvino", "int8"


def _measure(model: Model, devices: Sequence[str], lease_directory: Path | None) -> Iterator[Trial]:
    texts = _texts(model)
    budgets = _ACCELERATOR_BUDGETS if any(map(is_accelerator, devices)) else _PROCESSOR_BUDGETS
    _encode(model, texts, devices, budgets[1], lease_directory)  # loads, converts and warms up
    first = _encode(model, texts[:_FIRST], devices, budgets[1], lease_directory)
    count = int(min(_MOST, max(_FEWEST, first.texts_per_second * TRIAL_SECONDS)))
    sample = [f"{number // len(texts)}. {texts[number % len(texts)]}" for number in range(count)]
    for budget in budgets:
        yield _encode(model, sample, devices, budget, lease_directory)


def _encode(model: Model, texts: Sequence[str], devices: Sequence[str], budget: int, lease_directory: Path | None) -> Trial:
    """Raises `ModelError` where not every text could be encoded."""
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
    """Of mixed lengths, within the model's limit."""
    texts = list(common_pieces())
    limit = model.token_limit
    fitting = (
        texts if limit is None else [text for text, n in zip(texts, limit.count(texts), strict=True) if n <= limit.max_tokens]
    )
    if not fitting:
        raise ModelError(f"there is nothing to measure {model.key!r} with: this Python comes without its language reference")
    return fitting
