"""Fusion by scores and feedback in every store, against the definition worked out in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any, get_args

import numpy as np
import pytest
from test_search_stores import QueriesSeen

import ingest
from ingest.encode.contract import Model
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.identity import chunk_id, doc_key
from ingest.records import Chunk, DenseMatrix, Document, Fingerprint, Point, SparseVector
from ingest.search import Searcher
from ingest.search.fusion import FusionMethod
from ingest.search.sigma import SimilarityScale
from ingest.store.contract import CollectionOptions, Distance, Manifest, Store, VectorQuery, VectorSpec
from ingest.store.schema import build_payload, with_fingerprint
from ingest.store.similarity import NOTE, note_sigmas, stored_sigmas
from ingest.testing import FakeClock, HashEncoder

WORDS = ["apple", "pear", "plum", "cherry", "grape", "melon", "lemon", "quince", "fig", "date"]
RANDOM = np.random.default_rng(3)
TEXTS = [f"document {number} " + " ".join(RANDOM.choice(WORDS, 6)) for number in range(140)]
QUERY = "apple pear quince"


class BagOfWords(HashEncoder):
    """A dense model in which texts that share words are similar: the unit sum of the words' hashes."""

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        sums = np.array([super(BagOfWords, self).encode_documents(text.split()).sum(axis=0) for text in texts])
        unit: DenseMatrix = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        return self.encode_documents(texts)


BM25 = ModelManager(EnsembleConfig(["bm25"])).members[0]
MODELS: dict[str, Model] = {"one": BagOfWords("one", 24), "two": BagOfWords("two", 24, revision="2"), "bm25": BM25}


def models_of(keys: Sequence[str]) -> list[Model]:
    return [MODELS[key] for key in keys]


def point(text: str, names: Sequence[str], doc_id: str = "") -> Point:
    document = Document(doc_id or text, text, metadata={"number": int(text.split()[1])})
    key = doc_key("test", document.id)
    chunk = Chunk(chunk_id(key, text, 0), 0, 0, len(text), text)
    payload = with_fingerprint(build_payload(document, chunk, "test"), Fingerprint(chunk.id, key, "", 1, "", "", {}))
    return Point(chunk.id, {name: MODELS[name].to_device("cpu").encode_documents([text])[0] for name in names}, payload)


def filled(
    store: Store, collection: str, names: Sequence[str], texts: Sequence[str] = TEXTS, distance: Distance = "cosine"
) -> Searcher:
    specs = tuple(
        VectorSpec(name, MODELS[name].dim, MODELS[name].fingerprint, MODELS[name].space, distance, idf=name == "bm25")
        for name in names
    )
    store.ensure(Manifest(collection, collection, specs), CollectionOptions())
    if texts:
        store.upsert(collection, [point(text, names) for text in texts])
    return Searcher.open(collection, store, models=models_of)


class Definition:
    """Fusion by scores as it is defined, over all vectors of a collection: exact, slow, and nothing of the package's own."""

    def __init__(self, store: Store, collection: str, names: Sequence[str]) -> None:
        self.points = list(store.scroll(collection, vectors=True))
        self.ids = [each.id for each in self.points]
        self.dense = {name: self._matrix(name) for name in names if name != "bm25"}
        self.sparse = [name for name in names if name == "bm25"]
        self.store, self.collection = store, collection

    def _matrix(self, name: str) -> DenseMatrix:
        return np.array([each.vectors[name] for each in self.points], dtype=np.float64)

    def scores(self, query: str, *, feedback: bool) -> dict[str, float]:
        """Return id → fused score of the chunks that any vector found."""
        queries = {name: np.asarray(MODELS[name].to_device("cpu").encode_queries([query]))[0] for name in self.dense}
        fused = self._fused(query, queries, range(len(self.ids)))
        if feedback:
            candidates = [self.ids.index(id_) for id_ in fused]
            best = [self.ids.index(id_) for id_ in sorted(fused, key=lambda id_: -fused[id_])[:3]]
            for name, matrix in self.dense.items():
                moved = queries[name] / np.linalg.norm(queries[name]) + 0.5 * matrix[best].mean(axis=0)
                queries[name] = moved / np.linalg.norm(moved)
            fused = self._fused(query, queries, candidates)
        return fused

    def _fused(self, query: str, queries: Mapping[str, DenseMatrix], among: Sequence[int]) -> dict[str, float]:
        fused: dict[str, float] = {}
        for name, matrix in self.dense.items():
            similarities = matrix @ queries[name]
            order = sorted(among, key=lambda row: -similarities[row])[:100]
            end = similarities[order[99]] if len(order) == 100 else median(similarities[order])
            pairs = (matrix @ matrix.T)[np.triu_indices(len(matrix), k=1)]
            for row in order:
                share = max(0.0, (similarities[row] - end) / pairs.std()) / len(self.dense) ** 0.5
                fused[self.ids[row]] = fused.get(self.ids[row], 0.0) + share
        for name in self.sparse:
            value = MODELS[name].to_device("cpu").encode_queries([query])[0]
            assert isinstance(value, SparseVector)
            [found] = self.store.query(self.collection, [VectorQuery(name, value, 100)], payload=False)
            end = found[99].score if len(found) == 100 else 0.0
            for each in found:
                fused[each.id] = fused.get(each.id, 0.0) + 2.75 * (each.score - end) / found[0].score
        return fused


