"""Count the tokens of an endpoint's model: by a tokenizer that the user names, or by an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ingest.encode.model_config import ModelConfig
from ingest.encode.registry import known_models
from ingest.encode.resolve import locate
from ingest.encode.tokens import DocumentTokens, PairTokens
from ingest.errors import ModelError

BYTES_PER_TOKEN = 2
"""Bytes of UTF-8 in a token, by an estimate on the safe side: plain English has 4, other languages and code 2 to 3."""

USUAL_BYTES_PER_TOKEN = 4
"""Bytes in a token for the estimate of a price."""


class TokenCounter(Protocol):
    """A counter of a model's tokens. Thread-safe."""

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of documents, prompt included. May be too high, and should not be too low."""
        ...

    def priced(self, texts: Sequence[str]) -> int:
        """Return the likely number of tokens of all texts together."""
        ...

    def beginning(self, text: str, tokens: int) -> str:
        """Return the beginning of a text that surely has no more than `tokens` tokens."""
        ...


class EstimatedTokens:
    """An estimate from the length of a text."""

    def __init__(self, prompt: str) -> None:
        self._prompt = len(prompt.encode())

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return [-(-(self._prompt + len(text.encode())) // BYTES_PER_TOKEN) for text in texts]

    def priced(self, texts: Sequence[str]) -> int:
        return sum(-(-(self._prompt + len(text.encode())) // USUAL_BYTES_PER_TOKEN) for text in texts)

    def beginning(self, text: str, tokens: int) -> str:
        return text.encode()[: BYTES_PER_TOKEN * tokens].decode(errors="ignore")


class NamedTokens:
    """A tokenizer that is a model's own."""

    def __init__(self, folder: Path, prompt: str) -> None:
        self._folder = folder
        self._count = DocumentTokens(folder, prompt)

    def __call__(self, texts: Sequence[str]) -> list[int]:
        return self._count(texts)

    def priced(self, texts: Sequence[str]) -> int:
        return sum(self._count(texts))

    def beginning(self, text: str, tokens: int) -> str:
        special = len(self._count.ids([""], None)[0])
        return PairTokens(self._folder, tokens).beginning(text, max(1, tokens - special))


def counter_of(config: ModelConfig) -> TokenCounter:
    """Return the counter of an endpoint's model. Raises `ModelError` if its tokenizer is not available."""
    if config.tokenizer is None:
        return EstimatedTokens(config.document_prompt)
    return NamedTokens(_tokenizer_folder(config.key, config.tokenizer), config.document_prompt)


def _tokenizer_folder(key: str, name: str) -> Path:
    """Return the folder of a `tokenizer.json`: of a built-in model, a folder, or a repository on the hub."""
    built_in = known_models().get(name)
    if built_in is not None and (files := locate(built_in)) is not None:
        return files.folder
    folder = Path(name).expanduser()
    if (folder / "tokenizer.json").is_file():
        return folder
    repository, revision = (built_in.hub_id, built_in.revision) if built_in is not None else (name, None)
    if repository is None or repository.count("/") != 1:
        raise ModelError(
            f"model {key!r}: its tokenizer {name!r} is no registry key, folder with a tokenizer.json, or owner/name on the hub"
        )
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - takes 0.4 s

    try:
        return Path(hf_hub_download(repository, "tokenizer.json", revision=revision)).parent
    except Exception as exc:  # the hub raises the errors of its HTTP library, which changes between versions
        reason = next(iter(str(exc).strip().splitlines()), type(exc).__name__)
        raise ModelError(
            f"model {key!r}: its tokenizer {repository} is not on this machine and could not be downloaded ({reason}): download"
            " it where the hub can be reached, or name the folder of a tokenizer.json"
        ) from exc
