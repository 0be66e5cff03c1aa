"""What a member that comes as files is known by before its weights are read."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from ingest.encode.model_config import ModelConfig
from ingest.encode.resolve import ModelFiles, resolve, weights_digest
from ingest.encode.tokens import DocumentTokens
from ingest.records import TokenLimit, digest

OnLoaded = Callable[[str, str], None]
"""Told the key and the dtype a model really has."""


class FileModel:
    """The part of a `Model` that follows from its configuration, its files and the precision it computes in.

    Args:
        config: what the registry says.
        dtype: to compute in.
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
        return digest({"space": self.space, "dtype": self.dtype})

    @cached_property
    def tokens(self) -> DocumentTokens:
        return DocumentTokens(self.files.folder, self.config.document_prompt)

    @cached_property
    def token_limit(self) -> TokenLimit | None:
        return TokenLimit(self.key, max_tokens(self.config), self.tokens)


def max_tokens(config: ModelConfig) -> int:
    """Of a model that has a limit, as the registry makes sure."""
    assert config.max_tokens is not None  # noqa: S101 - for the type checker: `registry` refuses such a model without one
    return config.max_tokens


def model_space(config: ModelConfig, files: ModelFiles) -> str:
    """Digest of what defines the vectors. A model given by path is known by its weights, any other by its pinned revision."""
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
