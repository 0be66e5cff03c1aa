"""What a model is calibrated on and compared by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import cycle
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

_CHARACTERS = 400

_PIECE_EVERY = 4_000
_PIECE_CHARACTERS = (100, 400, 1_000)


@dataclass(frozen=True, slots=True)
class AccuracyGuard:
    """How near to what torch makes in float32 of held-out texts a converted model must be.

    Attributes:
        mean: of the cosines, at least.
        lowest: each of the cosines.
    """

    mean: float = 0.99
    lowest: float = 0.97

    def passes(self, cosines: NDArray[np.float32]) -> bool:
        return bool(cosines.mean() >= self.mean and cosines.min() >= self.lowest)


@dataclass(frozen=True, slots=True)
class ScoreLikeness:
    """How near a converted reranker's scores are to those of torch in float32.

    Attributes:
        correlation: of the scores; NaN if either are all the same.
        worst: the largest difference of a pair's two scores, as a share of the range of the scores in float32.
    """

    correlation: float
    worst: float

    @classmethod
    def of(cls, expected: NDArray[np.float32], found: NDArray[np.float32]) -> ScoreLikeness:
        """Compare scores pair by pair."""
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = np.corrcoef(expected, found)[0, 1]
            worst = np.abs(expected - found).max() / np.ptp(expected)
        return cls(float(correlation), float(worst))


@dataclass(frozen=True, slots=True)
class ScoreGuard:
    """The bounds that a converted reranker must keep on held-out pairs.

    A correlation alone is not enough: over many easy pairs it stays high although a relevant document loses its score.

    Attributes:
        correlation: of the scores, at least.
        worst: see `ScoreLikeness`, at most.
    """

    correlation: float = 0.99
    worst: float = 0.1

    def passes(self, likeness: ScoreLikeness) -> bool:
        return likeness.correlation >= self.correlation and likeness.worst <= self.worst


@cache
def common_texts() -> Mapping[str, str]:
    """What everybody has: topic → beginning of its text in the language reference of Python; none where that was left out."""
    return MappingProxyType({name: text[:_CHARACTERS] for name, text in _topics().items()})


@cache
def common_pieces() -> tuple[str, ...]:
    """Short and long ones from all over the language reference of Python; none where that was left out.

    Grammar, tables and code are among them. Beginnings alone are too much alike: of models calibrated on those, one text in a few
    hundred, full of what they lack, came out at a cosine of 0.9.
    """
    starts = [(text, start) for text in _topics().values() for start in range(0, len(text), _PIECE_EVERY)]
    lengths = cycle(_PIECE_CHARACTERS)
    return tuple(
        piece for (text, start), length in zip(starts, lengths, strict=False) if (piece := text[start : start + length].strip())
    )


def _topics() -> dict[str, str]:
    """By name."""
    try:
        topics: dict[str, str] = import_module("pydoc_data.topics").topics
    except ImportError:
        return {}
    return dict(sorted(topics.items()))
