"""Searching in every store: what it asks of one, what it hides, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from ingest.encode.contract import Model
from ingest.errors import CollectionNotFoundError, StoreError
from ingest.identity import chunk_id, doc_key
from ingest.records import Chunk, Document, Fingerprint, Point, ScoredPoint
from ingest.search import Searcher
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Condition, Manifest, Store, VectorQuery, VectorSpec
from ingest.store.schema import build_payload, with_fingerprint
from ingest.testing import HashEncoder

MODELS = (HashEncoder("first", 32), HashEncoder("second", 32, revision="2"))
LONG_AGO = "2001-01-01T00:00:00+00:00"


def models_of(keys: Sequence[str]) -> list[Model]:
    return [model for key in keys for model in MODELS if model.key == key]


def point(
    text: str,
    doc_id: str | None = None,
    number: int = 0,
    *,
    metadata: Mapping[str, Any] | None = None,
    soft_deleted_at: str | None = None,
) -> Point:
    document = Document(doc_id or text, text, metadata=metadata or {})
    key = doc_key("test", document.id)
    chunk = Chunk(chunk_id(key, text, 0), number, 0, len(text), text)
    made_from = Fingerprint(chunk.id, key, "", 1, "", "", {}, soft_deleted_at)
    vectors = {model.key: model.encode_documents([text])[0] for model in MODELS}
    return Point(chunk.id, vectors, with_fingerprint(build_payload(document, chunk, "test"), made_from))


BOOK = [point(f"page {number}", "book", number) for number in range(3)]
NOTES = [point(f"note {number}", metadata={"year": 2000 + number, "tags": ["short", f"n{number}"]}) for number in range(4)]


class QueriesSeen:
    """A store that writes down the queries it was asked. Everything else is the store it wraps."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.seen: list[Sequence[VectorQuery]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def query(
        self, collection: str, queries: Sequence[VectorQuery], *, payload: Sequence[str] | bool = True
    ) -> list[list[ScoredPoint]]:
        self.seen.append(queries)
        return self._store.query(collection, queries, payload=payload)


@pytest.fixture
def filled(store: Store, collection: str) -> Store:
    specs = tuple(VectorSpec(model.key, model.dim, model.fingerprint, space=model.space) for model in MODELS)
    store.ensure(Manifest(collection, collection, specs), CollectionOptions())
    store.upsert(collection, [*BOOK, *NOTES])
    return store


@pytest.fixture
def searcher(filled: Store, collection: str) -> Searcher:
    return Searcher.open(collection, filled, models=models_of)


def test_points_are_retrieved_by_their_ids(filled: Store, collection: str) -> None:
    nobody = chunk_id("nobody", "", 0)
    found = {each.id: each for each in filled.retrieve(collection, [NOTES[2].id, nobody, BOOK[0].id])}
    assert {id_: each.payload for id_, each in found.items()} == {each.id: each.payload for each in (NOTES[2], BOOK[0])}
    assert all(not each.vectors for each in found.values())
    [light] = filled.retrieve(collection, [NOTES[2].id], payload=["doc_id", "_ingest.doc_key"], vectors=["first"])
    assert light.payload == {"doc_id": "note 2", "_ingest": {"doc_key": doc_key("test", "note 2")}}
    assert light.vectors.keys() == {"first"}
    assert filled.retrieve(collection, []) == []
    [bare] = filled.retrieve(collection, [NOTES[2].id], payload=False)
    assert bare.payload == {}


def test_hits_are_whole(searcher: Searcher) -> None:
    best = searcher.search("note 3", limit=1)[0]
    assert (best.text, best.doc_id, best.source, best.title) == ("note 3", "note 3", "test", None)
    assert (best.chunk, best.start, best.end) == (0, 0, 6)
    assert best.metadata == {"year": 2003, "tags": ["short", "n3"]}


def test_what_waits_for_its_deletion_is_never_shown(searcher: Searcher, filled: Store, collection: str) -> None:
    filled.upsert(collection, [point(f"note {number}", soft_deleted_at=LONG_AGO) for number in (1, 2)])
    filled.upsert(collection, [point("page 1 as it was", "book", 1, soft_deleted_at=LONG_AGO)])
    shown = {hit.text for hit in searcher.search("note 1")}
    assert shown == {"note 0", "note 3", "page 0", "page 1", "page 2"}
    assert len(searcher.search("note 1", limit=5)) == 5
    assert not searcher.search("note 1", where={"doc_id": "note 1"})
    assert [len(answer) for answer in searcher.search_batch(["note 1", "page 0"])] == [5, 5]
    assert {hit.doc_id for hit in searcher.search("note 2", group_by="doc_id")} == {"note 0", "note 3", "book"}
    assert searcher.search("page 0", limit=1, context=1)[0].after == ("page 1",)
    assert all(len(found) == 5 for found in searcher.rankings("note 1").values())


