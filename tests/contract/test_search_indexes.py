"""Payload indexes and tenants, in every store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

import ingest
from ingest.encode.contract import Model
from ingest.errors import ConfigurationError, StoreError
from ingest.identity import chunk_id, doc_key
from ingest.records import Chunk, Document, Fingerprint, Hit, Point
from ingest.search import Searcher
from ingest.search import fields as field_checks
from ingest.search.fusion import Fused
from ingest.store.contract import CollectionOptions, Manifest, Store, VectorSpec
from ingest.store.payload_index import PayloadIndex
from ingest.store.schema import INDEXED_FIELDS, build_payload, with_fingerprint
from ingest.testing import HashEncoder

MODELS = (HashEncoder("first", 16), HashEncoder("second", 24))
TENANTS = ("acme", "bell", "coop")


def models_of(keys: Sequence[str]) -> list[Model]:
    return [model for key in keys for model in MODELS if model.key == key]


def point(number: int, **metadata: Any) -> Point:
    text = f"text {number} of {metadata.get('tenant')}"
    document = Document(f"doc {number // 3}", text, title=f"title {number // 3}", metadata=metadata)
    key = doc_key("s", document.id)
    piece = Chunk(chunk_id(key, text, 0), number % 3, 0, len(text), text)
    made_from = Fingerprint(piece.id, key, "", 1, "", "", {})
    vectors = {model.key: model.encode_documents([text])[0] for model in MODELS}
    return Point(piece.id, vectors, with_fingerprint(build_payload(document, piece, "s"), made_from))


def fill(store: Store, collection: str, points: Sequence[Point], **index: str) -> None:
    specs = tuple(VectorSpec(model.key, model.dim, model.fingerprint, space=model.space) for model in MODELS)
    store.ensure(Manifest(collection, collection, specs), CollectionOptions(index=index))
    store.upsert(collection, points)


def test_declared_indexes_are_made_and_added_and_changed(store: Store, collection: str) -> None:
    fill(store, collection, [point(n, year=2000 + n, tenant="acme") for n in range(3)], year="integer")
    assert store.indexes(collection) == {**INDEXED_FIELDS, "metadata.year": PayloadIndex("integer")}
    assert store.indexes(collection)["metadata.year"].points == 3
    fill(store, collection, [], tenant="keyword tenant", title="keyword", year="float")
    assert store.indexes(collection) == {
        **INDEXED_FIELDS,
        "metadata.year": PayloadIndex("float"),
        "metadata.tenant": PayloadIndex("keyword", tenant=True),
    }
    fill(store, collection, [])
    assert "metadata.tenant" in store.indexes(collection)


@pytest.mark.parametrize("index", [{"year": "number"}, {"year": "integer tenant"}, {"a b": "integer"}, {"year": 3}, ["year"], 3])
def test_a_wrong_index_is_refused(index: Any) -> None:
    with pytest.raises(ConfigurationError, match="index"):
        CollectionOptions(index=index)


def test_a_collection_of_python_takes_indexes(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    indexed = ingest.Collection(handbook.name, store=handbook.store, models=["bm25"], index={"year": "integer"})
    indexed.sync(rules, name="rules")
    assert indexed.info().indexes["metadata.year"] == PayloadIndex("integer", points=3)
    assert len(indexed.search("refunds leave laptops", where="metadata.year>=2021.5")) == 1


def test_a_strict_server_is_searched_with_context_and_filters(server_url: str, client: QdrantClient, collection: str) -> None:
    with ingest.open_store(server_url) as store:
        fill(store, collection, [point(n, year=2000 + n) for n in range(9)], year="integer")
        client.update_collection(
            collection, strict_mode_config=models.StrictModeConfig(enabled=True, unindexed_filtering_retrieve=False)
        )
        searcher = Searcher.open(collection, store, models=models_of)
        hits = searcher.search("text 4", limit=9, context=1, where="metadata.year>=2001 and chunk=1")
        assert {(len(hit.before), len(hit.after)) for hit in hits} == {(1, 1)}
        assert len(searcher.search("text", where='title="title 1" or doc_id="doc 0" or source=other')) == 6
        assert len(searcher.search("text", group_by="doc_id")) == 3
        assert len(searcher.search("text", group_by="title", where="metadata.year is not missing")) == 3
        with pytest.raises(
            StoreError, match=r'strict mode.*metadata\.lang has no index: write "lang" = "keyword" under \[index\]'
        ):
            searcher.search("text", where="metadata.lang=en")
    client.delete_collection(collection)


@pytest.mark.parametrize(
    ("index", "where", "hint"), [("datetime", "metadata.x>=2", "date"), ("integer", "metadata.x>=2020-01-01", "number")]
)
def test_a_comparison_that_an_index_answers_wrongly_is_refused(
    store: Store, collection: str, index: str, where: str, hint: str
) -> None:
    fill(store, collection, [point(0, x=3)], x=index)
    with pytest.raises(ConfigurationError, match=hint):
        Searcher.open(collection, store, models=models_of).search("text", where=where)


def test_what_an_integer_index_leaves_out_is_told(store: Store, collection: str) -> None:
    fill(store, collection, [point(n, x=number) for n, number in enumerate([1, 1.0, 2.5, 2])], x="integer")
    answer = Searcher.open(collection, store, models=models_of).search("text", where="metadata.x=1")
    left_out = 4 - (store.indexes(collection)["metadata.x"].points or 0)  # the embedded engine takes 1.0 for an integer
    assert len(answer) == 3 - left_out
    assert f"leaves out {left_out} chunks" in answer.warnings[0]


def test_a_filter_without_an_index_on_a_large_collection_is_told(
    store: Store, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_checks, "LARGE", 3)
    fill(store, collection, [point(n, year=n, lang="en") for n in range(3)], year="integer")
    searcher = Searcher.open(collection, store, models=models_of)
    assert "lang to [index]" in searcher.search("text", where="metadata.year=1 or metadata.lang=de").warnings[0]
    assert not searcher.search("text", where="metadata.year=1 and chunk=1").warnings


def test_a_substring_is_never_a_word_match(server_url: str, client: QdrantClient, collection: str) -> None:
    with ingest.open_store(server_url) as store:
        fill(store, collection, [point(0, note="overview")])
        searcher = Searcher.open(collection, store, models=models_of)
        assert len(searcher.search("text", where="metadata.note~verv")) == 1
        client.create_payload_index(collection, "metadata.note", models.PayloadSchemaType.TEXT, wait=True)
        with pytest.raises(ConfigurationError, match="full-text index"):
            searcher.search("text", where="not metadata.note~verv")
    client.delete_collection(collection)


where = st.sampled_from(
    [
        None,
        "metadata.tenant=bell",
        "metadata.tenant!=acme",
        "metadata.tenant is missing or metadata.n>=0",
        {"not": ["metadata.tenant=acme"]},
        {"or": ["metadata.tenant=bell", models.Filter(must_not=[models.HasIdCondition(has_id=[point(0).id])])]},
        models.Filter(should=[models.FieldCondition(key="metadata.tenant", match=models.MatchValue(value="coop"))]),
    ]
)
options = st.fixed_dictionaries(
    {},
    optional={
        "where": where,
        "limit": st.integers(1, 40),
        "offset": st.integers(0, 10),
        "group_by": st.sampled_from(["doc_id", "metadata.tenant", "title"]),
        "context": st.integers(0, 2),
        "vectors": st.sampled_from([["first"], ["second"]]),
        "feedback": st.booleans(),
    },
)


def test_a_searcher_of_a_tenant_never_returns_points_of_another(store: Store, collection: str) -> None:
    points = [point(n, n=n, tenant=TENANTS[n % 3]) for n in range(30)]
    points += [point(n, n=n) for n in range(30, 33)] + [point(n, n=n, tenant=["bell", "coop"]) for n in range(33, 36)]
    fill(store, collection, points, tenant="keyword tenant")
    searchers = {name: Searcher.open(collection, store, models=models_of, tenant=name) for name in TENANTS}
    searchers["by field"] = Searcher.open(collection, store, models=models_of, tenant={"metadata.tenant": "acme"})
    every = [[Fused(each.id, 1.0, {}, {}, {}) for each in points]]
    texts = {each.payload["text"]: each.payload["metadata"].get("tenant") for each in points}

    @settings(max_examples=30, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(searchers)), st.sampled_from(["text 1 of bell", "title"]), options)
    def ask(name: str, query: str, chosen: dict[str, Any]) -> None:
        tenant, searcher = "acme" if name == "by field" else name, searchers[name]
        answer = searcher.search(query, **chosen)
        assert all(belongs(hit.metadata.get("tenant"), tenant) for hit in answer)
        assert all(belongs(texts[text], tenant) for hit in answer for text in (*hit.before, *hit.after))
        others = [other for other in TENANTS if other != tenant]
        assert not any(f"'{other}'" in sentence for sentence in answer.warnings for other in others)
        found: list[Hit] = searcher.hits(every)[0]
        assert found
        assert all(belongs(hit.metadata.get("tenant"), tenant) for hit in found)
        own = {hit.id for hit in found}
        assert {each.id for ranking in searcher.rankings(query, where=chosen.get("where")).values() for each in ranking} <= own

    ask()
    assert len(searchers["acme"].search("text", limit=100)) == 10
    assert len(searchers["bell"].search("text", limit=100)) == 13


def test_a_collection_can_be_searched_for_one_tenant(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    place: dict[str, Any] = {"store": handbook.store, "models": ["bm25"]}
    rows = [{**rule, "tenant": tenant} for rule, tenant in zip(rules, ("acme", "bell", "acme"), strict=True)]
    ingest.Collection(handbook.name, index={"tenant": "keyword tenant"}, **place).sync(rows, name="rules")
    acme = ingest.Collection(handbook.name, tenant="acme", **place)
    assert {hit.doc_id for hit in acme.search("refunds leave laptops")} == {"refunds", "laptops"}
    assert acme.why("leave", "leave").cause == "not stored"
    assert acme.info().points == 3
    refused: list[Any] = [5, "", {}]
    for wrong in refused:
        with pytest.raises(ConfigurationError, match="tenant"):
            ingest.Collection(handbook.name, tenant=wrong, **place)


def belongs(value: object, tenant: str) -> bool:
    return tenant in value if isinstance(value, list) else value == tenant


@pytest.mark.parametrize("tenant", ["", 5, {}, {"a b": "x"}, {"a": 3}, ["acme"], True])
def test_a_wrong_tenant_is_refused(store: Store, collection: str, tenant: Any) -> None:
    fill(store, collection, [])
    with pytest.raises(ConfigurationError, match="tenant"):
        Searcher.open(collection, store, models=models_of, tenant=tenant)


def test_a_tenant_without_its_index_is_refused(store: Store, collection: str) -> None:
    fill(store, collection, [point(0, tenant="acme")], tenant="keyword")
    with pytest.raises(ConfigurationError, match="keyword tenant"):
        Searcher.open(collection, store, models=models_of, tenant="acme")
