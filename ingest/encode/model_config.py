"""`ModelConfig`, the facts about a model, and its construction from a user's settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from ingest.encode.contract import ModelKind
from ingest.encode.http.endpoint import ENDPOINT_OPTIONS, Endpoint, parse_endpoint
from ingest.errors import ConfigurationError
from ingest.plugins import Plugin

ModelBackend = Literal["torch", "onnx", "qdrant", "http", "plugin"]

Verified = Literal["weights", "architecture"]

HTTP_BATCH_TOKENS = 65_536
"""Default tokens of a request to an endpoint, where they are counted or estimated generously."""

AUTO = "auto"
"""The language of BM25 that stands for: the one of the collection, for a new collection that of its first documents."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The facts about a model that are known without loading it.

    Attributes:
        key: registry key and name of the named vector.
        hub_id, revision: repository on the Hugging Face hub, and commit (or ref) of it.
        path: folder with the model's files; takes precedence over the hub.
        dim: dimension of the model itself, for a multivector model that of each row; None for sparse models and rerankers.
        truncate_dim: number of leading dimensions to keep, one of `matryoshka_dims`; None keeps all.
        matryoshka_dims: the dimensions that the model was trained for, its own included; empty for only its own.
        max_tokens: longest input in tokens, prompt and special tokens included; None if there is no limit.
        query_prompt, document_prompt: text prepended verbatim.
        task: adapter to select in a model that has several. For the API of Jina `retrieval` by default, and `none` for a model
            without adapters.
        pooling: how token vectors become one vector: `mean`, `cls`, `last` … The model's own modules do it; one that pools
            differently is refused. Empty: not compared.
        batch_tokens: initial number of padded tokens per batch on an accelerator; of an endpoint, most tokens of a request.
        needs_remote_code: whether the model runs Python code of its repository, which only happens if the user trusts it.
        idf: whether the sparse vector requires Qdrant's IDF modifier.
        language: language of BM25, or `auto`; see `Bm25Options`.
        tokenizer, ascii_folding: how BM25 finds words. None: as the collection does, for a new one what suits its language.
            `tokenizer` of an endpoint names what counts its tokens: a registry key, a folder or a hub repository. None: an
            estimate.
        package: Python package that contains the files under `model/`.
        weights_sha256: digest of `model.safetensors`.
        extra: extra of this distribution that installs `requires`.
        requires: import names of packages that only this model requires.
        own_prompts: whether the prompts are the user's own, so that they may differ from those of the model's files.
        endpoint: where a model with the backend `http` is computed; None for others.
        plugin: the plugin of a model with the backend `plugin`; None for others.
        moves: whether a model of a plugin can compute on a GPU.
        verified: what this project has checked of a built-in model: its published `weights`, its `architecture` with random
            weights, or None if nothing.
    """

    key: str
    kind: ModelKind
    hub_id: str | None = None
    revision: str | None = None
    path: Path | None = None
    dim: int | None = None
    truncate_dim: int | None = None
    matryoshka_dims: tuple[int, ...] = ()
    max_tokens: int | None = None
    query_prompt: str = ""
    document_prompt: str = ""
    task: str | None = None
    pooling: str = ""
    batch_tokens: int = 16_384
    needs_remote_code: bool = False
    idf: bool = False
    language: str = AUTO
    tokenizer: str | None = None
    ascii_folding: bool | None = None
    backend: ModelBackend = "torch"
    license: str = ""
    package: str | None = None
    weights_sha256: str | None = None
    extra: str | None = None
    requires: tuple[str, ...] = ()
    own_prompts: bool = False
    endpoint: Endpoint | None = None
    plugin: Plugin | None = None
    moves: bool = False
    verified: Verified | None = None

    @property
    def vector_dim(self) -> int | None:
        """The dimension of the stored vectors."""
        requested = self.endpoint.dimensions if self.endpoint else None
        return self.truncate_dim or requested or self.dim

    @property
    def has_files(self) -> bool:
        """Whether it is computed here from files that may have to be downloaded."""
        return self.backend in ("torch", "onnx")


_FIELD_TYPES: Mapping[str, type | tuple[type, ...]] = MappingProxyType(
    {
        "kind": str,
        "hub_id": str,
        "revision": str,
        "path": (str, Path),
        "dim": int,
        "truncate_dim": int,
        "matryoshka_dims": (list, tuple),
        "max_tokens": int,
        "query_prompt": str,
        "document_prompt": str,
        "task": str,
        "pooling": str,
        "batch_tokens": int,
        "needs_remote_code": bool,
        "idf": bool,
        "language": str,
        "tokenizer": str,
        "ascii_folding": bool,
        "backend": str,
        "license": str,
    },
)


def configured(name: str, values: Mapping[str, Any], built_in: ModelConfig | None = None) -> ModelConfig:
    """Return a model with these fields, which override those of `built_in`. Raises `ConfigurationError` for invalid fields."""
    of_endpoint = {option: values[option] for option in ENDPOINT_OPTIONS if option in values}
    changes = _typed(name, {option: value for option, value in values.items() if option not in of_endpoint})
    if "path" in changes:
        changes["path"] = Path(changes["path"]).expanduser()
    if "matryoshka_dims" in changes:
        changes["matryoshka_dims"] = tuple(changes["matryoshka_dims"])
    if "query_prompt" in changes or "document_prompt" in changes:
        changes["own_prompts"] = True
    if changes.keys() & {"path", "hub_id", "revision", "backend", "needs_remote_code"}:
        changes["verified"] = None
    cut = changes.pop("truncate_dim", None)
    if changes.get("backend") == "http":
        changes = {"batch_tokens": HTTP_BATCH_TOKENS, **changes}
        built_in = _computed_elsewhere(built_in) if built_in else None
    cut = _shortened(changes, built_in) or cut
    config = replace(built_in, **changes) if built_in else ModelConfig(**{"key": name, "kind": "dense", **changes})
    _check(config, of_endpoint)
    if config.backend == "http":
        config = replace(config, endpoint=parse_endpoint(name, config.kind, of_endpoint))
    _check_sizes(config)
    return truncated(config, cut) if cut else config


def _shortened(changes: dict[str, Any], built_in: ModelConfig | None) -> int | None:
    """Take a `dim` below the model's own out of `changes`, and return it. The model's own is the largest of `matryoshka_dims`.

    Raises `ConfigurationError` for a dimension that a built-in model was not trained for.
    """
    trained = changes.get("matryoshka_dims") or (built_in.matryoshka_dims if built_in else ())
    dim: int | None = changes.get("dim")
    if dim is not None and dim in trained and dim < max(trained):
        changes["dim"] = max(trained)
        return dim
    if dim is not None and built_in and built_in.has_files and not changes.keys() & {"path", "hub_id", "backend"}:
        truncated(built_in, dim)  # which raises unless it is the model's own
    return None


def _typed(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a model if they exist and have the right types."""
    for option, value in values.items():
        if option not in _FIELD_TYPES:
            known = {*_FIELD_TYPES, *ENDPOINT_OPTIONS}
            raise ConfigurationError(f"model {name!r} has no option {option!r}: {nearest(option, known)}")
        expected = _FIELD_TYPES[option]
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise ConfigurationError(f"option {option!r} of model {name!r} cannot be {value!r}")
    return dict(values)