@pytest.mark.parametrize("names", [("one", "bm25"), ("one", "two", "bm25"), ("one", "two")])
def test_hits_have_the_scores_of_the_definition(store: Store, collection: str, names: Sequence[str]) -> None:
    searcher = filled(store, collection, names)
    definition = Definition(store, collection, names)
    for feedback in (False, True):
        expected = definition.scores(QUERY, feedback=feedback)
        hits = searcher.search(QUERY, limit=100, feedback=feedback)
        assert {hit.id: hit.fused_score for hit in hits[:30]} == pytest.approx(
            {hit.id: expected[hit.id] for hit in hits[:30]}, abs=1e-3
        )
        assert [hit.fused_score for hit in hits[:30]] == pytest.approx(sorted(expected.values(), reverse=True)[:30], abs=1e-3)
        assert searcher.search(QUERY, feedback=feedback).hits == hits[:10]
        assert searcher.search_batch([QUERY, "plum"], feedback=feedback)[0] == searcher.search(QUERY, feedback=feedback)


def test_feedback_is_the_default_and_brings_up_what_the_best_chunks_resemble(store: Store, collection: str) -> None:
    searcher = filled(store, collection, ("one", "bm25"))
    assert searcher.search(QUERY) == searcher.search(QUERY, feedback=True) != searcher.search(QUERY, feedback=False)
    assert (searcher.search(QUERY).feedback_seconds or 0.0) > 0
    assert searcher.search(QUERY, feedback=False).feedback_seconds is None
    for hit in searcher.search(QUERY):
        assert hit.ranks.keys() == hit.vector_scores.keys() == hit.contributions.keys()
        assert hit.fused_score == pytest.approx(sum(hit.contributions.values()))


@pytest.mark.parametrize("names", [("one",), ("bm25",), ("one", "bm25"), ("one", "two", "bm25")])
def test_small_collections_filters_and_words_that_say_nothing(store: Store, collection: str, names: Sequence[str]) -> None:
    filled(store, collection, names, ())
    for before, count in pairwise([0, 0, 1, 2, 3, 20]):
        store.upsert(collection, [point(text, names) for text in TEXTS[before:count]])
        searcher = Searcher.open(collection, store, models=models_of)
        hits = searcher.search(QUERY, limit=100)
        assert len(hits) == count or names == ("bm25",)
        assert all(hit.fused_score >= 0 for hit in hits)
        assert len(searcher.search(QUERY, where="metadata.number<3")) <= 3
        assert not searcher.search(QUERY, where="metadata.number>1000")
        nothing = searcher.search("the of and", vectors=["bm25"]) if "bm25" in names else ()
        assert not nothing


def test_a_single_vector_keeps_its_own_order(store: Store, collection: str) -> None:
    searcher = filled(store, collection, ("one", "bm25"))
    for name in ("one", "bm25"):
        ranking = [each.id for each in searcher.rankings(QUERY, vectors=[name], depth=120)[name]]
        assert [hit.id for hit in searcher.search(QUERY, vectors=[name], limit=120)] == ranking


