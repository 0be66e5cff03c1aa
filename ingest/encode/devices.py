"""The devices of this machine. They are listed without importing torch, which takes seconds and which most runs never need."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from ingest.errors import ConfigurationError
from ingest.parameters import checked, parse_texts
from ingest.process import ForkUnsafe

GIBIBYTE = 1024**3

_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76
_FIRST_CAPABILITY_WITH_BFLOAT16 = (8, 0)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A CUDA GPU as reported by the driver.

    Attributes:
        name: `cuda:0`, `cuda:1` ….
        capability: compute capability.
    """

    name: str
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class GPUMemorySnapshot:
    """The memory of a GPU at one moment, of all processes together, in bytes."""

    device: str
    used_bytes: int
    total_bytes: int


@cache
def accelerators() -> tuple[Accelerator, ...]:
    """Return the GPUs that this process can see, none with a CPU build of torch. The driver applies `CUDA_VISIBLE_DEVICES`."""
    if _is_cpu_build():
        return ()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    _DRIVER.use()
    return tuple(Accelerator(f"cuda:{index}", _capability(driver, index)) for index in range(count.value))


_DRIVER = ForkUnsafe("the GPU driver", instead="start the child with the method spawn, or use device cpu")


def check_driver(devices: Sequence[str]) -> None:
    """Raise `ForkError` for a GPU in a forked child of the process that initialized the driver, which works there alone."""
    if any(map(is_accelerator, devices)):
        _DRIVER.check()


def _is_cpu_build() -> bool:
    """Return whether the installed torch computes on the CPU alone."""
    try:
        return "+cpu" in metadata.version("torch")
    except metadata.PackageNotFoundError:
        return True


def _capability(driver: ctypes.CDLL, index: int) -> tuple[int, int]:
    handle, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, handle)
    return major.value, minor.value


def default_devices() -> tuple[str, ...]:
    """Return the first GPU, or the CPU if there is none."""
    return ("cuda:0",) if accelerators() else ("cpu",)


def check_devices(devices: Sequence[str]) -> tuple[str, ...]:
    """Return the named devices without duplicates. Raises `ConfigurationError` for one that this machine does not have.

    `cpu:1` is a second replica on the CPU. A single name may be passed as a string.
    """
    named = [devices] if isinstance(devices, str) else checked("devices", parse_texts, devices)
    available = [*(gpu.name for gpu in accelerators()), "cpu"]
    for device in named:
        if device not in available and re.fullmatch(r"cpu:[0-9]+", device) is None:
            because = "; the installed torch is built for the CPU alone" if _is_cpu_build() else ""
            raise ConfigurationError(f"there is no device {device!r}: available are {', '.join(available)}{because}")
    return tuple(dict.fromkeys(named))


def is_accelerator(device: str) -> bool:
    """Return True for `cuda:0`, False for `cpu` and `cpu:1`."""
    return device.partition(":")[0] != "cpu"


def torch_device(device: str) -> str:
    """Return torch's name of a device; that of `cpu:1`, a second replica on the CPU, is `cpu`."""
    return device if is_accelerator(device) else "cpu"


def compute_dtype(devices: Sequence[str]) -> str:
    """Return the dtype to compute in: on GPUs `bfloat16` if all support it, else `float16`; `float32` on the CPU."""
    if not devices or not all(map(is_accelerator, devices)):
        return "float32"
    capabilities = {gpu.name: gpu.capability for gpu in accelerators()}
    if all(capabilities.get(device, (0, 0)) >= _FIRST_CAPABILITY_WITH_BFLOAT16 for device in devices):
        return "bfloat16"
    return "float16"


def threads_of_each(replicas: int) -> int | None:
    """Return the threads of each of several replicas on the CPU; None for a single one."""
    return max(1, len(os.sched_getaffinity(0)) // replicas) if replicas > 1 else None


def memory_snapshots(devices: Sequence[str]) -> dict[str, GPUMemorySnapshot]:
    """Return the memory of each GPU among `devices`."""
    present = {gpu.name for gpu in accelerators()}
    gpus = [device for device in devices if device in present]
    if not gpus:
        return {}
    import torch  # noqa: PLC0415 - takes seconds, and only a machine with a GPU needs it

    taken = {}
    for gpu in gpus:
        free, total = torch.cuda.mem_get_info(gpu)
        taken[gpu] = GPUMemorySnapshot(device=gpu, used_bytes=total - free, total_bytes=total)
    return taken


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is torch's out-of-memory error. Does not import torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def wait_for_moves(devices: Sequence[str]) -> None:
    """Wait until the weights have arrived on the GPUs among `devices`: torch copies pinned memory asynchronously."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        for device in filter(is_accelerator, devices):
            torch.cuda.synchronize(device)


def release_cached_memory(devices: Sequence[str]) -> None:
    """Release the GPU memory that torch caches, so that other processes can use it."""
    torch = sys.modules.get("torch")
    if torch is not None and any(map(is_accelerator, devices)) and torch.cuda.is_available():
        torch.cuda.empty_cache()
