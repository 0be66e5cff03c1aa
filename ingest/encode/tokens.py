"""Counting tokens with a model's own tokenizer, without the model."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ingest.errors import ModelError

Inputs = dict[str, NDArray[np.int64]]
"""`input_ids`, `attention_mask`, `token_type_ids` → `(n, longest)`."""

TokenIds = NDArray[np.int32]
"""Of one text, `(tokens,)`."""

KEPT_TOKENS = 2_000_000
"""About 20 MB with their texts, and three windows of ordinary chunks: one is encoded while the next two are made."""


class DocumentTokens:
    """Counts what documents cost a model: its prompt and special tokens included, nothing truncated. Safe from several threads.

    A text is counted when it is cut and when batches are made, and read once more when it is encoded: what it was tokenized to is
    kept in between, `KEPT_TOKENS` at most, those of the oldest texts giving way.

    Args:
        folder: of the model; its `tokenizer.json` is read at the first count.
        prompt: put in front of every text.
    """

    def __init__(self, folder: Path, prompt: str) -> None:
        self._file = folder / "tokenizer.json"
        self._prompt = prompt
        self._kept: dict[str, TokenIds] = {}
        self._kept_tokens = 0
        self._changing = threading.Lock()

    def __call__(self, texts: Sequence[str]) -> list[int]:
        given = [self._prompt + text for text in texts] if self._prompt else list(texts)
        found = self._tokenized(given)
        self._keep(given, found)
        return [len(ids) for ids in found]

    def ids(self, texts: Sequence[str], limit: int | None) -> list[TokenIds]:
        """Token ids of texts as they are given, special tokens included; cut to `limit` tokens where there is one."""
        given = self._tokenized(texts)
        self._drop(texts)  # hardly anything is encoded twice
        if limit is None:
            return given
        # The last is the closing token.
        return [ids if len(ids) <= limit else np.append(ids[: limit - 1], ids[-1:]) for ids in given]

    def _tokenized(self, texts: Sequence[str]) -> list[TokenIds]:
        with self._changing:
            known = {text: ids for text in texts if (ids := self._kept.get(text)) is not None}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for text, encoding in zip(new, self._tokenizer.encode_batch_fast(new), strict=True):
            known[text] = np.array(encoding.ids, np.int32)
        return [known[text] for text in texts]

    def _keep(self, texts: Sequence[str], found: Sequence[TokenIds]) -> None:
        with self._changing:
            for text, ids in zip(texts, found, strict=True):
                if text not in self._kept:
                    self._kept[text] = ids
                    self._kept_tokens += len(ids)
            while self._kept_tokens > KEPT_TOKENS:
                self._kept_tokens -= len(self._kept.pop(next(iter(self._kept))))

    def _drop(self, texts: Sequence[str]) -> None:
        with self._changing:
            for text in texts:
                if (ids := self._kept.pop(text, None)) is not None:
                    self._kept_tokens -= len(ids)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return _read_tokenizer(self._file)


class PairTokens:
    """Tokens of a question and documents, each read together with it. One thread at a time.

    Args:
        folder: of the model; its `tokenizer.json` is read at once.
        limit: tokens of a pair; of more, the longer of the two is cut.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._tokenizer = _read_tokenizer(folder / "tokenizer.json")
        self._limit = limit

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> Inputs:
        self._tokenizer.enable_truncation(self._limit)
        encodings = self._tokenizer.encode_batch(list(pairs))
        return padded([encoding.ids for encoding in encodings], [encoding.type_ids for encoding in encodings])

    def beginning(self, text: str, tokens: int) -> str:
        """As much of it as so many tokens cover."""
        self._tokenizer.no_truncation()
        spans = self._tokenizer.encode(text, add_special_tokens=False).offsets[:tokens]
        return text[: spans[-1][1]] if spans else text


def padded(texts: Sequence[Sequence[int] | TokenIds], kinds: Sequence[Sequence[int]] | None = None) -> Inputs:
    """What a transformer takes of token ids, and of their kinds (0 unless given), each `(n, longest) int64`."""
    input_ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask, types = np.zeros_like(input_ids), np.zeros_like(input_ids)
    for row, ids in enumerate(texts):
        input_ids[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    for row, of_row in enumerate(kinds or ()):
        types[row, : len(of_row)] = of_row
    return {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": types}


def _read_tokenizer(file: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as exc:  # the Rust library raises nothing narrower than Exception itself
        raise ModelError(f"cannot read the tokenizer {file} ({exc}): fetch the model again") from exc
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
