"""Check a model: load it, encode a sentence and compare the result with the registry."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ingest.encode.models import ModelManager
from ingest.encode.registry import CustomModels, EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.encode.self_description import prompt_differences
from ingest.encode.torch_model import TorchModel
from ingest.errors import ModelError
from ingest.records import SparseVector
from ingest.telemetry import ThroughputMonitor

SENTENCE = "The quick brown fox jumps over the lazy dog."


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The facts about a model that was loaded and used.

    Attributes:
        norm: length of its vector of `SENTENCE`; None for a sparse model.
        terms: non-zero entries of that vector; None for a dense model.
        seconds: duration of the check, loading included.
    """

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
    """Load a dense or sparse model, encode one sentence under a lease, and check the vector.

    Raises `UnknownModelError`, and `ModelError` if the model is not available, differs from its configuration (dimension, tokens,
    pooling, prompts), or makes an unusable vector.
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
    (model,) = manager.members
    if isinstance(model, TorchModel) and (differences := prompt_differences(model.config, model.module)):
        raise ModelError(f"model {key!r}: {'; '.join(differences)}: a run uses the configured prompt")
    (report,) = monitor.model_reports()
    norm = terms = None
    vector = encoded.vectors[0]
    if isinstance(vector, SparseVector):
        terms = len(vector.indices)
        if terms == 0:
            raise ModelError(f"model {key!r} returned an empty vector for a plain sentence: its weights are not usable")
    else:
        norm = float(np.linalg.norm(vector.reshape(-1, vector.shape[-1]), axis=1).mean())
        if not np.isclose(norm, 1.0, atol=1e-3):
            raise ModelError(f"model {key!r} returned a vector of length {norm:.4f} instead of 1: its weights are not usable")
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
