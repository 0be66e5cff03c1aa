"""The members as they are: real all-MiniLM-L6-v2, real BM25, and small models built here."""

from __future__ import annotations

import base64
import gc
import shutil
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer, SparseEncoder
from tiny_models import DIM, tiny_dense, tiny_splade
from tiny_models import MINILM as WHEEL
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from ingest.encode.contract import Model
from ingest.encode.devices import compute_dtype
from ingest.encode.lease import lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.openvino.choice import BackendOptions
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.encode.torch_model import TorchModel
from ingest.errors import ConfigurationError, ModelError, UnknownModelError
from ingest.testing import FakeAccelerator, use_accelerator

TEXTS = [
    "Hello",
    "The quick brown fox jumps over the lazy dog.",
    "Ein Satz mit Umlauten: äöü, und ein paar Zahlen 1234567890.",
    "An iterator is an object representing a stream of data. " * 12,
    "\t  spaces \n and newlines ",
]

EMBEDDING_TABLE_AS_ONNX = base64.b64decode(
    # hidden state of token 0..3 is the unit vector 3, 0, 1, 2: small enough to check by hand.
    "CAgSADrxAQotCgV0YWJsZQoJaW5wdXRfaWRzEhFsYXN0X2hpZGRlbl9zdGF0ZSIGR2F0aGVyEgFnKk8IBAgEEAFCBXRhYmxlSkAAAAAAAAAAAAAAAAAAAIA/AACAPw"
    "AAAAAAAAAAAAAAAAAAAAAAAIA/AAAAAAAAAAAAAAAAAAAAAAAAgD8AAAAAWh0KCWlucHV0X2lkcxIQCg4IBxIKCgMSAWIKAxIBc1oiCg5hdHRlbnRpb25fbWFzaxIQ"
    "Cg4IBxIKCgMSAWIKAxIBc2IpChFsYXN0X2hpZGRlbl9zdGF0ZRIUChIIARIOCgMSAWIKAxIBcwoCCARCBAoAEA0="
)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def minilm() -> ModelManager:
    return ModelManager(EnsembleConfig(("all-miniLM-l6",)), devices=("cpu",))


def _encode(model: Model, texts: Sequence[str], *, queries: bool = False) -> Any:
    with lease_gpus(model, ()) as lease:
        return lease.encoder.encode_queries(texts) if queries else lease.encoder.encode_documents(texts)


def test_minilm_gives_what_sentence_transformers_gives(minilm: ModelManager) -> None:
    expected = SentenceTransformer(str(WHEEL), device="cpu").encode(TEXTS, normalize_embeddings=True)
    for queries in (False, True):
        vectors = _encode(minilm.members[0], TEXTS, queries=queries)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(TEXTS), 384)
        assert vectors.flags.c_contiguous
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
        assert ((vectors * expected).sum(axis=1) >= 1 - 1e-6).all()


def test_minilm_is_what_the_registry_says(minilm: ModelManager) -> None:
    model = minilm.members[0]
    _encode(model, ["x"])
    assert (model.key, model.kind, model.dim, model.dtype, model.backend) == ("all-miniLM-l6", "dense", 384, "float32", "torch")
    assert minilm.model_dtypes == {"all-miniLM-l6": "float32"}
    assert minilm._get_model_primary_dtype("all-miniLM-l6") == "float32"
    with pytest.raises(ModelError, match="loaded as float16, but must compute in float32"):
        minilm._record_model_dtype("all-miniLM-l6", "float16")


def test_tokens_are_counted_as_the_model_counts_them(minilm: ModelManager) -> None:
    limit = minilm.members[0].token_limit
    assert limit is not None
    tokenizer = SentenceTransformer(str(WHEEL), device="cpu").tokenizer
    assert limit.max_tokens == 256
    assert limit.count(TEXTS) == [len(tokenizer(text)["input_ids"]) for text in TEXTS]


def test_a_document_over_the_limit_is_refused_and_a_query_is_cut(minilm: ModelManager) -> None:
    model = minilm.members[0]
    fits, too_long = "a " * 254, "a " * 255
    assert model.token_limit is not None
    assert model.token_limit.count([fits, too_long]) == [256, 257]
    assert _encode(model, [fits]).shape == (1, 384)
    with pytest.raises(ModelError, match="more than 256 tokens"):
        _encode(model, ["short", too_long])
    cut = _encode(model, [too_long], queries=True)
    assert np.allclose(cut, _encode(model, [fits]), atol=1e-6)