def test_nothing_is_filtered_for_where_nothing_waits(filled: Store, collection: str) -> None:
    watched = QueriesSeen(filled)
    searcher = Searcher.open(collection, watched, models=models_of)
    assert len(searcher.search("note 1")) == 7
    assert [query.conditions for queries in watched.seen for query in queries] == [()] * 4  # each vector, with feedback
    filled.upsert(collection, [point("note 1", soft_deleted_at=LONG_AGO)])
    assert len(searcher.search("note 1")) == 6
    assert len(watched.seen) == 6


def test_points_of_other_tools_are_not_shown(searcher: Searcher, filled: Store, collection: str) -> None:
    vectors = NOTES[0].vectors
    payloads: list[dict[str, Any]] = [{}, {"text": "theirs"}, {"doc_id": 1, "source": "theirs"}, {"_ingest": "theirs"}]
    filled.upsert(collection, [Point(chunk_id("theirs", "", n), vectors, payload) for n, payload in enumerate(payloads)])
    filled.upsert(collection, [Point("7", vectors, {"text": "theirs", "number": 7})])
    answer = searcher.search("note 0", limit=20)
    assert (answer[0].text, len(answer)) == ("note 0", 7)


@pytest.mark.parametrize(
    ("where", "hits", "unknown"),
    [
        ({"metadata.yaer": {"gte": 2000}}, 0, ["metadata.yaer"]),
        ({"metadata.yaer": {"not": 2000}}, 7, ["metadata.yaer"]),
        ({"metadata.yaer": {"exists": False}, "metadata.year": 2001}, 1, ["metadata.yaer"]),
        ({"metadata.yaer": 1, "metadta.year": 2001, "source": "test"}, 0, ["metadata.yaer", "metadta.year"]),
        ({"metadata.year": {"gte": 3000}}, 0, []),
        ({"metadata.year": {"not": 2001}}, 6, []),
        ({"metadata.year": {"exists": False}}, 3, []),
        ({"metadata.tags": "n2"}, 1, []),
        ({"metadata.tags[]": "n9"}, 0, []),
        ({"metadata.tags[]": "n2"}, 1, []),
    ],
)
def test_a_field_that_no_chunk_has_is_told(searcher: Searcher, where: dict[str, Any], hits: int, unknown: list[str]) -> None:
    answer = searcher.search("note 1", where=where)
    assert len(answer) == hits
    assert [warning.split(" has a field ")[1].split(":")[0] for warning in answer.warnings] == unknown
    assert searcher.search("note 1", where=where).warnings == answer.warnings


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ({"where": "metadata.yaer=2001"}, "metadata.year"),
        ({"where": "year=2001"}, "metadata.year"),
        ({"where": "tag:short"}, "metadata.tags"),
        ({"where": "docid=book"}, "doc_id"),
        ({"where": "_ingest.dockey=x"}, None),
        ({"where": "metadata.nothing_like_it=1"}, None),
        ({"group_by": "metadata.yaer"}, "metadata.year"),
        ({"boost": "metadata.yaer:0..3000"}, "metadata.year"),
        ({"facets": ["metadata.tag"]}, "metadata.tags"),
    ],
    ids=str,
)
def test_the_field_that_is_meant_is_proposed(searcher: Searcher, options: Any, meant: str | None) -> None:
    [warning] = searcher.search("note 1", **options).warnings
    assert warning.endswith(f"did you mean {meant}?" if meant else "are named metadata.…")
    assert not searcher.search("note 1", where="metadata.year>0", group_by="metadata.year", facets=["doc_id"]).warnings


def test_the_collection_that_is_meant_is_proposed(filled: Store, collection: str) -> None:
    filled.set_aliases({f"{collection}_alias": collection})
    with pytest.raises(CollectionNotFoundError, match=f"did you mean {collection}_alias\\?"):
        filled.manifest(f"{collection}_alais")
    with pytest.raises(CollectionNotFoundError, match="ingest into it first"):
        filled.manifest("nothing_of_the_kind")


def test_a_collection_that_cannot_be_called_by_its_name_says_how(server_url: str, client: QdrantClient, collection: str) -> None:
    raw = collection.replace("test_", "Test-")
    client.create_collection(raw, vectors_config={})
    try:
        with (
            open_store(server_url) as store,
            pytest.raises(CollectionNotFoundError, match=f"{raw} .* give it the alias {collection}"),
        ):
            Searcher.open(raw, store)
    finally:
        client.delete_collection(raw)


def test_a_server_that_wants_an_index_for_every_filter_says_so(server_url: str, collection: str) -> None:
    client = QdrantClient(server_url, check_compatibility=False)
    try:
        client.create_collection(
            collection,
            vectors_config={"first": models.VectorParams(size=32, distance=models.Distance.COSINE)},
            strict_mode_config=models.StrictModeConfig(enabled=True, unindexed_filtering_retrieve=False),
        )
        question = VectorQuery("first", MODELS[0].encode_queries(["note"])[0], 1, (Condition("metadata.year", "eq", 2001),))
        with open_store(server_url) as store, pytest.raises(StoreError, match=r"(?i)index.*metadata\.year") as told:
            store.query(collection, [question])
        assert "\n" not in str(told.value)
    finally:
        client.delete_collection(collection)
        client.close()
