"""Queries without torch: the same vectors as torch's, and only for models that are known to be plain BERTs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer
from tiny_models import DIM, MINILM, change, tiny_dense

from ingest.encode.bert.encoder import BATCH_TOKENS, BertQueryEncoder, batches, open_query_encoder
from ingest.encode.bert.network import gelu
from ingest.encode.model_config import ModelConfig
from ingest.encode.resolve import ModelFiles
from ingest.encode.tokens import DocumentTokens
from ingest.errors import ModelError

QUERIES = ["shock wave", "", "Wer darf eine Rückzahlung genehmigen?", "退款 ΑΒΓ 🙂 10^6", "an iterator is a stream of data " * 30]


def opened(folder: Path, **facts: object) -> BertQueryEncoder | None:
    config = ModelConfig("m", "dense", path=folder, **{"dim": DIM, "max_tokens": 64, **facts})  # type: ignore[arg-type]
    return open_query_encoder(config, ModelFiles(folder, "path"), DocumentTokens(folder, ""))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dense(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny, tmp_path / "copy")


@pytest.mark.parametrize("which", ["published", "mean", "cls"])
def test_a_query_has_the_vector_that_torch_computes(which: str, tiny: Path, tmp_path: Path) -> None:
    folder = {"published": MINILM, "mean": tiny}.get(which) or tiny_dense(tmp_path, pooling="cls")
    encoder = opened(folder, dim=384 if folder == MINILM else DIM, query_prompt="query: ", own_prompts=True)
    reference = SentenceTransformer(str(folder), device="cpu")
    reference.max_seq_length = 64
    expected = reference.encode([f"query: {query}" for query in QUERIES], normalize_embeddings=True)
    assert encoder is not None
    vectors = encoder.encode_queries(QUERIES)
    assert vectors.dtype == np.float32
    assert np.abs(vectors - expected).max() < 1e-6


def test_a_vector_does_not_depend_on_the_queries_beside_it(tiny: Path) -> None:
    encoder = opened(tiny)
    assert encoder is not None
    alone = np.concatenate([encoder.encode_queries([query]) for query in QUERIES])
    assert np.abs(encoder.encode_queries(QUERIES) - alone).max() < 1e-6


def test_queries_are_computed_together_up_to_a_number_of_tokens() -> None:
    texts = [np.zeros(length, np.int32) for length in (BATCH_TOKENS - 10, 10, 1, BATCH_TOKENS + 1, 5, 5)]
    assert [list(map(len, batch)) for batch in batches(texts)] == [[BATCH_TOKENS - 10, 10], [1], [BATCH_TOKENS + 1], [5, 5]]


def test_a_vector_is_truncated_before_it_gets_unit_length(tiny: Path) -> None:
    whole, half = opened(tiny), opened(tiny, truncate_dim=DIM // 2)
    assert whole is not None
    assert half is not None
    first = whole.encode_queries(["a refund"])[:, : DIM // 2]
    assert np.allclose(half.encode_queries(["a refund"]), first / np.linalg.norm(first))


def test_the_activation_is_the_exact_one() -> None:
    assert np.allclose(gelu(np.array([-9, -1, 0, 1, 9], np.float32)), [0, -0.15865525, 0, 0.84134475, 9], atol=3e-7)


def _edited(file: str, **settings: object) -> Callable[[Path], None]:
    return lambda folder: change(folder / file, **settings)


def _another_module(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([*modules, {"idx": 2, "name": "2", "path": "2_Dense", "type": "x.Dense"}]))


def _half_precision(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: each.astype(np.float16) for name, each in weights.items()}, folder / "model.safetensors")


def _a_weight_less(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.0.output.dense.bias"]
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    "spoil",
    [
        _edited("config.json", model_type="roberta"),
        _edited("config.json", hidden_act="gelu_new"),
        _edited("config.json", position_embedding_type="relative_key"),
        _edited("config.json", auto_map={"AutoModel": "own.Model"}),
        _edited("config.json", max_position_embeddings=32),
        _edited("sentence_bert_config.json", do_lower_case=True),
        _edited("config_sentence_transformers.json", prompts={"query": "find: "}),
        _edited("tokenizer_config.json", do_lower_case=False),
        _edited("1_Pooling/config.json", pooling_mode="max"),
        _edited("1_Pooling/config.json", pooling_mode=["mean", "cls"]),
        _edited("1_Pooling/config.json", include_prompt=False),
        _another_module,
        _half_precision,
        _a_weight_less,
        lambda folder: (folder / "modules.json").unlink(),
        lambda folder: (folder / "config.json").write_text("[]"),
        lambda folder: (folder / "model.safetensors").write_bytes(b"damaged"),
    ],
)
def test_a_model_that_may_be_another_is_left_to_torch(spoil: Callable[[Path], None], copy: Path) -> None:
    assert opened(copy) is not None
    spoil(copy)
    assert opened(copy) is None


@pytest.mark.parametrize(
    "facts",
    [{"dim": 2 * DIM}, {"pooling": "cls"}, {"task": "retrieval"}, {"needs_remote_code": True}, {"query_prompt": "find: "}],
)
def test_a_configuration_that_may_be_wrong_is_left_to_torch(facts: dict[str, object], copy: Path) -> None:
    change(copy / "config_sentence_transformers.json", prompts={"query": "query: "})
    assert opened(copy, query_prompt="query: ") is not None
    assert opened(copy, **{"query_prompt": "query: ", **facts}) is None


def test_other_weights_than_the_published_ones_are_refused(tiny: Path) -> None:
    config = ModelConfig("m", "dense", hub_id="owner/m", dim=DIM, max_tokens=64, weights_sha256="0" * 64)
    with pytest.raises(ModelError, match="has sha256"):
        open_query_encoder(config, ModelFiles(tiny, "wheel"), DocumentTokens(tiny, ""))
