"""Why a document is not in an answer: each cause is planted, and each change that is named is tried, in every store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import ingest
from ingest.encode.contract import Model
from ingest.identity import chunk_id, doc_key
from ingest.records import Chunk, Document, Fingerprint, Hit, Point
from ingest.search import RerankPipeline, Searcher
from ingest.search.answer import RerankResult
from ingest.search.why import WhyCause
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Manifest, Store, VectorSpec
from ingest.store.schema import build_payload, with_fingerprint
from ingest.testing import HashEncoder

MODELS = (HashEncoder("first", 16), HashEncoder("second", 24))
QUERY = "what is sought"
SIZE = 300
FUSIONS: tuple[ingest.FusionMethod, ...] = ("scores", "rrf", "dbsf")
OPTIONS: list[Any] = [
    {},
    {"where": "metadata.n<5"},
    {"limit": 3, "offset": 2},
    {"min_rank_vectors": 2},
    {"group_by": "metadata.parity", "group_size": 2, "score_threshold": 0.5},
    {"boost": "metadata.n:300..0", "diversity": 0.5},
]


def models_of(keys: Sequence[str]) -> list[Model]:
    return [model for key in keys for model in MODELS if model.key == key]


def point(number: int, *, soft_deleted_at: str | None = None, vectors: Sequence[str] = ("first", "second")) -> Point:
    text = f"text {number}"
    document = Document(f"d{number}", text, metadata={"n": number, "parity": number % 2, "side": ("even", "odd")[number % 2]})
    key = doc_key("s", document.id)
    piece = Chunk(chunk_id(key, text, 0), 0, 0, len(text), text)
    made_from = Fingerprint(piece.id, key, "", 1, "", "", {}, soft_deleted_at)
    stored = {model.key: model.encode_documents([text])[0] for model in MODELS if model.key in vectors}
    return Point(piece.id, stored, with_fingerprint(build_payload(document, piece, "s"), made_from))


class Reversing(RerankPipeline):
    """A reranker that puts the worst first."""

    def missing(self) -> str | None:
        return None

    def rerank(self, query: str, hits: Sequence[Hit], limit: int | None = None) -> RerankResult:
        order = tuple(reversed(hits))[:limit]
        return RerankResult(order, "reversing", "cpu", None, len(hits), 0.0)


@pytest.fixture(scope="module", params=["embedded", "server"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    embedded = request.param == "embedded"
    place: str | Path = tmp_path_factory.mktemp("why") if embedded else request.getfixturevalue("server_url")
    with open_store(place) as opened:
        specs = tuple(VectorSpec(model.key, model.dim, model.fingerprint, space=model.space) for model in MODELS)
        opened.ensure(Manifest("test_why", "test_why", specs), CollectionOptions())
        points = [point(number) for number in range(SIZE)]
        points += [point(SIZE, soft_deleted_at="2001-01-01T00:00:00+00:00"), point(SIZE + 1, vectors=())]
        opened.upsert("test_why", points)
        yield opened
        opened.drop("test_why")


@pytest.fixture(scope="module")
def searcher(store: Store) -> Searcher:
    return Searcher.open("test_why", store, models=models_of, reranker=Reversing())


@pytest.fixture(scope="module")
def ranks(searcher: Searcher) -> dict[str, dict[str, int]]:
    """Document → vector → rank."""
    found: dict[str, dict[str, int]] = {}
    for name, ranking in searcher.rankings(QUERY, depth=1000).items():
        for rank, each in enumerate(ranking, start=1):
            found.setdefault(each.payload["doc_id"], {})[name] = rank
    return found


def order(searcher: Searcher, **options: Any) -> list[str]:
    return [hit.doc_id for hit in searcher.search(QUERY, limit=100, **options)]


def assert_cause(searcher: Searcher, doc_id: str, cause: WhyCause, says: str = "", **options: Any) -> ingest.Why:
    """Check the cause, and that the change brings the document in, if one is named."""
    why = searcher.why(QUERY, doc_id, **options)
    assert why.cause == cause, why
    assert says in why.sentence
    assert "Condition(" not in why.sentence
    answer = searcher.search(QUERY, **{**options, **why.change})
    if why.change or cause == "found":
        assert doc_id in {hit.doc_id for hit in answer}
    else:
        assert cause in ("not stored", "soft-deleted", "depth")
    return why


def test_what_is_found_says_where(searcher: Searcher) -> None:
    third = order(searcher)[2]
    assert assert_cause(searcher, third, "found").position == 3


def test_what_is_not_stored_or_soft_deleted_is_told(searcher: Searcher) -> None:
    assert_cause(searcher, "nothing", "not stored", "sync")
    assert_cause(searcher, f"d{SIZE}", "soft-deleted", f"--doc-id d{SIZE}")


def test_a_filter_is_named(searcher: Searcher) -> None:
    first = order(searcher)[0]
    parity = int(first[1:]) % 2
    why = assert_cause(searcher, first, "filter", "where metadata.n=-1:", where=["metadata.n=-1", f"metadata.parity={parity}"])
    assert len(why.change["where"]) == 1
    assert_cause(searcher, first, "filter", f"not (metadata.parity={parity})", where=f"not metadata.parity={parity}")
    far = order(searcher)[-1]
    assert_cause(searcher, far, "filter", "source", where="source=other", limit=3)


def test_an_option_is_named(searcher: Searcher, ranks: dict[str, dict[str, int]]) -> None:
    whole = searcher.search(QUERY, limit=10)
    first, fifth = whole[0].doc_id, whole[4].doc_id
    assert_cause(searcher, first, "option", "offset", offset=3)
    assert_cause(searcher, fifth, "option", "threshold", score_threshold=whole[4].score + 1e-6)
    one = next(hit.doc_id for hit in searcher.search(QUERY, limit=50) if len(hit.ranks) == 1)
    assert_cause(searcher, one, "option", "min_rank_vectors", min_rank_vectors=2, limit=50)
    assert_cause(searcher, first, "option", "group", group_by="metadata.nothing")
    doc_id, weak = next(
        (doc_id, name) for doc_id in order(searcher, feedback=False)[:10] for name, rank in ranks[doc_id].items() if rank > 10
    )
    strong = next(name for name in ranks[doc_id] if name != weak)
    assert_cause(searcher, doc_id, "option", "queried", vectors=[weak], feedback=False)
    assert_cause(searcher, doc_id, "option", "weights", weights={weak: 1, strong: 0}, feedback=False)


def test_an_order_that_puts_others_first_is_named(searcher: Searcher) -> None:
    tenth = order(searcher)[9]
    number = int(tenth[1:])
    assert_cause(
        searcher, tenth, "option", "boosts", boost=f"metadata.n:{number}..{number - 1}*100" if number else "metadata.n:0..1*100"
    )
    last = next(doc_id for doc_id in order(searcher)[9::-1] if doc_id not in order(searcher, diversity=1.0)[:10])
    assert_cause(searcher, last, "option", "too much like", diversity=1.0)


def test_what_another_tenant_has_is_not_stored(store: Store) -> None:
    odd = Searcher.open("test_why", store, models=models_of, tenant={"metadata.side": "odd"})
    assert_cause(odd, "d0", "not stored")
    assert_cause(odd, order(odd)[0], "found")


def test_the_page_of_a_document_is_named(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.search.why.MAX_LIMIT", 120)
    last = order(searcher, feedback=False, offset=150)[50]
    why = assert_cause(searcher, last, "depth", "offset=120", feedback=False)
    assert (why.position, why.change["offset"]) == (201, 120)


def test_depth_fusion_and_reranking_are_told_apart(searcher: Searcher, ranks: dict[str, dict[str, int]]) -> None:
    deep = next(doc_id for doc_id, own in ranks.items() if len(own) == 2 and min(own.values()) > 130)
    why = assert_cause(searcher, deep, "depth", "100", feedback=False)
    assert {name: place.rank for name, place in why.vectors.items()} == ranks[deep]
    late = order(searcher)[60]
    why = assert_cause(searcher, late, "fusion", "higher fused scores")
    assert why.position == 61
    assert "rerank" not in why.change
    best = order(searcher)[0]
    assert_cause(searcher, best, "reranking", "reranker", rerank="on")
    without = assert_cause(searcher, f"d{SIZE + 1}", "depth", "none finds it")
    assert {place.rank for place in without.vectors.values()} == {None}


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_change_always_brings_the_document_in(searcher: Searcher, fusion: ingest.FusionMethod) -> None:
    """Each option is tried with another document for each way to fuse."""
    for place, number in enumerate(range(29, SIZE, 75)):
        options = OPTIONS[(place + FUSIONS.index(fusion)) % len(OPTIONS)]
        why = searcher.why(QUERY, f"d{number}", fusion=fusion, **options)
        answer = searcher.search(QUERY, fusion=fusion, **{**options, **why.change})
        assert f"d{number}" in {hit.doc_id for hit in answer}, why


def test_a_rejected_document_is_found_in_the_rejects(handbook: ingest.Collection, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"id": "a", "text": "fine"}\n{"id": "b", "text": 7}\n', encoding="utf-8")
    handbook.sync(rows)
    why = handbook.why("fine", "b")
    assert why.cause == "rejected", why
    assert "rows.jsonl" in why.sentence or "2" in why.sentence
    assert handbook.why("fine", "a").cause == "found"
