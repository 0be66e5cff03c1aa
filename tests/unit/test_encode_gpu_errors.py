"""What CUDA and torch say in plain words, and how the driver names a GPU."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from ingest.encode.cuda import CudaAccelerator, supports
from ingest.encode.gpu_errors import translate
from ingest.errors import DeviceError, DeviceMemoryError


def _accelerator_error(code: int | None, text: str) -> torch.AcceleratorError:
    error = torch.AcceleratorError(text + "\nCUDA kernel errors might be asynchronously reported at some other API call")
    if code is not None:
        error.error_code = code
    return error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        _accelerator_error(2, "CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        DeviceMemoryError("full"),
    ],
    ids=["torch", "code", "cublas", "cublas handle", "cudnn", "ours"],
)
def test_out_of_memory_in_any_library_is_one_error(error: Exception) -> None:
    assert isinstance(translate(error, "cuda:1"), DeviceMemoryError)


@pytest.mark.parametrize(
    ("code", "said", "expected"),
    [
        (35, "CUDA driver version is insufficient", r"cuda:1 needs a newer driver .* update the NVIDIA driver"),
        (209, "no kernel image is available", r"cuda:1 is not supported by this build of torch: install a build"),
        (222, "the provided PTX was compiled with an unsupported toolchain", r"cuda:1 needs a newer driver"),
        (100, "no CUDA-capable device is detected", r"cuda:1 is gone, perhaps because its MIG instances changed"),
        (101, "invalid device ordinal", r"cuda:1 is gone, perhaps because its MIG instances changed"),
        (46, "CUDA-capable device(s) is/are busy", r"cuda:1 is busy or not available, perhaps because its MIG instances"),
        (214, "uncorrectable ECC error encountered", r"cuda:1 has an uncorrectable memory error"),
        (700, "an illegal memory access was encountered", r"cuda:1 failed \(CUDA error: an illegal .*\): run again in a new"),
        (None, "unspecified launch failure", r"cuda:1 failed \(CUDA error: unspecified launch failure\): run again in a new"),
    ],
)
def test_each_error_code_is_one_line_that_says_what_to_do(code: int | None, said: str, expected: str) -> None:
    error = translate(_accelerator_error(code, f"CUDA error: {said}"), "cuda:1")
    assert isinstance(error, DeviceError)
    assert not isinstance(error, DeviceMemoryError)
    assert re.match(expected, str(error)), error
    assert "\n" not in str(error)


def test_other_failures_of_its_libraries_end_the_run() -> None:
    error = translate(RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"), "cuda:0")
    assert type(error) is DeviceError
    assert str(error) == "cuda:0 failed (CUBLAS_STATUS_EXECUTION_FAILED): run again in a new process"


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), ValueError("CUBLAS_STATUS_ALLOC_FAILED")])
def test_errors_of_a_model_are_left_alone(error: Exception) -> None:
    assert translate(error, "cuda:0") is None


class Driver:
    """The CUDA driver of a machine with two GPUs.

    Args:
        uuid: of the first; that of the second ends with another byte. None: the driver knows none.
        bus: the PCI bus id of the first. None: the driver knows none.
    """

    def __init__(self, uuid: bytes | None = None, bus: bytes | None = None) -> None:
        self._uuid, self._bus = uuid, bus

    def cuInit(self, _flags: int) -> int:  # noqa: N802  the vendor's names, here and below
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, handle: Any, index: int) -> int:  # noqa: N802
        handle._obj.value = index
        return 0

    def cuDeviceGetAttribute(self, value: Any, which: int, _handle: Any) -> int:  # noqa: N802
        value._obj.value = {75: 9, 76: 0}[which]
        return 0

    def cuDeviceTotalMem_v2(self, total: Any, _handle: Any) -> int:  # noqa: N802
        total._obj.value = 80 << 30
        return 0

    def cuDeviceGetName(self, text: Any, _length: int, _handle: Any) -> int:  # noqa: N802
        text.value = b"NVIDIA H100"
        return 0

    def cuDeviceGetUuid_v2(self, raw: Any, handle: Any) -> int:  # noqa: N802
        if self._uuid is None:
            return 1
        raw._obj[:] = [*self._uuid[:-1], self._uuid[-1] + handle.value]
        return 0

    def cuDeviceGetPCIBusId(self, text: Any, _length: int, handle: Any) -> int:  # noqa: N802
        if self._bus is None:
            return 1
        text.value = self._bus[:-1] + str(handle.value).encode()
        return 0


class OldDriver(Driver):
    """A driver older than CUDA 11.4: ctypes finds no `cuDeviceGetUuid_v2` in it."""

    cuDeviceGetUuid_v2 = property()  # noqa: N815


@pytest.mark.parametrize(
    ("driver", "identities"),
    [
        (
            Driver(bytes(range(16)), b"0000:3B:00.0"),
            ["gpu-00010203-0405-0607-0809-0a0b0c0d0e0f", "gpu-00010203-0405-0607-0809-0a0b0c0d0e10"],
        ),
        (Driver(None, b"0000:3B:00.0"), ["pci-0000-3b-00-0", "pci-0000-3b-00-1"]),
        (OldDriver(None, b"0000:3B:00.0"), ["pci-0000-3b-00-0", "pci-0000-3b-00-1"]),
        (Driver(), ["cuda-0", "cuda-1"]),
    ],
    ids=["UUID", "PCI bus id", "old driver", "number"],
)
def test_a_gpu_is_identified_by_its_uuid_or_else_by_its_place(driver: Driver, identities: list[str]) -> None:
    gpus = CudaAccelerator(lambda: driver, cpu_build=False).gpus()
    assert [gpu.identity for gpu in gpus] == identities
    assert [gpu.name for gpu in gpus] == ["cuda:0", "cuda:1"]
    assert (gpus[0].product, gpus[0].capability, gpus[0].total_bytes, gpus[0].has_bfloat16) == (
        "NVIDIA H100",
        (9, 0),
        80 << 30,
        True,
    )


def test_without_driver_or_with_a_cpu_build_there_are_no_gpus() -> None:
    assert CudaAccelerator(lambda: None, cpu_build=False).gpus() == ()
    assert CudaAccelerator(Driver, cpu_build=True).gpus() == ()


def test_a_build_of_torch_without_cuda_is_told() -> None:
    cuda = CudaAccelerator(Driver, cpu_build=False)
    assert re.search(r"was built without CUDA and cannot use cuda:0: install a CUDA build", cuda.unusable("cuda:0") or "")


@pytest.mark.parametrize(
    ("architectures", "capability", "supported"),
    [
        (["sm_80", "sm_90"], (9, 0), True),
        (["sm_80"], (8, 9), True),
        (["sm_90"], (8, 9), False),
        (["sm_80"], (9, 0), False),
        (["sm_50", "compute_80"], (12, 0), True),
        (["compute_90"], (8, 0), False),
        (["sm_90a"], (9, 0), True),
        (["sm_100a"], (10, 3), False),
        (["sm_100f"], (10, 3), True),
        ([], (9, 0), False),
    ],
)
def test_a_build_supports_what_its_machine_code_or_its_portable_code_runs_on(
    architectures: list[str], capability: tuple[int, int], supported: bool
) -> None:
    assert supports(architectures, capability) is supported
