"""Counting tokens with a model's own tokenizer, without the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from ingest.errors import ModelError


class DocumentTokens:
    """Counts what documents cost a model: its prompt and special tokens included, nothing truncated. Safe from several threads.

    Args:
        folder: of the model; its `tokenizer.json` is read at the first count.
        prompt: put in front of every text.
    """

    def __init__(self, folder: Path, prompt: str) -> None:
        self._file = folder / "tokenizer.json"
        self._prompt = prompt

    def __call__(self, texts: Sequence[str]) -> list[int]:
        given = [self._prompt + text for text in texts] if self._prompt else list(texts)
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast(given)]

    def ids(self, texts: Sequence[str], limit: int | None) -> list[list[int]]:
        """Token ids of texts as they are given, special tokens included; cut to `limit` tokens where there is one."""
        given: list[list[int]] = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        if limit is None:
            return given
        return [ids if len(ids) <= limit else ids[: limit - 1] + ids[-1:] for ids in given]  # the last is the closing token

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        try:
            tokenizer = Tokenizer.from_file(str(self._file))
        except Exception as exc:  # the Rust library raises nothing narrower than Exception itself
            raise ModelError(f"cannot read the tokenizer {self._file} ({exc}): fetch the model again") from exc
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
