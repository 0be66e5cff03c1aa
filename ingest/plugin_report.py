"""The installed plugins for people: what each brings, and why one cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ingest.encode.plugin_config import config_of
from ingest.encode.registry import known_models
from ingest.errors import PluginError
from ingest.plugins import Plugin, PluginKind, find_plugin, installed_plugins
from ingest.source.formats import is_built_in
from ingest.source.plugin_source import is_scheme


@dataclass(frozen=True, slots=True)
class PluginReport:
    """An installed plugin.

    Attributes:
        brings: what it adds, in a phrase; empty if there is a problem.
        problem: why it is left out, or None.
    """

    kind: PluginKind
    name: str
    package: str
    version: str
    brings: str
    problem: str | None


def list_plugins() -> list[PluginReport]:
    """Return the installed plugins. Imports all of them, and none that cannot be used ends the list."""
    return [_report(plugin) for plugin in installed_plugins()]


def _report(plugin: Plugin) -> PluginReport:
    brings, problem = "", _clash(plugin)
    if problem is None:
        try:
            find_plugin(plugin.kind, plugin.name)  # raises if two packages bring it
            brings = _BRINGS[plugin.kind](plugin)
        except PluginError as exc:
            problem = str(exc)
    return PluginReport(plugin.kind, plugin.name, plugin.package, plugin.version, brings, problem)


def _clash(plugin: Plugin) -> str | None:
    """Return why no plugin may have this name, or None."""
    name = plugin.name
    if plugin.kind in ("model", "reranker") and name in known_models():
        return f"{plugin} has the name of a built-in model, which is used instead: rename its entry point"
    if plugin.kind == "converter" and (is_built_in(name) or name != name.lower()):
        return f"{plugin} needs a name in lower case that is no format or suffix of ingest itself: rename its entry point"
    if plugin.kind == "source" and not is_scheme(name):
        return f"{plugin} needs a name of two or more letters, digits, _, ., + and -: rename its entry point"
    return None


def _model(plugin: Plugin) -> str:
    config = config_of(plugin)
    facts = [config.kind, f"{config.dim} dimensions" if config.dim else None]
    facts += [f"up to {config.max_tokens:,} tokens" if config.max_tokens else None]
    facts += [f"revision {config.revision}" if config.revision else None]
    return ", ".join(fact for fact in facts if fact)


def _made(phrase: str) -> Callable[[Plugin], str]:
    def brings(plugin: Plugin) -> str:
        plugin.make()
        return phrase.format(plugin.name)

    return brings


_BRINGS: Mapping[PluginKind, Callable[[Plugin], str]] = {
    "source": _made("locations {}:…"),
    "converter": _made("files .{}"),
    "model": _model,
    "reranker": _model,
    "chunker": _made("--chunker {}"),
}
