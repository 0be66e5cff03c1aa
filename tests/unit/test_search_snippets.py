"""Snippets of hits and what they highlight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.encode.bm25_options import Bm25Options
from ingest.encode.sparse import Bm25Encoder
from ingest.search.snippets import MAX_SNIPPET, matching, snippet_of, words_alike

FILLER = "Nothing of interest is written in this sentence. " * 10


def highlighted(text: str, query: str, language: str | None) -> list[str]:
    encoder = Bm25Encoder(Bm25Options(language)) if language else None
    terms = (lambda texts: [set(each.indices.tolist()) for each in encoder.encode_queries(texts)]) if encoder else None
    snippet, ranges = snippet_of(text, matching(words_alike([text], query), query, terms))
    return [snippet[start:end] for start, end in ranges]


@pytest.mark.parametrize(
    ("text", "query", "language", "words"),
    [
        ("The head approves refunds. A refund takes days.", "who is refunding the money", "english", ["refunds", "refund"]),
        ("Die Häuser am See. Ein Haus mit Garten.", "häuser", "german", ["Häuser", "Haus"]),
        ("The cat is here", "the is", "english", []),
        ("Café and cafe", "CAFE", None, ["Café", "cafe"]),
        ("Refunds, refund", "refund", None, ["refund"]),
        ("", "refund", "english", []),
    ],
)
def test_words_match_as_the_sparse_model_says(text: str, query: str, language: str | None, words: list[str]) -> None:
    assert highlighted(text, query, language) == words


def test_the_best_passage_is_shown_from_the_border_of_a_sentence() -> None:
    text = FILLER + "Refunds above 100 euros need the head of support. They take days. " + FILLER
    snippet, ranges = snippet_of(text, {"Refunds", "head", "days"})
    assert snippet.startswith("Refunds above")
    assert snippet.endswith("sentence.")
    assert [snippet[start:end] for start, end in ranges] == ["Refunds", "head", "days"]


def test_a_sentence_that_is_too_long_is_cut_at_words_around_a_match() -> None:
    text = "word " * 200 + "refund " + "word " * 200
    snippet, ranges = snippet_of(text, {"refund"})
    assert len(snippet) <= MAX_SNIPPET
    assert [snippet[start:end] for start, end in ranges] == ["refund"]
    assert set(snippet.split()) == {"word", "refund"}


@given(st.text(alphabet="ab .!?\n。", max_size=900), st.sets(st.sampled_from(["a", "ab", "b", "aa"])))
def test_a_snippet_is_a_part_of_the_text_and_the_ranges_are_words(text: str, words: set[str]) -> None:
    snippet, ranges = snippet_of(text, words)
    assert len(snippet) <= MAX_SNIPPET
    assert snippet in text
    assert bool(snippet) == bool(text.strip())
    assert all(snippet[start:end] in words for start, end in ranges)
    assert list(ranges) == sorted(ranges)
