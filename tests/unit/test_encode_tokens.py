"""Tokens: counted as they are encoded, and made once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import tiny_dense

from ingest.encode import tokens
from ingest.encode.tokens import DocumentTokens, padded

TEXTS = ["one", "two words", "", "and a few words more", "two words"]


class Recording:
    """A tokenizer that remembers what it was given."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.given: list[str] = []

    def encode_batch_fast(self, texts: Sequence[str]) -> Any:
        self.given += texts
        return self._tokenizer.encode_batch_fast(texts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dense(tmp_path_factory.mktemp("models") / "dense")


def recording(folder: Path, prompt: str = "") -> tuple[DocumentTokens, Recording]:
    counted = DocumentTokens(folder, prompt)
    recorder = Recording(counted._tokenizer)
    counted.__dict__["_tokenizer"] = recorder
    return counted, recorder


def test_a_text_is_tokenized_once_from_counting_to_encoding(folder: Path) -> None:
    counted, recorder = recording(folder, "topic: ")
    assert counted(TEXTS) == counted(TEXTS)
    made = counted.ids([f"topic: {text}" for text in TEXTS], None)
    assert [len(ids) for ids in made] == DocumentTokens(folder, "topic: ")(TEXTS)
    assert recorder.given == list(dict.fromkeys(f"topic: {text}" for text in TEXTS))


def test_what_was_encoded_is_not_kept(folder: Path) -> None:
    counted, recorder = recording(folder)
    counted(TEXTS)
    counted.ids(TEXTS, None)
    recorder.given.clear()
    counted(TEXTS)
    assert recorder.given == list(dict.fromkeys(TEXTS))


def test_what_is_kept_is_bounded_and_the_oldest_gives_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, recorder = recording(folder)
    whole = DocumentTokens(folder, "")(TEXTS)
    monkeypatch.setattr(tokens, "MAX_CACHED_TOKENS", whole[-1] + whole[3])
    assert counted(TEXTS) == whole
    recorder.given.clear()
    assert [len(ids) for ids in counted.ids(TEXTS, None)] == whole
    assert recorder.given == ["one", "two words"]


@pytest.mark.parametrize("first_counted", [False, True])
def test_ids_are_cut_to_a_limit_and_keep_the_closing_token(folder: Path, *, first_counted: bool) -> None:
    counted = DocumentTokens(folder, "")
    if first_counted:
        counted(TEXTS)
    [whole] = counted.ids(["and a few words more"], None)
    [cut] = counted.ids(["and a few words more"], 4)
    assert cut.tolist() == [*whole[:3].tolist(), whole[-1]]


def test_padding_is_masked() -> None:
    inputs = padded([np.array([5, 6, 7], np.int32), np.array([8], np.int32)])
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert {array.dtype for array in inputs.values()} == {np.dtype(np.int64)}
