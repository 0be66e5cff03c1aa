"""The limits of a search and its edge cases, in every store: a complete answer or one sentence, never a part of an answer."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import Fault, FaultyProxy, Request

import ingest
from ingest.encode.contract import Model
from ingest.records import TokenLimit
from ingest.search.request import MAX_LIMIT, MAX_QUERY
from ingest.testing import HashEncoder

MODELS: dict[str, list[str | Model]] = {
    "three vectors": [HashEncoder("one", 16), HashEncoder("two", 24, revision="2"), "bm25"],
    "one vector": [HashEncoder("one", 16)],
    "words alone": ["bm25"],
}
RULES = [{"id": f"d{n}", "text": f"Rule {n}: refunds of kind {n % 7} are approved by clerk {n}.", "n": n} for n in range(20)]
"""Twenty documents: fewer than a vector ranks, so no list has a hundredth."""

EMOJI = "🪑🔥🏳️‍🌈"
OPTIONS: list[dict[str, Any]] = [
    {},
    {"fusion": "rrf"},
    {"fusion": "dbsf"},
    {"group_by": "doc_id"},
    {"min_rank_vectors": 2},
    {"boost": "metadata.n:0..20"},
    {"context": 1, "snippets": True, "facets": ["metadata.n"]},
]


@pytest.fixture(params=["embedded", "server"], scope="module")
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for the embedded engine, or the address of a server."""
    embedded = request.param == "embedded"
    return str(tmp_path_factory.mktemp("limits")) if embedded else str(request.getfixturevalue("server_url"))


@pytest.fixture(scope="module")
def collections(place: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ingest.Collection]]:
    """A collection of each set of models, and empty ones."""
    state = tmp_path_factory.mktemp("state")
    with ingest.open_store(place) as store:
        made = {}
        for number, (name, models) in enumerate(MODELS.items()):
            made[name] = ingest.Collection(f"test_limits_{number}", store=store, models=models, state=state)
            made[name].sync(RULES, name="rules")
            empty = made[f"{name}, empty"] = ingest.Collection(
                f"test_limits_empty_{number}", store=store, models=models, state=state
            )
            empty.sync([], name="rules")
        yield made
        for each in made.values():
            each.drop()


@pytest.mark.parametrize("name", MODELS)
def test_every_option_works_on_few_points_and_on_none(collections: dict[str, ingest.Collection], name: str) -> None:
    for options in OPTIONS:
        vectors = len(MODELS[name])
        hits = collections[name].search("who approves refunds of kind 3?", limit=100, **options)
        assert len(hits) == (0 if options.get("min_rank_vectors", 1) > vectors else 20)
        few = collections[name].search("refunds", limit=100, where="metadata.n in [3, 5, 8]", **options)
        assert {hit.doc_id for hit in few} == ({"d3", "d5", "d8"} if hits else set())
        assert not collections[f"{name}, empty"].search("refunds", **options).hits


@pytest.mark.parametrize("name", MODELS)
def test_diversity_needs_a_dense_vector_alone(collections: dict[str, ingest.Collection], name: str) -> None:
    if name == "words alone":
        with pytest.raises(ingest.ConfigurationError, match="diversity"):
            collections[name].search("refunds", diversity=0.5)
        return
    assert len(collections[name].search("refunds", limit=20, diversity=0.5)) == 20