def test_two_replicas_give_what_one_gives(minilm: ModelManager, tmp_path: Path) -> None:
    texts = [f"{text} {index}" for index in range(12) for text in TEXTS]
    results: list[Any] = []
    for devices in (("cpu",), ("cpu", "cpu:1")):
        with BatchRunner(minilm.members, devices=devices, lease_directory=tmp_path / "leases") as runner:
            results.append(runner.run({"all-miniLM-l6": texts})["all-miniLM-l6"].vectors)
    assert np.array_equal(results[0], results[1])


def test_models_of_the_same_weights_have_them_once_and_free_them_with_the_last(tmp_path: Path) -> None:
    own = {"tiny": {"path": str(tiny_dense(tmp_path)), "dim": DIM, "max_tokens": 256}}

    def loaded() -> TorchModel:
        [model] = ModelManager(EnsembleConfig(("tiny",)), devices=("cpu",), custom_models=own).members
        assert isinstance(model, TorchModel)
        model.load()
        return model

    documents, queries = loaded(), loaded()
    assert documents.module is queries.module
    before = _encode(queries, TEXTS, queries=True)
    weights = weakref.ref(next(documents.module.parameters()))
    documents.unload()
    assert np.array_equal(_encode(queries, TEXTS, queries=True), before)
    gc.disable()  # which would free them some time
    try:
        del queries
        assert weights() is None
    finally:
        gc.enable()


def test_fingerprints_tell_models_apart_and_spaces_ignore_precision(tmp_path: Path) -> None:
    shutil.copytree(WHEEL, tmp_path / "copy")
    own = {
        "copy": {"path": str(tmp_path / "copy"), "dim": 384, "max_tokens": 256, "pooling": "mean"},
        "prompted": {
            "path": str(tmp_path / "copy"),
            "dim": 384,
            "max_tokens": 256,
            "pooling": "mean",
            "document_prompt": "doc: ",
        },
    }
    config = EnsembleConfig(("all-miniLM-l6", "copy", "prompted", "bm25"))
    on_cpu = ModelManager(config, devices=("cpu",), custom_models=own).members
    in_int8 = ModelManager(
        config, devices=("cpu",), custom_models=own, backend_options=BackendOptions("openvino", "int8")
    ).members
    assert len({model.fingerprint for model in on_cpu}) == 4
    assert [model.space for model in on_cpu] == [model.space for model in in_int8]
    assert [a.fingerprint == b.fingerprint for a, b in zip(on_cpu, in_int8, strict=True)] == [False, False, False, True]


def test_planning_imports_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from ingest.encode.models import ModelManager\n"
        "from ingest.encode.registry import EnsembleConfig\n"
        "from ingest.encode.runner import BatchRunner\n"
        "manager = ModelManager(EnsembleConfig())\n"
        "for model in manager.members:\n"
        "    assert model.fingerprint and model.space\n"
        "assert manager.members[0].token_limit.count(['one two']) == [4]\n"
        "with BatchRunner(manager.members, devices=('cpu',), lease_directory=Path(sys.argv[1])) as runner:\n"
        "    assert len(runner.run({'bm25': ['some words'], 'all-miniLM-l6': []})['bm25'].vectors[0].indices) == 1\n"
        "assert 'torch' not in sys.modules and 'sentence_transformers' not in sys.modules\n"
    )
    finished = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_the_dimension_really_loaded_is_checked() -> None:
    own = {"wrong": {"path": str(WHEEL), "dim": 768, "max_tokens": 256}}
    model = ModelManager(EnsembleConfig(("wrong",)), devices=("cpu",), custom_models=own).members[0]
    with pytest.raises(ModelError, match="has 384 dimensions, its configuration says 768"):
        _encode(model, ["x"])


def test_a_limit_beyond_the_model_is_refused() -> None:
    own = {"wrong": {"path": str(WHEEL), "dim": 384, "max_tokens": 4096}}
    model = ModelManager(EnsembleConfig(("wrong",)), devices=("cpu",), custom_models=own).members[0]
    with pytest.raises(ModelError, match="takes 512 tokens, its configuration says 4096"):
        _encode(model, ["x"])


