"""One plugin of each kind, in a package of its own. It imports nothing of `ingest`."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Lines:
    """The lines of a text file as documents: `lines:notes.txt`."""

    def read(self, location: str) -> Iterator[Mapping[str, Any]]:
        for number, line in enumerate(Path(location).read_text(encoding="utf-8").splitlines(), start=1):
            yield {"id": f"line {number}", "text": line, "number": number}


class Fountain:
    """Screenplays in the format Fountain."""

    def convert(self, data: bytes) -> str:
        text = data.decode("utf-8")
        return re.sub(r"^(INT|EXT)\. (.+)$", r"## \1. \2", text, flags=re.MULTILINE)


class Letters:
    """A dense model: how often each letter occurs."""

    dim = 27
    max_tokens = 100
    revision = "2026-11"

    def embed(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        counts = [[1 + text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz "] for text in texts]
        vectors: NDArray[np.float32] = np.array(counts, np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


class Words:
    """A sparse model: how often each word occurs."""

    dim = None
    uses_idf = True

    def embed(self, texts: Sequence[str], *, query: bool) -> list[dict[int, float]]:
        found = (Counter(re.findall(r"\w+", text.lower())) for text in texts)
        return [{zlib.crc32(word.encode()): float(count) for word, count in words.items()} for words in found]


class SharedWords:
    """A reranker: the share of the query's words that a text has."""

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        wanted = set(query.lower().split())
        return [len(wanted & set(text.lower().split())) / max(1, len(wanted)) for text in texts]


class Stanzas:
    """A chunker: one chunk for each stanza, which blank lines separate."""

    def spans(self, text: str, *, format: str, characters: int) -> Iterator[tuple[int, int]]:  # noqa: A002
        for stanza in re.finditer(r"\S(?:.|\n(?!\s*\n))*", text):
            yield stanza.span()
