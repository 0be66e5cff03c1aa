"""Pinned memory for the weights of a model, in a few slabs: torch rounds each allocation up to a power of two and keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SLAB_BYTES = 64 * 1024**2

_ALIGNMENT = 64


def pin_together(tensors: Iterable[torch.Tensor], pin: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Move the data of tensors into pinned slabs of `SLAB_BYTES`, or of the size of a larger tensor."""
    import torch  # noqa: PLC0415 - takes seconds, and only a machine with a GPU needs it

    for group in _groups(tensors):
        slab = pin(torch.empty(sum(map(_aligned_bytes, group)), dtype=torch.uint8))
        start = 0
        for tensor in group:
            pinned = slab[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            tensor.data = pinned.copy_(tensor.data)
            start += _aligned_bytes(tensor)


def _groups(tensors: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield tensors that share a slab. Leaves out empty ones."""
    group: list[torch.Tensor] = []
    for tensor in sorted((tensor for tensor in tensors if tensor.nbytes), key=_aligned_bytes):
        if group and sum(map(_aligned_bytes, group)) + _aligned_bytes(tensor) > SLAB_BYTES:
            yield group
            group = []
        group.append(tensor)
    if group:
        yield group


def _aligned_bytes(tensor: torch.Tensor) -> int:
    nbytes: int = tensor.nbytes
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT
