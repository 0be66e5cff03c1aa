"""CrossEncoders computed by OpenVINO on the processor in int8. Converted when told to: no question waits for that."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ingest.encode.contract import Encoder
from ingest.encode.model_config import ModelConfig
from ingest.encode.openvino_cache import ConvertedModel
from ingest.encode.openvino_calibration import Guard, common_texts
from ingest.encode.openvino_conversion import Network, convert, is_installed, limit_of, quantize
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

    def place(self, device: str) -> Encoder:  # noqa: ARG002 - it computes where it is
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
    config: ModelConfig, cache_directory: Path, *, pairs: Pairs | None = None, guard: Guard | None = None
) -> None:
    """Converts a CrossEncoder to int8 and keeps it, unless that was done before. Takes seconds to minutes.

    Args:
        pairs: to calibrate on and, every fourth, to compare on; from the language reference of Python unless given.

    Raises `PrecisionError` where its scores correlate with those of torch in float32 by less than the guard's mean,
    `ConfigurationError` for a reranker of another kind, `MissingExtraError`, and `ModelError` where the model cannot be had.
    """
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
        due = (guard or Guard()).mean
        if not likeness >= due:
            raise PrecisionError(
                f"model {config.key!r} is too coarse in int8 (its scores correlate with those in float32 by {likeness:.4f};"
                f" {due:g} is due): torch goes on computing it"
            )
        converted.keep(model)
    logger.info("%s is converted to int8: its scores correlate with those in float32 by %.4f", config.key, likeness)


def _can_be_converted(config: ModelConfig) -> bool:
    return config.backend == "torch" and config.pooling in {"", "cross-encoder"}


def _place(config: ModelConfig, cache_directory: Path) -> ConvertedModel:
    files = locate(config)
    assert files is not None  # noqa: S101 - for the type checker: whoever asks has found them
    return ConvertedModel.of(cache_directory, config.key, model_space(config, files), "int8")


def _common_pairs() -> list[tuple[str, str]]:
    """Each topic of the language reference with its own text, and with another's."""
    topics = common_texts()
    texts = list(topics.values())
    return [
        (f"what is {name}?", texts[(index + stranger) % len(texts)])
        for index, name in enumerate(topics)
        for stranger in (0, _STRANGER)
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


def _likeness(source: CrossEncoderModel, network: Network, tokens: PairTokens, pairs: Pairs) -> float:
    """How well the scores of both go together; NaN where one's are all the same."""
    expected = np.ravel(source.module.predict([list(pair) for pair in pairs], show_progress_bar=False))
    batches = [pairs[start : start + _BATCH] for start in range(0, len(pairs), _BATCH)]
    found = np.concatenate([network(tokens(batch)).flatten() for batch in batches])
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(expected, found)[0, 1])
