"""GPUs through torch: the part that CUDA, XPU and MPS share, and the latter two."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from ingest.encode.accelerator import GPU, GPUMemorySnapshot
from ingest.encode.gpu_errors import translate
from ingest.errors import DeviceError

if TYPE_CHECKING:
    import torch


class TorchAccelerator(ABC):
    """An `Accelerator` of torch. Imports torch only to use a GPU, and releases nothing if torch was never imported."""

    @abstractmethod
    def gpus(self) -> tuple[GPU, ...]: ...

    @abstractmethod
    def memory(self, device: str) -> GPUMemorySnapshot: ...

    def unusable(self, device: str) -> str | None:
        import torch  # noqa: PLC0415 - takes seconds, and only a machine with a GPU needs it

        if not torch.accelerator.is_available():
            return f"the installed torch {torch.__version__} cannot use {device}: install another build, or use device cpu"
        return None

    def tensor_device(self, device: str) -> str:
        return device

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory()

    def copy(self, tensor: torch.Tensor, device: str) -> torch.Tensor:
        return tensor.to(device, non_blocking=True)

    def fetch(self, tensor: torch.Tensor, device: str) -> Callable[[], torch.Tensor]:
        import torch  # noqa: PLC0415

        fetched = self.pin(torch.empty(tensor.shape, dtype=tensor.dtype))
        fetched.copy_(tensor, non_blocking=True)
        copied = torch.Event(torch.device(device))
        copied.record()

        def wait() -> torch.Tensor:
            copied.synchronize()
            return fetched

        return wait

    def synchronize(self, device: str) -> None:
        if "torch" in sys.modules:
            import torch  # noqa: PLC0415

            torch.accelerator.synchronize(torch.device(device))

    def free_cache(self, device: str) -> None:  # noqa: ARG002  torch frees the cache of all devices
        if "torch" in sys.modules:
            import torch  # noqa: PLC0415

            torch.accelerator.empty_cache()

    def translate(self, error: BaseException, device: str) -> DeviceError | None:
        return translate(error, device)


class XpuAccelerator(TorchAccelerator):
    """Intel GPUs. Only torch knows them."""

    def gpus(self) -> tuple[GPU, ...]:
        import torch  # noqa: PLC0415

        return tuple(self._gpu(index) for index in range(torch.xpu.device_count()))

    def memory(self, device: str) -> GPUMemorySnapshot:
        import torch  # noqa: PLC0415

        free, total = torch.xpu.mem_get_info(device)
        return GPUMemorySnapshot(device, total - free, total, torch.xpu.memory_reserved(device))

    def _gpu(self, index: int) -> GPU:
        import torch  # noqa: PLC0415

        properties = torch.xpu.get_device_properties(index)
        uuid = str(properties.uuid)
        return GPU(f"xpu:{index}", f"gpu-{uuid}", properties.name, (0, 0), properties.total_memory, has_bfloat16=True)


class MpsAccelerator(TorchAccelerator):
    """The GPU of an Apple computer. It shares the memory of the CPU and is the only one."""

    def gpus(self) -> tuple[GPU, ...]:
        import torch  # noqa: PLC0415

        if not torch.backends.mps.is_available():
            return ()
        return (GPU("mps", "mps", "Apple GPU", (0, 0), torch.mps.recommended_max_memory(), has_bfloat16=False),)

    def memory(self, device: str) -> GPUMemorySnapshot:
        import torch  # noqa: PLC0415

        used = torch.mps.driver_allocated_memory()
        return GPUMemorySnapshot(device, used, torch.mps.recommended_max_memory(), used)

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor  # the GPU reads the same memory
