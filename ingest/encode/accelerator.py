"""The border to GPUs: one small protocol. Nothing outside its implementations calls a vendor's GPU library.

`current_accelerator()` is what this machine has; a test installs another with `use_accelerator`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Protocol, TypeVar

from ingest.errors import DeviceError

if TYPE_CHECKING:
    import torch

GIBIBYTE = 1024**3


@dataclass(frozen=True, slots=True)
class GPU:
    """A GPU, or a part of one (MIG), that this process can see.

    Attributes:
        name: name in this process: `cuda:0`, `xpu:1`, `mps`. It depends on `CUDA_VISIBLE_DEVICES`.
        identity: name that every process and container of the host agrees on: its UUID, the UUID of its MIG instance, or its
            PCI bus id. Consists of lowercase letters, digits and `-`.
        product: name of the product.
        capability: CUDA compute capability; `(0, 0)` for others.
        total_bytes: its memory.
        has_bfloat16: whether it computes in bfloat16 at full speed.
    """

    name: str
    identity: str
    product: str
    capability: tuple[int, int]
    total_bytes: int
    has_bfloat16: bool


@dataclass(frozen=True, slots=True)
class GPUMemorySnapshot:
    """The memory of a GPU at one moment, in bytes.

    Attributes:
        device: name of the GPU in this process.
        used_bytes: memory in use by all processes together.
        total_bytes: memory of the GPU.
        own_bytes: the part of `used_bytes` that this process has allocated for tensors, unused cache included.
    """

    device: str
    used_bytes: int
    total_bytes: int
    own_bytes: int = 0

    @property
    def other_bytes(self) -> int:
        """Memory that other programs use, with what the driver itself needs."""
        return max(0, self.used_bytes - self.own_bytes)


class Accelerator(Protocol):
    """The GPUs of this process. `device` is the name of one of `gpus()`. Thread-safe."""

    def gpus(self) -> tuple[GPU, ...]:
        """Return the visible GPUs. Does not import torch where the driver can be asked directly."""
        ...

    def unusable(self, device: str) -> str | None:
        """Return why the installed torch cannot compute on a visible GPU, and what to do, or None.

        Raises `ForkError` in a forked child of the process that initialized the driver, which works there alone.
        """
        ...

    def memory(self, device: str) -> GPUMemorySnapshot:
        """Return the memory of a GPU now."""
        ...

    def tensor_device(self, device: str) -> str:
        """Return the name of torch's device for tensors on this GPU."""
        ...

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor in memory that a GPU reads at full bus speed and while the CPU continues."""
        ...

    def copy(self, tensor: torch.Tensor, device: str) -> torch.Tensor:
        """Return a copy of a tensor on a GPU. Does not wait for a copy from pinned memory: see `synchronize`."""
        ...

    def fetch(self, tensor: torch.Tensor, device: str) -> Callable[[], torch.Tensor]:
        """Start to copy a tensor of a GPU to host memory. Returns a function that waits for this copy alone and returns it."""
        ...

    def synchronize(self, device: str) -> None:
        """Wait until a GPU has finished everything it was given."""
        ...

    def free_cache(self, device: str) -> None:
        """Return the memory that torch keeps for later tensors to the GPU."""
        ...

    def translate(self, error: BaseException, device: str) -> DeviceError | None:
        """Return the error of a GPU in plain words, as `DeviceMemoryError` if a batch or model does not fit; None for others."""
        ...


AcceleratorT = TypeVar("AcceleratorT", bound=Accelerator)

_installed: list[Accelerator] = []


def current_accelerator() -> Accelerator:
    """Return the accelerator in use: the one installed last by `use_accelerator`, else that of this machine."""
    return _installed[-1] if _installed else _of_this_machine()


@contextmanager
def use_accelerator(accelerator: AcceleratorT) -> Iterator[AcceleratorT]:
    """Use another accelerator in this process, all its threads included, during the context: a fake in a test."""
    _installed.append(accelerator)
    try:
        yield accelerator
    finally:
        _installed.remove(accelerator)


@cache
def _of_this_machine() -> Accelerator:
    from ingest.encode import cuda, torch_gpus  # noqa: PLC0415  they implement the protocol of this module

    build = torch_build()
    if build is not None and "+xpu" in build:
        return torch_gpus.XpuAccelerator()
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return torch_gpus.MpsAccelerator()
    return cuda.CudaAccelerator()


def torch_build() -> str | None:
    """Return the version of the installed torch, with the hardware it was built for, or None. Does not import torch."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None


def is_cpu_build() -> bool:
    """Return whether the installed torch, if any, computes on the CPU alone."""
    build = torch_build()
    return build is None or "+cpu" in build
