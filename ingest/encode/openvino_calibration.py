"""What a model is calibrated on and compared by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Guard:
    """How near to what torch makes in float32 of held-out texts a converted model must be.

    Attributes:
        mean: of the cosines, at least; of a reranker, the correlation of its scores.
        lowest: each of the cosines.
    """

    mean: float = 0.99
    lowest: float = 0.97

    def passes(self, cosines: NDArray[np.float32]) -> bool:
        return bool(cosines.mean() >= self.mean and cosines.min() >= self.lowest)


@cache
def common_texts() -> Mapping[str, str]:
    """What everybody has: topic → beginning of its text in the language reference of Python; none where that was left out."""
    try:
        topics: dict[str, str] = import_module("pydoc_data.topics").topics
    except ImportError:
        return MappingProxyType({})
    return MappingProxyType({name: topics[name][:_CHARACTERS] for name in sorted(topics)})