def _computed_elsewhere(config: ModelConfig) -> ModelConfig:
    """Return the facts about a built-in model that an endpoint with the same model shares."""
    shared = ("key", "kind", "dim", "max_tokens", "query_prompt", "document_prompt")
    return ModelConfig(**{name: getattr(config, name) for name in shared})


def _check(config: ModelConfig, of_endpoint: Collection[str]) -> None:
    local = config.has_files
    problem = None
    if config.kind not in get_args(ModelKind):
        problem = f"unknown kind {config.kind!r}; use dense, sparse, multivector or reranker"
    elif config.backend not in ("torch", "onnx", "qdrant", "http"):
        problem = f"unknown backend {config.backend!r}; use torch, onnx or http"
    elif of_endpoint and config.backend != "http":
        problem = f'{", ".join(of_endpoint)} are options of an endpoint: set backend = "http" as well'
    elif local and not (config.path or config.hub_id):
        problem = "path or hub_id is required"
    elif config.backend == "http" and (config.path or config.hub_id or config.needs_remote_code):
        problem = "path, hub_id and needs_remote_code are options of a model that is computed here, not by an endpoint"
    elif wrong := _backend_problem(config):
        problem = wrong
    elif config.backend != "qdrant" and (config.language != AUTO or config.ascii_folding is not None):
        problem = "language and ascii_folding are options of BM25 (backend qdrant)"
    elif local and config.tokenizer:
        problem = "tokenizer is an option of BM25 (backend qdrant) and of an endpoint (backend http)"
    if problem:
        raise ConfigurationError(f"model {config.key!r}: {problem}")


def _backend_problem(config: ModelConfig) -> str | None:
    """Return what the backend of a model cannot compute."""
    if config.backend == "onnx" and config.pooling not in ("", "mean"):
        return f"an ONNX model is pooled by its mean, not by {config.pooling!r}"
    if config.kind == "multivector" and config.backend != "torch":
        return f"a multivector model is computed by torch, not by the backend {config.backend!r}"
    return None


def _check_sizes(config: ModelConfig) -> None:
    optional = config.backend == "qdrant" or (config.backend == "http" and config.kind == "reranker")
    requested = config.endpoint.dimensions if config.endpoint else None
    problem = None
    if config.kind in ("dense", "multivector") and not (config.vector_dim and config.vector_dim > 0):
        problem = f"dim, the dimension of a {config.kind} model, is required"
    elif requested and config.dim and requested > config.dim:
        problem = f"dimensions is {requested}, more than the {config.dim} of dim"
    elif not optional and not (config.max_tokens and config.max_tokens > 0):
        problem = "max_tokens, the longest input of the model, is required"
    elif config.batch_tokens <= 0:
        problem = f"batch_tokens is {config.batch_tokens}: it must be positive"
    if problem:
        raise ConfigurationError(f"model {config.key!r}: {problem}")


def truncated(config: ModelConfig, dim: int) -> ModelConfig:
    """Return the model truncated to its first `dim` dimensions. Raises `ConfigurationError` if it was not trained for that."""
    allowed = {*config.matryoshka_dims, config.dim}
    if dim not in allowed:
        options = ", ".join(str(option) for option in sorted(option for option in allowed if option))
        raise ConfigurationError(f"model {config.key!r} cannot be truncated to {dim} dimensions; available: {options or 'none'}")
    return replace(config, truncate_dim=None if dim == config.dim else dim)


def nearest(name: str, known: Collection[str]) -> str:
    """Return a hint for an unknown name: the most similar known names, or all of them."""
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"known are {', '.join(sorted(known))}"
