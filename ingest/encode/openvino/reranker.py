"""CrossEncoders computed by OpenVINO on the processor in int8. Converted when told to: no question waits for that."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ingest.encode.contract import Encoder
from ingest.encode.model_config import ModelConfig
from ingest.encode.openvino.cache import ConvertedModel
from ingest.encode.openvino.calibration import ScoreGuard, ScoreLikeness, common_texts
from ingest.encode.openvino.conversion import Network, convert, is_installed, limit_of, quantize
from ingest.encode.rerankers import CrossEncoderModel, Scorer, column, limited
from ingest.encode.resolve import locate
from ingest.encode.staged import model_space
from ingest.encode.tokens import Inputs, PairTokens
from ingest.errors import ConfigurationError, ModelError, PrecisionError
from ingest.records import DenseMatrix

logger = logging.getLogger(__name__)

Pairs = Sequence[tuple[str, str]]
"""Questions, each with a document."""

_STRANGER = 7
"""How many topics further on the text is that does not answer a question."""

_HELD_OUT = 4
"""One of so many pairs."""

_BATCH = 16


class OpenVinoCrossEncoder(CrossEncoderModel):
    """A CrossEncoder that was converted; see `converted_reranker`. Loads no torch."""

    backend = "openvino"

    def __init__(self, config: ModelConfig, model: Any) -> None:
        super().__init__(config, dtype="int8")
        self._model = model

    def load(self) -> None:
        if self._host is None:
            self._host = PairTokens(self.files.folder, limit_of(self._model)), Network(self.key, self._model)

    def to_device(self, device: str) -> Encoder:  # noqa: ARG002 - it computes where it is
        return OpenVinoScorer(self.key, self.query, self._host)

    def _beginning(self, text: str, tokens: int) -> str:
        pairs: PairTokens = self._host[0]
        return pairs.beginning(text, tokens)


class OpenVinoScorer(Scorer):
    """Scores with the model's own activation, as `CrossEncoder.predict` gives them."""

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        tokens, network = self._model
        return column(network(tokens([(self._query, text) for text in texts])))


def converted_reranker(config: ModelConfig, cache_directory: Path) -> OpenVinoCrossEncoder | None:
    """The model as `convert_reranker` left it; None where it did not, or what it left is damaged. Downloads nothing."""
    if not _can_be_converted(config) or not is_installed() or locate(config) is None:
        return None
    config = limited(config)
    model = _place(config, cache_directory).read()
    return None if model is None else OpenVinoCrossEncoder(config, model)


def convert_reranker(
    config: ModelConfig, cache_directory: Path, *, pairs: Pairs | None = None, guard: ScoreGuard | None = None
) -> None:
    """Convert a CrossEncoder to int8 and keep it, unless that was done before. Takes seconds to minutes.

    Args:
        pairs: to calibrate on and, every fourth, to compare on; by default from the language reference of Python.
        guard: the bounds that it must keep.

    Raises `PrecisionError` if its scores are too far from those of torch in float32, which then goes on computing it,
    `ConfigurationError` for a reranker of another kind, `MissingExtraError`, and `ModelError` if the model is not available.
    """
    guard = guard or ScoreGuard()
    if not _can_be_converted(config):
        raise ConfigurationError(f"reranker {config.key!r} is no CrossEncoder: only those can be converted")
    config = limited(config)
    pairs = pairs or _common_pairs()
    if not pairs:
        raise ModelError(f"there is nothing to calibrate {config.key!r} on: this Python comes without its language reference")
    source = CrossEncoderModel(config, dtype="float32", trust_remote_code=config.needs_remote_code)
    converted = _place(config, cache_directory)
    with converted.making():
        if converted.read() is not None:
            return
        source.load()
        tokens = PairTokens(source.files.folder, source.module.max_seq_length)
        model = _quantized(source, [tokens([pair]) for index, pair in enumerate(pairs) if index % _HELD_OUT])
        likeness = _likeness(source, Network(config.key, model), tokens, pairs[::_HELD_OUT])
        near = (
            f"its scores correlate with those in float32 by {likeness.correlation:.4f}, the worst is off by {likeness.worst:.1%}"
        )
        if not guard.passes(likeness):
            raise PrecisionError(
                f"model {config.key!r} is too coarse in int8 ({near} of their range; required: correlation >="
                f" {guard.correlation:g}, worst <= {guard.worst:.0%}): torch goes on computing it"
            )
        converted.keep(model)
    logger.info("%s is converted to int8: %s of their range", config.key, near)


def _can_be_converted(config: ModelConfig) -> bool:
    return config.backend == "torch" and config.pooling in {"", "cross-encoder"}


def _place(config: ModelConfig, cache_directory: Path) -> ConvertedModel:
    files = locate(config)
    assert files is not None  # noqa: S101 - for the type checker: whoever asks has found them
    return ConvertedModel.of(cache_directory, config.key, model_space(config, files), "int8")


def _common_pairs() -> list[tuple[str, str]]:
    """Return each topic of the language reference with its own text, then each with another's: every fourth is of both kinds."""
    topics = common_texts()
    texts = list(topics.values())
    return [
        (f"what is {name}?", texts[(index + stranger) % len(texts)])
        for stranger in (0, _STRANGER)
        for index, name in enumerate(topics)
    ]


def _quantized(source: CrossEncoderModel, samples: Sequence[Inputs]) -> Any:
    module = source.module
    model = convert(
        source.key,
        module,
        [["a question", "a document"], ["a question", "a longer document"]],
        lambda features: module.activation_fn(module(features)["scores"]),
        module.max_seq_length,
    )
    return quantize(source.key, model, samples)


def _likeness(source: CrossEncoderModel, network: Network, tokens: PairTokens, pairs: Pairs) -> ScoreLikeness:
    expected = np.ravel(source.module.predict([list(pair) for pair in pairs], show_progress_bar=False))
    batches = [pairs[start : start + _BATCH] for start in range(0, len(pairs), _BATCH)]
    found = np.concatenate([network(tokens(batch)).flatten() for batch in batches])
    return ScoreLikeness.of(expected, found)
