"""The loop of batches on a GPU, which is a fake: what it is asked for, and when."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from tiny_models import DIM, tiny_dense

from ingest.encode import pinning
from ingest.encode.accelerator import use_accelerator
from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.dense import DenseModel
from ingest.encode.feeding import Replica, find_feed
from ingest.encode.registry import ModelConfig
from ingest.encode.runner import BatchRunner
from ingest.encode.tokens import DocumentTokens
from ingest.errors import DeviceMemoryError
from ingest.records import DenseMatrix
from ingest.telemetry import ThroughputMonitor
from ingest.testing import FakeAccelerator

TEXTS = [f"{'word ' * (number % 20 + 1)}{number}" for number in range(64)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dense(tmp_path_factory.mktemp("models") / "dense")


def _encode(
    folder: Path,
    leases: Path,
    *,
    device: str = "cuda:0",
    budget: int = 256,
    monitor: ThroughputMonitor | None = None,
) -> DenseMatrix:
    config = ModelConfig("tiny", kind="dense", path=folder, dim=DIM, max_tokens=64, pooling="mean")
    model = DenseModel(config, dtype="float32")
    controller = AdaptiveBatchController({"tiny": budget}, cpu_tokens=budget)
    with BatchRunner([model], devices=(device,), lease_directory=leases, controller=controller, monitor=monitor) as runner:
        encoded = runner.run({"tiny": TEXTS})["tiny"]
    assert encoded.failed == {}
    assert isinstance(encoded.vectors, np.ndarray)
    return encoded.vectors


@pytest.fixture(scope="module")
def expected(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> DenseMatrix:
    return _encode(folder, tmp_path_factory.mktemp("leases"), device="cpu")


class Calls:
    """A cue that lists calls of the loop of batches."""

    def __init__(self, fail: Callable[[str, int], BaseException | None] = lambda *_: None) -> None:
        self.order: list[str] = []
        self._fail = fail

    def __call__(self, method: str, _device: str, number: int) -> BaseException | None:
        self.order.append(method)
        return self._fail(method, number)

    def of_the_loop(self) -> list[str]:
        """The calls from the first inputs to the last vectors."""
        first, last = self.order.index("fetch"), len(self.order) - self.order[::-1].index("wait")
        return [method for method in self.order[first:last] if method not in ("allocate", "pin")]


def test_a_gpu_gets_the_next_batch_before_its_vectors_are_awaited(folder: Path, tmp_path: Path, expected: DenseMatrix) -> None:
    calls = Calls()
    with use_accelerator(FakeAccelerator(cue=calls)):
        vectors = _encode(folder, tmp_path)
    assert np.allclose(vectors, expected, atol=1e-6)
    loop = [method for method in calls.of_the_loop() if method in ("fetch", "wait")]
    batches = loop.count("fetch")
    assert batches >= 4
    assert loop == ["fetch", *["fetch", "wait"] * (batches - 1), "wait"]


def test_the_loop_copies_once_each_way_and_never_stops_the_gpu(folder: Path, tmp_path: Path) -> None:
    calls = Calls()
    with use_accelerator(FakeAccelerator(cue=calls)):
        _encode(folder, tmp_path)
    loop = calls.of_the_loop()
    assert set(loop) <= {"copy", "fetch", "wait", "gpus", "tensor_device"}
    assert loop.count("copy") == loop.count("fetch") - 1  # the first was before the first fetch


def test_inputs_are_copied_from_two_buffers(folder: Path, tmp_path: Path, expected: DenseMatrix) -> None:
    pins = []
    for budget in (10_000, 256, 64):
        with use_accelerator(FakeAccelerator(gb_per_second=1e6)) as gpus:
            assert np.allclose(_encode(folder, tmp_path, budget=budget), expected, atol=1e-6)
        pins.append(gpus.calls["pin"])
    assert max(pins) - min(pins) <= 2


def test_the_inputs_of_two_batches_do_not_share_memory(folder: Path) -> None:
    module = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    feed = find_feed(module, DocumentTokens(folder, ""), "")
    assert feed is not None
    with use_accelerator(FakeAccelerator()) as gpus:
        replica = Replica(module, "cuda:0", feed)
        for text in ("one", "two", "six", "ten"):
            replica.inputs(feed, feed.token_ids([text], None))
    assert gpus.calls["pin"] == 2


def test_a_batch_that_does_not_fit_is_halved_and_freed_first(folder: Path, tmp_path: Path, expected: DenseMatrix) -> None:
    allocated: list[int] = []

    def fail(method: str, number: int) -> BaseException | None:
        if method == "free_cache":
            allocated.append(gpus.allocated("cuda:0"))
        return DeviceMemoryError("cuda:0 is out of memory") if method == "fetch" and number == 2 else None

    gpus = FakeAccelerator(cue=Calls(fail))
    with use_accelerator(gpus):
        vectors = _encode(folder, tmp_path)
    assert np.allclose(vectors, expected, atol=1e-6)
    weights = sum(tensor.nbytes for tensor in load_file(folder / "model.safetensors").values())
    assert weights <= allocated[0] <= weights + 2 * 3 * 8 * 256  # the weights, and the inputs of the batch under way


def test_batch_sizes_are_learned_by_gpu_whatever_its_name(folder: Path, tmp_path: Path) -> None:
    controller = AdaptiveBatchController({"tiny": 512})
    config = ModelConfig("tiny", kind="dense", path=folder, dim=DIM, max_tokens=64, pooling="mean")

    def fail(method: str, _device: str, number: int) -> BaseException | None:
        return DeviceMemoryError("out of memory", device="cuda:0") if (method, number) == ("fetch", 1) else None

    with (
        use_accelerator(FakeAccelerator(2, visible=(1,), cue=fail)),
        BatchRunner(
            [DenseModel(config, dtype="float32")], devices=("cuda:0",), lease_directory=tmp_path, controller=controller
        ) as runner,
    ):
        runner.run({"tiny": TEXTS})
    assert controller.budget("tiny", "gpu-fake-1") < 512
    assert controller.budget("tiny", "gpu-fake-0") == 512


def test_two_gpus_give_what_the_cpu_gives(folder: Path, tmp_path: Path, expected: DenseMatrix) -> None:
    config = ModelConfig("tiny", kind="dense", path=folder, dim=DIM, max_tokens=64, pooling="mean")
    model = DenseModel(config, dtype="float32")
    gpus = FakeAccelerator(2)
    with use_accelerator(gpus), BatchRunner([model], devices=("cuda:0", "cuda:1"), lease_directory=tmp_path) as runner:
        encoded = runner.run({"tiny": TEXTS})["tiny"]
    assert np.allclose(np.asarray(encoded.vectors), expected, atol=1e-6)


def test_weights_are_pinned_in_a_few_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "SLAB_BYTES", 4096)
    tensors = [torch.rand(size, dtype=dtype) for size in (3, 0, 500, 7, 2000, 100) for dtype in (torch.float32, torch.bfloat16)]
    tensors.append(torch.rand(10, 20).t())
    copies, slabs = [tensor.clone() for tensor in tensors], []

    def pin(slab: torch.Tensor) -> torch.Tensor:
        slabs.append(slab)
        return slab

    pinning.pin_together(tensors, pin)
    assert all(map(torch.equal, tensors, copies))
    addresses = {slab.data_ptr() for slab in slabs}
    assert all(tensor.untyped_storage().data_ptr() in addresses for tensor in tensors if tensor.numel())
    assert max(slab.nbytes for slab in slabs) == 8000  # the largest tensor has its own
    assert len(slabs) == 4
