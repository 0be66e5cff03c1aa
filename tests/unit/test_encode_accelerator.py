"""The border to GPUs: what a run asks of it, on GPUs that do not exist."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ingest.encode.devices import check_devices, compute_dtype, default_devices, memory_snapshots
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError
from ingest.testing import FakeAccelerator, use_accelerator


@pytest.fixture
def gpus() -> Iterator[FakeAccelerator]:
    with use_accelerator(FakeAccelerator(2)) as fake:
        yield fake


def test_devices_are_those_of_the_accelerator_in_use(gpus: FakeAccelerator) -> None:
    assert check_devices(["cuda:1", "cpu", "cuda:0"]) == ("cuda:1", "cpu", "cuda:0")
    assert default_devices() == ("cuda:0",)
    gpus.others["cuda:1"] = 7
    assert {name: snapshot.other_bytes for name, snapshot in memory_snapshots(["cuda:0", "cuda:1", "cpu"]).items()} == {
        "cuda:0": 0,
        "cuda:1": 7,
    }
    with pytest.raises(ConfigurationError, match="no device 'cuda:2': available are cuda:0, cuda:1, cpu"):
        check_devices(["cuda:2"])


def test_without_gpus_the_cpu_is_the_default() -> None:
    with use_accelerator(FakeAccelerator(0)):
        assert default_devices() == ("cpu",)


def test_a_run_on_the_cpu_makes_no_call_to_a_gpu(gpus: FakeAccelerator) -> None:
    manager = ModelManager(EnsembleConfig(("all-miniLM-l6", "bm25")), devices=("cpu",))
    with BatchRunner(manager.members, devices=manager.devices) as runner:
        encoded = runner.run({"all-miniLM-l6": ["a text"], "bm25": ["a text"]})
    assert not any(each.failed for each in encoded.values())
    assert compute_dtype(manager.devices) == "float32"
    assert gpus.calls.total() == 0


def test_a_model_computes_on_the_cpu_while_it_fills_a_gpu(gpus: FakeAccelerator) -> None:
    [model] = ModelManager(EnsembleConfig(("all-miniLM-l6",)), devices=("cuda:1",)).members
    assert model.dtype == "bfloat16"
    with BatchRunner([model], devices=("cuda:1",)) as runner:
        assert not runner.run({"all-miniLM-l6": ["a text"]})["all-miniLM-l6"].failed
        assert gpus.allocated("cuda:1") > 40_000_000
        assert gpus.allocated("cuda:0") == 0
    assert gpus.allocated("cuda:1") == 0
    assert memory_snapshots(["cuda:1"])["cuda:1"].used_bytes == 0