@pytest.mark.parametrize("query", ["the of and", EMOJI, "\u202e", "!?", "binding a name " * (100_000 // 15)])
def test_a_query_without_words_of_the_collection_has_an_answer(collections: dict[str, ingest.Collection], query: str) -> None:
    assert not collections["words alone"].search(query).hits
    assert len(collections["three vectors"].search(query)) == 10
    assert len(collections["one vector"].search(query)) == 10


def test_pages_end_and_are_at_most_a_thousand_hits(collections: dict[str, ingest.Collection]) -> None:
    three = collections["three vectors"]
    assert len(three.search("refunds", limit=MAX_LIMIT)) == 20
    assert not three.search("refunds", offset=20).hits
    assert not three.search("refunds", offset=9_000, limit=MAX_LIMIT, group_by="doc_id").hits
    refused: list[tuple[dict[str, Any], str]] = [
        ({"limit": 0}, "at least 1"),
        ({"limit": MAX_LIMIT + 1}, "offset"),
        ({"offset": 9_500, "limit": MAX_LIMIT}, "10,000"),
    ]
    for wrong, says in refused:
        with pytest.raises(ingest.ConfigurationError, match=says):
            three.search("refunds", **wrong)
        with pytest.raises(ingest.ConfigurationError, match=says):
            three.searcher.search_batch(["refunds"], **wrong)


def test_a_query_has_at_least_a_letter_and_at_most_the_length_that_is_told(collections: dict[str, ingest.Collection]) -> None:
    words = collections["words alone"]
    for empty in ("", " \n\t"):
        with pytest.raises(ingest.ConfigurationError, match="is empty"):
            words.search(empty)
    assert words.search("refunds " * (MAX_QUERY // 8)).hits
    with pytest.raises(ingest.ConfigurationError, match="query: 200,001 characters are more than 200,000"):
        words.search("x" * (MAX_QUERY + 1))


class ShortSighted(HashEncoder):
    """A model that reads five words."""

    @property
    def token_limit(self) -> TokenLimit:
        return TokenLimit(self.key, 5, lambda texts: [len(text.split()) for text in texts])


def test_a_model_that_reads_only_the_beginning_of_a_query_is_told(tmp_path: Path) -> None:
    with ingest.Collection(
        "short", store=tmp_path / "store", models=[ShortSighted("short", 16), "bm25"], state=tmp_path
    ) as short:
        short.sync([{"id": "a", "text": "one two"}], name="rules")
        assert short.search("one two three four five six").warnings == ("short reads the first 5 of the query's 6 tokens",)
        assert not short.search("one two three four five").warnings
        assert not short.search("one two three four five six", vectors=["bm25"]).warnings


def test_a_facet_of_more_values_than_are_listed_is_told(
    collections: dict[str, ingest.Collection], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not collections["words alone"].search("refunds", facets=["metadata.n"]).warnings
    monkeypatch.setattr("ingest.search.facets.MAX_FACETS", 7)
    answer = collections["words alone"].search("refunds", facets=["metadata.n"])
    assert len(answer.facets["metadata.n"]) == 7
    assert "metadata.n" in answer.warnings[0]


def test_a_search_that_loses_a_request_is_an_error_and_never_a_part_of_an_answer(
    server_url: str, collection: str, tmp_path: Path
) -> None:
    """Whichever of its requests is cut off, or never answered."""
    options: Any = {"context": 1, "snippets": True, "facets": ["metadata.n"], "where": "metadata.n>=5"}
    impatient: Any = {"retry": ingest.RetryPolicy(attempts=1), "timeout": 1.0, "prefer_grpc": False}
    strike: Iterator[Fault | None] = repeat(None)
    reads = 0

    def cue(request: Request) -> Fault | None:
        nonlocal reads
        reads += request.method == "POST"
        return next(strike) if request.method == "POST" else None

    with FaultyProxy(server_url, cue) as proxy:
        made = ingest.Collection(collection, store=proxy.url, models=MODELS["three vectors"], state=tmp_path, **impatient)
        with made:
            made.sync(RULES, name="rules")
            whole = made.search("refunds", **options)
            reads = 0
            assert made.search("refunds", **options).hits == whole.hits
            assert reads > 4
            for number, fault in [(0, Fault.SILENT), *((number, Fault.CUT) for number in range(reads))]:
                strike = chain(repeat(None, number), [fault], repeat(None))
                with pytest.raises(ingest.StoreUnavailableError):
                    made.search("refunds", **options)
            assert made.search("refunds", **options).hits == whole.hits
            made.drop()
