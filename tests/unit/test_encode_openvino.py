"""Models converted for OpenVINO: near to torch, converted once, and never in two precisions in one collection."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus import python_topics
from tiny_models import DIM, tiny_dense, tiny_splade

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.lease import lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.openvino.calibration import AccuracyGuard
from ingest.encode.openvino.choice import BackendOptions, choose_backend
from ingest.encode.openvino.model import OpenVinoModel
from ingest.encode.queries import as_queries
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError, ManifestMismatchError, ModelError, PrecisionError
from ingest.receipt import Receipt
from ingest.records import Document
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import ListSource

TEXTS = [topic["text"] for topic in python_topics(30, characters=400)]
BRIEF = [text[:80] for text in TEXTS]  # SPLADE weighs 30,522 words for each token
DOCUMENTS = [Document(id=f"topic {number}", text=text, position="here") for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "tiny": {"path": str(tiny_dense(folder / "dense")), "dim": DIM, "max_tokens": 256, "document_prompt": "topic: "},
        "tiny-splade": {"kind": "sparse", "path": str(tiny_splade(folder / "splade")), "max_tokens": 64},
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def _manager(own: dict[str, dict[str, Any]], key: str, **backend_options: Any) -> ModelManager:
    return ModelManager(
        EnsembleConfig((key,)), devices=("cpu",), custom_models=own, backend_options=BackendOptions(**backend_options)
    )


def _encode(manager: ModelManager, texts: Sequence[str] = TEXTS) -> Any:
    with BatchRunner(manager.members, devices=()) as runner:
        encoded = runner.run({manager.members[0].key: texts})[manager.members[0].key]
    assert not encoded.failed
    return encoded.vectors


def _ask(model: Model, question: str) -> Any:
    with lease_gpus(model, ()) as lease:
        return lease.encoder.encode_queries([question])


def _kept(cache: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in cache.rglob("model.*")}


@pytest.fixture(scope="module")
def minilm(converted_models: Path) -> ModelManager:
    """The real model in int8, calibrated once for all tests."""
    return ModelManager(
        EnsembleConfig(("all-miniLM-l6",)),
        devices=("cpu",),
        backend_options=BackendOptions("openvino", cache_directory=converted_models),
    )


def test_int8_is_near_to_torch_and_gives_the_same_twice(
    minilm: ModelManager, converted_models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = _encode(minilm)
    torch = ModelManager(EnsembleConfig(("all-miniLM-l6",)), devices=("cpu",))
    cosines = (found * _encode(torch)).sum(axis=1)
    assert cosines.mean() >= 0.99
    assert cosines.min() >= 0.97
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    [model], [in_torch] = minilm.members, torch.members
    assert (model.backend, model.dtype, minilm.model_dtypes) == ("openvino", "int8", {"all-miniLM-l6": "int8"})
    assert (model.space, model.fingerprint == in_torch.fingerprint) == (in_torch.space, False)
    assert capfd.readouterr().out == ""
    assert sys.modules["openvino_telemetry"] is None

    kept = _kept(converted_models)
    backend_options = BackendOptions("auto", cache_directory=converted_models)
    again = ModelManager(EnsembleConfig(("all-miniLM-l6",)), devices=("cpu",), backend_options=backend_options)
    assert again.members[0].dtype == "int8"
    assert np.allclose(_encode(again), found, atol=1e-6)
    assert _kept(converted_models) == kept
    assert {file.parent.parent.stat().st_mode & 0o777 for file in kept} == {0o700}


def test_a_converted_model_encodes_queries_unless_there_is_only_one(minilm: ModelManager) -> None:
    [model] = minilm.members
    _encode(minilm, TEXTS[:1])  # converts it, if no test has
    stays, once = as_queries(model), as_queries(model, once=True)
    vectors = {}
    for queries in (stays, once):
        with lease_gpus(queries, ()) as lease:
            vectors[queries.backend, queries.dtype] = np.asarray(lease.encoder.encode_documents(["a refund"]))
    in_int8, in_float32 = vectors["openvino", "int8"], vectors["numpy", "float32"]
    assert np.array_equal(in_int8, _ask(model, "a refund"))
    assert 0.98 < (in_int8 * in_float32).sum() < 0.99999


def test_in_float32_it_is_what_torch_gives(own: dict[str, dict[str, Any]], cache: Path) -> None:
    for key in own:
        torch = _manager(own, key)
        converted = _manager(own, key, backend="openvino", precision="float32", cache_directory=cache)
        expected, found = _encode(torch, BRIEF), _encode(converted, BRIEF)
        if isinstance(expected, list):
            for one, other in zip(expected, found, strict=True):
                assert one.indices.tolist() == other.indices.tolist()
                assert np.allclose(one.values, other.values, atol=1e-4)
        else:
            assert np.allclose(expected, found, atol=1e-5)
        assert converted.members[0].backend == "openvino"
        assert converted.members[0].fingerprint == torch.members[0].fingerprint


def test_a_shorter_vector_is_the_beginning_of_the_whole_one(own: dict[str, dict[str, Any]], cache: Path) -> None:
    short = {"short": {**own["tiny"], "dim": DIM // 4, "matryoshka_dims": [DIM // 4, DIM]}}
    for backend in ("torch", "openvino"):
        options = {"backend": backend, "precision": "float32", "cache_directory": cache}
        long, found = _encode(_manager(own, "tiny", **options), BRIEF), _encode(_manager(short, "short", **options), BRIEF)
        cut = long[:, : DIM // 4]
        np.testing.assert_allclose(found, cut / np.linalg.norm(cut, axis=1, keepdims=True), rtol=0, atol=1e-5)


def test_it_computes_in_float32_on_a_cpu_whose_default_is_bfloat16(minilm: ModelManager) -> None:
    _encode(minilm)
    [model] = minilm.members
    assert isinstance(model, OpenVinoModel)
    compiled = model._network("cpu")._request.get_compiled_model()
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


def test_what_is_converted_needs_torch_no_more_and_is_made_anew_if_damaged(
    own: dict[str, dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend_options = {
        "backend": "openvino",
        "precision": "float32",
        "cache_directory": tmp_path,
        "stored_precisions": {"tiny": "float32"},
    }
    first = _encode(_manager(own, "tiny", **backend_options))
    caplog.set_level(logging.INFO, logger="ingest.encode.openvino.model")
    caplog.clear()
    assert np.allclose(_encode(_manager(own, "tiny", **backend_options)), first, atol=1e-6)
    assert not caplog.records
    for file in tmp_path.rglob("model.xml"):
        file.write_bytes(file.read_bytes()[:1000])
    assert np.allclose(_encode(_manager(own, "tiny", **backend_options)), first, atol=1e-6)
    assert "will be converted again" in caplog.text
    assert "once on this machine" in caplog.text


def test_where_nothing_can_be_kept_it_is_converted_for_this_run(
    own: dict[str, dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("where a folder should be")
    manager = _manager(own, "tiny", backend="openvino", precision="float32", cache_directory=tmp_path / "file")
    assert _encode(manager).shape == (len(TEXTS), DIM)
    assert "was not stored in" in caplog.text


def test_too_coarse_in_int8_is_an_error_before_anything_is_encoded(own: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    manager = _manager(own, "tiny", backend="openvino", cache_directory=tmp_path, guard=AccuracyGuard(lowest=1.01))
    with pytest.raises(PrecisionError, match=r"too inaccurate in int8 for .* \(cosine to float32: .* compute it in float32"):
        _encode(manager)
    assert not _kept(tmp_path)


def test_too_far_from_torch_in_float32_leaves_it_to_torch(
    own: dict[str, dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"backend": "openvino", "precision": "float32", "cache_directory": tmp_path}
    manager = _manager(own, "tiny", **asked, guard=AccuracyGuard(lowest=1.01))
    assert np.array_equal(_encode(manager), _encode(_manager(own, "tiny")))
    assert (manager.members[0].backend, manager.model_dtypes) == ("torch", {"tiny": "float32"})
    assert "using torch instead" in caplog.text


def test_before_it_is_calibrated_torch_answers_questions_and_nothing_is_encoded(
    own: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    model = _manager(own, "tiny", backend="openvino", cache_directory=tmp_path).members[0]
    assert np.array_equal(_ask(model, "what is a class?"), _ask(_manager(own, "tiny").members[0], "what is a class?"))
    with lease_gpus(model, ()) as lease, pytest.raises(ModelError, match="not calibrated"):
        lease.encoder.encode_documents(["a class"])
    assert not _kept(tmp_path)


def test_documents_over_the_limit_are_refused_and_questions_cut(minilm: ModelManager) -> None:
    [model] = minilm.members
    with BatchRunner([model], devices=()) as runner:
        encoded = runner.run({model.key: ["short", "a " * 255]})[model.key]
    assert encoded.failed == {1: "257 tokens, more than the 256 of all-miniLM-l6"}
    assert np.array_equal(_ask(model, "a " * 255), _ask(model, "a " * 254))
    with lease_gpus(model, ()) as lease, pytest.raises(ModelError, match="more than 256 tokens"):
        lease.encoder.encode_documents(["a " * 255])


def test_splade_in_int8_finds_the_same_words(own: dict[str, dict[str, Any]], cache: Path) -> None:
    any_machine = AccuracyGuard(mean=0.5, lowest=0.5)  # without VNNI, sums of 8-bit products overflow: 0.94, and refused
    found = _encode(_manager(own, "tiny-splade", backend="openvino", cache_directory=cache, guard=any_machine), BRIEF)
    expected = _encode(_manager(own, "tiny-splade"), BRIEF)
    for one, other in zip(expected, found, strict=True):
        heaviest = one.indices[np.argsort(-one.values)[:5]]
        assert set(heaviest.tolist()) <= set(other.indices.tolist())


def _run(store: Store, collection: str, model: Model, folder: Path) -> Receipt:
    with BatchRunner([model], devices=()) as runner, RejectsFile(folder / "rejects.jsonl") as rejects:
        return run_job(
            Job(collection),
            [ListSource(DOCUMENTS)],
            store=store,
            ensemble=Ensemble(runner),
            rejects=rejects,
        )


def test_a_collection_keeps_its_precision(minilm: ModelManager, converted_models: Path, tmp_path: Path) -> None:
    def member(**backend_options: Any) -> Model:
        config = EnsembleConfig(("all-miniLM-l6",))
        return ModelManager(
            config, devices=("cpu",), backend_options=BackendOptions(cache_directory=converted_models, **backend_options)
        ).members[0]

    _encode(minilm)  # it is converted
    with open_store(tmp_path / "store") as store:
        receipt = _run(store, "fast", minilm.members[0], tmp_path)
        assert [(report.backend, report.dtype) for report in receipt.models] == [("openvino", "int8")]
        made = store.manifest("fast").precisions
        elsewhere = member(backend="auto", stored_precisions=made)
        assert (elsewhere.dtype, _run(store, "fast", elsewhere, tmp_path).unchanged) == ("int8", len(DOCUMENTS))
        with pytest.raises(ManifestMismatchError, match="another precision"):
            _run(store, "fast", member(backend="torch", stored_precisions=made), tmp_path)

        _run(store, "slow", member(backend="torch"), tmp_path)
        made = store.manifest("slow").precisions
        assert member(backend="auto", stored_precisions=made, worth_converting=True).dtype == "float32"
        assert _run(store, "slow", member(backend="openvino", stored_precisions=made), tmp_path).unchanged == len(DOCUMENTS)
        with pytest.raises(ManifestMismatchError, match="another precision"):
            _run(store, "slow", member(backend="auto", precision="int8", stored_precisions=made), tmp_path)


FLOAT32, INT8 = ("torch", "float32"), ("openvino", "int8")


@pytest.mark.parametrize(
    ("asked", "installed", "converted", "expected"),
    [
        ({"backend": "torch"}, True, True, FLOAT32),
        ({"backend": "torch", "stored_precisions": {"m": "int8"}}, True, True, FLOAT32),
        ({"backend": "auto"}, True, False, FLOAT32),
        ({"backend": "auto"}, True, True, INT8),
        ({"backend": "auto"}, False, True, FLOAT32),
        ({"backend": "auto", "worth_converting": True}, True, False, INT8),
        ({"backend": "auto", "worth_converting": True}, False, False, FLOAT32),
        ({"backend": "auto", "worth_converting": True, "stored_precisions": {"other": "float32"}}, True, True, INT8),
        ({"backend": "auto", "worth_converting": True, "stored_precisions": {"m": "float32"}}, True, True, FLOAT32),
        ({"backend": "auto", "stored_precisions": {"m": "int8"}}, False, False, INT8),
        ({"backend": "auto", "precision": "float32", "stored_precisions": {"m": "int8"}}, True, True, FLOAT32),
        ({"backend": "auto", "precision": "int8"}, True, False, INT8),
        ({"backend": "openvino"}, True, False, INT8),
        ({"backend": "openvino", "stored_precisions": {"m": "float32"}}, True, True, ("openvino", "float32")),
        ({"backend": "openvino", "precision": "float32"}, True, True, ("openvino", "float32")),
    ],
)
def test_what_is_stored_decides_before_what_would_be_faster(
    asked: dict[str, Any], installed: bool, converted: bool, expected: tuple[str, str]
) -> None:
    assert (
        choose_backend(BackendOptions(**asked), "m", devices=("cpu",), installed=installed, converted=lambda: converted)
        == expected
    )


def test_what_cannot_be_computed_as_asked_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="torch computes in float32"):
        BackendOptions("torch", "int8")
    with pytest.raises(ConfigurationError, match="not on cuda:0: use device cpu"):
        choose_backend(BackendOptions("openvino"), "m", devices=("cuda:0",), installed=True, converted=lambda: True)