def test_only_hybrid_searches_of_up_to_100_hits_take_a_second_request(store: Store, collection: str) -> None:
    filled(store, collection, ("one", "bm25"))
    watched = QueriesSeen(store)
    searcher = Searcher.open(collection, watched, models=models_of)

    def requests(**controls: object) -> list[list[str]]:
        watched.seen.clear()
        searcher.search(QUERY, **controls)  # type: ignore[arg-type]
        return [[query.vector for query in queries] for queries in watched.seen]

    both = ["one", "bm25"]
    assert requests() == requests(limit=100) == [both, ["one"]]
    assert requests(feedback=False) == requests(fusion="rrf") == requests(weights={"bm25": 0}) == [both]
    assert requests(limit=101) == [["one", "one", "bm25", "bm25"]]
    assert requests(vectors=["one"]) == [["one"]]
    assert requests(vectors=["bm25"]) == [["bm25"]]
    assert requests(where="metadata.number>1000") == [both]


def test_the_second_request_compares_with_the_candidates_alone(store: Store, collection: str) -> None:
    watched = QueriesSeen(store)
    filled(store, collection, ("one", "bm25"))
    searcher = Searcher.open(collection, watched, models=models_of)
    where = "metadata.number<120"
    searcher.search(QUERY, where=where)
    [_, [again]] = watched.seen
    rankings = searcher.rankings(QUERY, where=where)
    assert set(again.among or ()) == {point.id for ranking in rankings.values() for point in ranking}
    assert 100 < len(again.among or ()) < 120


def test_deeper_pages_with_feedback_continue_each_other(store: Store, collection: str) -> None:
    searcher = filled(store, collection, ("one", "bm25"))
    ids = [hit.id for offset in range(0, 140, 20) for hit in searcher.search(QUERY, limit=20, offset=offset)]
    assert len(ids) == len(set(ids)) == 140
    assert [hit.id for hit in searcher.search(QUERY, limit=100)] == ids[:100]


def test_pages_continue_each_other_where_a_depth_ends_among_equal_scores(store: Store, collection: str) -> None:
    """A store finds others of them for another limit."""
    searcher = filled(store, collection, ("one", "bm25"), [f"document {n} apple {WORDS[n % 10]}" for n in range(260)])
    for controls in ({}, {"feedback": False}, {"fusion": "rrf"}, {"fusion": "dbsf"}, {"vectors": ["bm25"]}):
        ids = [hit.id for offset in range(0, 260, 40) for hit in searcher.search("apple", limit=40, offset=offset, **controls)]
        assert len(ids) == len(set(ids)) == 260
    assert ids[:200] == [hit.id for hit in searcher.search("apple", limit=200, vectors=["bm25"])]
    assert ids[:130] == [each.id for each in searcher.rankings("apple", depth=130)["bm25"]]


def test_a_page_finds_what_the_pages_before_it_found_and_more(store: Store, collection: str) -> None:
    filled(store, collection, ("one", "bm25"))
    watched = QueriesSeen(store)
    searcher = Searcher.open(collection, watched, models=models_of)
    for offset, depths in {90: [100], 91: [100, 1000], 990: [100, 1000], 9990: [100, 1000, 10_000]}.items():
        watched.seen.clear()
        searcher.search(QUERY, offset=offset, vectors=["one"])
        assert [[query.limit for query in queries] for queries in watched.seen] == [depths]


@pytest.mark.parametrize("distance", ["dot", "euclid", "manhattan"])
def test_other_distances_are_fused_by_closeness(store: Store, collection: str, distance: Distance) -> None:
    searcher = filled(store, collection, ("one", "bm25"), TEXTS[:120], distance)
    best = TEXTS[7]
    for fusion in get_args(FusionMethod):
        first, *_, last = searcher.search(best, fusion=fusion, vectors=["one"], limit=100)
        assert first.text == best
        assert first.fused_score > last.fused_score
    assert searcher.search(best)[0].text == best


