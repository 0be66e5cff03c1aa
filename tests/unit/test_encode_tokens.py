"""Tokens: counted as they are encoded, and made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tiny_models import DIM, tiny_dense

from ingest.encode import tokens
from ingest.encode.dense import DenseEncoder, DenseModel
from ingest.encode.feeding import find_feed
from ingest.encode.registry import ModelConfig
from ingest.encode.runner import BatchRunner
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


def dense_model(folder: Path, prompt: str = "") -> DenseModel:
    config = ModelConfig("tiny", kind="dense", path=folder, dim=DIM, max_tokens=64, document_prompt=prompt, pooling="mean")
    return DenseModel(config, dtype="float32")


def module_of(folder: Path) -> Any:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


@pytest.mark.parametrize("prompt", ["", "topic: "])
def test_a_pass_tokenizes_each_text_once_and_keeps_no_ids(folder: Path, tmp_path: Path, prompt: str) -> None:
    model = dense_model(folder, prompt)
    recorder = Recording(model.tokens._tokenizer)
    model.tokens.__dict__["_tokenizer"] = recorder
    model.load()
    recorder.given.clear()
    assert model.token_limit is not None
    model.token_limit.count(TEXTS)  # as chunks are made
    with BatchRunner([model], lease_directory=tmp_path, devices=("cpu",)) as runner:
        encoded = runner.run({"tiny": TEXTS})["tiny"].vectors
    assert isinstance(encoded, np.ndarray)
    assert sorted(recorder.given) == sorted({prompt + text for text in TEXTS})
    assert model.tokens._cached_tokens == 0
    expected = module_of(folder).encode([prompt + text for text in TEXTS], normalize_embeddings=True)
    assert np.allclose(encoded, expected, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_inputs_from_token_ids_equal_those_of_the_library(folder: Path, side: str) -> None:
    module = module_of(folder)
    module.tokenizer.padding_side = side
    feed = find_feed(module, DocumentTokens(folder, ""), "")
    assert feed is not None
    features = feed.features(feed.stacked(feed.token_ids(TEXTS, None)))
    expected = module.preprocess(TEXTS)
    assert features.keys() == expected.keys()
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert features[name].tolist() == expected[name].tolist()


def test_a_buffer_is_reused_where_it_is_large_enough(folder: Path) -> None:
    feed = find_feed(module_of(folder), DocumentTokens(folder, ""), "")
    assert feed is not None
    buffer = torch.full((3 * 2 * 4,), 7)
    few, many = (feed.token_ids(texts, None) for texts in (["one", "two words"], TEXTS))
    in_buffer = feed.stacked(few, buffer)
    assert in_buffer.data_ptr() == buffer.data_ptr()
    assert torch.equal(in_buffer, feed.stacked(few))
    assert torch.equal(feed.stacked(many, buffer), feed.stacked(many))


class Unlike:
    """A module whose preprocessing does something of its own."""

    def __init__(self, module: Any, change: Callable[[dict[str, Any]], object]) -> None:
        self._module, self._change = module, change
        self.tokenizer, self.max_seq_length = module.tokenizer, module.max_seq_length

    def preprocess(self, texts: list[str]) -> dict[str, Any]:
        features = dict(self._module.preprocess(texts))
        self._change(features)
        return features


@pytest.mark.parametrize(
    "change",
    [
        lambda features: features["input_ids"].add_(1),
        lambda features: features["attention_mask"].fill_(1),
        lambda features: features.pop("attention_mask"),
        lambda features: features.update(cu_seq_lens_q=torch.zeros(1)),
    ],
)
def test_a_library_that_makes_other_inputs_tokenizes_itself(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    module = Unlike(module_of(folder), change)
    assert find_feed(module, DocumentTokens(folder, ""), "") is None
    assert module.max_seq_length == module_of(folder).max_seq_length


class SelfTokenizing(DenseModel):
    """A model whose library tokenizes the texts."""

    reads_token_ids = False


@pytest.mark.parametrize(("kind", "own"), [(DenseModel, 0), (SelfTokenizing, 2)])
def test_only_replicas_that_tokenize_have_tokenizers_of_their_own(folder: Path, kind: type[DenseModel], own: int) -> None:
    model = kind(dense_model(folder).config, dtype="float32")
    model.load()
    encoders = [model.to_device(device) for device in ("cpu", "cpu:1", "cpu")]
    assert all(isinstance(encoder, DenseEncoder) for encoder in encoders)
    tokenizers = {id(encoder.replica.module.tokenizer) for encoder in encoders if isinstance(encoder, DenseEncoder)}
    assert len(tokenizers - {id(model.module.tokenizer)}) == own


def test_padding_is_masked() -> None:
    inputs = padded([np.array([5, 6, 7], np.int32), np.array([8], np.int32)])
    assert inputs["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert {array.dtype for array in inputs.values()} == {np.dtype(np.int64)}
