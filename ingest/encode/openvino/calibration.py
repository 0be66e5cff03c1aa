"""Calibration texts, and the accuracy that a converted model must have. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import cycle
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

_TOPIC_CHARACTERS = 400

_PIECE_EVERY = 4_000
_PIECE_CHARACTERS = (100, 400, 1_000)


@dataclass(frozen=True, slots=True)
class AccuracyGuard:
    """The required cosines between a converted model's vectors of held-out texts and those of torch in float32.

    Attributes:
        mean: minimum mean of the cosines.
        lowest: minimum of each cosine.
    """

    mean: float = 0.99
    lowest: float = 0.97

    def passes(self, cosines: NDArray[np.float32]) -> bool:
        return bool(cosines.mean() >= self.mean and cosines.min() >= self.lowest)


@dataclass(frozen=True, slots=True)
class ScoreLikeness:
    """The similarity of a converted reranker's scores to those of torch in float32.

    Attributes:
        correlation: correlation of the scores; NaN if all scores of one model are equal.
        worst: largest difference between a pair's two scores, as a share of the range of the scores in float32.
    """

    correlation: float
    worst: float

    @classmethod
    def of(cls, expected: NDArray[np.float32], actual: NDArray[np.float32]) -> ScoreLikeness:
        """Compare scores pair by pair."""
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = np.corrcoef(expected, actual)[0, 1]
            worst = np.abs(expected - actual).max() / np.ptp(expected)
        return cls(float(correlation), float(worst))


@dataclass(frozen=True, slots=True)
class ScoreGuard:
    """The required similarity of a converted reranker's scores on held-out pairs.

    A correlation alone is not enough: over many easy pairs it stays high although a relevant document loses its score.

    Attributes:
        correlation: minimum correlation of the scores.
        worst: maximum of `ScoreLikeness.worst`.
    """

    correlation: float = 0.99
    worst: float = 0.1

    def passes(self, likeness: ScoreLikeness) -> bool:
        return likeness.correlation >= self.correlation and likeness.worst <= self.worst


@cache
def common_texts() -> Mapping[str, str]:
    """Return topic → beginning of its text in Python's language reference; empty if the reference is not installed."""
    return MappingProxyType({name: text[:_TOPIC_CHARACTERS] for name, text in _topics().items()})


@cache
def common_pieces() -> tuple[str, ...]:
    """Return short and long pieces of Python's language reference; none if the reference is not installed.

    They include grammar, tables and code. Beginnings of topics alone are too similar: of models calibrated on them, one unusual
    text in a few hundred had a cosine of 0.9.
    """
    starts = [(text, start) for text in _topics().values() for start in range(0, len(text), _PIECE_EVERY)]
    lengths = cycle(_PIECE_CHARACTERS)
    return tuple(
        piece for (text, start), length in zip(starts, lengths, strict=False) if (piece := text[start : start + length].strip())
    )


def _topics() -> dict[str, str]:
    """Return the topics of Python's language reference by name."""
    try:
        topics: dict[str, str] = import_module("pydoc_data.topics").topics
    except ImportError:
        return {}
    return dict(sorted(topics.items()))
