from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest.encode.contract import ModelKind
from ingest.encode.model_config import truncated
from ingest.encode.registry import (
    KAGGLE_OPTIMIZED_MODELS,
    MULTIVECTOR_MODELS,
    RERANKING_MODELS,
    SPARSE_MODELS,
    EnsembleConfig,
    find_model,
    known_models,
)
from ingest.errors import ConfigurationError, UnknownModelError


def test_the_registries_hold_exactly_the_agreed_keys() -> None:
    assert set(KAGGLE_OPTIMIZED_MODELS) == {
        "jina-code-embeddings-1.5b",
        "bge-m3",
        "jina-embeddings-v4",
        "qwen3-embedding-0.6b",
        "nomic-coderank",
        "qdrant-minilm-onnx",
        "all-miniLM-l6",
    }
    assert set(SPARSE_MODELS) == {"bm25", "splade", "splade-v3", "qdrant-minilm-attention"}
    assert set(MULTIVECTOR_MODELS) == {"colbert-v2", "answerai-colbert-small-v1", "jina-colbert-v2"}
    assert set(RERANKING_MODELS) == {"ms-marco-minilm-l6", "bge-reranker-v2-m3", "jina-reranker-v3", "coderank-bi-encoder"}


@pytest.mark.parametrize(
    ("key", "dim", "max_tokens", "license_", "remote"),
    [
        ("jina-code-embeddings-1.5b", 1536, 32768, "cc-by-nc-4.0", False),
        ("bge-m3", 1024, 8192, "mit", False),
        ("jina-embeddings-v4", 2048, 32768, "qwen-research", True),
        ("qwen3-embedding-0.6b", 1024, 32768, "apache-2.0", False),
        ("nomic-coderank", 768, 2048, "mit", False),
        ("qdrant-minilm-onnx", 384, 256, "apache-2.0", False),
        ("all-miniLM-l6", 384, 256, "apache-2.0", False),
    ],
)
def test_dense_facts(key: str, dim: int, max_tokens: int, license_: str, remote: bool) -> None:
    model = KAGGLE_OPTIMIZED_MODELS[key]
    assert (model.dim, model.max_tokens, model.license, model.needs_remote_code) == (dim, max_tokens, license_, remote)


def test_every_model_is_known_under_its_own_key_and_is_pinned() -> None:
    for key, model in known_models().items():
        assert model.key == key
        assert model.kind in ("dense", "multivector") or model.dim is None or model.key == "coderank-bi-encoder"
        assert model.revision or model.backend == "qdrant"


def test_an_unknown_key_names_the_nearest_known_ones() -> None:
    with pytest.raises(UnknownModelError, match="did you mean 'all-miniLM-l6'"):
        find_model("all-minilm")


def test_a_reranker_is_not_found_among_dense_and_sparse_models() -> None:
    with pytest.raises(UnknownModelError):
        find_model("ms-marco-minilm-l6")
    rerankers: tuple[ModelKind, ...] = ("reranker",)
    assert find_model("ms-marco-minilm-l6", kinds=rerankers).max_tokens == 512


def test_own_models_join_the_registries() -> None:
    own = find_model("mine", custom={"mine": {"path": "~/models/mine", "dim": 32, "max_tokens": 64, "matryoshka_dims": [8, 32]}})
    assert own.path == Path("~/models/mine").expanduser()
    assert (own.kind, own.dim, own.matryoshka_dims) == ("dense", 32, (8, 32))


