"""Choose the backend of a model, torch or OpenVINO, and its precision, before anything is loaded. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ingest.encode.devices import compute_dtype, is_accelerator
from ingest.encode.openvino.cache import default_cache_directory
from ingest.encode.openvino.calibration import AccuracyGuard
from ingest.encode.openvino.model import ConvertedPrecision
from ingest.encode.precision import Precision, fingerprinted, float_precision
from ingest.errors import ConfigurationError
from ingest.parameters import normalize, parse_boolean, parse_choice

CpuBackend = Literal["auto", "torch", "openvino"]

_ON_CPU: Mapping[str, ConvertedPrecision] = {"float32": "float32", "int8": "int8"}

WORTH_CONVERTING_CHUNKS = 2_000
"""Chunks to encode from which converting and calibrating a model saves time."""

WORTH_CONVERTING_BYTES = 500 * WORTH_CONVERTING_CHUNKS
"""Bytes of text to encode from which converting a model saves time, if the chunks are not counted yet."""


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """How models are computed.

    Attributes:
        backend: on the CPU; `auto` is OpenVINO in int8 if that is faster overall, else torch.
        precision: precision to compute in. None: that of the stored vectors, else the default: int8 with OpenVINO, float32 with
            torch on the CPU, bfloat16 on GPUs that have it, float16 on others. Devices without that float use their default.
        stored_precisions: vector name → precision of the stored vectors; empty for a new collection.
        worth_converting: whether there is enough to encode to convert a model for it; see `WORTH_CONVERTING_CHUNKS`.
        cache_directory: folder of the converted models.
        guard: accuracy that converted models must have.
    """

    backend: CpuBackend = "torch"
    precision: Precision | None = None
    stored_precisions: Mapping[str, str] = field(default_factory=dict)
    worth_converting: bool = False
    cache_directory: Path = field(default_factory=default_cache_directory)
    guard: AccuracyGuard = field(default_factory=AccuracyGuard)

    def __post_init__(self) -> None:
        normalize(self, "backend", parse_choice, get_args(CpuBackend))
        if self.precision is not None:
            normalize(self, "precision", parse_choice, get_args(Precision))
        normalize(self, "worth_converting", parse_boolean)
        if self.backend == "torch" and self.precision == "int8":
            raise ConfigurationError("torch computes in float32 on the CPU, not in int8: use backend openvino or auto")
        if self.backend == "openvino" and self.precision in {"bfloat16", "float16"}:
            raise ConfigurationError(f"OpenVINO computes in float32 or int8, not in {self.precision}: use backend torch or auto")

    def wanted(self, key: str) -> str | None:
        """Return the precision that was asked for, else that of the model's stored vectors, else None."""
        return self.precision or self.stored_precisions.get(key)


def choose_backend(
    backend_options: BackendOptions, key: str, *, devices: Sequence[str], installed: bool, converted: Callable[[], bool]
) -> tuple[Literal["torch", "openvino"], str]:
    """Return the backend and the dtype of a model that OpenVINO can compute.

    A collection keeps the precision of its stored vectors, whatever is installed or converted; the other arguments decide only
    for a new collection. Raises `ConfigurationError` for OpenVINO or int8 on an accelerator.

    Args:
        devices: devices that the model computes on.
        installed: whether OpenVINO is installed.
        converted: returns whether the model is converted to int8 already.
    """
    wanted = backend_options.wanted(key)
    if any(map(is_accelerator, devices)):
        if backend_options.backend == "openvino":
            raise ConfigurationError(f"OpenVINO computes on the CPU, not on {', '.join(devices)}: use device cpu")
        if backend_options.precision == "int8":
            raise ConfigurationError(
                f"int8 is computed on the CPU, not on {', '.join(devices)}: use device cpu or another precision"
            )
        return "torch", float_precision(wanted, compute_dtype(devices))
    if backend_options.backend == "torch":
        return "torch", "float32"
    precision = _ON_CPU.get(fingerprinted(wanted)) if wanted else None
    if precision is None:
        fast = backend_options.backend == "openvino" or (installed and (backend_options.worth_converting or converted()))
        precision = "int8" if fast else "float32"
    return "openvino" if precision == "int8" or backend_options.backend == "openvino" else "torch", precision
