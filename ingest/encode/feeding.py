"""The inputs of a torch model, made from the token ids that counted its texts, so that no text is tokenized twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ingest.encode.accelerator import current_accelerator
from ingest.encode.devices import copy_tensor, is_accelerator
from ingest.encode.tokens import DocumentTokens, TokenIds
from ingest.errors import ModelError

if TYPE_CHECKING:
    import torch

IN_FLIGHT = 2
"""Batches that a device has at once: it computes one while the CPU prepares the next."""

_SAMPLE = ("A refund is approved.", "Größe ΑΒΓ 退款, 2nd edition\n\tand  MORE: 10^6 🙂", "a", "")
_SAMPLE_LIMIT = 5
_TENSORS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True, slots=True)
class TokenFeed:
    """How a model's library turns token ids into inputs.

    Attributes:
        tokens: the tokenizer, with the ids of counted texts.
        names: names of the inputs that are tensors, in the order of `_TENSORS`.
        constants: the other inputs.
        pad: token id of the padding.
        pads_left: whether padding comes before the text.
    """

    tokens: DocumentTokens
    names: tuple[str, ...]
    constants: Mapping[str, Any]
    pad: int
    pads_left: bool

    def token_ids(self, texts: Sequence[str], limit: int | None) -> list[TokenIds]:
        """Return the token ids of prompted texts; truncated to `limit` unless it is None."""
        return self.tokens.ids(texts, limit)

    def stacked(self, token_ids: Sequence[TokenIds], out: torch.Tensor | None = None) -> torch.Tensor:
        """Return `(names, n, longest) int64`: one matrix for each name, in `out` if it is large enough."""
        import torch  # noqa: PLC0415 - takes seconds, and only encoding needs it

        shape = len(self.names), len(token_ids), max(map(len, token_ids))
        size = int(np.prod(shape))
        buffer = torch.empty(size, dtype=torch.int64) if out is None or out.numel() < size else out[:size]
        matrices = buffer.view(shape)
        array = matrices.numpy()
        array[:] = 0
        array[0] = self.pad
        for row, ids in enumerate(token_ids):
            place = slice(shape[2] - len(ids), None) if self.pads_left else slice(len(ids))
            array[0, row, place] = ids
            array[1, row, place] = 1
        return matrices

    def features(self, matrices: torch.Tensor) -> dict[str, Any]:
        """Return the inputs by name."""
        return {**self.constants, **dict(zip(self.names, matrices.unbind(), strict=True))}


class Replica:
    """A module on its device, and the pinned memory through which inputs and vectors move while it computes. Not thread-safe.

    At most `IN_FLIGHT` batches are under way: the inputs of the next one overwrite those of the first.

    Args:
        module: the sentence-transformers module, its weights on the device.
        device: where it computes.
        feed: how to make its inputs from token ids; None: it tokenizes texts itself, in its own way.
    """

    def __init__(self, module: Any, device: str, feed: TokenFeed | None = None) -> None:
        self.module = module
        self.device = device
        self.feed = feed
        self._buffers: list[torch.Tensor | None] = [None] * IN_FLIGHT
        self._turn = 0

    def inputs(self, feed: TokenFeed, token_ids: Sequence[TokenIds]) -> dict[str, Any]:
        """Return the inputs by name, on the device or on their way there."""
        if not is_accelerator(self.device):
            return feed.features(feed.stacked(token_ids))
        self._turn = (self._turn + 1) % IN_FLIGHT
        buffer = self._buffers[self._turn] = self._large_enough(len(feed.names) * len(token_ids) * max(map(len, token_ids)))
        return feed.features(copy_tensor(feed.stacked(token_ids, buffer), self.device))

    def fetch(self, rows: torch.Tensor) -> Callable[[], NDArray[np.float32]]:
        """Start to copy rows from the device. Returns a function that waits for them."""
        wait = current_accelerator().fetch(rows, self.device) if is_accelerator(self.device) else lambda: rows
        return lambda: wait().numpy()

    def _large_enough(self, size: int) -> torch.Tensor:
        """Return the buffer whose turn it is, if it is large enough, else a new one."""
        import torch  # noqa: PLC0415

        buffer = self._buffers[self._turn]
        if buffer is None or buffer.numel() < size:
            buffer = current_accelerator().pin(torch.empty(1 << (size - 1).bit_length(), dtype=torch.int64))
        return buffer


def find_feed(module: Any, tokens: DocumentTokens, prompt: str) -> TokenFeed | None:
    """Return how to feed token ids to a sentence-transformers module, or None if its own preprocessing does more than that.

    Compares both ways on a sample of texts, whole and truncated.
    """
    tokenizer = module.tokenizer
    sample = [prompt + text for text in _SAMPLE]
    limit = module.max_seq_length
    try:
        expected = _preprocessed(module, sample, None), _preprocessed(module, sample, _SAMPLE_LIMIT)
        names = tuple(name for name in _TENSORS if name in expected[0])
        constants = {name: value for name, value in expected[0].items() if name not in _TENSORS}
        if names[:2] != _TENSORS[:2] or not all(isinstance(value, str) for value in constants.values()):
            return None
        pads_left = getattr(tokenizer, "padding_side", "right") == "left"
        feed = TokenFeed(tokens, names, constants, tokenizer.pad_token_id or 0, pads_left)
        same = all(
            _equal(feed.features(feed.stacked(feed.token_ids(sample, cut))), features)
            for features, cut in zip(expected, (None, _SAMPLE_LIMIT), strict=True)
        )
    except (ModelError, AttributeError, TypeError, ValueError, RuntimeError, IndexError):  # the preprocessing is of another kind
        return None
    finally:
        module.max_seq_length = limit
    return feed if same else None


def _preprocessed(module: Any, texts: Sequence[str], limit: int | None) -> dict[str, Any]:
    if limit is not None:
        module.max_seq_length = limit
    return dict(module.preprocess(list(texts)))


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        value == other[name] if isinstance(value, str) else value.tolist() == other[name].tolist() for name, value in one.items()
    )
