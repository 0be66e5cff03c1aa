"""Compare the configuration of a model with the pooling and the prompts that the model's own files declare."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ingest.encode.model_config import ModelConfig
from ingest.errors import ModelError

logger = logging.getLogger(__name__)

_LIBRARY_POOLING = {"last": "lasttoken"}
"""Names of pooling modes that differ between the configuration and sentence-transformers."""

_PROMPT_NAMES = {"query_prompt": ("query",), "document_prompt": ("document", "passage", "corpus")}
"""Option → names that sentence-transformers looks up for `encode_query` and `encode_document`, in this order."""


def check_pooling(config: ModelConfig, model: Any) -> None:
    """Raise `ModelError` if the loaded model pools differently. A model without a pooling module pools in its own code."""
    expected = _LIBRARY_POOLING.get(config.pooling, config.pooling)
    for module in model:
        actual = _pooling_of(module)
        if config.pooling and actual is not None and actual != expected:
            raise ModelError(
                f"model {config.key!r} pools by {_words(actual)}, its configuration says {config.pooling!r}: correct pooling"
            )
        if getattr(module, "include_prompt", True) is False and (config.query_prompt or config.document_prompt):
            raise ModelError(f"model {config.key!r} leaves its prompt out of the pooling, which is not supported: use another")


def check_prompts(config: ModelConfig, model: Any) -> None:
    """Raise `ModelError` if the configured prompts differ from the model's own; log a prompt of the user's own instead."""
    differences = prompt_differences(config, model)
    if not differences:
        return
    sentence = f"model {config.key!r}: {'; '.join(differences)}"
    if not config.own_prompts:
        raise ModelError(f"{sentence}: correct the prompt under [models.{config.key}]")
    logger.warning("%s; the configured prompt is used", sentence)


def prompt_differences(config: ModelConfig, model: Any) -> list[str]:
    """Return a phrase for each configured prompt that differs from the one that the model's files declare."""
    declared = {name: text for name, text in (getattr(model, "prompts", None) or {}).items() if text}
    default = declared.get(getattr(model, "default_prompt_name", None) or "")
    differences = []
    for option, names in _PROMPT_NAMES.items():
        configured: str = getattr(config, option)
        own = next((declared[name] for name in names if name in declared), default)
        if not _agree(configured, own, declared):
            known = repr(own) if own is not None else " or ".join(map(repr, declared.values()))
            differences.append(f"its files declare {option} {known}, its configuration says {configured!r}")
    return differences


def _pooling_of(module: Any) -> str | tuple[str, ...] | None:
    """Return the pooling of a module of a loaded model, or None if it does not pool."""
    strategy = getattr(module, "pooling_strategy", None)
    mode: str | tuple[str, ...] | None = getattr(module, "pooling_mode", None)
    return f"splade-{strategy}" if strategy else mode


def _agree(configured: str, own: str | None, declared: Mapping[str, str]) -> bool:
    if own is not None:
        return configured == own
    # Models with prompts for several tasks name them after the task.
    return not configured or not declared or configured in declared.values()


def _words(mode: str | tuple[str, ...]) -> str:
    return repr(mode) if isinstance(mode, str) else " and ".join(map(repr, mode))
