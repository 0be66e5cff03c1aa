"""Deferred indexing: a long load builds no index until its end, and a crash leaves nothing that the next one does not restore."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qdrant_client import QdrantClient, models
from qdrant_server import Address
from store_data import manifest, point, vectors

from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Store, VectorQuery
from ingest.store.writer import Effects, Writer

OPTIONS = CollectionOptions()


class Watched:
    """A collection on a server, seen with the server's own client."""

    def __init__(self, client: QdrantClient, collection: str) -> None:
        self._client = client
        self._collection = collection

    @property
    def threshold(self) -> int | None:
        return self._client.get_collection(self._collection).config.optimizer_config.indexing_threshold

    @property
    def notes(self) -> set[str]:
        return set(self._client.get_collection(self._collection).config.metadata or {})

    def set_threshold(self, threshold: int) -> None:
        self._client.update_collection(
            self._collection, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=threshold)
        )


@pytest.fixture(params=[False, True], ids=["rest", "grpc"])
def server_store(request: pytest.FixtureRequest, server: Address, collection: str) -> Iterator[Store]:
    """A server's store with the collection in it, dropped afterwards."""
    with open_store(server.url, grpc_port=server.grpc_port, prefer_grpc=request.param) as store:
        store.ensure(manifest(collection), OPTIONS)
        yield store
        store.drop(collection)


@pytest.fixture
def watched(server: Address, collection: str) -> Iterator[Watched]:
    client = QdrantClient(url=server.url, check_compatibility=False)
    yield Watched(client, collection)
    client.close()


def test_everything_is_found_while_indexing_is_deferred_and_after(ready: Store, collection: str) -> None:
    ready.defer_indexing(collection)
    ready.upsert(collection, [point(number) for number in range(20)])
    for _ in range(2):
        [[best]] = ready.query(collection, [VectorQuery("dense", vectors(7)["dense"], 1)])
        assert best.id == point(7).id
        ready.finalize(collection)
    assert ready.manifest(collection) == manifest(collection)


def test_finalize_restores_what_was_set_before(server_store: Store, collection: str, watched: Watched) -> None:
    watched.set_threshold(2345)
    server_store.defer_indexing(collection)
    assert watched.threshold == 0
    server_store.defer_indexing(collection)
    server_store.finalize(collection)
    assert (watched.threshold, watched.notes) == (2345, {"ingest"})


def test_the_next_run_restores_what_a_killed_one_deferred(
    server_store: Store, collection: str, watched: Watched, server: Address, caplog: pytest.LogCaptureFixture
) -> None:
    watched.set_threshold(2345)
    server_store.defer_indexing(collection)
    with open_store(server.url) as next_one:
        assert next_one.ensure(manifest(collection), OPTIONS) == manifest(collection)
    assert (watched.threshold, watched.notes) == (2345, {"ingest"})
    assert caplog.records == []


def test_what_somebody_else_switched_off_is_left_alone_and_said(
    server_store: Store, collection: str, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.set_threshold(0)
    server_store.ensure(manifest(collection), OPTIONS)
    [said] = caplog.messages
    assert collection in said
    assert "set optimizers_config.indexing_threshold to 10000" in said
    server_store.defer_indexing(collection)
    server_store.finalize(collection)
    assert (watched.threshold, watched.notes) == (0, {"ingest"})


def test_a_long_load_defers_indexing_once(server_store: Store, collection: str, watched: Watched) -> None:
    before = watched.threshold
    with Writer(server_store, collection, defer_from=10) as writer:
        writer.submit(Effects(upserts=[point(number) for number in range(9)]))
    assert watched.threshold == before
    with Writer(server_store, collection, defer_from=10) as writer:
        writer.submit(Effects(upserts=[point(number) for number in range(9)]))
        writer.submit(Effects(vector_updates={point(1).id: vectors(50)}, payloads={point(2).id: {"text": "changed"}}))
        writer.close()
        assert watched.threshold == 0
    server_store.finalize(collection)
    assert watched.threshold == before
