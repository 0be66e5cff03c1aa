"""Let an endpoint prove itself: encode the canary texts, and find the length at which it truncates in silence."""

from __future__ import annotations

import logging
import string
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ingest.encode.contract import Vectors
from ingest.encode.http.model import HttpEncoder, HttpModel
from ingest.encode.http.proof import CANARIES, Proof, cosine
from ingest.errors import ModelError, ModelUnavailableError
from ingest.records import SparseVector
from ingest.retry import RetryPolicy, call_with_retries

logger = logging.getLogger(__name__)

SAME_COSINE = 0.9999
"""Cosine from which two vectors count as those of one text: more than repeated requests differ, less than other words do."""

_SHORTEST = 32
_END_SHARE = 16
"""The texts that are compared differ in their last part of this many."""

_MARGIN = 16
"""Tokens that an estimate leaves free for special tokens."""

_LETTERS = string.ascii_lowercase
"""Each is one token of two bytes in most vocabularies, which is what an estimate assumes."""

_ENDS = (("sea", "ship", "wind"), ("law", "judge", "tax"))


def prove(model: HttpModel, retry: RetryPolicy) -> Proof:
    """Return what an endpoint proves now. The reading is measured only if the model's stored proof does not say it already.

    Raises `ConfigurationError` without an API key, `ModelUnavailableError`, and `ModelError` if the canaries are refused or the
    endpoint has the same vector for different texts.
    """
    model.load()
    encoder = HttpEncoder(model)

    def encode(texts: Sequence[str]) -> Vectors:
        return call_with_retries(partial(encoder.encode_documents, texts), retry)

    vectors = _encode_canaries(encode, model.batch_texts)
    most, known = model.config.max_tokens or 0, model.proof
    if known is not None and known.measured >= most:
        return replace(known, vectors=vectors)
    reads = _measure(model, encode, most)
    if reads < most:
        logger.warning(
            "%s reads only the first %d tokens of a text, although its max_tokens is %d: chunks are kept within that",
            model.key,
            reads,
            most,
        )
    return Proof(model.fingerprint, vectors, most, reads)


def _encode_canaries(encode: Callable[[Sequence[str]], Vectors], most: int) -> Vectors:
    parts = [encode(CANARIES[start : start + most]) for start in range(0, len(CANARIES), most)]
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate([np.asarray(part) for part in parts])
    return [row for part in parts for row in part if isinstance(row, SparseVector)]


def _measure(model: HttpModel, encode: Callable[[Sequence[str]], Vectors], most: int) -> int:
    """Return how many tokens of a text the endpoint reads: `most`, or fewer."""

    def is_read(size: int) -> bool:
        return _is_whole(encode, [_text(model, size, end) for end in _ENDS])

    top = most if model.config.tokenizer else max(1, most - _MARGIN)
    good, size = 0, min(_SHORTEST, top)
    while is_read(size):
        if size == top:
            return most
        good, size = size, min(2 * size, top)
    if good == 0:
        raise ModelError(
            f"model {model.key!r} refuses texts of {size} tokens, or has one vector for two of different ends: check max_tokens,"
            " or use another model"
        )
    bad = size
    while bad - good > max(1, good // (2 * _END_SHARE)):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if is_read(middle) else (good, middle)
    return good - 2 * (good // _END_SHARE)  # a word of the end may count as two tokens


def _is_whole(encode: Callable[[Sequence[str]], Vectors], texts: Sequence[str]) -> bool:
    """Return whether the endpoint takes texts with different ends, and notices the difference."""
    try:
        one, other = encode(texts)
    except ModelUnavailableError:
        raise
    except ModelError:  # refused: too long
        return False
    return cosine(one, other) < SAME_COSINE


def _text(model: HttpModel, size: int, end: Sequence[str]) -> str:
    """Return a text of about `size` tokens, but not more, that ends with these words in turn."""
    words = size
    while True:
        ending = max(1, words // _END_SHARE)
        parts = [_LETTERS[number % len(_LETTERS)] for number in range(words - ending)]
        text = " ".join([*parts, *(end[number % len(end)] for number in range(ending))])
        [tokens] = model.tokens([text])
        if tokens <= size or words == 1:
            return text
        words = max(1, words - max(1, tokens - size))