def test_vectors_can_be_cut_to_a_trained_dimension() -> None:
    whole = {"path": str(WHEEL), "dim": 384, "max_tokens": 256, "matryoshka_dims": [64, 384]}
    own = {"whole": whole, "cut": {**whole, "dim": 64}}
    manager = ModelManager(EnsembleConfig(("whole", "cut")), devices=("cpu",), custom_models=own)
    long, short = (_encode(model, TEXTS) for model in manager.members)
    assert manager.members[1].dim == 64
    expected = long[:, :64] / np.linalg.norm(long[:, :64], axis=1, keepdims=True)
    np.testing.assert_allclose(short, expected, rtol=0, atol=1e-6)
    assert len({model.fingerprint for model in manager.members}) == 2
    assert len({model.space for model in manager.members}) == 2


def test_another_tokenizer_of_the_same_weights_is_another_vector_space(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    own = {"own": {"path": str(tmp_path), "dim": 8, "max_tokens": 256}}
    spaces = []
    for tokenizer in ("{}", "{} ", "{}"):
        (tmp_path / "tokenizer.json").write_text(tokenizer)
        spaces.append(ModelManager(EnsembleConfig(("own",)), devices=("cpu",), custom_models=own).members[0].space)
    assert (spaces[0] == spaces[2], spaces[0] == spaces[1]) == (True, False)


def test_files_that_are_no_model_are_an_error_on_one_line(tmp_path: Path) -> None:
    shutil.copytree(WHEEL, tmp_path / "broken")
    (tmp_path / "broken" / "config.json").write_text("{not json")
    own = {"broken": {"path": str(tmp_path / "broken"), "dim": 384, "max_tokens": 256}}
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        _encode(ModelManager(EnsembleConfig(("broken",)), devices=("cpu",), custom_models=own).members[0], ["x"])
    assert "\n" not in str(caught.value)


def test_remote_code_runs_only_by_the_users_word() -> None:
    with pytest.raises(ConfigurationError, match="add it to trust_remote_code"):
        ModelManager(EnsembleConfig(("jina-embeddings-v4",)))
    own = {"own": {"path": str(WHEEL), "dim": 384, "max_tokens": 256, "needs_remote_code": True}}
    assert ModelManager(EnsembleConfig(("own",)), custom_models=own, trust_remote_code=["own"]).members
    with pytest.raises(UnknownModelError):
        ModelManager(EnsembleConfig(("bm25",)), trust_remote_code=["nomic"])


def test_a_model_that_was_verified_without_its_own_code_runs_without_it_although_it_is_trusted() -> None:
    def trusts(**values: object) -> bool:
        custom = {"nomic-coderank": values} if values else None
        manager = ModelManager(
            EnsembleConfig(("nomic-coderank",)), devices=("cpu",), custom_models=custom, trust_remote_code=["nomic-coderank"]
        )
        (model,) = manager.members
        assert isinstance(model, TorchModel)
        return model._trust_remote_code

    assert trusts() is False
    assert trusts(path=str(WHEEL), needs_remote_code=True) is True


def test_members_keep_the_configured_order_and_sparse_ones_can_be_left_out() -> None:
    config = EnsembleConfig(("bm25", "all-miniLM-l6", "qdrant-minilm-attention"))
    manager = ModelManager(config)
    assert [model.key for model in manager.members] == ["bm25", "all-miniLM-l6", "qdrant-minilm-attention"]
    assert [model.key for model in manager.initialize_sparse_models()] == ["bm25", "qdrant-minilm-attention"]
    dense_only = ModelManager(config, enable_sparse=False)
    assert [model.key for model in dense_only.members] == ["all-miniLM-l6"]
    assert dense_only.initialize_sparse_models() == ()
    with pytest.raises(UnknownModelError, match="did you mean 'bm25'"):
        ModelManager(EnsembleConfig(("bm-25",)))


@pytest.mark.parametrize(("capability", "dtype"), [((9, 0), "bfloat16"), ((8, 0), "bfloat16"), ((7, 5), "float16")])
def test_precision_follows_the_devices(capability: tuple[int, int], dtype: str) -> None:
    with use_accelerator(FakeAccelerator(capability=capability)):
        assert compute_dtype(("cuda:0",)) == dtype
    assert compute_dtype(("cpu", "cpu:1")) == compute_dtype(("cuda:0", "cpu")) == compute_dtype(()) == "float32"
    manager = ModelManager(EnsembleConfig(), devices=("cpu",), backend_options=BackendOptions("openvino", "int8"))
    assert [manager._get_model_primary_dtype(key) for key in ("all-miniLM-l6", "bm25")] == ["int8", "float32"]


def test_bm25_vectors_are_qdrants_own() -> None:
    model = ModelManager(EnsembleConfig(("bm25",))).members[0]
    assert (model.uses_idf, model.runs_on, model.dim, model.token_limit) == (True, "anywhere", None, None)
    document, empty = _encode(model, ["The quick brown fox jumps over the lazy dog, quick quick", "the of and"])
    assert document.indices.dtype == np.uint32
    assert document.values.dtype == np.float32
    assert document.indices.tolist() == [226376294, 741580288, 771291085, 1312749093, 1621867415, 1913189942]
    assert np.allclose(document.values, [1.6564705, 1.6564705, 1.9830986, 1.6564705, 1.6564705, 1.6564705])
    assert len(empty.indices) == len(empty.values) == 0
    [query] = _encode(model, ["The quick brown foxes"], queries=True)
    assert query.indices.tolist() == [741580288, 771291085, 1621867415]
    assert query.values.tolist() == [1.0, 1.0, 1.0]


def test_splade_gives_what_sentence_transformers_gives(tmp_path: Path) -> None:
    folder = tiny_splade(tmp_path)
    own = {"tiny": {"kind": "sparse", "path": str(folder), "max_tokens": 256}}
    model = ModelManager(EnsembleConfig(("tiny",)), devices=("cpu",), custom_models=own).members[0]
    assert (model.kind, model.dim, model.uses_idf) == ("sparse", None, False)
    expected = SparseEncoder(str(folder), device="cpu").encode(TEXTS, convert_to_sparse_tensor=False).numpy()
    vectors = _encode(model, TEXTS)
    for vector, row in zip(vectors, expected, strict=True):
        assert vector.indices.dtype == np.uint32
        assert vector.values.dtype == np.float32
        assert vector.indices.tolist() == np.flatnonzero(row).tolist()
        assert np.allclose(vector.values, row[vector.indices], atol=1e-5)


def test_attention_weighs_the_words_that_bm25_finds(minilm: ModelManager) -> None:
    weighing, counting = ModelManager(EnsembleConfig(("qdrant-minilm-attention", "bm25")), devices=("cpu",)).members
    text = "The capital of Vermont is Montpelier"
    [weighed, empty], [counted] = _encode(weighing, [text, "the of and"]), _encode(counting, [text])
    assert weighing.uses_idf
    assert weighed.indices.tolist() == counted.indices.tolist()
    assert (weighed.values > 0).all()
    assert len(set(weighed.values.tolist())) == 3
    assert len(empty.indices) == 0
    alone = _encode(weighing, [text])[0]
    assert np.allclose(alone.values, weighed.values, atol=1e-5)
    [query] = _encode(weighing, ["capital of Vermont"], queries=True)
    assert set(query.indices.tolist()) < set(weighed.indices.tolist())


def test_an_onnx_model_is_pooled_over_its_own_tokens(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "red": 1, "green": 2, "blue": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.onnx").write_bytes(EMBEDDING_TABLE_AS_ONNX)
    own = {"tiny": {"path": str(tmp_path), "backend": "onnx", "dim": 4, "max_tokens": 3}}
    model = ModelManager(EnsembleConfig(("tiny",)), devices=("cpu",), custom_models=own).members[0]
    assert (model.backend, model.dtype, model.dim) == ("onnx", "float32", 4)
    half = np.float32(2**-0.5)
    assert np.allclose(_encode(model, ["red", "green blue"]), np.array([[1, 0, 0, 0], [0, half, half, 0]]))
    with pytest.raises(ModelError, match="more than 3 tokens"):
        _encode(model, ["red red red red"])
    assert _encode(model, ["red red red red"], queries=True).tolist() == [[1, 0, 0, 0]]
    wrong = {"tiny": {**own["tiny"], "dim": 5}}
    with pytest.raises(ModelError, match="has 4 dimensions, its configuration says 5"):
        _encode(ModelManager(EnsembleConfig(("tiny",)), devices=("cpu",), custom_models=wrong).members[0], ["red"])


def test_weights_that_were_cut_short_are_one_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(WHEEL, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    manager = ModelManager(
        EnsembleConfig(("cut",)), custom_models={"cut": {"kind": "dense", "path": str(folder), "dim": 384, "max_tokens": 256}}
    )
    with pytest.raises(ModelError, match="cut"):
        manager.members[0].load()
