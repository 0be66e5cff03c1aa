"""Trying a model out: does it load, and is it what the registry says?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ingest.encode.models import ModelManager
from ingest.encode.registry import CustomModels, EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.errors import ModelError
from ingest.telemetry import ThroughputMonitor

SENTENCE = "The quick brown fox jumps over the lazy dog."


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a model turned out to be. `norm`: of a dense vector; `terms`: of a sparse one; `seconds` with loading."""

    key: str
    kind: str
    dim: int | None
    dtype: str
    device: str
    backend: str
    tokens: int
    norm: float | None
    terms: int | None
    seconds: float


def check_model(
    key: str,
    *,
    custom_models: CustomModels | None = None,
    trust_remote_code: Collection[str] = (),
    devices: Sequence[str] | None = None,
) -> CheckReport:
    """Loads a dense or sparse model, encodes one sentence under a lease and checks what came out.

    Raises `UnknownModelError`, or `ModelError` if it cannot be had, is not what the registry says, or encodes nonsense.
    """
    manager = ModelManager(
        EnsembleConfig(ensemble_models=(key,)),
        devices=devices,
        custom_models=custom_models,
        trust_remote_code=trust_remote_code,
    )
    monitor = ThroughputMonitor()
    with BatchRunner(manager.members, devices=devices, monitor=monitor) as runner:
        encoded = runner.run({key: [SENTENCE]})[key]
    if encoded.failed:
        raise ModelError(f"model {key!r} could not encode a plain sentence: {encoded.failed[0]}")
    (report,) = monitor.model_reports()
    norm = terms = None
    if isinstance(encoded.vectors, list):
        terms = len(encoded.vectors[0].indices)
        if terms == 0:
            raise ModelError(f"model {key!r} gave an empty vector for a plain sentence: its weights are not usable")
    else:
        norm = float(np.linalg.norm(encoded.vectors[0]))
        if not np.isclose(norm, 1.0, atol=1e-3):
            raise ModelError(f"model {key!r} gave a vector of length {norm:.4f} where 1 is due: its weights are not usable")
    return CheckReport(
        key=key,
        kind=report.kind,
        dim=report.dim,
        dtype=report.dtype,
        device=report.device,
        backend=report.backend,
        tokens=report.tokens,
        norm=norm,
        terms=terms,
        seconds=round(monitor.elapsed(), 3),
    )
