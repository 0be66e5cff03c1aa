"""Choose the precision that a model computes in. Pure.

The vectors of one model in `float32`, `bfloat16` and `float16` are in one space and have one fingerprint, so that a collection
in one can be continued and searched in another. `int8` has a fingerprint of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Precision = Literal["float32", "bfloat16", "float16", "int8"]

FLOATS = ("float32", "bfloat16", "float16")
"""The precisions that share a vector space."""

_SUPPORTED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "float32": ("float32",),
        "float16": ("float16", "float32"),
        "bfloat16": ("bfloat16", "float16", "float32"),
    }
)
"""Default precision of some devices → the floats that they compute in, the default first. A CPU is slow in any but float32."""


def float_precision(wanted: str | None, default: str) -> str:
    """Return the wanted precision if devices with this default compute in it, else the default."""
    return wanted if wanted in _SUPPORTED[default] else default


def reranker_precision(default: str) -> str:
    """Return float16 where the default is a half precision. The scores of a reranker need more digits than bfloat16 has."""
    return "float32" if default == "float32" else "float16"


def fingerprinted(dtype: str) -> str:
    """Return the precision as a fingerprint names it, which is the same for all floats."""
    return "float32" if dtype in FLOATS else dtype


def precision_note(key: str, stored: str | None, dtype: str, default: str) -> str | None:
    """Return a sentence for the user if the stored precision differs from the one computed in, or from the devices' default."""
    if stored not in FLOATS or dtype not in FLOATS or stored == dtype == default:
        return None
    if stored != dtype:
        return f"{key} computes in {dtype}; its stored vectors were computed in {stored}, which is the same vector space"
    return f"{key} computes in {stored}, like its stored vectors; --precision {default} is faster here, in the same vector space"
