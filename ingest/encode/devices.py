"""What there is to compute on, found out without importing torch: that import costs seconds and most runs never need it."""

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
    """One CUDA card as the driver reports it: `name` is `cuda:0`, `capability` its compute capability."""

    name: str
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class GPUMemorySnapshot:
    """Memory of one card at one moment, of all processes together. Bytes."""

    device: str
    used_bytes: int
    total_bytes: int


@cache
def accelerators() -> tuple[Accelerator, ...]:
    """The cards this process may use, none with a CPU build of torch. Asks the driver, so `CUDA_VISIBLE_DEVICES` holds."""
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


_DRIVER = ForkUnsafe("the GPU driver", instead="start the child with the method spawn, or name device cpu")


def check_driver(devices: Sequence[str]) -> None:
    """Raise `ForkError` for a GPU in a forked child of the process that asked the driver: it works in no other."""
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
    """The first card where there is one, else the processor."""
    return ("cuda:0",) if accelerators() else ("cpu",)


def check_devices(devices: Sequence[str]) -> tuple[str, ...]:
    """Return devices that a caller named, each once. Raises `ConfigurationError` for one that this machine does not have.

    `cpu:1` is a second place to compute on the one CPU. A single name may be given as it is.
    """
    named = [devices] if isinstance(devices, str) else checked("devices", parse_texts, devices)
    available = [*(card.name for card in accelerators()), "cpu"]
    for device in named:
        if device not in available and re.fullmatch(r"cpu:[0-9]+", device) is None:
            because = "; the installed torch is built for the CPU alone" if _is_cpu_build() else ""
            raise ConfigurationError(f"there is no device {device!r}: available are {', '.join(available)}{because}")
    return tuple(dict.fromkeys(named))


def is_accelerator(device: str) -> bool:
    """True for `cuda:0`, False for `cpu` and `cpu:1`."""
    return device.partition(":")[0] != "cpu"


def torch_device(device: str) -> str:
    """What torch calls it: `cpu:1` is a second place to compute on the one processor."""
    return device if is_accelerator(device) else "cpu"


def compute_dtype(devices: Sequence[str]) -> str:
    """What a model computes in on these devices: `bfloat16` where all cards have it, `float16` on older cards, else `float32`."""
    if not devices or not all(map(is_accelerator, devices)):
        return "float32"
    capabilities = {card.name: card.capability for card in accelerators()}
    if all(capabilities.get(device, (0, 0)) >= _FIRST_CAPABILITY_WITH_BFLOAT16 for device in devices):
        return "bfloat16"
    return "float16"


def threads_of_each(replicas: int) -> int | None:
    """With how many threads each of several replicas computes on this processor; None where one has it to itself."""
    return max(1, len(os.sched_getaffinity(0)) // replicas) if replicas > 1 else None


def memory_snapshots(devices: Sequence[str]) -> dict[str, GPUMemorySnapshot]:
    """One per card among `devices`; empty where there is no card."""
    present = {card.name for card in accelerators()}
    cards = [device for device in devices if device in present]
    if not cards:
        return {}
    import torch  # noqa: PLC0415 - seconds, and only a machine with a card pays them

    taken = {}
    for card in cards:
        free, total = torch.cuda.mem_get_info(card)
        taken[card] = GPUMemorySnapshot(device=card, used_bytes=total - free, total_bytes=total)
    return taken


def is_out_of_memory(error: BaseException) -> bool:
    """By type. A process that never imported torch cannot have been given its error."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def wait_for_moves(devices: Sequence[str]) -> None:
    """Returns once weights have arrived on the cards among `devices`: torch only starts to move what is pinned."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        for device in filter(is_accelerator, devices):
            torch.cuda.synchronize(device)


def release_cached_memory(devices: Sequence[str]) -> None:
    """Hands memory that torch keeps for itself back to the card, for whoever comes next."""
    torch = sys.modules.get("torch")
    if torch is not None and any(map(is_accelerator, devices)) and torch.cuda.is_available():
        torch.cuda.empty_cache()
