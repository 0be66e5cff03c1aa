"""Errors of CUDA and torch in plain words. Recognized by type and error code; by text only where torch has neither."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ingest.errors import DeviceError, DeviceMemoryError

_RESTART = "run again in a new process"

_OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation

_CODES: Mapping[int, str] = MappingProxyType(
    {
        3: f"cannot be initialized: check it with nvidia-smi, then {_RESTART}",
        35: "needs a newer driver than the installed one: update the NVIDIA driver, or use device cpu",
        46: f"is busy or not available, perhaps because its MIG instances changed: check it with nvidia-smi, then {_RESTART}",
        100: f"is gone, perhaps because its MIG instances changed: check it with nvidia-smi, then {_RESTART}",
        101: f"is gone, perhaps because its MIG instances changed: check it with nvidia-smi, then {_RESTART}",
        209: "is not supported by this build of torch: install a build for its compute capability, or use device cpu",
        214: f"has an uncorrectable memory error: check it with nvidia-smi, then {_RESTART}",
        218: "is not supported by this build of torch: install a build for its compute capability, or use device cpu",
        222: "needs a newer driver for this build of torch: update the NVIDIA driver, or use device cpu",
        802: "is not ready, because the driver is still starting: wait, then run again",
        803: "has a driver and a driver library of different versions: restart the machine after the update of the driver",
    }
)
"""cudaError_t → what is wrong with the device. Any other code: the computation failed, and the process must end."""

_LIBRARY_STATUS = re.compile(r"\b(?:CUBLAS|CUDNN|CUSPARSE|CUSOLVER|CUFFT)_STATUS_[A-Z_]+")


def translate(error: BaseException, device: str) -> DeviceError | None:
    """Return an error of torch on a GPU in plain words, or None if it is not one. Does not import torch."""
    if isinstance(error, DeviceError):
        return error
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return DeviceMemoryError(f"{device} is out of memory", device=device)
    if torch is not None and isinstance(error, torch.AcceleratorError):
        return _of_code(getattr(error, "error_code", -1), error, device)
    if type(error) is RuntimeError and (status := _LIBRARY_STATUS.search(str(error))):
        return _of_status(status[0], device)
    return None


def _of_status(status: str, device: str) -> DeviceError:
    """Return the error of a library such as cuBLAS, which allocates memory itself, and which torch raises as a RuntimeError."""
    if status.endswith(("_ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED")):
        return DeviceMemoryError(f"{device} is out of memory ({status})", device=device)
    return DeviceError(f"{device} failed ({status}): {_RESTART}", device=device)


def _of_code(code: int, error: BaseException, device: str) -> DeviceError:
    if code == _OUT_OF_MEMORY:
        return DeviceMemoryError(f"{device} is out of memory", device=device)
    reason = next(iter(str(error).strip().splitlines()), "unknown error")
    if code in _CODES:
        return DeviceError(f"{device} {_CODES[code]} ({reason})", device=device)
    return DeviceError(f"{device} failed ({reason}): {_RESTART}", device=device)
