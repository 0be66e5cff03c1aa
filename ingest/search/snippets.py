"""The best passage of a hit and what matched in it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from unicodedata import normalize

MAX_SNIPPET = 300
"""Maximum characters of a snippet."""

_WORD = re.compile(r"\w+")
_BREAK = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|(?<=[。！？])|\n+")

Range = tuple[int, int]

_STEM = 3
"""Characters at the beginning of a word that its inflected forms share."""


def words_alike(texts: Sequence[str], query: str) -> list[str]:
    """Return the different words of the texts that may be forms of a word of the query, because they begin alike."""
    beginnings = {_folded(word)[:_STEM] for word in _WORD.findall(query)}
    words = {word for text in texts for word in _WORD.findall(text)}
    return sorted(word for word in words if _folded(word)[:_STEM] in beginnings)


def matching(words: Sequence[str], query: str, terms: Callable[[Sequence[str]], Sequence[Collection[int]]] | None) -> set[str]:
    """Return the words that match a word of the query.

    Args:
        terms: returns the terms of each text as the collection's sparse model computes them, with its stems and stop words. None:
            words match if they are equal, whatever their case and accents.
    """
    if not words:
        return set()
    equal = {_folded(word) for word in _WORD.findall(query)}
    if terms is None:
        return {word for word in words if _folded(word) in equal}
    wanted, *found = terms([query, *words])
    return {word for word, own in zip(words, found, strict=True) if own and set(own) <= set(wanted)}


def snippet_of(text: str, words: Collection[str]) -> tuple[str, tuple[Range, ...]]:
    """Return the passage with the most different words, at most `MAX_SNIPPET` characters, and the ranges of the words in it.

    It begins and ends at the border of a sentence, or of a word if a sentence is too long.
    """
    found = [match.span() for match in _WORD.finditer(text) if match[0] in words]
    start, end = max(_passages(text, found), key=lambda passage: _quality(text, found, passage))
    start += len(text[start:end]) - len(text[start:end].lstrip())
    snippet = text[start:end].rstrip()
    return snippet, tuple(
        (first - start, last - start) for first, last in found if first >= start and last <= start + len(snippet)
    )


def _passages(text: str, found: Sequence[Range]) -> list[Range]:
    """Return for each sentence the passage that begins with it."""
    borders = [0, *(match.end() for match in _BREAK.finditer(text)), len(text)]
    starts = [start for start, end in pairwise(borders) if text[start:end].strip()] or [0]
    passages = []
    for start in starts:
        end = max((border for border in borders if start < border <= start + MAX_SNIPPET), default=None)
        passages += [(start, end)] if end is not None else _cuts(text, start, found)
    return passages


def _cuts(text: str, start: int, found: Sequence[Range]) -> list[Range]:
    """Return passages of a sentence that is too long: its beginning, and one before each match."""
    stop = min([match.start() for match in _BREAK.finditer(text, start)] + [len(text)])
    begins = [start, *(_word_start(text, max(start, first - MAX_SNIPPET // 3)) for first, _ in found if start <= first < stop)]
    return [(begin, _word_end(text, begin, min(stop, begin + MAX_SNIPPET))) for begin in begins]


def _word_start(text: str, position: int) -> int:
    space = text.rfind(" ", 0, position)
    return space + 1 if position - space <= MAX_SNIPPET // 3 else position


def _word_end(text: str, begin: int, end: int) -> int:
    if end >= len(text) or not text[end].isalnum():
        return end
    space = text.rfind(" ", begin, end)
    return space if space > begin else end


def _quality(text: str, found: Sequence[Range], passage: Range) -> tuple[int, int, int]:
    """Return how many different words a passage has, then how soon the first comes, then how early it is."""
    inside = [(first, last) for first, last in found if passage[0] <= first and last <= passage[1]]
    different = len({_folded(text[first:last]) for first, last in inside})
    return different, passage[0] - inside[0][0] if inside else 0, -passage[0]


def _folded(word: str) -> str:
    return "".join(letter for letter in normalize("NFKD", word.casefold()) if letter.isalnum())
