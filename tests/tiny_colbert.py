"""Late-interaction models of random weights, in the formats that such models are published in."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from safetensors.torch import save_file
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from tiny_models import bare_bert, bert_config, change, copy_tokenizer
from transformers import BertModel

DIM = 8
MARKERS = {"query": "[unused0] ", "document": "[unused1] "}


def tiny_colbert(folder: Path, *, seed: int = 0, query_length: int = 16) -> Path:
    """A late-interaction model of `DIM` dimensions, saved as sentence-transformers does: markers, expansion, a skip list."""
    transformer = Transformer(
        str(bare_bert(folder / "bare", seed=seed)),
        query_expansion={"strategy": "fixed", "attend": False, "length": query_length},
    )
    torch.manual_seed(seed)
    dense = Dense(32, DIM, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings")
    modules = [transformer, dense, MultiVectorMask(list(string.punctuation)), Normalize(module_input_name="token_embeddings")]
    MultiVectorEncoder(modules=modules, prompts=MARKERS, device="cpu").save(str(folder / "model"))
    return folder / "model"


def tiny_stanford_colbert(folder: Path, *, dim: int) -> Path:
    """A late-interaction model of random weights in the format of Stanford's ColBERT, as colbert-v2 has it."""
    bert = BertModel(bert_config(hidden=32))
    torch.manual_seed(1)
    weights = {f"bert.{name}": value for name, value in bert.state_dict().items()} | {"linear.weight": torch.randn(dim, 32)}
    bert.save_pretrained(folder)  # its configuration; the weights have other names
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder / "config.json", architectures=["HF_ColBERT"])
    described = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 32, "doc_maxlen": 180}
    (folder / "artifact.metadata").write_text(json.dumps({**described, "mask_punctuation": True, "dim": dim}))
    copy_tokenizer(folder)
    return folder
