"""Every model that the registry calls verified by its architecture, with small random weights, loaded as the registry says.

What is expected comes from the models' public files (config.json, 1_Pooling, config_sentence_transformers.json).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tiny_models import MINILM, copy_tokenizer
from tiny_reranker import hit
from torch.nn.functional import layer_norm, normalize, scaled_dot_product_attention, silu
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from ingest.encode.check import check_model
from ingest.encode.lease import lease_gpus
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig, known_models
from ingest.errors import ConfigurationError, ModelError
from ingest.search.rerank import RerankPipeline

DIM = 48
"""None of the dimensions that a model in the registry can be cut to."""
VOCABULARY = 30_522
TEXTS = ["def area(radius): return 3.14 * radius ** 2", "one two three", "A refund is approved by the head of the department."]

BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": VOCABULARY,
    "hidden_size": DIM,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
BERT |= {"intermediate_size": 64, "max_position_embeddings": 512, "type_vocab_size": 2}
XLM_R: dict[str, Any] = {
    **BERT,
    "model_type": "xlm-roberta",
    "max_position_embeddings": 8_194,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
QWEN: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": DIM,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
QWEN |= {"intermediate_size": 64, "max_position_embeddings": 32_768, "rope_theta": 1_000_000.0}


@dataclass(frozen=True)
class Public:
    """What a model's public files say, with small sizes."""

    config: Mapping[str, Any]
    pooling: str
    prompts: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    document: str = ""


DENSE = {
    "bge-m3": Public({**XLM_R, "architectures": ["XLMRobertaModel"]}, "cls_token"),
    "qwen3-embedding-0.6b": Public(
        {**QWEN, "model_type": "qwen3", "head_dim": 16, "architectures": ["Qwen3ForCausalLM"]},
        "lasttoken",
        {
            "query": (q := "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"),
            "document": "",
        },
        query=q,
    ),
    "jina-code-embeddings-1.5b": Public(
        {**QWEN, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
        "lasttoken",
        {
            "nl2code_query": "Find the most relevant code snippet given the following query:\n",
            "nl2code_document": "Candidate code snippet:\n",
            "qa_query": "Find the most relevant answer given the following question:\n",
            "qa_document": "Candidate answer:\n",
        },
        query="Find the most relevant code snippet given the following query:\n",
        document="Candidate code snippet:\n",
    ),
}
CODERANK_QUERY = "Represent this query for searching relevant code: "
SPARSE = ("splade", "splade-v3")
CROSS_ENCODERS = {
    "ms-marco-minilm-l6": {**BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}},
    "bge-reranker-v2-m3": {**XLM_R, "architectures": ["XLMRobertaForSequenceClassification"], "id2label": {"0": "LABEL_0"}},
}


