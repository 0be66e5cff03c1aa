"""The server store's border: versions, addresses, and every kind of failure."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from grpc import StatusCode  # type: ignore[import-untyped]  # it ships no types
from qdrant_client import QdrantClient
from qdrant_client.http import models
from qdrant_server import Address, QdrantProcess, free_ports
from server_answers import Answer, error, failure, grpc_server, http_server, result
from store_data import manifest, point

from ingest.errors import CollectionNotFoundError, ConfigurationError, RequestTooLargeError, StoreError, StoreUnavailableError
from ingest.retry import RetryPolicy
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, VectorQuery
from ingest.store.retrying import RetryingStore
from ingest.store.schema import INDEXED_FIELDS
from ingest.store.server.store import ServerStore

OPTIONS = CollectionOptions()
KEY = "s3cret-key"

# --- failures


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (error(400), StoreError, "refuses the request: told so"),
        (error(401), StoreError, "API key"),
        (error(403), StoreError, "API key"),
        (error(404), CollectionNotFoundError, "no collection docs"),
        (error(409), StoreError, "told so"),
        (error(413), RequestTooLargeError, "too large"),
        (error(408), StoreUnavailableError, "told so"),
        (error(429), StoreUnavailableError, "told so"),
        (error(429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), StoreUnavailableError, "overloaded"),
        (error(500), StoreUnavailableError, "told so"),
        (error(502, "two\nlines"), StoreUnavailableError, "two lines"),
        ((503, {}, b"<html>proxy</html>"), StoreUnavailableError, "503"),
        ((200, {}, b"<html>a web site</html>"), StoreError, "Qdrant at"),
        ((200, {}, b"{}"), StoreError, "Qdrant at"),
        (result(7), StoreError, "does not answer like Qdrant"),
        ((302, {"Location": "/elsewhere"}, b""), StoreError, "302"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_every_http_status_has_its_meaning(answer: Answer, kind: type[StoreError], words: str) -> None:
    with http_server(answer) as url, ServerStore(url) as store:
        for use in (
            lambda: store.upsert("docs", [point(1)]),
            lambda: store.count("docs"),
            lambda: list(store.scroll("docs")),
            lambda: store.retrieve("docs", [point(1).id]),
            lambda: store.query("docs", [VectorQuery("dense", np.ones(4, np.float32), 1)]),
        ):
            caught = failure(use)
            assert type(caught) is kind
            assert words in str(caught)


def test_a_list_of_aliases_that_were_moving_is_asked_for_again() -> None:
    """The server makes it collection by collection."""

    def listed(*aliases: tuple[str, str]) -> Answer:
        return result({"aliases": [{"alias_name": alias, "collection_name": name} for alias, name in aliases]})

    one, two = ("one", "second"), ("two", "first")
    with http_server(listed(two), listed(("one", "first"), one, two), listed(one, two)) as url, ServerStore(url) as store:
        assert store.aliases() == {"one": "second", "two": "first"}
    with (
        http_server(listed(two), listed(one, two), result({"collections": []})) as url,
        ServerStore(url) as store,
        pytest.raises(CollectionNotFoundError, match="no collection second"),
    ):
        store.drop("one")


NO_ALIASES = result({"aliases": []})


def test_a_collection_that_another_client_has_just_created_was_not_there() -> None:
    """It is there when somebody asks why the request failed."""
    with http_server(NO_ALIASES, NO_ALIASES, error(404), result({"exists": True})) as url, ServerStore(url) as store:
        assert type(failure(lambda: store.manifest("docs"))) is CollectionNotFoundError


def test_a_collection_that_another_client_is_creating_is_worth_asking_for_again() -> None:
    """The server refuses a second creation before it finds the collection."""
    answers = NO_ALIASES, NO_ALIASES, error(404), error(409), error(404), result({"exists": True})
    with http_server(*answers) as url, ServerStore(url) as store:
        caught = failure(lambda: store.ensure(manifest("docs"), OPTIONS))
    assert type(caught) is StoreUnavailableError
    assert "docs" in str(caught)
    assert "created by another client" in str(caught)


def test_a_point_that_is_missing_is_told_from_a_collection_that_is() -> None:
    for exists, kind in ((True, StoreError), (False, CollectionNotFoundError)):
        with http_server(error(404), result({"exists": exists})) as url, ServerStore(url) as store:
            assert type(failure(lambda: store.set_payload("docs", {point(1).id: {}}))) is kind


def test_retry_after_is_passed_on() -> None:
    with http_server(error(429, headers={"Retry-After": "7"})) as url, ServerStore(url) as store:
        caught = failure(lambda: store.count("docs"))
    assert isinstance(caught, StoreUnavailableError)
    assert caught.retry_after == 7.0


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (StatusCode.UNAVAILABLE, StoreUnavailableError),
        (StatusCode.DEADLINE_EXCEEDED, StoreUnavailableError),
        (StatusCode.RESOURCE_EXHAUSTED, StoreUnavailableError),
        (StatusCode.INTERNAL, StoreUnavailableError),
        (StatusCode.NOT_FOUND, CollectionNotFoundError),
        (StatusCode.UNAUTHENTICATED, StoreError),
        (StatusCode.PERMISSION_DENIED, StoreError),
        (StatusCode.INVALID_ARGUMENT, StoreError),
        (StatusCode.OUT_OF_RANGE, RequestTooLargeError),
        (StatusCode.UNIMPLEMENTED, StoreError),
    ],
    ids=str,
)
def test_every_grpc_status_has_its_meaning(code: StatusCode, kind: type[StoreError]) -> None:
    with (
        http_server(error(500)) as url,
        grpc_server(code) as port,
        ServerStore(url, grpc_port=port, prefer_grpc=True) as store,
    ):
        caught = failure(lambda: store.upsert("docs", [point(1)]))
    assert type(caught) is kind
    assert "docs" in str(caught)


def test_retry_after_is_passed_on_over_grpc() -> None:
    with (
        http_server(error(500)) as url,
        grpc_server(StatusCode.RESOURCE_EXHAUSTED, (("retry-after", "7"),)) as port,
        ServerStore(url, grpc_port=port, prefer_grpc=True) as store,
    ):
        caught = failure(lambda: store.count("docs"))
    assert isinstance(caught, StoreUnavailableError)
    assert caught.retry_after == 7.0


@pytest.mark.parametrize("prefer_grpc", [False, True])
def test_nobody_there_is_worth_asking_again(prefer_grpc: bool) -> None:
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    caught = failure(lambda: ServerStore(url, grpc_port=port, prefer_grpc=prefer_grpc, timeout=5))
    assert isinstance(caught, StoreUnavailableError)
    assert "check that it is running" in str(caught)


def test_a_collection_that_the_server_cannot_open_is_listed_with_the_reason(server: Address, collection: str) -> None:
    client = QdrantClient(url=server.url, check_compatibility=False)
    with ServerStore(server.url) as store:
        store.ensure(manifest(collection), OPTIONS)
        try:
            client.update_collection(collection, metadata={"ingest": {"version": 99}})
            [info] = [each for each in store.collections() if each.name == collection]
        finally:
            store.drop(collection)
            client.close()
    assert (info.points, info.manifest, info.ours) == (None, None, True)
    assert "version 99" in (info.problem or "")


@pytest.mark.parametrize("prefer_grpc", [False, True])
def test_what_cannot_be_sent_is_refused(server: Address, collection: str, prefer_grpc: bool) -> None:
    strange = point(1)
    strange.payload["metadata"] = object()
    with ServerStore(server.url, grpc_port=server.grpc_port, prefer_grpc=prefer_grpc) as store:
        for send in (
            lambda: store.set_payload(collection, {strange.id: strange.payload}),
            lambda: store.upsert(collection, [strange]),
        ):
            caught = failure(send)
            assert type(caught) is StoreError
            assert "\n" not in str(caught)


# --- versions and addresses


@pytest.mark.parametrize("version", ["1.15.9", "0.11.0", "unknown", ""])
def test_a_server_that_is_too_old_is_refused(version: str) -> None:
    with http_server(error(500), version=version) as url, pytest.raises(StoreError, match=r"upgrade it to 1\.16"):
        ServerStore(url)


@pytest.mark.parametrize("version", ["1.16.0", "1.16.3-dev", "1.21.0", "2.0.0"])
def test_a_newer_server_is_welcome_without_a_word(version: str) -> None:
    with warnings.catch_warnings(), http_server(error(500), version=version) as url:
        warnings.simplefilter("error")
        ServerStore(url, api_key=KEY).close()


def test_rest_asks_for_uncompressed_responses() -> None:
    """Compressed ones come in several packets, and cost 40 ms each where acknowledgements are delayed."""
    seen: list[Mapping[str, str]] = []
    with http_server(result([]), seen=seen) as url, ServerStore(url, prefer_grpc=False) as store:
        assert store.retrieve("any", [point(1).id]) == []
    assert len(seen) > 1
    assert {headers["Accept-Encoding"] for headers in seen} == {"identity"}


def test_the_grpc_port_of_another_server_is_refused() -> None:
    with http_server(error(500)) as url, grpc_server(StatusCode.INTERNAL, version="1.17.0") as port:
        with pytest.raises(
            ConfigurationError, match=rf"gRPC port {port} belongs to another server.*1\.17\.0 there.*1\.16\.3 here"
        ):
            ServerStore(url, grpc_port=port, prefer_grpc=True)
        ServerStore(url, grpc_port=port).close()  # which nobody is going to talk to


def test_nobody_at_the_grpc_port_is_said_so() -> None:
    [port] = free_ports(1)
    with http_server(error(500)) as url:
        caught = failure(lambda: ServerStore(url, grpc_port=port, prefer_grpc=True, timeout=5))
    assert isinstance(caught, StoreUnavailableError)
    assert f"gRPC at port {port}" in str(caught)


def test_the_grpc_port_follows_the_port_of_the_address() -> None:
    with http_server(error(500)) as url:
        following = int(url.rpartition(":")[2]) + 1
        caught = failure(lambda: ServerStore(url, prefer_grpc=True, timeout=5))
    assert f"gRPC at port {following}" in str(caught)


def test_grpc_is_taken_where_the_very_same_server_answers(server: Address, collection: str) -> None:
    with ServerStore(server.url, grpc_port=server.grpc_port) as store:
        store.ensure(manifest(collection), OPTIONS)
        try:
            store.upsert(collection, [point(1)])
            assert (store._connection.grpc, store.count(collection)) == (True, 1)
        finally:
            store.drop(collection)


def test_grpc_is_not_taken_where_another_server_answers(server: Address, collection: str, tmp_path: Path) -> None:
    with QdrantProcess(tmp_path) as other, ServerStore(other.address.url) as store:
        store.ensure(manifest(collection), OPTIONS)
        with ServerStore(other.address.url, grpc_port=server.grpc_port) as careful:
            assert (careful._connection.grpc, careful.count(collection)) == (False, 0)
        with ServerStore(other.address.url, grpc_port=other.address.grpc_port) as same:
            assert same._connection.grpc


def test_whatever_is_wrong_with_a_grpc_port_that_nobody_asked_for_is_no_error() -> None:
    [port] = free_ports(1)
    with http_server(error(500)) as url, grpc_server(StatusCode.UNAUTHENTICATED) as refusing:
        other = int(url.rpartition(":")[2])  # of HTTP
        for grpc_port in (port, other, refusing, None):
            with ServerStore(url, grpc_port=grpc_port) as store:
                assert not store._connection.grpc


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://",
            "ftp://host",
            "http://host:port",
            "http://[::1",
            "host:6333",
            "http://host:0",
            "http://host:65536",
            "http://:1",
        ),
        *(
            "http://a host",
            "http://a\0host",
            "http://a..host",
            f"http://{'a' * 70}",
            "http://%41",
            "http://\u2028",
            "http:///path",
        ),
    ],
)
def test_an_address_that_cannot_be_read_is_an_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="http://host:6333"):
        ServerStore(url)


@pytest.mark.parametrize("url", [f"http://user:{KEY}@host", f"https://{KEY}@host", f"https://host?api-key={KEY}"])
def test_a_secret_in_the_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="INGEST_API_KEY") as caught:
        open_store(url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("location", [f"qdrant://user:{KEY}@host", f"user:{KEY}@host:6333", f"http://user:{KEY}"])
def test_a_secret_in_what_is_no_address_is_not_repeated(location: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(location)
    assert KEY not in f"{caught.value} {caught.value.__cause__}"


# --- half-made, and restarts


def test_a_missing_index_is_made_by_ensure(server: Address, collection: str) -> None:
    client = QdrantClient(url=server.url, check_compatibility=False)
    with ServerStore(server.url) as store:
        try:
            store.ensure(manifest(collection), OPTIONS)
            client.delete_payload_index(collection, "source")
            assert "source" not in client.get_collection(collection).payload_schema
            store.ensure(manifest(collection), OPTIONS)
            assert client.get_collection(collection).payload_schema.keys() == INDEXED_FIELDS.keys()
        finally:
            store.drop(collection)
            client.close()


@pytest.mark.parametrize("points", [0, 1])
@pytest.mark.parametrize("dim", [8, 9])
def test_only_an_empty_collection_with_our_very_vectors_becomes_ours(
    server: Address, collection: str, points: int, dim: int
) -> None:
    client = QdrantClient(url=server.url, check_compatibility=False)
    client.create_collection(
        collection,
        vectors_config={
            "dense": models.VectorParams(size=dim, distance=models.Distance.COSINE),
            "dot": models.VectorParams(size=2, distance=models.Distance.DOT),
        },
        sparse_vectors_config={
            "bm25": models.SparseVectorParams(modifier=models.Modifier.IDF),
            "plain": models.SparseVectorParams(),
        },
    )
    try:
        client.upsert(collection, [models.PointStruct(id=1, vector={})] * points) if points else None
        with ServerStore(server.url) as store:
            if points == 0 and dim == 8:
                assert store.ensure(manifest(collection), OPTIONS) == manifest(collection)
                assert store.manifest(collection) == manifest(collection)
                return
            with pytest.raises(StoreError, match="not made by this package"):
                store.ensure(manifest(collection), OPTIONS)
            assert client.get_collection(collection).config.metadata is None
    finally:
        client.delete_collection(collection)
        client.close()


def test_the_layout_asked_for_is_the_layout_made(server: Address, collection: str) -> None:
    options = CollectionOptions(on_disk=True, quantization="scalar", hnsw_m=24, hnsw_ef_construct=48, shards=2)
    client = QdrantClient(url=server.url, check_compatibility=False)
    with ServerStore(server.url) as store:
        try:
            store.ensure(manifest(collection), options)
            config = client.get_collection(collection).config
        finally:
            store.drop(collection)
            client.close()
    assert isinstance(config.params.vectors, dict)
    assert config.params.vectors["dense"].on_disk is True
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct, config.params.shard_number) == (24, 48, 2)
    assert isinstance(config.quantization_config, models.ScalarQuantization)
    assert config.params.sparse_vectors is not None
    assert config.params.sparse_vectors["bm25"].modifier == models.Modifier.IDF


@pytest.mark.parametrize("prefer_grpc", [False, True])
def test_a_killed_server_is_worth_asking_again_and_has_lost_nothing(tmp_path: Path, prefer_grpc: bool) -> None:
    with QdrantProcess(tmp_path) as server:
        address = server.address
        with ServerStore(address.url, grpc_port=address.grpc_port, prefer_grpc=prefer_grpc, timeout=5) as store:
            store.ensure(manifest("docs"), OPTIONS)
            store.upsert("docs", [point(number) for number in range(100)])
            server.kill()
            for use in (lambda: store.count("docs"), lambda: store.upsert("docs", [point(1)]), lambda: store.manifest("docs")):
                assert isinstance(failure(use), StoreUnavailableError)
            server.start()
            RetryingStore(store, RetryPolicy(first=0.1)).upsert("docs", [point(1)])
            assert store.count("docs") == 100
            assert store.manifest("docs") == manifest("docs")