def test_a_built_in_model_can_be_given_a_path() -> None:
    model = find_model("bge-m3", custom={"bge-m3": {"path": "/models/bge-m3"}})
    assert (model.path, model.dim) == (Path("/models/bge-m3"), 1024)
    assert model.verified is None, "other files than those that were verified"
    assert find_model("bge-m3", custom={"bge-m3": {"max_tokens": 512}}).verified == "architecture"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path": "x", "dim": 8, "max_tokns": 64}, "did you mean 'max_tokens'"),
        ({"path": "x", "dim": "eight", "max_tokens": 64}, "option 'dim'"),
        ({"path": "x", "dim": True, "max_tokens": 64}, "option 'dim'"),
        ({"path": "x", "max_tokens": 64}, "dim, the dimension of a dense model, is required"),
        ({"path": "x", "dim": 8}, "max_tokens, the longest input of the model, is required"),
        ({"dim": 8, "max_tokens": 64}, "path or hub_id is required"),
        ({"path": "x", "kind": "dence", "dim": 8, "max_tokens": 64}, "use dense, sparse, multivector or reranker"),
        ({"path": "x", "dim": 8, "max_tokens": 64, "truncate_dim": 4}, "cannot be truncated to 4"),
        ({"path": "x", "dim": 8, "max_tokens": 64, "backend": "onnx", "pooling": "cls"}, "an ONNX model is pooled by its mean"),
    ],
)
def test_an_own_model_that_cannot_be_meant_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        known_models({"mine": values})


@pytest.mark.parametrize(
    "values",
    [{"dim": 256}, {"truncate_dim": 256}, {"dim": 256, "path": "models/qwen"}, {"dim": 256, "matryoshka_dims": [256, 1024]}],
)
def test_a_smaller_dim_of_a_built_in_model_shortens_its_vectors(values: dict[str, Any]) -> None:
    model = find_model("qwen3-embedding-0.6b", custom={"qwen3-embedding-0.6b": values})
    assert (model.dim, model.truncate_dim, model.vector_dim) == (1024, 256, 256)


def test_a_smaller_dim_of_an_own_model_shortens_its_vectors() -> None:
    own = {"path": "x", "max_tokens": 64, "matryoshka_dims": [8, 16, 32]}
    model = find_model("mine", custom={"mine": {**own, "dim": 16}})
    assert (model.dim, model.truncate_dim, model.vector_dim) == (32, 16, 16)
    assert find_model("mine", custom={"mine": {**own, "dim": 32}}).truncate_dim is None


@pytest.mark.parametrize(
    ("key", "dim", "available"),
    [("qwen3-embedding-0.6b", 100, "32, 64, 128, 256, 512, 768, 1024"), ("nomic-coderank", 256, "768"), ("bge-m3", 2048, "1024")],
)
def test_a_dim_that_a_built_in_model_was_not_trained_for_is_refused(key: str, dim: int, available: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot be truncated to {dim} dimensions; available: {available}$"):
        find_model(key, custom={key: {"dim": dim}})


def test_truncation_keeps_to_the_trained_dimensions() -> None:
    model = KAGGLE_OPTIMIZED_MODELS["qwen3-embedding-0.6b"]
    assert truncated(model, 256).vector_dim == 256
    assert truncated(model, 1024).truncate_dim is None
    with pytest.raises(ConfigurationError, match="cannot be truncated to 100 dimensions"):
        truncated(model, 100)


def test_a_member_without_a_weight_weighs_one() -> None:
    config = EnsembleConfig(("all-miniLM-l6", "bm25"), {"bm25": 2.0}, exclusive_mode=False)
    assert config.weight("bm25") == 2.0
    assert config.weight("all-miniLM-l6") == 1.0
    assert config.exclusive_mode is False
    assert EnsembleConfig().exclusive_mode is True


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'exclusive_mode'"):
        EnsembleConfig(exclusive=True)


@pytest.mark.parametrize(
    ("members", "weights", "message"),
    [
        ((), {}, "no model"),
        (("bm25", "bm25"), {}, "twice"),
        (("bm25",), {"bm52": 1.0}, "did you mean 'bm25'"),
        (("bm25",), {"bm25": 0.0}, "positive"),
        (("bm25",), {"bm25": -1.0}, "positive"),
        (("bm25",), {"bm25": float("nan")}, "positive"),
        (("bm25",), {"bm25": float("inf")}, "positive"),
        (("bm25",), {"bm25": True}, "positive"),
        (("bm25",), {"bm25": "1"}, "positive"),
    ],
)
def test_members_and_weights_that_cannot_be_meant_are_refused(
    members: tuple[str, ...], weights: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        EnsembleConfig(members, weights)
