"""The inputs of a torch model, made from the token ids that counted its texts, so that no text is tokenized twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.encode.tokens import DocumentTokens, TokenIds
from ingest.errors import ModelError

if TYPE_CHECKING:
    import torch

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
