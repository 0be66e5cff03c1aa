"""The text that BM25 reads of documents and queries: normalized, with words between spaces. Pure; what is stored is unchanged."""

from __future__ import annotations

import re
from unicodedata import normalize

_HYPHENATED = re.compile(r"(?<=[^\W\d_])-\r?\n[ \t]*(?=[^\W\d_])")
_INVISIBLE = re.compile("\u00ad(?:\r?\n[ \t]*)?|[\u200b-\u200d\u2060\ufeff]")
# Han, Hiragana and Katakana with their iteration and length marks, in NFKC.
_UNSPACED = re.compile(
    "[\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]+"
)

VERSION = 2
"""Raise it with every change to the text that is returned; part of the model's fingerprint."""


def bm25_text(text: str) -> str:
    """Return a text as BM25 reads it.

    Words hyphenated at the end of a line are joined. Compatibility forms become ordinary characters (NFKC), and zero-width
    characters and soft hyphens disappear.
    """
    return _joined(_visible(text))


def paired_text(text: str) -> str:
    """Return `bm25_text` with runs of Chinese or Japanese characters, which have no spaces, as their overlapping pairs."""
    return _joined(text if text.isascii() else _UNSPACED.sub(_pairs, _visible(text)))


def _visible(text: str) -> str:
    return text if text.isascii() else _INVISIBLE.sub("", normalize("NFKC", text))


def _joined(text: str) -> str:
    return _HYPHENATED.sub("", text) if "-" in text else text


def _pairs(run: re.Match[str]) -> str:
    characters = run[0]
    pairs = [characters[at : at + 2] for at in range(max(1, len(characters) - 1))]
    return f" {' '.join(pairs)} "