@pytest.mark.parametrize("names", [("one",), ("bm25",), ("one", "bm25")])
def test_a_long_document_does_not_push_the_others_out_of_their_groups(
    store: Store, collection: str, names: Sequence[str]
) -> None:
    """Two books fill every ranking with their chunks; the notes, which match less, are still one hit each."""
    searcher = filled(store, collection, names, ())
    books = [point(f"chapter {number} apple apple pear", names, f"book {number % 2}") for number in range(600)]
    notes = [point(f"note {number} about plum cherry fig date lemon grape melon and an apple", names) for number in range(12)]
    store.upsert(collection, [*books, *notes])
    for fusion in get_args(FusionMethod):
        assert {hit.doc_id for hit in searcher.search("apple pear", fusion=fusion, limit=15)} == {"book 0", "book 1"}

        hits = searcher.search("apple pear", fusion=fusion, limit=15, group_by="doc_id")
        assert sorted(hit.doc_id for hit in hits) == ["book 0", "book 1", *sorted(note.payload["doc_id"] for note in notes)]
        assert {hit.doc_id for hit in hits[:2]} == {"book 0", "book 1"}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len(searcher.search("apple pear", fusion=fusion, limit=5, group_by="doc_id")) == 5
        few = searcher.search("apple pear", fusion=fusion, limit=5, group_by="doc_id", where="metadata.number<1")
        assert sorted(hit.doc_id for hit in few) == ["book 0", notes[0].payload["doc_id"]]


def test_points_of_other_tools_do_not_hold_up_a_grouped_search(store: Store, collection: str) -> None:
    searcher = filled(store, collection, ("one",), TEXTS[:3])
    theirs = [Point(chunk_id("theirs", "", number), point("x 1 " + QUERY, ("one",)).vectors, {}) for number in range(120)]
    store.upsert(collection, theirs)
    assert len(searcher.search("document 1", group_by="doc_id")) == 3


class ScrollsSeen:
    """A store that counts its scrolls."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.count = 0

    def __getattr__(self, name: str) -> object:
        self.count += name == "scroll"
        return getattr(self._store, name)


def test_a_small_sample_is_taken_again_after_a_minute(store: Store, collection: str) -> None:
    manifest = filled(store, collection, ("one", "bm25"), TEXTS[:2]).manifest
    watched, clock = ScrollsSeen(store), FakeClock()
    scale = SimilarityScale(watched, manifest, clock=clock)  # type: ignore[arg-type]
    assert scale.sigmas() == scale.sigmas() == {"one": None}
    assert watched.count == 1
    store.upsert(collection, [point(text, ("one", "bm25")) for text in TEXTS])
    clock.now += 61
    assert 0.05 < (scale.sigmas()["one"] or 0.0) < 1.0
    assert watched.count == 2


def test_a_run_notes_the_scale_and_measures_it_again_when_the_collection_has_grown(store: Store, collection: str) -> None:
    manifest = filled(store, collection, ("one", "bm25"), TEXTS[:60]).manifest
    note_sigmas(store, collection)
    noted = store.notes(collection)[NOTE]
    watched = ScrollsSeen(store)
    assert SimilarityScale(watched, manifest).sigmas() == noted["sigmas"]  # type: ignore[arg-type]
    assert watched.count == 0
    store.upsert(collection, [point(text, ("one", "bm25")) for text in TEXTS[60:80]])
    note_sigmas(store, collection)
    assert store.notes(collection)[NOTE] == noted
    store.upsert(collection, [point(text, ("one", "bm25")) for text in TEXTS[80:]])
    note_sigmas(store, collection)
    assert store.notes(collection)[NOTE]["points"] == 140
    other = replace(manifest, vectors=tuple(replace(spec, fingerprint="other") for spec in manifest.vectors))
    assert stored_sigmas(noted, other) is None
    assert stored_sigmas({"points": 3}, manifest) is None


def test_a_sync_notes_the_scale(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    dense = ingest.Collection(handbook.name, store=handbook.store, models=[MODELS["one"], "bm25"])
    dense.sync(rules, name="rules")
    assert dense.store.notes(dense.info().stored_as)[NOTE]["points"] == 3
