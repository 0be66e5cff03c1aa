"""GPUs that do not exist."""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ingest.encode.accelerator import GIBIBYTE, GPU, GPUMemorySnapshot
from ingest.encode.gpu_errors import translate
from ingest.errors import DeviceError, DeviceMemoryError

if TYPE_CHECKING:
    import torch


class FakeAccelerator:
    """GPUs that do not exist. Models are placed on them as on real ones and fill their memory, but compute on the CPU.

    `with use_accelerator(FakeAccelerator(2)) as gpus:` gives this process the devices `cuda:0` and `cuda:1`; `gpus.calls` counts
    the calls of each method.

    Args:
        count: number of GPUs of the machine.
        visible: numbers of the GPUs that this process sees, in its order, as in `CUDA_VISIBLE_DEVICES`. None: all.
        total_gb: memory of each GPU in GiB.
        capability: compute capability.
        cue: called with the method's name, the device and the number of that call on it (from 1) before a call takes effect; the
            exception it returns is raised.
        gb_per_second: speed of copies in GiB per second. Copies from pinned memory are finished when `synchronize` returns. None:
            they take no time.
        clock, sleep: read the time and wait, for copies.
    """

    def __init__(
        self,
        count: int = 1,
        *,
        visible: Sequence[int] | None = None,
        total_gb: float = 80.0,
        capability: tuple[int, int] = (9, 0),
        cue: Callable[[str, str, int], BaseException | None] = lambda *_: None,
        gb_per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        total = int(total_gb * GIBIBYTE)
        self._gpus = tuple(
            GPU(f"cuda:{index}", f"gpu-fake-{number}", "Fake GPU", capability, total, has_bfloat16=capability >= (8, 0))
            for index, number in enumerate(range(count) if visible is None else visible)
        )
        self._cue = cue
        self._gb_per_second = gb_per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.RLock()
        self._allocated: Counter[str] = Counter()
        self._cached: Counter[str] = Counter()
        self._pinned: set[int] = set()
        self._busy_until: dict[str, float] = {}
        self._calls_on: Counter[tuple[str, str]] = Counter()
        self.calls: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        """Device → bytes that other programs use. Assign to it."""
        self.broken: dict[str, str] = {}
        """Device → why torch cannot use it. Assign to it."""

    def gpus(self) -> tuple[GPU, ...]:
        self._called("gpus")
        return self._gpus

    def unusable(self, device: str) -> str | None:
        self._called("unusable", device)
        return self.broken.get(device)

    def memory(self, device: str) -> GPUMemorySnapshot:
        self._called("memory", device)
        with self._lock:
            own = self._allocated[device] + self._cached[device]
            return GPUMemorySnapshot(device, own + self.others[device], self._total(device), own)

    def tensor_device(self, device: str) -> str:
        self._called("tensor_device", device)
        return "cpu"

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        self._called("pin")
        pinned = tensor.clone()
        with self._lock:
            self._pinned.add(pinned.data_ptr())
        weakref.finalize(pinned.untyped_storage(), self._pinned.discard, pinned.data_ptr())
        return pinned

    def copy(self, tensor: torch.Tensor, device: str) -> torch.Tensor:
        self._called("copy", device)
        self.allocate(device, tensor.nbytes)
        copied = tensor.clone()
        weakref.finalize(copied.untyped_storage(), self.free, device, tensor.nbytes)
        if self._gb_per_second is not None:
            now = self._clock()
            done = max(now, self._busy_until.get(device, now)) + tensor.nbytes / GIBIBYTE / self._gb_per_second
            self._busy_until[device] = done
            if tensor.untyped_storage().data_ptr() not in self._pinned:
                self._sleep(done - now)
        return copied

    def fetch(self, tensor: torch.Tensor, device: str) -> Callable[[], torch.Tensor]:
        self._called("fetch", device)
        now = self._clock()
        done = max(now, self._busy_until.get(device, now)) + tensor.nbytes / GIBIBYTE / (self._gb_per_second or math.inf)
        self._busy_until[device] = done

        def wait() -> torch.Tensor:
            self._called("wait", device)
            if (rest := done - self._clock()) > 0:
                self._sleep(rest)
            return tensor.clone()

        return wait

    def synchronize(self, device: str) -> None:
        self._called("synchronize", device)
        if (rest := self._busy_until.get(device, 0.0) - self._clock()) > 0 and self._gb_per_second is not None:
            self._sleep(rest)

    def free_cache(self, device: str) -> None:
        self._called("free_cache", device)
        with self._lock:
            self._cached[device] = 0

    def translate(self, error: BaseException, device: str) -> DeviceError | None:
        self._called("translate", device)
        return translate(error, device)

    def allocate(self, device: str, nbytes: int) -> None:
        """Fill memory of a GPU, as a tensor does. Raises `DeviceMemoryError` if too little is free."""
        self._called("allocate", device)
        with self._lock:
            if self._allocated[device] + self.others[device] + nbytes > self._total(device):
                raise DeviceMemoryError(f"{device} is out of memory", device=device)
            self._allocated[device] += nbytes
            self._cached[device] = max(0, self._cached[device] - nbytes)

    def free(self, device: str, nbytes: int) -> None:
        """Free memory, which stays in torch's cache until `free_cache`."""
        with self._lock:
            self._allocated[device] -= nbytes
            self._cached[device] += nbytes

    def allocated(self, device: str) -> int:
        """Return the bytes of all tensors on a GPU, without the cache."""
        with self._lock:
            return self._allocated[device]

    def _total(self, device: str) -> int:
        return next(gpu.total_bytes for gpu in self._gpus if gpu.name == device)

    def _called(self, method: str, device: str = "") -> None:
        with self._lock:
            self.calls[method] += 1
            self._calls_on[method, device] += 1
            error = self._cue(method, device, self._calls_on[method, device])
        if error is not None:
            raise error
