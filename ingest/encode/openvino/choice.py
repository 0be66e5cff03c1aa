"""Who computes a model on the processor, torch or OpenVINO, and in what precision. Decided before anything is loaded; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ingest.encode.devices import compute_dtype, is_accelerator
from ingest.encode.openvino.cache import default_cache_directory
from ingest.encode.openvino.calibration import AccuracyGuard
from ingest.encode.openvino.model import Precision
from ingest.errors import ConfigurationError
from ingest.parameters import normalize, parse_boolean, parse_choice

Backend = Literal["auto", "torch", "openvino"]

_PRECISIONS: Mapping[str, Precision] = {"float32": "float32", "int8": "int8"}

WORTH_CONVERTING_CHUNKS = 2_000
"""With as many to encode, the time that it takes to convert and calibrate a model is won back."""

WORTH_CONVERTING_BYTES = 500 * WORTH_CONVERTING_CHUNKS
"""Of text, where its chunks are not counted yet."""


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """How models are to be computed on the processor.

    Attributes:
        backend: `auto` is OpenVINO in int8 where that is faster in the end, else torch.
        precision: None: as stored vectors were made, else int8 where OpenVINO computes.
        stored_precisions: vector name → precision that what is stored of it was made in; empty for a new collection.
        worth_converting: there is so much to encode that a model may be converted for it; see `WORTH_CONVERTING_CHUNKS`.
        cache_directory: where converted models are kept.
        guard: of converted models.
    """

    backend: Backend = "torch"
    precision: Precision | None = None
    stored_precisions: Mapping[str, str] = field(default_factory=dict)
    worth_converting: bool = False
    cache_directory: Path = field(default_factory=default_cache_directory)
    guard: AccuracyGuard = field(default_factory=AccuracyGuard)

    def __post_init__(self) -> None:
        normalize(self, "backend", parse_choice, get_args(Backend))
        if self.precision is not None:
            normalize(self, "precision", parse_choice, get_args(Precision))
        normalize(self, "worth_converting", parse_boolean)
        if self.backend == "torch" and self.precision == "int8":
            raise ConfigurationError("torch computes in float32 on the processor, not in int8: ask for backend openvino, or auto")


def choose(
    backend_options: BackendOptions, key: str, *, devices: Sequence[str], installed: bool, converted: Callable[[], bool]
) -> tuple[Literal["torch", "openvino"], str]:
    """Return the backend of a model that OpenVINO can compute, and the dtype to compute it in.

    What is stored decides, so that a collection keeps its precision whatever is installed, converted or worth it today. Only a
    new one is decided about. Raises `ConfigurationError` if OpenVINO is asked for on an accelerator.

    Args:
        devices: that the model computes on.
        installed: whether OpenVINO is.
        converted: whether the model is there in int8 already.
    """
    if any(map(is_accelerator, devices)):
        if backend_options.backend == "openvino":
            raise ConfigurationError(f"OpenVINO computes on the CPU, not on {', '.join(devices)}: name device cpu")
        return "torch", compute_dtype(devices)
    if backend_options.backend == "torch":
        return "torch", "float32"
    precision = backend_options.precision or _PRECISIONS.get(backend_options.stored_precisions.get(key, ""))
    if precision is None:
        fast = backend_options.backend == "openvino" or (installed and (backend_options.worth_converting or converted()))
        precision = "int8" if fast else "float32"
    return "openvino" if precision == "int8" or backend_options.backend == "openvino" else "torch", precision
