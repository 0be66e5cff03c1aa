"""What a server, or a proxy in front of it, refuses as too large goes in smaller requests, and all after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from faulty_proxy import Answer, Fault, FaultyProxy, Request
from http2_gateway import grpc_gateway
from qdrant_client import QdrantClient, grpc, models
from qdrant_server import Address
from server_answers import error, failure, http_server, result
from store_data import assert_same_vectors, everything, manifest, point, vectors

from ingest.errors import RequestTooLargeError, StoreError
from ingest.records import Point, StoredPoint
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Condition, Store, VectorQuery
from ingest.store.schema import INGEST_FIELD
from ingest.store.writer import Effects, Writer
from ingest.sync.stored_sources import StoredSource, list_sources

LIMIT = 20_000
"""Bytes of a request that the proxy lets through."""

POINTS = [point(number, metadata={"note": "x" * (number % 7) * 100}) for number in range(300)]
IDS = [each.id for each in POINTS]
DOC_KEYS = [each.payload[INGEST_FIELD]["doc_key"] for each in POINTS]


def too_large(request: Request) -> Answer | None:
    return Answer(413) if request.size > LIMIT else None


@contextmanager
def dropped(server: Address, collection: str) -> Iterator[None]:
    try:
        yield
    finally:
        with open_store(server.url) as store:
            store.drop(collection)


# --- a proxy that refuses large bodies


def test_everything_passes_a_proxy_that_refuses_large_bodies(server: Address, collection: str) -> None:
    with (
        FaultyProxy(server.url, too_large) as proxy,
        dropped(server, collection),
        open_store(proxy.url, prefer_grpc=False) as store,
    ):
        store.ensure(manifest(collection), CollectionOptions())
        with Writer(store, collection) as writer:
            writer.submit(Effects(upserts=POINTS))
        assert everything(store, collection).keys() == set(IDS)
        assert {found.id for found in store.fingerprints(collection, DOC_KEYS * 3)} == set(IDS)
        assert {found.id for found in store.retrieve(collection, IDS * 3)} == set(IDS)
        assert proxy.struck

        learned = len(proxy.struck)
        changed = {each.id: {**each.payload, "title": "New"} for each in POINTS}
        moved = {each.id: {"dense": vectors(1000 + number)["dense"]} for number, each in enumerate(POINTS)}
        with Writer(store, collection) as writer:
            writer.submit(Effects(upserts=POINTS, vector_updates=moved, payloads=changed))
        stored = everything(store, collection)
        assert {found.payload["title"] for found in stored.values()} == {"New"}
        wanted = Point(IDS[7], {**POINTS[7].vectors, **moved[IDS[7]]}, changed[IDS[7]])
        assert_same_vectors(stored[IDS[7]], wanted)
        with Writer(store, collection) as writer:
            writer.submit(Effects(deletes=IDS[1:]))
        assert list(everything(store, collection)) == IDS[:1]
        assert len(proxy.struck) == learned  # what was learned holds for the rest


def test_a_point_that_is_too_large_by_itself_is_named(server: Address, collection: str) -> None:
    large = point(1, doc_id="large.md", metadata={"note": "x" * LIMIT})
    with (
        FaultyProxy(server.url, too_large) as proxy,
        dropped(server, collection),
        open_store(proxy.url, prefer_grpc=False) as store,
    ):
        store.ensure(manifest(collection), CollectionOptions())
        caught = failure(lambda: store.upsert(collection, [point(2), large, point(3)]))
        assert type(caught) is RequestTooLargeError
        assert f"the point {large.id} of document 'large.md' alone" in str(caught)
        assert "client_max_body_size" in str(caught)
        caught = failure(lambda: store.set_payload(collection, {large.id: large.payload}))
        assert f"the change of point {large.id} alone" in str(caught)


def test_a_large_point_among_small_ones_does_not_send_the_rest_one_by_one(server: Address, collection: str) -> None:
    nearly = point(1, metadata={"note": "x" * (LIMIT - 3000)})
    with (
        FaultyProxy(server.url, too_large) as proxy,
        dropped(server, collection),
        open_store(proxy.url, prefer_grpc=False) as store,
    ):
        store.ensure(manifest(collection), CollectionOptions())
        store.upsert(collection, [*POINTS[:50], nearly, *POINTS[50:100]])
        before = proxy.requests
        store.upsert(collection, POINTS[100:])
        assert proxy.requests - before < 50  # for 200 points
        assert store.count(collection) == len({nearly.id, *IDS})


def test_a_proxy_that_cuts_in_between_is_tried_again_with_what_was_learned(server: Address, collection: str) -> None:
    def cue(request: Request) -> Answer | Fault | None:
        return too_large(request) or (Fault.LOST if request.number % 10 == 0 else None)

    with (
        FaultyProxy(server.url, cue) as proxy,
        dropped(server, collection),
        open_store(proxy.url, prefer_grpc=False) as store,
    ):
        store.ensure(manifest(collection), CollectionOptions())
        with Writer(store, collection) as writer:
            writer.submit(Effects(upserts=POINTS))
        assert store.count(collection) == len(POINTS)


def test_a_gateway_in_front_of_grpc_that_refuses_large_bodies_gets_smaller_ones() -> None:
    with (
        http_server(error(500)) as url,
        grpc_gateway(LIMIT) as gateway,
        open_store(url, grpc_port=gateway.port, prefer_grpc=True) as store,
    ):
        store.upsert("docs", POINTS)
        store.update_vectors("docs", {each.id: each.vectors for each in POINTS})
        refused = len(gateway.refused)
        assert refused
        store.upsert("docs", POINTS)
        assert len(gateway.refused) == refused
    upserts = [grpc.UpsertPoints.FromString(body) for path, body in gateway.taken if path.endswith("/Upsert")]
    assert [each.id.uuid for request in upserts for each in request.points] == IDS * 2


# --- strict mode


@pytest.fixture(params=[False, True], ids=["rest", "grpc"])
def strict(request: pytest.FixtureRequest, server: Address, collection: str) -> Iterator[Store]:
    """A store with a collection of 300 points that has strict mode from then on."""
    with (
        dropped(server, collection),
        open_store(server.url, grpc_port=server.grpc_port, prefer_grpc=request.param) as store,
    ):
        store.ensure(manifest(collection), CollectionOptions())
        store.upsert(collection, POINTS)
        client = QdrantClient(url=server.url, check_compatibility=False)
        client.update_collection(
            collection,
            strict_mode_config=models.StrictModeConfig(
                enabled=True, max_query_limit=20, upsert_max_batchsize=30, condition_max_size=50
            ),
        )
        client.close()
        yield store


def test_reading_keeps_to_the_limits_of_strict_mode(strict: Store, collection: str) -> None:
    assert sorted(everything(strict, collection)) == sorted(IDS)
    assert [each.id for each in strict.scroll(collection, page=50, after=sorted(IDS)[99])] == sorted(IDS)[100:]
    assert {found.id for found in strict.fingerprints(collection, DOC_KEYS)} == set(IDS)
    assert {found.id for found in strict.retrieve(collection, IDS)} == set(IDS)


def test_sources_are_listed_under_strict_mode(strict: Store, server: Address, collection: str) -> None:
    assert list_sources(strict, collection) == [StoredSource("docs", 300, 300, 0, None, None)]
    client = QdrantClient(url=server.url, check_compatibility=False)
    client.update_collection(
        collection, strict_mode_config=models.StrictModeConfig(enabled=True, unindexed_filtering_retrieve=False)
    )
    client.close()
    assert list_sources(strict, collection) == [StoredSource("docs", 300, 300, 0, None, None)]


def test_searching_keeps_to_the_limits_of_strict_mode(strict: Store, server: Address, collection: str) -> None:
    queries = [
        VectorQuery("dense", vectors(1)["dense"], 70),
        VectorQuery("bm25", vectors(2)["bm25"], 5, (Condition("source", "eq", "docs"),)),
        VectorQuery("dense", vectors(3)["dense"], 300),
        VectorQuery("dense", vectors(3)["dense"], 20),
    ]
    found = strict.query(collection, queries)
    client = QdrantClient(url=server.url, check_compatibility=False)
    client.update_collection(collection, strict_mode_config=models.StrictModeConfig(enabled=False))
    client.close()
    with open_store(server.url) as unlimited:
        expected = unlimited.query(collection, queries)
    assert [[each.id for each in one] for one in found] == [[each.id for each in one] for one in expected]
    assert [len(each) for each in found] == [70, 5, 300, 20]


def test_writing_keeps_to_the_limits_of_strict_mode(strict: Store, collection: str) -> None:
    more = [point(number) for number in range(1000, 1100)]
    with Writer(strict, collection) as writer:
        writer.submit(
            Effects(
                upserts=more,
                vector_updates={each.id: {"dense": vectors(7)["dense"]} for each in POINTS},
                payloads={each.id: {**each.payload, "title": "New"} for each in POINTS},
                deletes=[each.id for each in more[:50]],
            )
        )
    stored: dict[str, StoredPoint] = everything(strict, collection)
    assert stored.keys() == {*IDS, *(each.id for each in more[50:])}
    assert {stored[each].payload["title"] for each in IDS} == {"New"}


def test_what_strict_mode_forbids_for_good_is_refused(strict: Store, collection: str) -> None:
    too_many = Condition("source", "any", tuple(map(str, range(51))))
    for use in (
        lambda: list(strict.scroll(collection, [too_many])),
        lambda: strict.query(collection, [VectorQuery("unknown", vectors(1)["dense"], 70)]),
        lambda: strict.query(collection, [VectorQuery("dense", vectors(1)["dense"], 70, (too_many,))]),
    ):
        assert type(failure(use)) is StoreError


def test_a_limit_of_nothing_is_no_limit_to_keep_to() -> None:
    """Nor does a limit that was not the reason lead to the same request again and again."""
    info = result({"config": {"strict_mode_config": {"enabled": True, "upsert_max_batchsize": 0, "max_query_limit": 5000}}})
    with http_server(error(400), info, error(400)) as url, open_store(url) as store:
        assert "told so" in str(failure(lambda: store.upsert("docs", POINTS)))
