"""The names of the devices of this machine, and what a run does with them. A run on the CPU makes no call to a GPU."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ingest.encode.accelerator import GIBIBYTE, GPUMemorySnapshot, current_accelerator, is_cpu_build
from ingest.errors import ConfigurationError, DeviceError, DeviceMemoryError
from ingest.parameters import checked, parse_texts
from ingest.process import usable_cores

if TYPE_CHECKING:
    import torch

__all__ = ["GIBIBYTE", "GPUMemorySnapshot"]


def default_devices() -> tuple[str, ...]:
    """Return the first GPU, or the CPU if there is none."""
    return tuple(gpu.name for gpu in current_accelerator().gpus()[:1]) or ("cpu",)


def check_devices(devices: Sequence[str]) -> tuple[str, ...]:
    """Return the named devices without duplicates. Raises `ConfigurationError` for one that this machine does not have.

    `cpu:1` is a second replica on the CPU. A single name may be passed as a string.
    """
    named = [devices] if isinstance(devices, str) else checked("devices", parse_texts, devices)
    unknown = [device for device in named if re.fullmatch(r"cpu(:[0-9]+)?", device) is None]
    if unknown:
        available = [*(gpu.name for gpu in current_accelerator().gpus()), "cpu"]
        for device in unknown:
            if device not in available:
                because = "; the installed torch is built for the CPU alone" if is_cpu_build() else ""
                raise ConfigurationError(f"there is no device {device!r}: available are {', '.join(available)}{because}")
    return tuple(dict.fromkeys(named))


def check_usable(devices: Sequence[str]) -> None:
    """Raise `DeviceError` for a GPU that torch cannot use, and `ForkError` in a forked child if its parent used the driver."""
    for gpu in filter(is_accelerator, devices):
        if (reason := current_accelerator().unusable(gpu)) is not None:
            raise DeviceError(reason, device=gpu)


def is_accelerator(device: str) -> bool:
    """Return True for `cuda:0`, False for `cpu`, `cpu:1` and `remote`."""
    return device.partition(":")[0] not in {"cpu", "remote"}


def torch_device(device: str) -> str:
    """Return torch's name of a device; that of `cpu:1`, a second replica on the CPU, is `cpu`."""
    return current_accelerator().tensor_device(device) if is_accelerator(device) else "cpu"


def identity_of(device: str) -> str:
    """Return the name of a device that every process of this host agrees on, fit for a file name: `cpu-1`, `gpu-UUID`."""
    if is_accelerator(device):
        for gpu in current_accelerator().gpus():
            if gpu.name == device:
                return gpu.identity
    return device.replace(":", "-")


def compute_dtype(devices: Sequence[str]) -> str:
    """Return the dtype to compute in: on GPUs `bfloat16` if all support it, else `float16`; `float32` on the CPU."""
    if not devices or not all(map(is_accelerator, devices)):
        return "float32"
    able = {gpu.name for gpu in current_accelerator().gpus() if gpu.has_bfloat16}
    return "bfloat16" if able.issuperset(devices) else "float16"


def threads_of_each(replicas: int) -> int | None:
    """Return the threads of each of several replicas on the CPU; None for a single one."""
    return max(1, usable_cores() // replicas) if replicas > 1 else None


def memory_snapshots(devices: Sequence[str]) -> dict[str, GPUMemorySnapshot]:
    """Return the memory of each GPU among `devices`."""
    return {device: current_accelerator().memory(device) for device in filter(is_accelerator, devices)}


def translate_error(error: BaseException, device: str) -> DeviceError | None:
    """Return the error of a device in plain words, or None if it is not one."""
    if is_accelerator(device):
        return current_accelerator().translate(error, device)
    return DeviceMemoryError(f"{device} is out of memory", device=device) if is_out_of_memory(error) else None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a device is out of memory. Does not import torch."""
    torch = sys.modules.get("torch")
    return isinstance(error, DeviceMemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))


def copy_tensor(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """Return a copy of a tensor on a GPU, which may still be under way; on the CPU, the tensor itself."""
    return current_accelerator().copy(tensor, device) if is_accelerator(device) else tensor


def wait_for_moves(devices: Sequence[str]) -> None:
    """Wait until the weights have arrived on the GPUs among `devices`: pinned memory is copied asynchronously."""
    for device in filter(is_accelerator, devices):
        current_accelerator().synchronize(device)


def release_cached_memory(devices: Sequence[str]) -> None:
    """Release the GPU memory that torch caches, so that other processes can use it. A GPU that failed has nothing to release."""
    for device in filter(is_accelerator, devices):
        try:
            current_accelerator().free_cache(device)
        except Exception as exc:
            if translate_error(exc, device) is None:
                raise
