"""The controls of a search, in every store: pages, thresholds, groups."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import Boost, ConfigurationError, search_together
from ingest.encode.contract import Model
from ingest.identity import chunk_id, doc_key
from ingest.records import Chunk, Document, Fingerprint, Hit, Point
from ingest.search import Searcher
from ingest.search.answer import RerankResult
from ingest.search.rerank import RerankPipeline
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Manifest, Store, VectorSpec
from ingest.store.schema import build_payload, with_fingerprint
from ingest.testing import HashEncoder

MODELS = (HashEncoder("first", 16), HashEncoder("second", 24))
THIRD = HashEncoder("third", 40)
WORDS = ("blue", "red", "chair", "table", "lamp", "green", "old", "new")


def models_of(keys: Sequence[str]) -> list[Model]:
    return [model for key in keys for model in (*MODELS, THIRD) if model.key == key]


def point(
    number: int, doc_id: str, chunk: int, *, source: str = "s", soft_deleted_at: str | None = None, **metadata: Any
) -> Point:
    text = " ".join(WORDS[(number * step) % len(WORDS)] for step in (1, 2, 3, 5)) + f" {number}"
    document = Document(doc_id, text, metadata=metadata)
    key = doc_key(source, doc_id)
    piece = Chunk(chunk_id(key, text, 0), chunk, 0, len(text), text)
    made_from = Fingerprint(piece.id, key, "", 1, "", "", {}, soft_deleted_at)
    vectors = {model.key: model.encode_documents([text])[0] for model in MODELS}
    return Point(piece.id, vectors, with_fingerprint(build_payload(document, piece, source), made_from))


def library() -> Iterator[Point]:
    """One book of 180 chunks, and 60 notes by nine authors."""
    for number in range(180):
        yield point(number, "book", number, author="a0", year=2000)
    for number in range(180, 240):
        author = {"author": f"a{number % 9}"} if number % 10 else {}
        yield point(number, f"note {number}", 0, tags=["all", f"t{number % 3}"], year=2000 + number % 5, **author)


@pytest.fixture(scope="module", params=["embedded", "server"])
def searcher(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    place: str | Path = (
        tmp_path_factory.mktemp("controls") if request.param == "embedded" else request.getfixturevalue("server_url")
    )
    with open_store(place) as store:
        fill(store, "test_search_controls", [*library()])
        yield Searcher.open("test_search_controls", store, models=models_of)
        store.drop("test_search_controls")


def fill(store: Store, collection: str, points: Sequence[Point], models: Sequence[HashEncoder] = MODELS, **index: str) -> None:
    specs = tuple(VectorSpec(model.key, model.dim, model.fingerprint, space=model.space) for model in models)
    store.ensure(Manifest(collection, collection, specs), CollectionOptions(index=index))
    store.upsert(collection, points)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"fusion": "rrf"},
    {"fusion": "dbsf", "where": "metadata.year=2000"},
    {"feedback": False, "vectors": ["first"]},
    {"group_by": "doc_id"},
    {"group_by": "metadata.author", "group_size": 2},
    {"min_rank_vectors": 2},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_page_two_continues_page_one(searcher: Searcher, options: dict[str, Any]) -> None:
    """However many pages there are, together they are the list in one piece, and nothing comes twice."""
    whole = [hit.id for hit in searcher.search("a red table", limit=100, **options)]
    paged: list[str] = []
    for offset in range(0, 100, 25):
        paged += [hit.id for hit in searcher.search("a red table", limit=25, offset=offset, **options)]
    assert len(set(paged)) == len(paged)
    assert paged == whole


def test_pages_end_with_the_collection(searcher: Searcher) -> None:
    pages = [[hit.id for hit in searcher.search("lamp", limit=100, offset=offset)] for offset in (0, 100, 200, 300)]
    assert [len(page) for page in pages] == [100, 100, 40, 0]
    assert len({id_ for page in pages for id_ in page}) == 240


def test_pages_continue_each_other_where_points_are_hidden(store: Store, collection: str) -> None:
    points = [point(n, f"d{n}", 0, soft_deleted_at="2001-01-01T00:00:00+00:00" if n % 7 == 3 else None) for n in range(60)]
    fill(store, collection, points)
    searcher = Searcher.open(collection, store, models=models_of)
    whole = [hit.id for hit in searcher.search("green chair", limit=60)]
    paged = [hit.id for offset in range(0, 60, 5) for hit in searcher.search("green chair", limit=5, offset=offset)]
    assert len(whole) == sum(n % 7 != 3 for n in range(60))
    assert paged == whole


def test_a_threshold_cuts_by_the_score_that_orders(searcher: Searcher) -> None:
    whole = searcher.search("a red table", limit=50)
    least = whole[9].score
    assert [hit.id for hit in searcher.search("a red table", limit=50, score_threshold=least)] == [
        hit.id for hit in whole if hit.score >= least
    ]
    assert not searcher.search("a red table", score_threshold=1e9)


def test_a_hit_can_be_required_to_be_found_by_several_vectors(searcher: Searcher) -> None:
    hits = searcher.search("a red table", limit=200, min_rank_vectors=2)
    assert hits
    assert all(len(hit.ranks) == 2 for hit in hits)
    assert len(hits) < len(searcher.search("a red table", limit=200))
    assert not searcher.search("a red table", min_rank_vectors=3)


def test_one_long_document_does_not_crowd_out_the_others(searcher: Searcher) -> None:
    hits = searcher.search("blue chair", limit=61, group_by="doc_id")
    assert len(hits) == 61
    assert len({hit.doc_id for hit in hits}) == 61


def test_groups_by_any_field_have_the_best_chunks_of_each_value(searcher: Searcher) -> None:
    hits = searcher.search("blue chair", limit=9, group_by="metadata.author", group_size=3)
    groups = list(dict.fromkeys(hit.group for hit in hits))
    assert set(groups) == {f"a{number}" for number in range(9)}
    assert [hit.group for hit in hits] == [group for group in groups for _ in range(3)]
    assert all(hit.metadata["author"] == hit.group for hit in hits)


def test_a_chunk_with_several_values_is_in_several_groups(searcher: Searcher) -> None:
    hits = searcher.search("blue chair", limit=10, group_by="metadata.tags")
    assert {hit.group for hit in hits} == {"all", "t0", "t1", "t2"}
    numbers = searcher.search("blue chair", limit=10, group_by="metadata.year")
    assert {hit.group for hit in numbers} == {2000, 2001, 2002, 2003, 2004}


def test_true_and_one_are_two_groups(store: Store, collection: str) -> None:
    flags = [True, 1, "1", False, 0, 0.5]
    fill(store, collection, [point(number, f"d{number}", 0, flag=flags[number % 6]) for number in range(12)])
    searcher = Searcher.open(collection, store, models=models_of)
    hits = searcher.search("red table", group_by="metadata.flag", group_size=2)
    groups = [repr(hit.group) for hit in hits]
    assert sorted(groups) == sorted(map(repr, flags * 2))
    assert groups[::2] == groups[1::2]
    assert [repr(hit.group) for hit in hits] == [repr(hit.metadata["flag"]) for hit in hits]
    few = searcher.search("red table", limit=2, group_by="metadata.flag", where={"metadata.flag": [True, 1]})
    assert {repr(hit.group) for hit in few} == {"True", "1"}


def test_documents_of_one_id_in_two_sources_are_two_groups(store: Store, collection: str) -> None:
    fill(store, collection, [point(n, "same", n, source=source) for n, source in enumerate(["s", "s", "t", "t"])])
    searcher = Searcher.open(collection, store, models=models_of)
    hits = searcher.search("red", group_by="doc_id", group_size=2)
    assert [hit.source for hit in hits] in (["s", "s", "t", "t"], ["t", "t", "s", "s"])


def test_recent_documents_are_raised_by_the_documented_formula(store: Store, collection: str) -> None:
    now = datetime.now(UTC)
    points = [point(n, f"d{n}", 0, date=(now - timedelta(days=n)).isoformat(), stars=n) for n in range(40)]
    fill(store, collection, [*points, point(40, "undated", 0)])
    searcher = Searcher.open(collection, store, models=models_of)
    plain = {hit.doc_id: hit for hit in searcher.search("red table", limit=50)}
    for hit in searcher.search("red table", limit=50, boost=["metadata.date:10d*3", Boost("metadata.stars", low=40, high=0)]):
        age = hit.metadata.get("stars")
        factor = 1.0 if age is None else 1 + 3 * 0.5 ** (age / 10) + (40 - age) / 40
        assert hit.score == pytest.approx(plain[hit.doc_id].score * factor, rel=1e-3)
        assert hit.fused_score == pytest.approx(plain[hit.doc_id].fused_score)
    newest = searcher.search("red table", limit=5, boost="metadata.date:1d*1000")
    assert newest[0].doc_id == "d0" or plain["d0"].score == 0


def test_diverse_hits_differ_from_those_before_them(searcher: Searcher) -> None:
    close = searcher.search("a red table", limit=10)
    varied = searcher.search("a red table", limit=10, diversity=0.7)
    assert varied[0].id == close[0].id
    assert similarity(varied) < similarity(close)
    assert [hit.id for hit in searcher.search("a red table", limit=10, diversity=0.0)] == [hit.id for hit in close]
    pages = [hit.id for offset in (0, 5) for hit in searcher.search("a red table", limit=5, offset=offset, diversity=0.7)]
    assert pages == [hit.id for hit in varied]


def similarity(hits: Sequence[Hit]) -> float:
    """Return the mean cosine of each pair of hits."""
    vectors = MODELS[0].encode_documents([hit.text for hit in hits])
    return float((vectors @ vectors.T)[np.triu_indices(len(hits), k=1)].mean())


def test_others_like_a_document_or_chunk_are_found(searcher: Searcher) -> None:
    note = searcher.search("lamp", limit=1, where="doc_id~note")[0]
    for like in (note.doc_id, note.id, note.id.upper()):
        hits = searcher.search(like=like, limit=100)
        assert hits
        assert note.doc_id not in {hit.doc_id for hit in hits}
    assert {hit.doc_id for hit in searcher.search(like="book", limit=20)} <= {f"note {number}" for number in range(180, 240)}
    with pytest.raises(ConfigurationError, match="no document"):
        searcher.search(like="nothing")
    with pytest.raises(ConfigurationError, match="not both"):
        searcher.search("lamp", like="book")
    with pytest.raises(ConfigurationError, match="query"):
        searcher.search()


def test_facets_count_what_the_filter_allows(store: Store, collection: str) -> None:
    points = [*library(), point(999, "gone", 0, author="nobody", soft_deleted_at="2001-01-01T00:00:00+00:00")]
    fill(store, collection, points, author="keyword", year="integer")
    searcher = Searcher.open(collection, store, models=models_of)
    answer = searcher.search("lamp", limit=1, facets=["metadata.author", "metadata.tags", "metadata.year"])
    assert answer.facets["metadata.author"]["a0"] == 180 + sum(n % 9 == 0 and n % 10 > 0 for n in range(180, 240))
    assert "nobody" not in answer.facets["metadata.author"]
    assert answer.facets["metadata.tags"] == {"all": 60, "t0": 20, "t1": 20, "t2": 20}
    assert next(iter(answer.facets["metadata.year"].items())) == ("2000", 192)
    assert searcher.search(like="book", limit=1, facets=["metadata.year"]).facets["metadata.year"]["2000"] == 192
    some = searcher.search("lamp", limit=1, where="metadata.year>2000", facets=["metadata.year"])
    assert some.facets == {"metadata.year": {"2001": 12, "2002": 12, "2003": 12, "2004": 12}}


@pytest.mark.parametrize(
    "options",
    [
        {"boost": "metadata.date"},
        {"boost": "metadata.date:soon"},
        {"boost": [3]},
        {"boost": "metadata.stars:1..1"},
        {"boost": "metadata.stars:0..5*0"},
        {"diversity": 1.1},
        {"diversity": 0.5, "group_by": "doc_id"},
        {"facets": "metadata.year"},
        {"facets": ["a b"]},
        {"like": ""},
        {"snippets": 1},
    ],
    ids=str,
)
def test_wrong_controls_are_refused(searcher: Searcher, options: Any) -> None:
    with pytest.raises(ConfigurationError):
        searcher.search("lamp", **options)


def test_several_collections_are_searched_as_one(store: Store, collection: str) -> None:
    points = [point(n, f"d{n}", 0, parity=str(n % 2)) for n in range(60)]
    for name, part in (("even", points[::2]), ("odd", points[1::2])):
        fill(store, f"{collection}_{name}", part)
    searchers = [Searcher.open(f"{collection}_{name}", store, models=models_of) for name in ("even", "odd")]
    whole = search_together(searchers, "a red table", limit=60, facets=["metadata.parity"])
    assert len(whole) == 60
    assert [hit.score for hit in whole] == sorted((hit.score for hit in whole), reverse=True)
    assert all(hit.collection == f"{collection}_{('even', 'odd')[int(hit.metadata['parity'])]}" for hit in whole)
    assert whole.facets == {"metadata.parity": {"0": 30, "1": 30}}
    paged = [hit.id for offset in range(0, 60, 20) for hit in search_together(searchers, "a red table", limit=20, offset=offset)]
    assert paged == [hit.id for hit in whole]
    groups = search_together(searchers, "a red table", limit=1, group_by="metadata.parity", group_size=3)
    assert len({hit.collection for hit in groups}) == 1
    assert len(groups) == 3
    for wrong in ([], [searchers[0]] * 2, searchers[0], ["even"]):
        with pytest.raises(ConfigurationError, match="searchers"):
            search_together(wrong, "lamp")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="diversity"):
        search_together(searchers, "lamp", diversity=0.5)


def test_collections_of_different_models_are_searched_as_one(store: Store, collection: str) -> None:
    points = [point(n, f"d{n}", 0) for n in range(30)]
    fill(store, f"{collection}_two", points)
    one = [replace(each, vectors={"third": THIRD.encode_documents([each.payload["text"]])[0]}) for each in points]
    fill(store, f"{collection}_one", one, [THIRD])
    searchers = [Searcher.open(f"{collection}_{name}", store, models=models_of) for name in ("two", "one")]
    hits = search_together(searchers, "a red table", limit=60)
    alone = [hit.id for searcher in searchers for hit in searcher.search("a red table", limit=60)]
    assert sorted(hit.id for hit in hits) == sorted(alone)
    assert {hit.collection: set(hit.ranks) for hit in hits} == {
        f"{collection}_two": {"first", "second"},
        f"{collection}_one": {"third"},
    }
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_pages_of_several_collections_continue_each_other_however_far(store: Store, collection: str) -> None:
    points = [point(n, f"d{n}", 0) for n in range(120)]
    for name, part in (("even", points[::2]), ("odd", points[1::2])):
        fill(store, f"{collection}_{name}", part)
    searchers = [Searcher.open(f"{collection}_{name}", store, models=models_of) for name in ("even", "odd")]
    pages = [search_together(searchers, "a red table", limit=30, offset=offset) for offset in range(0, 120, 30)]
    assert {hit.id for page in pages for hit in page} == {each.id for each in points}


class LowestFirst(RerankPipeline):
    """A reranker that prefers low numbers and counts the texts it reads."""

    read = 0

    def missing(self) -> str | None:
        return None

    def rerank(self, query: str, hits: Sequence[Hit], limit: int | None = None) -> RerankResult:
        self.read += len(hits)
        scored = [replace(hit, score=-hit.metadata["n"], rerank_score=-hit.metadata["n"]) for hit in hits]
        best = tuple(sorted(scored, key=lambda hit: -hit.score))[:limit]
        return RerankResult(best, "lowest first", "cpu", None, len(hits), 0.0)


def test_pages_of_several_collections_continue_each_other_where_a_reranker_reads_the_best(store: Store, collection: str) -> None:
    """It reads as many of each collection for the last page as for the first, and its hits come before the others."""
    points = [point(n, f"d{n}", 0, n=n) for n in range(160)]
    reranker, searchers = LowestFirst(), []
    for name, part in (("even", points[::2]), ("odd", points[1::2])):
        fill(store, f"{collection}_{name}", part)
        searchers.append(Searcher.open(f"{collection}_{name}", store, models=models_of, reranker=reranker))
    hits: list[Hit] = []
    for offset in range(0, 160, 40):
        reranker.read = 0
        hits += search_together(searchers, "a red table", limit=40, offset=offset, rerank="on")
        assert reranker.read == 100
    assert {hit.id for hit in hits} == {each.id for each in points}
    assert [hit.rerank_score is None for hit in hits] == [False] * 100 + [True] * 60


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"boost": "metadata.year:30d"}, "boost: metadata.year has values such as 200.: .* metadata.year:0..10"),
        ({"boost": "metadata.author:0..5"}, "boost: metadata.author has values such as 'a.': a range needs numbers"),
        ({"group_by": "metadata"}, "group_by: metadata has values such as .*: group by a field in them"),
        ({"vectors": ["first"], "min_rank_vectors": 2}, "min_rank_vectors: 2 vectors must find a hit, and only first is queried"),
        ({"boost": "metadata.year:2000..2005", "group_by": "metadata.tags", "facets": ["metadata"]}, None),
    ],
    ids=str,
)
def test_an_option_without_effect_or_hits_says_so(searcher: Searcher, options: Any, says: str | None) -> None:
    warnings = searcher.search("a red table", **options).warnings
    assert len(warnings) == (says is not None)
    assert says is None or re.match(says, warnings[0])


def test_a_hit_says_where_it_stands_and_can_be_filtered_by_it(store: Store, collection: str) -> None:
    plain = point(0, "plain", 0)
    place = {
        "section": ["Refunds", "Limits"],
        "table_header": "| a |",
        "page": 3,
        "url": "https://x.test/doc",
        "anchor": "limits",
    }
    placed = point(1, "placed", 0)
    fill(store, collection, [plain, replace(placed, payload={**placed.payload, **place})])
    searcher = Searcher.open(collection, store, models=models_of)
    [hit] = searcher.search("red", where="section=Limits and page>=3")
    assert (hit.section, hit.table_header, hit.page) == (("Refunds", "Limits"), "| a |", 3)
    assert (hit.url, hit.anchor) == ("https://x.test/doc", "limits")
    [hit] = searcher.search("red", where="page is missing")
    assert (hit.section, hit.page, hit.url) == ((), None, None)
