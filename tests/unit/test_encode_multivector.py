"""Late-interaction models: the rows of a text are those of the model's own library, and other models are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import MultiVectorEncoder
from tiny_colbert import DIM, tiny_colbert, tiny_stanford_colbert
from tiny_models import MINILM, change, tiny_dense

from ingest.encode.check import check_model
from ingest.encode.ensemble import vector_bytes
from ingest.encode.models import ModelManager
from ingest.encode.multivector import MultivectorModel
from ingest.encode.queries import as_queries
from ingest.encode.registry import MULTIVECTOR_MODELS, EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError, ModelError

TEXTS = [
    "Refunds are approved by the head of the department!",
    "A, b; c: d?",
    "one",
    "The quick brown fox jumps over the lazy dog, twice. " * 3,
]
FACTS = {"kind": "multivector", "dim": DIM, "max_tokens": 64, "query_prompt": "[unused0] ", "document_prompt": "[unused1] "}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_colbert(tmp_path_factory.mktemp("late"))


def _models(folder: Path, **changes: Any) -> ModelManager:
    return ModelManager(
        EnsembleConfig(ensemble_models=["tiny"]), devices=("cpu",), custom_models={"tiny": {"path": folder, **FACTS, **changes}}
    )


def _run(model: Any, texts: Sequence[str], directory: Path) -> tuple[list[Any], Mapping[int, str]]:
    with BatchRunner([model], devices=("cpu",), lease_directory=directory) as runner:
        encoded = runner.run({"tiny": texts})["tiny"]
    return list(encoded.vectors), encoded.failed


def test_rows_are_those_of_the_library(folder: Path, tmp_path: Path) -> None:
    own = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    [model] = _models(folder).members
    assert model.kind == "multivector"
    documents, failed = _run(model, TEXTS, tmp_path)
    queries, _ = _run(as_queries(model), TEXTS[:2], tmp_path)
    assert not failed
    assert len(documents[0]) < 16  # neither padding nor punctuation has a row
    assert {len(query) for query in queries} == {16}  # short ones are expanded, long ones cut
    for made, expected in [
        *zip(documents, own.encode_document(TEXTS), strict=True),
        *zip(queries, own.encode_query(TEXTS[:2]), strict=True),
    ]:
        assert made.dtype == np.float32
        assert np.allclose(made, expected, atol=1e-3)
        assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("key", ["colbert-v2", "answerai-colbert-small-v1"])
def test_stanfords_format_is_read_as_the_registry_says(key: str, tmp_path: Path) -> None:
    dim = MULTIVECTOR_MODELS[key].dim
    assert dim is not None
    folder = tiny_stanford_colbert(tmp_path / "model", dim=dim)
    own = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    [model] = ModelManager(EnsembleConfig([key]), devices=("cpu",), custom_models={key: {"path": folder}}).members
    with BatchRunner([model], devices=("cpu",), lease_directory=tmp_path) as runner:
        documents = [np.asarray(made) for made in runner.run({key: TEXTS})[key].vectors]
    with BatchRunner([as_queries(model)], devices=("cpu",), lease_directory=tmp_path) as runner:
        [query] = [np.asarray(made) for made in runner.run({key: TEXTS[:1]})[key].vectors]
    assert np.allclose(query, own.encode_query(TEXTS[:1])[0], atol=1e-3)
    assert query.shape == (32, dim)
    for made, expected in zip(documents, own.encode_document(TEXTS), strict=True):
        assert np.allclose(made, expected, atol=1e-3)


def test_a_text_over_the_limit_fails_alone(folder: Path, tmp_path: Path) -> None:
    [model] = _models(folder, max_tokens=30).members
    documents, failed = _run(model, TEXTS, tmp_path)
    assert list(failed) == [3]
    assert "more than the 30 of tiny" in failed[3]
    assert all(len(made) for made in documents[:3])


def test_a_long_query_is_known_to_be_cut(folder: Path, tmp_path: Path) -> None:
    [model] = _models(folder).members
    assert isinstance(model, MultivectorModel)
    assert model.query_limit is None
    _run(as_queries(model), ["one"], tmp_path)
    limit = model.query_limit
    assert limit is not None
    assert (limit.max_tokens, limit.count(["one two"])) == (16, [5])  # with the marker and both ends


def test_check_says_what_a_row_is(folder: Path) -> None:
    report = check_model("tiny", custom_models={"tiny": {"path": folder, **FACTS}}, devices=("cpu",))
    assert (report.kind, report.dim, report.terms) == ("multivector", DIM, None)
    assert report.norm == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"dim": 16}, "has 8 dimensions, its configuration says 16"), ({"max_tokens": 9_999}, "takes 512 tokens")],
)
def test_other_facts_than_those_of_the_files_are_refused(
    folder: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    [model] = _models(folder, **changes).members
    with pytest.raises(ModelError, match=says):
        _run(model, TEXTS, tmp_path)


def test_a_dense_model_gets_no_random_projection(tmp_path: Path) -> None:
    [model] = _models(tiny_dense(tmp_path)).members
    with pytest.raises(ModelError, match="makes one vector of a text, not one per token: correct its kind"):
        _run(model, TEXTS, tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dim": None}, "'dim' of model 'tiny' cannot be None"),
        ({"backend": "onnx"}, "a multivector model is computed by torch, not by the backend 'onnx'"),
        ({"kind": "late"}, "unknown kind 'late'; use dense, sparse, multivector or reranker"),
    ],
)
def test_impossible_facts_are_refused_before_anything_is_loaded(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        _models(MINILM, **changes)


def test_the_skip_list_is_part_of_the_vector_space(folder: Path, tmp_path: Path) -> None:
    [before] = _models(folder).members
    other = tiny_colbert(tmp_path)
    [same] = _models(other).members
    assert same.space == before.space
    change(other / "2_MultiVectorMask" / "config.json", skiplist_words=["."])
    [after] = _models(other).members
    assert after.space != before.space


def test_the_window_counts_a_row_per_token(folder: Path) -> None:
    models = _models(folder).members
    assert vector_bytes(models) == 64 * DIM * 4


def test_the_registry_has_what_a_late_interaction_model_needs() -> None:
    for key, config in MULTIVECTOR_MODELS.items():
        assert (config.key, config.kind, len(config.revision or ""), config.backend) == (key, "multivector", 40, "torch")
        assert config.query_prompt != config.document_prompt
        assert config.license
