"""Leases of GPUs: memory, residency, identity and errors, on GPUs that do not exist."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from recording_models import Journal, RecordingEncoder, RecordingModel, vector_of

from ingest.encode.accelerator import GIBIBYTE
from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.devices import memory_snapshots
from ingest.encode.lease import GPULease, give_back, lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError, DeviceError, DeviceMemoryError, LeaseTimeoutError
from ingest.records import DenseMatrix
from ingest.telemetry import ThroughputMonitor
from ingest.testing import FakeAccelerator, use_accelerator

CUDA = ("cuda:0",)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "leases"


@pytest.fixture
def gpus() -> Iterator[FakeAccelerator]:
    with use_accelerator(FakeAccelerator(2)) as fake:
        yield fake


@pytest.fixture
def journal() -> Journal:
    return Journal()


def _model(key: str, gpus: FakeAccelerator, journal: Journal | None = None, gb: float = 1.0) -> RecordingModel:
    return RecordingModel(key, journal, gpus=gpus, nbytes=int(gb * GIBIBYTE))


def _cost(lease: GPULease) -> float:
    cost: float = lease.summarize()["vram_delta_gb"]["cuda:0"]
    assert cost == pytest.approx(lease.get_vram_delta_gb("cuda:0"), abs=1e-3)
    return cost


def test_a_lease_tells_what_its_model_costs_during_and_after(gpus: FakeAccelerator, directory: Path) -> None:
    with lease_gpus(_model("a", gpus), CUDA, directory=directory) as lease:
        assert _cost(lease) == 1.0
        gpus.allocate("cuda:0", 2 * GIBIBYTE)  # a batch
        gpus.free("cuda:0", 2 * GIBIBYTE)  # torch keeps the memory
        assert _cost(lease) == 3.0
    assert _cost(lease) == 3.0
    assert memory_snapshots(CUDA)["cuda:0"].used_bytes == 0
    assert lease.get_vram_delta_gb("cuda:1") == 0.0


def test_a_model_that_stays_still_costs_what_it_uses(gpus: FakeAccelerator, directory: Path) -> None:
    model = _model("a", gpus)
    for _ in range(3):
        with lease_gpus(model, CUDA, directory=directory, keep=True) as lease:
            assert _cost(lease) == 1.0
        assert _cost(lease) == 1.0
    give_back(CUDA, directory)
    assert gpus.allocated("cuda:0") == 0


def test_the_report_of_a_run_tells_the_most_memory_that_a_model_used(gpus: FakeAccelerator, directory: Path) -> None:
    monitor = ThroughputMonitor()
    with BatchRunner(
        [_model("a", gpus), _model("b", gpus, gb=2)], devices=("cuda:0", "cuda:1"), lease_directory=directory, monitor=monitor
    ) as runner:
        for _ in range(3):
            runner.run({"a": ["x"], "b": ["x"]})
    assert {report.key: report.vram_gb for report in monitor.model_reports()} == {"a": 1.0, "b": 2.0}


def test_events_show_the_memory_before_and_after_the_work(gpus: FakeAccelerator, directory: Path) -> None:
    monitor = ThroughputMonitor()
    gpus.others["cuda:0"] = GIBIBYTE
    for key in ("a", "b"):
        with lease_gpus(_model(key, gpus), CUDA, directory=directory, monitor=monitor):
            pass
    assert [(event.event, event.model, event.vram["cuda:0"] // GIBIBYTE) for event in monitor.lease_events] == [
        ("acquire", "a", 1),
        ("release", "a", 2),
        ("acquire", "b", 1),
        ("release", "b", 2),
    ]


def test_a_lease_asks_for_the_memory_twice(gpus: FakeAccelerator, directory: Path) -> None:
    with lease_gpus(_model("a", gpus), CUDA, directory=directory, monitor=ThroughputMonitor()):
        pass
    assert gpus.calls["memory"] == 2


def test_much_memory_of_other_programs_is_told_once(
    gpus: FakeAccelerator, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpus.others.update({"cuda:0": 30 * GIBIBYTE, "cuda:1": GIBIBYTE // 2})
    for _ in range(2):
        with lease_gpus(_model("a", gpus), ("cuda:0", "cuda:1"), directory=directory):
            pass
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "other programs use 30.0 of the 80.0 GiB of cuda:0: batches stay smaller, or do not fit"
    ]


def test_small_models_stay_resident_together_once_they_are_measured(
    gpus: FakeAccelerator, directory: Path, journal: Journal
) -> None:
    models = [_model(key, gpus, journal) for key in "ab"]
    for _ in range(4):
        for model in models:
            with lease_gpus(model, CUDA, directory=directory, keep=True) as lease:
                assert _cost(lease) == 1.0
                lease.encoder.encode_documents([model.key])
    # The first time b comes, it is not known whether it fits beside a; when a comes again, it is.
    assert journal.events.count(("offload", "a")) == 1
    assert journal.events.count(("offload", "b")) == 0
    assert gpus.allocated("cuda:0") == 2 * GIBIBYTE
    give_back(CUDA, directory)
    assert gpus.allocated("cuda:0") == 0


@pytest.mark.parametrize(("gb", "others_gb"), [(21.0, 0), (1.0, 39)])
def test_models_without_room_to_spare_take_turns(
    gpus: FakeAccelerator, directory: Path, journal: Journal, gb: float, others_gb: int
) -> None:
    gpus.others["cuda:0"] = others_gb * GIBIBYTE
    models = [_model(key, gpus, journal, gb) for key in "ab"]
    for _ in range(3):
        for model in models:
            with lease_gpus(model, CUDA, directory=directory, keep=True):
                assert gpus.allocated("cuda:0") == gb * GIBIBYTE


def test_resident_models_never_compute_at_once(gpus: FakeAccelerator, directory: Path, journal: Journal) -> None:
    models = [_model(key, gpus, journal) for key in "ab"]

    def work(model: RecordingModel) -> None:
        for _ in range(20):
            with lease_gpus(model, CUDA, directory=directory, keep=True) as lease:
                lease.encoder.encode_documents([model.key] * 20)

    threads = [threading.Thread(target=work, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.collisions == []
    assert len(journal.batches) == 40
    give_back(CUDA, directory)


def test_a_model_that_does_not_fit_beside_others_gets_their_place(directory: Path, journal: Journal) -> None:
    def full(method: str, _device: str, number: int) -> Exception | None:
        # The first two leases measure; then the GPU is suddenly full until the resident model has left.
        return DeviceMemoryError("full") if method == "allocate" and number == 3 else None

    with use_accelerator(FakeAccelerator(cue=full)) as gpus:
        models = [_model(key, gpus, journal) for key in "ab"]
        for model in (*models, models[0]):
            with lease_gpus(model, CUDA, directory=directory, keep=True) as lease:
                assert len(lease.encoder.encode_documents(["x"])) == 1
        assert gpus.allocated("cuda:0") == GIBIBYTE
        give_back(CUDA, directory)


def test_a_model_too_large_for_a_gpu_says_so_and_leaves_it_free(gpus: FakeAccelerator, directory: Path) -> None:
    gpus.others["cuda:0"] = 30 * GIBIBYTE
    with (
        pytest.raises(
            DeviceMemoryError, match=r"^model 'a' does not fit the memory of cuda:0 \(30.0 of 80.0 GiB are in use\): free"
        ),
        lease_gpus(_model("a", gpus, gb=60), CUDA, directory=directory),
    ):
        pytest.fail("there is no lease")
    with lease_gpus(_model("b", gpus), CUDA, directory=directory, timeout=0.0):
        pass


def test_eviction_copies_nothing_and_frees_before_it_flushes(directory: Path) -> None:
    allocated: list[int] = []

    class Watched(FakeAccelerator):
        def free_cache(self, device: str) -> None:
            allocated.append(self.allocated(device))

    with use_accelerator(Watched()) as gpus:
        [model] = ModelManager(EnsembleConfig(("all-miniLM-l6",))).members
        with lease_gpus(model, CUDA, directory=directory, keep=True) as lease:
            lease.encoder.encode_queries(["x"])
        copies = gpus.calls["copy"]
        assert allocated == []
        give_back(CUDA, directory)
        assert allocated == [0]
        assert gpus.calls["copy"] == copies


def test_a_failed_batch_is_free_when_its_error_arrives(gpus: FakeAccelerator, directory: Path) -> None:
    class Overflowing(RecordingModel):
        def to_device(self, device: str) -> RecordingEncoder:
            return _OverflowingEncoder(self, device)

    class _OverflowingEncoder(RecordingEncoder):
        def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
            _activations = _Tensor(gpus)
            raise torch.OutOfMemoryError(f"{len(texts)} texts")

    with lease_gpus(Overflowing("a"), CUDA, directory=directory) as lease:
        with pytest.raises(DeviceMemoryError, match=r"^cuda:0 is out of memory$") as caught:
            lease.encoder.encode_documents(["x", "y"])
        assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
        assert gpus.allocated("cuda:0") == 0


class _Tensor:
    """A tensor on a GPU."""

    def __init__(self, gpus: FakeAccelerator) -> None:
        self._gpus = gpus
        gpus.allocate("cuda:0", GIBIBYTE)

    def __del__(self) -> None:
        self._gpus.free("cuda:0", GIBIBYTE)


@pytest.mark.parametrize(
    ("first", "second", "free"),
    [((0,), (1,), True), ((0, 1), (1,), False), ((1, 0), (0,), False)],
    ids=["different GPUs of one name", "one GPU of different names", "one GPU of different names, the other way"],
)
def test_a_lock_is_named_after_the_gpu_and_not_its_number(
    directory: Path, first: tuple[int, ...], second: tuple[int, ...], free: bool
) -> None:
    with use_accelerator(FakeAccelerator(visible=first)) as gpus:
        here = gpus.gpus()[-1]
        with lease_gpus(RecordingModel("a"), (here.name,), directory=directory):
            assert {path.stem for path in directory.iterdir()} == {here.identity, f"{here.identity}.queue"}
            found: list[bool] = []
            thread = threading.Thread(target=lambda: found.append(_can_lease(directory, second)))
            thread.start()
            thread.join()
    assert found == [free]


def test_processes_that_number_gpus_differently_wait_for_them_in_one_order(directory: Path) -> None:
    directory.mkdir()
    with (
        use_accelerator(FakeAccelerator(visible=(1, 0))) as gpus,
        FileLock(directory / f"{gpus.gpus()[0].identity}.lock"),
        FileLock(directory / f"{gpus.gpus()[1].identity}.lock"),
        pytest.raises(LeaseTimeoutError, match=r"^cuda:1 is leased"),  # the first GPU of other processes
        lease_gpus(RecordingModel("a"), ("cuda:0", "cuda:1"), directory=directory, timeout=0.0),
    ):
        pytest.fail("there is no lease")


def _can_lease(directory: Path, visible: tuple[int, ...]) -> bool:
    with use_accelerator(FakeAccelerator(visible=visible)):
        try:
            with lease_gpus(RecordingModel("b"), CUDA, directory=directory, timeout=0.0):
                return True
        except LeaseTimeoutError:
            return False


def test_a_gpu_that_torch_cannot_use_is_refused_before_anything_is_loaded(gpus: FakeAccelerator, directory: Path) -> None:
    class Unread(RecordingModel):
        def load(self) -> None:
            pytest.fail("it was loaded")

    gpus.broken["cuda:0"] = "the NVIDIA driver is too old: update it, or use device cpu"
    with pytest.raises(DeviceError, match=r"^the NVIDIA driver is too old"), lease_gpus(Unread("a"), CUDA, directory=directory):
        pytest.fail("there is no lease")
    with pytest.raises(ConfigurationError, match="no device 'cuda:7'"), lease_gpus(Unread("a"), ("cuda:7",), directory=directory):
        pytest.fail("there is no lease")


def _lost(device: str) -> DeviceError:
    return DeviceError(f"{device} failed (CUDA error: unspecified launch failure): run again in a new process", device=device)


@pytest.mark.parametrize("moment", ["unusable", "move", "batch"])
def test_one_of_two_gpus_that_fails_is_left_out_with_a_word(
    gpus: FakeAccelerator, directory: Path, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(RecordingModel):
        def to_device(self, device: str) -> RecordingEncoder:
            if device == "cuda:1" and moment == "move":
                raise _lost(device)
            return _FailingEncoder(self, device)

    class _FailingEncoder(RecordingEncoder):
        def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
            if self.device == "cuda:1":
                failed.set()
                raise _lost(self.device)
            failed.wait()  # or this GPU might encode everything before the other one begins
            return super().encode_documents(texts)

    failed = threading.Event()
    if moment == "unusable":
        gpus.broken["cuda:1"] = str(_lost("cuda:1"))
    if moment != "batch":
        failed.set()
    texts = [str(number) for number in range(100)]
    monitor = ThroughputMonitor()
    controller = AdaptiveBatchController({"a": 2})
    with BatchRunner(
        [Failing("a", gpus=gpus)], devices=("cuda:0", "cuda:1"), lease_directory=directory, monitor=monitor, controller=controller
    ) as runner:
        for _ in range(2):
            encoded = runner.run({"a": texts})["a"]
            assert np.array_equal(np.asarray(encoded.vectors), np.stack([vector_of(text) for text in texts]))
            assert not encoded.failed
    assert monitor.errors == (f"cuda:1: {_lost('cuda:1')}",)
    assert monitor.model_reports()[0].device == "cuda:0"
    assert caplog.text.count("; continuing on cuda:0") == 1


def test_the_last_gpu_that_fails_ends_the_run_and_the_next_one_continues(gpus: FakeAccelerator, directory: Path) -> None:
    cues: list[BaseException] = [_lost("cuda:0")]

    def fail_once(_texts: Sequence[str]) -> None:
        if cues:
            raise cues.pop()

    model = RecordingModel("a", gpus=gpus, nbytes=GIBIBYTE, before_batch=fail_once)
    with (
        pytest.raises(DeviceError, match="cuda:0 failed"),
        BatchRunner([model], devices=CUDA, lease_directory=directory) as runner,
    ):
        runner.run({"a": ["x"]})
    assert gpus.allocated("cuda:0") == 0
    with BatchRunner([model], devices=CUDA, lease_directory=directory, lease_timeout=0.0) as runner:
        assert not runner.run({"a": ["x"]})["a"].failed


def test_a_lost_gpu_does_not_hide_its_error_when_the_lease_ends(directory: Path) -> None:
    def lost(method: str, device: str, number: int) -> Exception | None:
        return _lost(device) if method == "free_cache" or (method == "memory" and number > 1) else None

    with (
        use_accelerator(FakeAccelerator(cue=lost)) as gpus,
        pytest.raises(ValueError, match="the first error"),
        lease_gpus(_model("a", gpus), CUDA, directory=directory),
    ):
        raise ValueError("the first error")
    with lease_gpus(RecordingModel("b"), ("cpu",), directory=directory, timeout=0.0):
        pass
