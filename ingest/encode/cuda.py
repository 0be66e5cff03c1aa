"""NVIDIA GPUs: listed by the driver without torch, used through torch."""

from __future__ import annotations

import ctypes
import re
import uuid
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from ingest.encode.accelerator import GPU, GPUMemorySnapshot, is_cpu_build
from ingest.encode.torch_gpus import TorchAccelerator
from ingest.process import ForkUnsafe

_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76
_FIRST_CAPABILITY_WITH_BFLOAT16 = (8, 0)
_TEXT_BYTES = 96
_ARCHITECTURE = re.compile(r"(?P<kind>sm|compute)_(?P<major>\d+)(?P<minor>\d)(?P<only>[af]?)")


def load_driver() -> Any | None:
    """Return the library of the CUDA driver, or None without one."""
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


class CudaAccelerator(TorchAccelerator):
    """The CUDA GPUs of this process. The driver applies `CUDA_VISIBLE_DEVICES`.

    Args:
        driver: returns the driver's library, or None without one.
        cpu_build: whether the installed torch computes on the CPU alone; then there are no GPUs. None: look it up.
    """

    def __init__(self, driver: Callable[[], Any | None] = load_driver, *, cpu_build: bool | None = None) -> None:
        self._load_driver = driver
        self._cpu_build = is_cpu_build() if cpu_build is None else cpu_build
        self._fork_unsafe = ForkUnsafe("the GPU driver", instead="start the child with the method spawn, or use device cpu")

    def gpus(self) -> tuple[GPU, ...]:
        return self._gpus

    def unusable(self, device: str) -> str | None:
        self._fork_unsafe.check()
        import torch  # noqa: PLC0415 - takes seconds, and only a machine with a GPU needs it

        if torch.version.cuda is None:
            return (
                f"the installed torch {torch.__version__} was built without CUDA and cannot use {device}:"
                " install a CUDA build of torch, or use device cpu"
            )
        try:
            torch.cuda.init()
        except Exception as exc:  # noqa: BLE001  torch has no type for a driver that is too old
            reason = next(iter(str(exc).strip().splitlines()), type(exc).__name__)
            return (
                f"torch {torch.__version__} cannot initialize {device} ({reason}):"
                f" update the NVIDIA driver to one for CUDA {torch.version.cuda}, or use device cpu"
            )
        capability = {gpu.name: gpu.capability for gpu in self.gpus()}[device]
        if not supports(torch.cuda.get_arch_list(), capability):
            return (
                f"the installed torch {torch.__version__} has no code for {device}, of compute capability"
                f" {capability[0]}.{capability[1]}: install a build that has, or use device cpu"
            )
        return None

    def memory(self, device: str) -> GPUMemorySnapshot:
        import torch  # noqa: PLC0415

        free, total = torch.cuda.mem_get_info(device)
        return GPUMemorySnapshot(device, total - free, total, torch.cuda.memory_reserved(device))

    @cached_property
    def _gpus(self) -> tuple[GPU, ...]:
        if self._cpu_build or (driver := self._load_driver()) is None:
            return ()
        count = ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return ()
        self._fork_unsafe.use()
        return tuple(_gpu(driver, index) for index in range(count.value))


def supports(architectures: Sequence[str], capability: tuple[int, int]) -> bool:
    """Return whether a build for `architectures` (`sm_80`, `sm_90a`, `compute_90` …) runs on a GPU of that capability.

    Machine code (`sm`) runs on later minor versions of its major one, unless it ends with `a`; portable code (`compute`) runs on
    every later version.
    """
    return any(_runs_on(built, capability) for built in map(_ARCHITECTURE.fullmatch, architectures) if built is not None)


def _runs_on(built: re.Match[str], capability: tuple[int, int]) -> bool:
    version = int(built["major"]), int(built["minor"])
    if built["only"] == "a":
        return version == capability
    return version <= capability and (built["kind"] == "compute" or version[0] == capability[0])


def _gpu(driver: Any, index: int) -> GPU:
    handle, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, handle)
    total = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(total), handle)
    capability = major.value, minor.value
    return GPU(
        name=f"cuda:{index}",
        identity=_uuid(driver, handle) or _pci_bus_id(driver, handle) or f"cuda-{index}",
        product=_text(driver.cuDeviceGetName, handle),
        capability=capability,
        total_bytes=total.value,
        has_bfloat16=capability >= _FIRST_CAPABILITY_WITH_BFLOAT16,
    )


def _uuid(driver: Any, handle: ctypes.c_int) -> str | None:
    """Return the UUID of the GPU, or that of the instance if it is divided (MIG); None if the driver does not know it."""
    # The first version of this call returns the UUID of the whole GPU for all its MIG instances. Drivers before CUDA 11.4 have
    # no other. Torch refuses them, and a command must get far enough to say so.
    get_uuid = getattr(driver, "cuDeviceGetUuid_v2", None)
    raw = (ctypes.c_ubyte * 16)()
    if get_uuid is None or get_uuid(ctypes.byref(raw), handle) or not any(raw):
        return None
    return f"gpu-{uuid.UUID(bytes=bytes(raw))}"


def _pci_bus_id(driver: Any, handle: ctypes.c_int) -> str | None:
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    if driver.cuDeviceGetPCIBusId(text, _TEXT_BYTES, handle) or not text.value:
        return None
    return "pci-" + text.value.decode().lower().replace(":", "-").replace(".", "-")


def _text(call: Callable[[Any, int, ctypes.c_int], int], handle: ctypes.c_int) -> str:
    text = ctypes.create_string_buffer(_TEXT_BYTES)
    return "" if call(text, _TEXT_BYTES, handle) else text.value.decode(errors="replace")
