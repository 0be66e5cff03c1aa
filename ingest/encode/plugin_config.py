"""The facts about a model or reranker of a plugin, as an entry of the registry."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import cache
from typing import Any

from ingest.encode.contract import ModelKind
from ingest.encode.model_config import ModelConfig
from ingest.errors import PluginError
from ingest.parameters import optional, parse_boolean, parse_integer, parse_text
from ingest.plugins import Plugin, find_plugin, installed_plugins

logger = logging.getLogger(__name__)


def plugin_config(key: str, kinds: Collection[ModelKind]) -> ModelConfig | None:
    """Return the model of a plugin with that key among `kinds`, or None. Imports that plugin.

    Raises `PluginError` if it cannot be loaded or says something impossible of itself.
    """
    plugin = find_plugin("model", key) if {"dense", "sparse"} & set(kinds) else None
    plugin = plugin or (find_plugin("reranker", key) if "reranker" in kinds else None)
    return None if plugin is None else config_of(plugin)


def plugin_configs() -> list[ModelConfig]:
    """Return the models and rerankers of all plugins. Imports them; one that cannot be loaded is logged and left out."""
    found = []
    for plugin in installed_plugins():
        if plugin.kind in ("model", "reranker"):
            try:
                find_plugin(plugin.kind, plugin.name)  # raises if two packages bring it
                found.append(config_of(plugin))
            except PluginError as exc:
                logger.warning("%s", exc)
    return found


@cache
def config_of(plugin: Plugin) -> ModelConfig:
    """Return what a model or reranker says of itself. Raises `PluginError`."""
    made = plugin.make()

    def fact(name: str, parse: Any, default: Any, **bounds: Any) -> Any:
        try:
            return optional(parse)(getattr(made, name, default), **bounds)
        except ValueError as exc:
            raise PluginError(f"{plugin} has an unusable {name} ({exc}): repair or update it") from exc

    if plugin.kind == "model" and not hasattr(made, "dim"):
        raise PluginError(f"{plugin} has no dim: a dense model has its dimension there, a sparse one None")
    dim = fact("dim", parse_integer, None, least=1) if plugin.kind == "model" else None
    kind: ModelKind = "reranker" if plugin.kind == "reranker" else "sparse" if dim is None else "dense"
    return ModelConfig(
        key=plugin.name,
        kind=kind,
        dim=dim,
        max_tokens=fact("max_tokens", parse_integer, None, least=1),
        revision=fact("revision", parse_text, None),
        idf=bool(fact("uses_idf", parse_boolean, False)),
        backend="plugin",
        plugin=plugin,
        moves=callable(getattr(made, "to_device", None)),
    )
