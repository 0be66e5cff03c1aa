"""Plugins: sources, converters, models, rerankers and chunkers of other packages, found by their entry points.

    entry point group    adds                       its name is
    ingest.sources       a kind of location         what stands before the colon: `wiki` reads `wiki:Python`
    ingest.converters    a format of files          the format, and the suffix of its files
    ingest.models        a dense or sparse model    the registry key
    ingest.rerankers     a reranker                 the registry key
    ingest.chunkers      a way to cut documents     the value of `chunker`

An entry point names a class, or a function without arguments that returns the object. It is imported when its name is used first.
The protocols below say what the object must have; it need not inherit from them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any, Literal, Protocol, get_args

from ingest.errors import PluginError
from ingest.records import DenseMatrix, Document

PluginKind = Literal["source", "converter", "model", "reranker", "chunker"]

PLUGIN_KINDS: tuple[PluginKind, ...] = get_args(PluginKind)


class SourcePlugin(Protocol):
    """A reader of one kind of location."""

    def read(self, location: str) -> Iterable[Document | Mapping[str, Any]]:
        """Yield the documents, or records with a text, of a location: of `wiki:Python` that is `Python`."""
        ...


class ConverterPlugin(Protocol):
    """A converter of one format of files. It runs in a worker process, which a hostile file may crash."""

    def convert(self, data: bytes) -> Any:
        """Return the content of a file: its text as Markdown, or an `ingest.Page`."""
        ...


class EmbedderPlugin(Protocol):
    """A dense or sparse model.

    Optional: `max_tokens: int`, the longest document that it reads, in tokens that `count_tokens(texts) -> Sequence[int]` counts,
    else in an estimate. Queries may be longer. `revision: str` names its weights, and is part of the fingerprint of its vectors.
    `uses_idf: bool`: whether Qdrant weights the terms of its sparse vectors by their rarity. `to_device(device: str)` moves it
    to `cuda:0`, and to `cpu` when another model needs the GPU; a model without it computes on the CPU.
    """

    dim: int | None
    """The dimension of a dense model, None for a sparse one."""

    def embed(self, texts: Sequence[str], *, query: bool) -> DenseMatrix | Sequence[Mapping[int, float]]:
        """Return `(n, dim) float32` rows of unit length, or n sparse vectors: term → weight.

        Raises `ConnectionError` or `TimeoutError` if the same texts are worth another attempt.
        """
        ...


class RerankerPlugin(Protocol):
    """A reranker. Optional: `to_device`, as of an `EmbedderPlugin`."""

    def score(self, query: str, texts: Sequence[str]) -> Sequence[float]:
        """Return the score of each text, higher for better ones."""
        ...


class ChunkerPlugin(Protocol):
    """A way to cut documents. Optional: `revision: str`, another one for other borders."""

    def spans(self, text: str, *, format: str, characters: int) -> Iterable[tuple[int, int]]:  # noqa: A002  as in `Document`
        """Yield start and end of each chunk, in characters and in order. Together they cover the text, apart from white space.

        Args:
            format: `text`, `markdown` or `code:<language>`.
            characters: about as many as fit a chunk. A longer chunk is cut again if a model would not read it whole.
        """
        ...


_METHODS: Mapping[PluginKind, str] = {
    "source": "read",
    "converter": "convert",
    "model": "embed",
    "reranker": "score",
    "chunker": "spans",
}
"""The method that an object of each kind must have."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plugin, which need not be imported.

    Attributes:
        name: name of its entry point.
        package, version: of the distribution that brings it.
        target: the class or function, as `module:name`.
    """

    kind: PluginKind
    name: str
    package: str
    version: str
    target: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.name!r} of the package {self.package} {self.version}"

    @property
    def identity(self) -> list[str]:
        """The part of a fingerprint that tells it from other plugins and versions."""
        return [self.package, self.version, self.name]

    def make(self) -> Any:
        """Return a new object of the plugin. Raises `PluginError` if that fails or if it does not have the method of its kind."""
        try:
            made = _loaded(self)()
        except (Exception, SystemExit) as exc:
            raise PluginError(
                f"{self} cannot be loaded ({describe(exc)}): repair it, or remove it with pip uninstall {self.package}"
            ) from exc
        method = _METHODS[self.kind]
        if not callable(getattr(made, method, None)):
            raise PluginError(f"{self} is a {type(made).__name__} without a method {method}: correct its entry point")
        return made


def installed_plugins() -> tuple[Plugin, ...]:
    """Return all installed plugins in the order of kinds and names. Imports none."""
    return _installed(tuple(sys.path))


def find_plugin(kind: PluginKind, name: str) -> Plugin | None:
    """Return the plugin of that kind and name, or None. Raises `PluginError` if several packages bring one."""
    found = [plugin for plugin in installed_plugins() if (plugin.kind, plugin.name) == (kind, name)]
    if len(found) > 1:
        packages = " and ".join(plugin.package for plugin in found)
        raise PluginError(f"the {kind} {name!r} comes from the packages {packages}: uninstall all but one")
    return found[0] if found else None


def plugin_names(kind: PluginKind) -> list[str]:
    """Return the names of the installed plugins of a kind. Imports none."""
    return [plugin.name for plugin in installed_plugins() if plugin.kind == kind]


def describe(error: BaseException) -> str:
    """Return an exception of a plugin's code on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@cache
def _installed(path: tuple[str, ...]) -> tuple[Plugin, ...]:  # noqa: ARG001  a changed path has other plugins
    plugins = [
        Plugin(kind, entry.name, entry.dist.name, entry.dist.version, entry.value)
        for kind in PLUGIN_KINDS
        for entry in entry_points(group=f"ingest.{kind}s")
        if entry.dist is not None
    ]
    return tuple(sorted(plugins, key=lambda plugin: (PLUGIN_KINDS.index(plugin.kind), plugin.name, plugin.package)))


@cache
def _loaded(plugin: Plugin) -> Any:
    return resolve_name(plugin.target)
