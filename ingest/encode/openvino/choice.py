"""Who computes a model on the processor, torch or OpenVINO, and in what precision. Decided before anything is loaded; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ingest.encode.devices import compute_dtype, is_accelerator
from ingest.encode.openvino.cache import default_cache_directory
from ingest.encode.openvino.calibration import Guard
from ingest.encode.openvino.model import Precision
from ingest.errors import ConfigurationError
from ingest.parameters import normalize, parse_boolean, parse_choice

Backend = Literal["auto", "torch", "openvino"]

_PRECISIONS: Mapping[str, Precision] = {"float32": "float32", "int8": "int8"}

REPAID_CHUNKS = 2_000
"""With as many to encode, the time that it takes to convert and calibrate a model is won back."""

REPAID_BYTES = 500 * REPAID_CHUNKS
"""Of text, where its chunks are not counted yet."""


@dataclass(frozen=True, slots=True)
class Computing:
    """How models are to be computed on the processor.

    Attributes:
        backend: `auto` is OpenVINO in int8 where that is faster in the end, else torch.
        precision: None: as stored vectors were made, else int8 where OpenVINO computes.
        made: vector name → precision that what is stored of it was made in; empty for a new collection.
        repays: there is so much to encode that a model may be converted for it; see `REPAID_CHUNKS`.
        cache_directory: where converted models are kept.
        guard: of converted models.
    """

    backend: Backend = "torch"
    precision: Precision | None = None
    made: Mapping[str, str] = field(default_factory=dict)
    repays: bool = False
    cache_directory: Path = field(default_factory=default_cache_directory)
    guard: Guard = field(default_factory=Guard)

    def __post_init__(self) -> None:
        normalize(self, "backend", parse_choice, get_args(Backend))
        if self.precision is not None:
            normalize(self, "precision", parse_choice, get_args(Precision))
        normalize(self, "repays", parse_boolean)
        if self.backend == "torch" and self.precision == "int8":
            raise ConfigurationError("torch computes in float32 on the processor, not in int8: ask for backend openvino, or auto")


def choose(
    computing: Computing, key: str, *, devices: Sequence[str], installed: bool, converted: Callable[[], bool]
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
        if computing.backend == "openvino":
            raise ConfigurationError(f"OpenVINO computes on the CPU, not on {', '.join(devices)}: name device cpu")
        return "torch", compute_dtype(devices)
    if computing.backend == "torch":
        return "torch", "float32"
    precision = computing.precision or _PRECISIONS.get(computing.made.get(key, ""))
    if precision is None:
        fast = computing.backend == "openvino" or (installed and (computing.repays or converted()))
        precision = "int8" if fast else "float32"
    return "openvino" if precision == "int8" or computing.backend == "openvino" else "torch", precision