def save_modules(folder: Path, public: Public) -> None:
    """Write what sentence-transformers keeps beside the weights, as the model's repository has it."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = {f"pooling_mode_{name}": name == public.pooling for name in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": DIM, **modes}))
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": dict(public.prompts), "default_prompt_name": None, "similarity_fn_name": "cosine"})
    )


def save_random(folder: Path, config: Mapping[str, Any], auto: Any = AutoModel) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(3)
    auto.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    copy_tokenizer(folder)
    if config["model_type"] != "bert":  # no other one embeds token types
        file = folder / "tokenizer_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "model_input_names": ["input_ids", "attention_mask"]}))
    return folder


def save_dense(folder: Path, public: Public) -> Path:
    save_random(folder, public.config)
    save_modules(folder, public)
    return folder


def encode(key: str, folder: Path, texts: Sequence[str], *, queries: bool = False, **options: Any) -> Any:
    own = {key: {"path": str(folder), **({"dim": DIM} if key not in SPARSE else {}), **options}}
    (model,) = ModelManager(EnsembleConfig((key,)), devices=("cpu",), custom_models=own).members
    model.load()
    with lease_gpus(model, ("cpu",), directory=folder / "leases") as lease:
        return lease.encoder.encode_queries(texts) if queries else lease.encoder.encode_documents(texts)


def expected(folder: Path, text: str, pooling: str) -> NDArray[np.float32]:
    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder)(**inputs).last_hidden_state[0]
    row = {"cls_token": hidden[0], "lasttoken": hidden[-1], "mean_tokens": hidden.mean(0)}[pooling]
    vector: NDArray[np.float32] = normalize(row, dim=0).numpy()
    return vector


@pytest.mark.parametrize("key", DENSE)
def test_a_dense_model_pools_and_prompts_as_its_public_files_say(key: str, tmp_path: Path) -> None:
    public = DENSE[key]
    folder = save_dense(tmp_path / "model", public)
    for queries, prompt in ((False, public.document), (True, public.query)):
        vectors = encode(key, folder, TEXTS, queries=queries)
        for text, vector in zip(TEXTS, vectors, strict=True):
            assert np.allclose(vector, expected(folder, prompt + text, public.pooling), atol=1e-5)


@pytest.mark.parametrize("key", DENSE)
def test_a_dense_model_whose_files_pool_differently_is_refused(key: str, tmp_path: Path) -> None:
    public = DENSE[key]
    folder = save_dense(tmp_path / "model", Public(public.config, "mean_tokens", public.prompts))
    with pytest.raises(ModelError, match=r"pools by 'mean', its configuration says '(cls|last)': correct pooling"):
        encode(key, folder, ["x"])


def test_a_wrong_pooling_or_prompt_fails_the_check(tmp_path: Path) -> None:
    prompts = {"query": "query: ", "passage": "passage: "}
    folder = save_dense(tmp_path / "model", Public(BERT, "mean_tokens", prompts))
    facts: dict[str, Any] = {"path": str(folder), "dim": DIM, "max_tokens": 512, "pooling": "mean"}

    def check(**options: str) -> None:
        check_model("mine", custom_models={"mine": {**facts, **options}}, devices=("cpu",))

    check(query_prompt="query: ", document_prompt="passage: ")
    with pytest.raises(ModelError, match="pools by 'mean', its configuration says 'cls'"):
        check(query_prompt="query: ", document_prompt="passage: ", pooling="cls")
    with pytest.raises(ModelError, match="its files declare document_prompt 'passage: ', its configuration says ''"):
        check(query_prompt="query: ")
    with pytest.raises(ModelError, match="its files declare query_prompt 'query: ', its configuration says 'search: '"):
        check(query_prompt="search: ", document_prompt="passage: ")
    with pytest.raises(ModelError, match="query_prompt 'query: ', its configuration says ''; its files declare document_prompt"):
        check()


def test_a_run_may_have_a_prompt_of_its_own_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    public = DENSE["qwen3-embedding-0.6b"]
    folder = save_dense(tmp_path / "model", public)
    own = "Instruct: Given a question, find the paragraph that answers it\nQuery:"
    [vector] = encode("qwen3-embedding-0.6b", folder, ["x"], queries=True, query_prompt=own)
    assert np.allclose(vector, expected(folder, f"{own}x", "lasttoken"), atol=1e-5)
    assert "the configured prompt is used" in caplog.text
    wrong = Public(public.config, public.pooling, {"query": "other: "})
    with pytest.raises(ModelError, match=r"correct the prompt under \[models.qwen3-embedding-0.6b\]"):
        encode("qwen3-embedding-0.6b", save_dense(tmp_path / "wrong", wrong), ["x"])


NOMIC = {  # the public config.json of CodeRankEmbed, in the names of its own code; transformers reads none but the last
    "activation_function": "swiglu", "architectures": ["NomicBertModel"], "attn_pdrop": 0.0, "causal": False,
    "auto_map": {"AutoConfig": "nomic-ai/nomic-bert-2048--configuration_hf_nomic_bert.NomicBertConfig",
                 "AutoModel": "nomic-ai/nomic-bert-2048--modeling_hf_nomic_bert.NomicBertModel"},
    "layer_norm_epsilon": 1e-12, "max_trained_positions": 2048, "mlp_fc1_bias": False, "mlp_fc2_bias": False,
    "n_embd": 768, "n_head": 12, "n_inner": 3072, "n_layer": 12, "n_positions": 8192, "prenorm": False,
    "qkv_proj_bias": False, "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None, "type_vocab_size": 2, "vocab_size": VOCABULARY, "model_type": "nomic_bert",
}  # fmt: skip
SMALL = {"hidden_size": DIM, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def save_coderank(folder: Path) -> dict[str, torch.Tensor]:
    """Save random weights under the names and in the shapes of the published file, and return them."""
    generator = torch.Generator().manual_seed(5)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCABULARY, DIM),
        "embeddings.token_type_embeddings.weight": (2, DIM),
    }
    for n in range(SMALL["num_hidden_layers"]):
        shapes |= {f"encoder.layers.{n}.{name}.weight": shape for name, shape in (
            ("attn.Wqkv", (3 * DIM, DIM)), ("attn.out_proj", (DIM, DIM)),
            ("mlp.fc11", (64, DIM)), ("mlp.fc12", (64, DIM)), ("mlp.fc2", (DIM, 64)),
        )}  # fmt: skip
    norms = ["emb_ln", *(f"encoder.layers.{n}.{name}" for n in range(SMALL["num_hidden_layers"]) for name in ("norm1", "norm2"))]
    shapes |= {f"{norm}.{kind}": (DIM,) for norm in norms for kind in ("weight", "bias")}
    weights = {name: torch.randn(shape, generator=generator) / 3 for name, shape in shapes.items()}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**NOMIC, **SMALL}))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    copy_tokenizer(folder)
    save_modules(folder, Public({}, "cls_token", {"query": CODERANK_QUERY}))
    return weights


def coderank(weights: Mapping[str, torch.Tensor], text: str) -> NDArray[np.float32]:
    """The vector of a text as the model's own code computes it: fused projections, rotary positions, gated MLP, norms last."""
    heads = SMALL["num_attention_heads"]
    ids = torch.tensor(AutoTokenizer.from_pretrained(MINILM)(text)["input_ids"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return layer_norm(x, (DIM,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)

    size = DIM // heads
    angles = torch.outer(torch.arange(len(ids)).float(), 1000.0 ** -(torch.arange(0, size, 2) / size))
    cos, sin = (torch.cat([each, each], -1) for each in (angles.cos(), angles.sin()))

    def rotated(x: torch.Tensor) -> torch.Tensor:
        return x * cos + torch.cat([-x[..., size // 2 :], x[..., : size // 2]], -1) * sin

    x = norm(weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.token_type_embeddings.weight"][0], "emb_ln")
    for n in range(SMALL["num_hidden_layers"]):
        layer = {name.removeprefix(f"encoder.layers.{n}."): each for name, each in weights.items()}
        q, k, v = (x @ layer["attn.Wqkv.weight"].T).view(len(ids), 3, heads, size).permute(1, 2, 0, 3)
        mixed = scaled_dot_product_attention(rotated(q), rotated(k), v).transpose(0, 1).reshape(len(ids), DIM)
        x = norm(mixed @ layer["attn.out_proj.weight"].T + x, f"encoder.layers.{n}.norm1")
        gated = (x @ layer["mlp.fc11.weight"].T) * silu(x @ layer["mlp.fc12.weight"].T)
        x = norm(gated @ layer["mlp.fc2.weight"].T + x, f"encoder.layers.{n}.norm2")
    vector: NDArray[np.float32] = normalize(x[0], dim=0).numpy()
    return vector


def test_coderank_runs_without_its_own_code_and_gives_what_that_code_gives(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    weights = save_coderank(folder)
    for queries, prompt in ((False, ""), (True, CODERANK_QUERY)):
        vectors = encode("nomic-coderank", folder, TEXTS, queries=queries)
        for text, vector in zip(TEXTS, vectors, strict=True):
            assert np.allclose(vector, coderank(weights, prompt + text), atol=1e-5)
    own = {"coderank-bi-encoder": {"path": str(folder), "dim": DIM}}
    result = RerankPipeline("coderank-bi-encoder", devices=["cpu"], custom_models=own).rerank(
        "the area", [hit(n, text) for n, text in enumerate(TEXTS)]
    )
    query = coderank(weights, f"{CODERANK_QUERY}the area")
    assert {found.text: found.score for found in result.hits} == pytest.approx(
        {text: float(coderank(weights, text) @ query) for text in TEXTS}, abs=1e-5
    )


def test_transformers_takes_the_sizes_of_coderank_for_granted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**NOMIC, "vocab_size": 30_528}))
    config = AutoConfig.from_pretrained(tmp_path, trust_remote_code=False)
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "layer_norm_eps")
    assert [getattr(config, name) for name in names] == [768, 12, 12, 3072, 1e-12]
    assert config.rope_parameters["rope_theta"] == NOMIC["rotary_emb_base"]
    model = known_models()["nomic-coderank"]
    assert (model.needs_remote_code, model.dim) == (False, NOMIC["n_embd"])
    assert model.max_tokens == config.max_position_embeddings == NOMIC["max_trained_positions"]


@pytest.mark.parametrize("key", SPARSE)
def test_a_sparse_model_takes_the_greatest_weight_of_each_word(key: str, tmp_path: Path) -> None:
    folder = save_random(tmp_path / "model", {**BERT, "architectures": ["BertForMaskedLM"]}, AutoModelForMaskedLM)
    inputs = AutoTokenizer.from_pretrained(MINILM)(TEXTS[2], return_tensors="pt")
    with torch.inference_mode():
        logits = AutoModelForMaskedLM.from_pretrained(folder)(**inputs).logits[0]
    weights = torch.log1p(logits.relu()).amax(0).numpy()
    [vector, _] = encode(key, folder, [TEXTS[2], "x"])
    assert vector.indices.tolist() == np.flatnonzero(weights).tolist()
    assert np.allclose(vector.values, weights[vector.indices], atol=1e-5)


@pytest.mark.parametrize("key", CROSS_ENCODERS)
def test_a_cross_encoder_scores_a_pair(key: str, tmp_path: Path) -> None:
    folder = save_random(tmp_path / "model", CROSS_ENCODERS[key], AutoModelForSequenceClassification)
    pipeline = RerankPipeline(key, devices=["cpu"], custom_models={key: {"path": str(folder)}})
    result = pipeline.rerank("chair", [hit(n, text) for n, text in enumerate(TEXTS)])
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for found in result.hits:
        with torch.inference_mode():
            logit = model(**tokenizer("chair", found.text, return_tensors="pt")).logits[0, 0]
        assert found.score == pytest.approx(float(logit.sigmoid()), abs=1e-5)


def test_every_model_that_is_called_verified_by_its_architecture_is_verified_here() -> None:
    late = {"colbert-v2", "answerai-colbert-small-v1"}  # in test_encode_multivector
    here = {*DENSE, *SPARSE, *CROSS_ENCODERS, "nomic-coderank", "coderank-bi-encoder", *late}
    assert {key for key, model in known_models().items() if model.verified == "architecture"} == here
    for model in known_models().values():
        assert not (model.needs_remote_code and model.verified), "a model's own code has never run here"


def test_a_model_that_requires_packages_names_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    model = known_models()["jina-embeddings-v4"]
    assert model.requires == ("peft", "PIL", "torchvision")
    with pytest.raises(ConfigurationError, match=r"requires peft, .*torchvision: pip install 'qdrant-ingest\[jina-v4\]'"):
        ModelManager(EnsembleConfig(("jina-embeddings-v4",)), devices=("cpu",), trust_remote_code=["jina-embeddings-v4"])


def test_every_revision_is_a_commit() -> None:
    for model in known_models().values():
        assert model.backend == "qdrant" or (len(model.revision or "") == 40 and int(model.revision or "", 16))
