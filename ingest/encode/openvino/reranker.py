"""CrossEncoders computed by OpenVINO on the CPU in int8. They are converted ahead of time, never during a query."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ingest.encode.contract import Encoder
from ingest.encode.file_model import model_space
from ingest.encode.model_config import ModelConfig
from ingest.encode.openvino.cache import ConvertedModel
from ingest.encode.openvino.calibration import ScoreGuard, ScoreLikeness, common_texts
from ingest.encode.openvino.conversion import Network, convert, is_installed, limit_of, quantize
from ingest.encode.rerankers import CrossEncoderModel, Scorer, score_vectors, with_token_limit
from ingest.encode.resolve import locate
from ingest.encode.tokens import Inputs, PairTokens
from ingest.errors import ConfigurationError, ModelError, PrecisionError
from ingest.records import DenseMatrix

logger = logging.getLogger(__name__)

Pairs = Sequence[tuple[str, str]]
"""Pairs of a query and a document."""

_MISMATCH_OFFSET = 7
"""Number of topics between a query and the text that does not answer it."""

_HELD_OUT_EVERY = 4
"""One of this many pairs is compared instead of calibrated on."""

_BATCH = 16


class OpenVinoCrossEncoder(CrossEncoderModel):
    """A converted CrossEncoder; see `converted_reranker`. Does not import torch."""

    backend = "openvino"

    def __init__(self, config: ModelConfig, model: Any) -> None:
        super().__init__(config, dtype="int8")
        self._model = model

    def load(self) -> None:
        if self._host is None:
            self._host = PairTokens(self.files.folder, limit_of(self._model)), Network(self.key, self._model)

    def to_device(self, device: str) -> Encoder:  # noqa: ARG002 - always on the CPU
        return OpenVinoScorer(self.key, self.query, self._host)

    def _beginning(self, text: str, tokens: int) -> str:
        pairs: PairTokens = self._host[0]
        return pairs.beginning(text, tokens)


class OpenVinoScorer(Scorer):
    """The same scores as `CrossEncoder.predict`, with the model's own activation."""

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        tokens, network = self._model
        return score_vectors(network(tokens([(self._query, text) for text in texts])))


def converted_reranker(config: ModelConfig, cache_directory: Path) -> OpenVinoCrossEncoder | None:
    """Return a reranker that `convert_reranker` converted, or None if it does not exist or is damaged. Downloads nothing."""
    if not _can_be_converted(config) or not is_installed() or locate(config) is None:
        return None
    config = with_token_limit(config)
    model = _cache_entry(config, cache_directory).read()
    return None if model is None else OpenVinoCrossEncoder(config, model)


def convert_reranker(
    config: ModelConfig, cache_directory: Path, *, pairs: Pairs | None = None, guard: ScoreGuard | None = None
) -> None:
    """Convert a CrossEncoder to int8 and cache it, unless it is cached already. Takes seconds to minutes.

    Args:
        pairs: pairs to calibrate on and, every fourth, to compare on; by default from Python's language reference.
        guard: accuracy that the converted model must have.

    Raises `PrecisionError` if its scores differ too much from those of torch in float32, `ConfigurationError` for a reranker of
    another kind, `MissingExtraError`, and `ModelError` if the model is not available.
    """
    guard = guard or ScoreGuard()
    if not _can_be_converted(config):
        raise ConfigurationError(f"reranker {config.key!r} is not a CrossEncoder: only CrossEncoders can be converted")
    config = with_token_limit(config)
    pairs = pairs or _common_pairs()
    if not pairs:
        raise ModelError(f"no pairs to calibrate {config.key!r} on: this Python lacks its language reference (pydoc_data)")
    source = CrossEncoderModel(config, dtype="float32", trust_remote_code=config.needs_remote_code)
    converted = _cache_entry(config, cache_directory)
    with converted.conversion_lock():
        if converted.read() is not None:
            return
        source.load()
        tokens = PairTokens(source.files.folder, source.module.max_seq_length)
        model = _quantized(source, [tokens([pair]) for index, pair in enumerate(pairs) if index % _HELD_OUT_EVERY])
        likeness = _likeness(source, Network(config.key, model), tokens, pairs[::_HELD_OUT_EVERY])
        accuracy = (
            f"scores against float32: correlation {likeness.correlation:.4f}, worst difference {likeness.worst:.1%} of the range"
        )
        if not guard.passes(likeness):
            raise PrecisionError(
                f"model {config.key!r} is too inaccurate in int8 ({accuracy}; required: correlation >="
                f" {guard.correlation:g}, worst <= {guard.worst:.0%}): torch computes it instead"
            )
        converted.store(model)
    logger.info("converted %s to int8; %s", config.key, accuracy)


def _can_be_converted(config: ModelConfig) -> bool:
    return config.backend == "torch" and config.pooling in {"", "cross-encoder"}


def _cache_entry(config: ModelConfig, cache_directory: Path) -> ConvertedModel:
    files = locate(config)
    assert files is not None  # noqa: S101 - for the type checker: the callers have located them
    return ConvertedModel.of(cache_directory, config.key, model_space(config, files), "int8")


def _common_pairs() -> list[tuple[str, str]]:
    """Return each topic of the language reference with its own text, then each with the text of another topic."""
    topics = common_texts()
    texts = list(topics.values())
    return [
        (f"what is {name}?", texts[(index + offset) % len(texts)])
        for offset in (0, _MISMATCH_OFFSET)
        for index, name in enumerate(topics)
    ]


def _quantized(source: CrossEncoderModel, samples: Sequence[Inputs]) -> Any:
    module = source.module
    model = convert(
        source.key,
        module,
        [["a query", "a document"], ["a query", "a longer document"]],
        lambda features: module.activation_fn(module(features)["scores"]),
        module.max_seq_length,
    )
    return quantize(source.key, model, samples)


def _likeness(source: CrossEncoderModel, network: Network, tokens: PairTokens, pairs: Pairs) -> ScoreLikeness:
    expected = np.ravel(source.module.predict([list(pair) for pair in pairs], show_progress_bar=False))
    batches = [pairs[start : start + _BATCH] for start in range(0, len(pairs), _BATCH)]
    actual = np.concatenate([network(tokens(batch)).flatten() for batch in batches])
    return ScoreLikeness.of(expected, actual)
