"""Queries made from the chunks of a collection, each of which should find its own chunk. Pure."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Literal

from ingest.records import Payload, StoredPoint

QUERY_WORDS = 8
"""Most words of a query made from a sentence: its rarest ones. A whole sentence would be found by its words alone."""

_LEAST_WORDS = 3
_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s*(?=\S)|\n+")

ItemKind = Literal["title", "heading", "sentence"]


@dataclass(frozen=True, slots=True)
class KnownItem:
    """A query and the chunk that it was made from.

    Attributes:
        id: the chunk's UUID string.
        doc_id: id of its document.
        kind: what the query was made from.
    """

    query: str
    id: str
    doc_id: str
    kind: ItemKind


def known_items(points: Sequence[StoredPoint], count: int, seed: int = 0) -> list[KnownItem]:
    """Return up to `count` queries with different texts, at most one of each chunk. The same points make the same queries.

    A query is the title of a document's first chunk, the last heading above a chunk (both only if no other of the points has it),
    or the rarest words of the chunk's sentence with the rarest words. What a chunk has of these is equally likely.

    Args:
        points: chunks with their payload; how rare a word is among them decides how rare it is.
    """
    generator = random.Random(seed)  # noqa: S311  a sample, not a secret
    frequencies = Counter(word for point in points for word in set(_words(point.payload["text"])))
    labels = Counter(label for point in points for label in _labels(point.payload).values())
    items: dict[str, KnownItem] = {}
    for point in generator.sample(points, len(points)):
        queries = {kind: label for kind, label in _labels(point.payload).items() if labels[label] == 1}
        if sentence := _rarest_words(point.payload["text"], frequencies, len(points)):
            queries["sentence"] = sentence
        if queries and len(items) < count:
            kind, query = generator.choice(list(queries.items()))
            items.setdefault(query, KnownItem(query, point.id, str(point.payload["doc_id"]), kind))
    return list(items.values())


def _labels(payload: Payload) -> dict[ItemKind, str]:
    """Return the title and the heading that a chunk may be asked for by."""
    section: Sequence[Any] = payload.get("section") or ()
    labels: dict[ItemKind, str] = {}
    if payload.get("chunk") == 0 and isinstance(payload.get("title"), str) and payload["title"].strip():
        labels["title"] = payload["title"]
    if section and str(section[-1]).strip() and str(section[-1]) != labels.get("title"):
        labels["heading"] = str(section[-1])
    return labels


def _rarest_words(text: str, frequencies: Mapping[str, int], count: int) -> str:
    """Return the rarest words of the sentence whose words are rarest on average, in their order; empty without a sentence."""
    sentences = [words for part in _SENTENCE_END.split(text) if len(words := _words(part)) >= _LEAST_WORDS]
    if not sentences:
        return ""

    def rarity(word: str) -> float:
        return log(count / frequencies[word])

    best = max(sentences, key=lambda words: sum(map(rarity, words)) / len(words))
    kept = set(sorted(dict.fromkeys(best), key=lambda word: -rarity(word))[:QUERY_WORDS])
    return " ".join(dict.fromkeys(word for word in best if word in kept))


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
