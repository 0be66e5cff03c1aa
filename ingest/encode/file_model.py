"""The part of a model that follows from its files, before its weights are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from ingest.encode.model_config import ModelConfig
from ingest.encode.precision import fingerprinted
from ingest.encode.resolve import ModelFiles, resolve, weights_digest
from ingest.encode.tokens import DocumentTokens
from ingest.identity import digest
from ingest.records import TokenLimit

OnLoaded = Callable[[str, str], None]
"""A callback with the key and the actual dtype of a loaded model."""


class FileModel:
    """The part of a `Model` that follows from its configuration, its files and its dtype.

    Args:
        config: facts from the registry.
        dtype: type to compute in.
    """

    def __init__(self, config: ModelConfig, *, dtype: str) -> None:
        self.config = config
        self.key = config.key
        self.dim = config.vector_dim
        self.dtype = dtype
        self.uses_idf = config.idf

    @cached_property
    def files(self) -> ModelFiles:
        return resolve(self.config)

    @cached_property
    def space(self) -> str:
        return model_space(self.config, self.files)

    @cached_property
    def fingerprint(self) -> str:
        return digest({"space": self.space, "dtype": fingerprinted(self.dtype)})

    @cached_property
    def tokens(self) -> DocumentTokens:
        return DocumentTokens(self.files.folder, self.config.document_prompt)

    @cached_property
    def token_limit(self) -> TokenLimit | None:
        return TokenLimit(self.key, max_tokens(self.config), self.tokens)


def max_tokens(config: ModelConfig) -> int:
    """Return the token limit of a model that has one."""
    assert config.max_tokens is not None  # noqa: S101 - for the type checker: `model_config` rejects such a model without one
    return config.max_tokens


def model_space(config: ModelConfig, files: ModelFiles) -> str:
    """Return a digest of what defines the vector space: the pinned revision, or the weights of a model that has a path."""
    by_path = files.origin == "path"
    return digest(
        {
            "origin": weights_digest(config, files) if by_path else [config.hub_id, config.revision],
            "kind": config.kind,
            "backend": config.backend,
            "dim": config.vector_dim,
            "max_tokens": config.max_tokens,
            "pooling": config.pooling,
            "task": config.task,
            "query_prompt": config.query_prompt,
            "document_prompt": config.document_prompt,
        },
    )
