"""Precision, search and reranking on fake GPUs of two kinds: one with bfloat16, one without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recording_models import RecordingModel
from tiny_models import DIM, tiny_dense
from tiny_reranker import HITS, WORDS, tiny_reranker

import ingest
from ingest.encode.devices import compute_dtype
from ingest.encode.lease import lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.precision import Precision
from ingest.encode.torch_model import TorchModel
from ingest.search.rerank import RerankPipeline
from ingest.testing import FakeAccelerator, use_accelerator

H100, T4 = (9, 0), (7, 5)
RULES = [{"id": str(n), "text": f"Rule {n} is about {word}."} for n, word in enumerate(["marmalade", "turbines", "glaciers"])]
MORE = [*RULES, {"id": "3", "text": "A new rule is about bridges."}]


@contextmanager
def gpu(capability: tuple[int, int]) -> Iterator[FakeAccelerator]:
    accelerator = FakeAccelerator(capability=capability)
    with use_accelerator(accelerator):
        yield accelerator


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dense(tmp_path_factory.mktemp("tiny"))


class Place:
    """A store and the tiny model, opened on one machine after another."""

    def __init__(self, folder: Path, model: Path) -> None:
        self._folder = folder
        self._own = {"tiny": {"path": str(model), "dim": DIM, "max_tokens": 256}}

    def collection(self, device: str, precision: Precision | None = None, **options: Any) -> ingest.Collection:
        encoding = ingest.EncodingOptions(
            devices=(device,),
            backend_options=ingest.BackendOptions("auto", precision),
            custom_models=self._own,
            lease_directory=self._folder / "leases",
        )
        return ingest.Collection(
            "rules", store=self._folder / "store", state=self._folder / "state", models=["tiny"], encoding=encoding, **options
        )

    def run(self, records: list[dict[str, str]], device: str, precision: Precision | None = None) -> tuple[str, int, int, str]:
        """Sync, and return the precision computed in, the written and the unchanged documents, and the stored precision."""
        monitor = ingest.ThroughputMonitor()
        with self.collection(device, precision) as rules:
            rules._monitor = monitor
            receipt = rules.sync(records, name="rules")
            assert receipt.balanced
            assert rules.search("turbines")[0].doc_id in {record["id"] for record in records}
            stored = str(rules.info().vectors[0].model["dtype"])
        [report] = monitor.model_reports()
        return report.dtype, receipt.written, receipt.unchanged, stored


@pytest.fixture
def place(tmp_path: Path, tiny: Path) -> Place:
    return Place(tmp_path, tiny)


def test_each_gpu_has_its_default() -> None:
    for capability, dtype in ((H100, "bfloat16"), (T4, "float16")):
        with gpu(capability):
            assert compute_dtype(("cuda:0",)) == dtype
            assert compute_dtype(("cuda:0", "cpu")) == "float32"


@pytest.mark.parametrize("capability", [H100, T4])
def test_the_precision_asked_for_is_honored_on_a_gpu(place: Place, capability: tuple[int, int]) -> None:
    with gpu(capability):
        assert place.run(RULES, "cuda:0", "float32") == ("float32", 3, 0, "float32")
        assert place.run(MORE, "cuda:0") == ("float32", 1, 3, "float32")


def test_a_collection_goes_from_one_machine_to_another(place: Place) -> None:
    with gpu(H100):
        assert place.run(RULES, "cuda:0") == ("bfloat16", 3, 0, "bfloat16")
    assert place.run(MORE, "cpu") == ("float32", 1, 3, "bfloat16")
    with gpu(T4):
        assert place.run([*MORE, {"id": "4", "text": "One more."}], "cuda:0") == ("float16", 1, 4, "bfloat16")
    with gpu(H100), place.collection("cuda:0") as rules:
        assert rules.sync([*MORE, {"id": "4", "text": "One more."}], name="rules").unchanged == 5
        assert rules.verify([*MORE, {"id": "4", "text": "One more."}], name="rules", sample="all").clean


def test_a_collection_of_a_cpu_is_computed_in_its_precision_on_a_gpu(place: Place) -> None:
    assert place.run(RULES, "cpu") == ("float32", 3, 0, "float32")
    with gpu(H100):
        assert place.run(MORE, "cuda:0") == ("float32", 1, 3, "float32")
        assert place.run([*MORE, {"id": "4", "text": "One more."}], "cuda:0", "bfloat16") == ("bfloat16", 1, 4, "float32")


def test_queries_move_the_model_once_and_flush_nothing(place: Place) -> None:
    place.run(RULES, "cpu")
    on_cpu = RerankPipeline(devices=("cpu",))
    with gpu(H100) as accelerator, place.collection("cuda:0", reranker=on_cpu) as rules:
        rules.search("warm")
        model = rules.searcher.view().models["tiny"].model
        assert isinstance(model, TorchModel)
        replica, held = model._replicas["cuda:0"], accelerator.allocated("cuda:0")
        assert held > 0
        for word in WORDS[:5]:
            rules.search(word)
        assert model._replicas["cuda:0"] is replica
        assert accelerator.calls["free_cache"] == 0
        del replica
        rules.searcher.set_device("cpu")
        assert accelerator.allocated("cuda:0") == 0
        rules.search("on the CPU")
        assert accelerator.allocated("cuda:0") == 0
        rules.searcher.set_device("cuda:0")
        rules.search("back")
        assert accelerator.allocated("cuda:0") == held
    assert accelerator.allocated("cuda:0") == 0


@pytest.mark.parametrize("capability", [H100, T4])
def test_a_reranker_stays_and_computes_in_float16(tmp_path: Path, capability: tuple[int, int]) -> None:
    folder = tiny_reranker(tmp_path / "reranker")
    with gpu(capability) as accelerator:
        pipeline = RerankPipeline(folder, lease_directory=tmp_path / "leases")
        assert pipeline.get_device() == "cuda:0"
        pipeline.rerank("chair", HITS)
        copies = accelerator.calls["copy"]
        for word in WORDS[:5]:
            result = pipeline.rerank(word, HITS)
            assert word in result.hits[0].text
            assert result.device == "cuda:0"
        assert list(pipeline._models) == ["float16"]
        assert (accelerator.calls["copy"], accelerator.calls["free_cache"]) == (copies, 0)
        with lease_gpus(RecordingModel("other"), ("cuda:0",), directory=tmp_path / "leases"):
            assert accelerator.allocated("cuda:0") == 0
        pipeline.rerank("chair", HITS)
        pipeline.set_cross_encoder_device("cpu")
        assert accelerator.allocated("cuda:0") == 0
        assert pipeline.rerank("chair", HITS).device == "cpu"
        assert list(pipeline._models) == ["float32"]


def test_half_precisions_are_near_float32(tmp_path: Path, tiny: Path) -> None:
    own = {"tiny": {"path": str(tiny), "dim": DIM, "max_tokens": 256}}
    vectors = {}
    for capability in (None, H100, T4):
        with gpu(capability or H100):
            device = "cpu" if capability is None else "cuda:0"
            (model,) = ModelManager(ingest.EnsembleConfig(("tiny",)), devices=(device,), custom_models=own).members
            with lease_gpus(model, (device,), directory=tmp_path) as lease:
                vectors[model.dtype] = np.asarray(lease.encoder.encode_documents([record["text"] for record in RULES]))
    assert set(vectors) == {"float32", "bfloat16", "float16"}
    for dtype in ("bfloat16", "float16"):
        assert ((vectors[dtype] * vectors["float32"]).sum(axis=1) > 0.999).all()


def test_a_gpu_that_fails_leaves_queries_and_rerankers_to_the_cpu(place: Place, tmp_path: Path) -> None:
    place.run(RULES, "cpu")
    folder = tiny_reranker(tmp_path / "reranker")
    with gpu(H100) as accelerator, place.collection("cuda:0") as rules:
        pipeline = RerankPipeline(folder, lease_directory=tmp_path / "leases")
        expected, before = rules.search("turbines"), pipeline.rerank("chair", HITS)
        accelerator.broken["cuda:0"] = "cuda:0 cannot be used: the driver is too old for the installed torch"
        assert [hit.id for hit in rules.search("turbines")] == [hit.id for hit in expected]
        result = pipeline.rerank("chair", HITS)
    assert (before.device, before.fallback) == ("cuda:0", None)
    assert (result.device, result.fallback) == (
        "cpu",
        "reranked on the CPU: cuda:0 cannot be used: the driver is too old for the installed torch",
    )
    assert [hit.id for hit in result.hits] == [hit.id for hit in before.hits]
