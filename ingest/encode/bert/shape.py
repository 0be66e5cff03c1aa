"""Read the shape of a network from the files of its model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from tokenizers.normalizers import BertNormalizer, Normalizer

from ingest.encode.tokens import DocumentTokens

Pooling = Literal["mean", "cls"]

_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])

_OWN_CODE = ("auto_map", "quantization_config", "is_decoder", "add_cross_attention")
"""Settings of `config.json` that make another network of a BERT."""

_NORMALIZER = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""Settings of `tokenizer_config.json`, which transformers applies to the tokenizer, and their names in the tokenizer."""


@dataclass(frozen=True, slots=True)
class BertShape:
    """The facts about a BERT that its weights do not tell.

    Attributes:
        dim: dimension of its vectors.
        positions: most tokens of a text.
        prompts: its own prompts by name.
        default_prompt_name: name of the prompt for texts of any kind, if it has one.
    """

    dim: int
    positions: int
    layers: int
    heads: int
    epsilon: float
    pooling: Pooling
    prompts: Mapping[str, str]
    default_prompt_name: str | None


def read_shape(folder: Path, tokens: DocumentTokens) -> BertShape | None:
    """Return the shape of a sentence-transformers model that is a plain BERT in one file, else None. Never guesses.

    Raises `ModelError` if its tokenizer cannot be read.
    """
    try:
        pooling = _pooling(folder)
        if pooling is None or not _is_plain_bert(folder) or not _is_plain(tokens.normalizer, folder):
            return None
        config, own = _json(folder / "config.json"), _json(folder / "config_sentence_transformers.json")
        return BertShape(
            dim=config["hidden_size"],
            positions=config["max_position_embeddings"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            epsilon=config["layer_norm_eps"],
            pooling=pooling,
            prompts=own.get("prompts") or {},
            default_prompt_name=own.get("default_prompt_name"),
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError):  # the files of another kind of model
        return None


def _is_plain_bert(folder: Path) -> bool:
    config = _json(folder / "config.json")
    return (
        config["model_type"] == "bert"
        and config["hidden_act"] == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not any(config.get(name) for name in _OWN_CODE)
        and not _json(folder / "sentence_bert_config.json").get("do_lower_case")
    )


def _is_plain(normalizer: Normalizer | None, folder: Path) -> bool:
    """Return whether transformers would normalize texts as the tokenizer does."""
    own = _json(folder / "tokenizer_config.json")
    return isinstance(normalizer, BertNormalizer) and all(
        own[name] == getattr(normalizer, known) for name, known in _NORMALIZER.items() if name in own
    )


def _pooling(folder: Path) -> Pooling | None:
    """Return how the model pools, if it does nothing else, and with its prompt."""
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    if [each["type"].rpartition(".")[2] for each in modules] not in _MODULES or modules[0]["path"]:
        return None
    options = _json(folder / modules[1]["path"] / "config.json")
    modes = {"mean": options.get("pooling_mode_mean_tokens"), "cls": options.get("pooling_mode_cls_token")}
    others = [name for name, value in options.items() if name.startswith("pooling_mode_") and value is True]
    named = options.get("pooling_mode") or [name for name, chosen in modes.items() if chosen and len(others) == 1]
    mode = named[0] if isinstance(named, list) and len(named) == 1 else named
    return cast("Pooling", mode) if mode in ("mean", "cls") and options.get("include_prompt", True) else None


def _json(file: Path) -> dict[str, Any]:
    """Return the content of a file, empty if it does not exist. Raises `OSError` and `ValueError`."""
    if not file.is_file():
        return {}
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
