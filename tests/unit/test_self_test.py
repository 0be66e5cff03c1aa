"""The self-test: queries made from a collection, and what it says of a working and of a broken model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ingest.collection import Collection
from ingest.encode.vectors import unit_rows
from ingest.errors import ConfigurationError, IngestError
from ingest.records import DenseMatrix, StoredPoint
from ingest.search.gate import LEAST_QUERIES
from ingest.search.known_items import QUERY_WORDS, known_items
from ingest.search.self_test import Mean, rank_biased_overlap
from ingest.testing import HashEncoder, generated_documents


class WordEncoder(HashEncoder):
    """Encodes a text as the mean of its words' vectors."""

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        return unit_rows(
            np.array([super(WordEncoder, self).encode_documents(text.lower().split()).mean(axis=0) for text in texts])
        )

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        return self.encode_documents(texts)


class BrokenEncoder(WordEncoder):
    """Encodes every query as the same vector."""

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        return self.encode_documents(["nothing of that"] * len(texts))


def chunk(number: int, text: str, **payload: object) -> StoredPoint:
    return StoredPoint(f"{number:032x}", {"text": text, "doc_id": str(number), "chunk": 0, **payload}, {})


def test_a_query_is_a_title_a_heading_or_the_rarest_words_of_a_sentence() -> None:
    common = "the cat sat on the mat and the dog sat by the door"
    points = [chunk(number, f"{common}. the w{number} sat by {number}x on q{number}") for number in range(40)]
    sentences = known_items(points, 100)
    assert {item.kind for item in sentences} == {"sentence"}
    assert all(f"w{int(item.id, 16)}" in item.query.split() for item in sentences)
    assert all(len(item.query.split()) <= QUERY_WORDS for item in sentences)
    labeled = [chunk(1, "", title="Refunds", section=("Rules", "Approval")), chunk(2, "", title="Leave", chunk=1)]
    assert {known_items(labeled, 9, seed)[0].query for seed in range(20)} == {"Refunds", "Approval"}


def test_a_title_of_two_chunks_is_no_query() -> None:
    assert known_items([chunk(1, "", title="Same"), chunk(2, "", title="Same")], 9) == []


def test_the_same_chunks_make_the_same_queries() -> None:
    points = [chunk(number, document.text) for number, document in enumerate(generated_documents(30, words=20))]
    assert known_items(points, 10) == known_items(points, 10)
    assert len(known_items(points, 10)) == 10
    assert known_items(points, 10) != known_items(points, 10, seed=1)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [("abc", "abc", 1.0), ("abc", "xyz", 0.0), ("", "", 1.0), ("ab", "ba", 0.9 / 1.9), ("ab", "a", (1 + 0.45) / 1.9)],
)
def test_overlap_counts_the_first_ranks_most(one: str, other: str, overlap: float) -> None:
    assert rank_biased_overlap(one, other) == pytest.approx(overlap)
    assert rank_biased_overlap(other, one) == pytest.approx(overlap)


def test_a_mean_has_a_standard_error() -> None:
    assert Mean.of([1.0, 0.0, 1.0, 0.0]).value == 0.5
    assert Mean.of([1.0, 0.0, 1.0, 0.0]).error == pytest.approx((1 / 3) ** 0.5 / 2)
    assert Mean.of([0.25]) == Mean(0.25, 0.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("self-test")
    documents = list(generated_documents(60, words=40))
    for name, encoder in (("good", WordEncoder("hash")), ("bad", BrokenEncoder("hash"))):
        with Collection(name, store=folder / "qdrant", models=[encoder, "bm25"], state=folder) as collection:
            collection.sync(documents, name="made")
    return folder


def open_collection(store: Path, name: str, encoder: HashEncoder) -> Collection:
    return Collection(name, store=store / "qdrant", models=[encoder, "bm25"], state=store)


def test_a_broken_model_is_told_from_a_working_one(store: Path) -> None:
    with open_collection(store, "good", WordEncoder("hash")) as good:
        works = good.self_test(queries=40)
        assert works == good.self_test(queries=40)
        same = good.self_test(queries=5, against="good")
    with open_collection(store, "bad", BrokenEncoder("hash")) as bad:
        broken = bad.self_test(queries=40)
    assert [row.name for row in works.rows] == ["hash", "bm25", "fused"]
    dense, other = works.rows[0].recall_10, broken.rows[0].recall_10
    assert dense.value - 2 * dense.error > other.value + 2 * other.error
    assert broken.rows[1] == works.rows[1]
    assert (same.against, same.overlap, same.change) == ("good", Mean(1.0, 0.0), Mean(0.0, 0.0))


def test_a_reindex_swaps_in_what_finds_its_chunks_as_well(tmp_path: Path) -> None:
    with Collection("guarded", store=tmp_path / "qdrant", models=[WordEncoder("first")], state=tmp_path) as guarded:
        guarded.sync(generated_documents(40, words=20), name="made")
        assert guarded.reindex([WordEncoder("second")]).points == 40
        with pytest.raises(IngestError, match=r"was not swapped: on 40 queries .* lower by 0\.\d+ ± .* --no-self"):
            guarded.reindex([BrokenEncoder("third")])
        assert guarded.info().manifest.vectors[0].name == "second"
        guarded.reindex([BrokenEncoder("third")], self_test=False)
        assert guarded.info().manifest.vectors[0].name == "third"


def test_a_reindex_of_a_few_chunks_has_no_verdict(tmp_path: Path) -> None:
    with Collection("few", store=tmp_path / "qdrant", models=[WordEncoder("first")], state=tmp_path) as few:
        few.sync(generated_documents(LEAST_QUERIES - 1, words=20), name="made")
        assert few.reindex([BrokenEncoder("second")]).encoded == {"second": LEAST_QUERIES - 1}


def test_an_empty_collection_has_no_verdict(store: Path) -> None:
    with Collection("empty", store=store / "qdrant", models=["bm25"], state=store) as empty:
        empty.sync([], name="made")
        with pytest.raises(ConfigurationError, match="no text to make queries from"):
            empty.self_test()
