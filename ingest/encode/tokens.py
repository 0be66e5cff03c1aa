"""Count tokens with a model's own tokenizer, without the model."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.normalizers import Normalizer

from ingest.errors import ModelError

Inputs = dict[str, NDArray[np.int64]]
"""`input_ids`, `attention_mask`, `token_type_ids` → `(n, longest)`."""

TokenIds = NDArray[np.int32]
"""The token ids of one text, `(tokens,)`."""

MAX_CACHED_TOKENS = 2_000_000
"""Maximum number of cached token ids: three windows of ordinary chunks, about 20 MB with the texts."""


class DocumentTokens:
    """A counter of a document's tokens, prompt and special tokens included, nothing truncated. Thread-safe.

    A text is counted when it is chunked and when batches are made, and tokenized for the model when it is encoded. Its token ids
    are cached in between, `MAX_CACHED_TOKENS` at most; the oldest texts are evicted first.

    Args:
        folder: folder of the model; its `tokenizer.json` is read at the first count.
        prompt: text prepended to every document.
    """

    def __init__(self, folder: Path, prompt: str) -> None:
        self._file = folder / "tokenizer.json"
        self._prompt = prompt
        self._cache: dict[str, TokenIds] = {}
        self._cached_tokens = 0
        self._lock = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> list[int]:
        prompted = [self._prompt + text for text in texts] if self._prompt else list(texts)
        token_ids = self._tokenize(prompted)
        self._add(prompted, token_ids)
        return [len(ids) for ids in token_ids]

    def ids(self, texts: Sequence[str], limit: int | None) -> list[TokenIds]:
        """Return the token ids of prompted texts, special tokens included; truncated to `limit` unless it is None."""
        token_ids = self._tokenize(texts)
        self._drop(texts)  # a text is rarely encoded twice
        if limit is None:
            return token_ids
        # Truncation keeps the last token, the closing one.
        return [ids if len(ids) <= limit else np.append(ids[: limit - 1], ids[-1:]) for ids in token_ids]

    @property
    def normalizer(self) -> Normalizer | None:
        """What the tokenizer does to a text first. Raises `ModelError` if it cannot be read."""
        normalizer: Normalizer | None = self._tokenizer.normalizer
        return normalizer

    def _tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        with self._lock:
            known = {text: ids for text in texts if (ids := self._cache.get(text)) is not None}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for text, encoding in zip(new, self._tokenizer.encode_batch_fast(new), strict=True):
            known[text] = np.array(encoding.ids, np.int32)
        return [known[text] for text in texts]

    def _add(self, texts: Sequence[str], token_ids: Sequence[TokenIds]) -> None:
        with self._lock:
            for text, ids in zip(texts, token_ids, strict=True):
                if text not in self._cache:
                    self._cache[text] = ids
                    self._cached_tokens += len(ids)
            while self._cached_tokens > MAX_CACHED_TOKENS:
                self._cached_tokens -= len(self._cache.pop(next(iter(self._cache))))

    def _drop(self, texts: Sequence[str]) -> None:
        with self._lock:
            for text in texts:
                if (ids := self._cache.pop(text, None)) is not None:
                    self._cached_tokens -= len(ids)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return _read_tokenizer(self._file)


class PairTokens:
    """A tokenizer of pairs of query and document. Not thread-safe.

    Args:
        folder: folder of the model; its `tokenizer.json` is read at once.
        limit: maximum tokens of a pair; the longer of the two is truncated.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._tokenizer = _read_tokenizer(folder / "tokenizer.json")
        self._limit = limit

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> Inputs:
        self._tokenizer.enable_truncation(self._limit)
        encodings = self._tokenizer.encode_batch(list(pairs))
        return padded([encoding.ids for encoding in encodings], [encoding.type_ids for encoding in encodings])

    def beginning(self, text: str, tokens: int) -> str:
        """Return the beginning of a text that `tokens` tokens cover."""
        self._tokenizer.no_truncation()
        spans = self._tokenizer.encode(text, add_special_tokens=False).offsets[:tokens]
        return text[: spans[-1][1]] if spans else text


def padded(texts: Sequence[Sequence[int] | TokenIds], type_ids: Sequence[Sequence[int]] | None = None) -> Inputs:
    """Return the inputs of a transformer, each `(n, longest) int64`, for token ids and their type ids (default 0)."""
    input_ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask, types = np.zeros_like(input_ids), np.zeros_like(input_ids)
    for row, ids in enumerate(texts):
        input_ids[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    for row, row_types in enumerate(type_ids or ()):
        types[row, : len(row_types)] = row_types
    return {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": types}


def _read_tokenizer(file: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as exc:  # the Rust library raises nothing narrower than Exception itself
        raise ModelError(f"cannot read the tokenizer {file} ({exc}): download the model again") from exc
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
