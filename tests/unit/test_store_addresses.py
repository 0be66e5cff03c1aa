"""Addresses that are no store: each is said at once, in one line, and is no reason to ask again or to make a directory."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from certificates import self_signed, tls_settings
from faulty_proxy import FaultyProxy
from qdrant_server import Address, QdrantProcess
from server_answers import Answer, error, failure, http_server
from store_data import manifest, point

from ingest.errors import ConfigurationError, StoreError, StoreUnavailableError
from ingest.store import open_store
from ingest.store.contract import CollectionOptions
from ingest.store.server.store import ServerStore

KEY = "s3cret-key"
PAGE = {"Content-Type": "text/html; charset=utf-8"}


@pytest.mark.parametrize(
    "location",
    [
        "//host:6333",
        "//host",
        "\\\\host\\share",
        "http:/host",
        "HTTPS:/host:6333",
        "https:host",
        "http:host:6333",
        "http//host",
        "http:",
        Path("http://host:6333"),
        ":memory:",
        ":6333",
        "localhost",
        "localhost/",
        "localhost:6333/",
        "127.0.0.1",
        "[::1]",
        "[::1]:6333",
        "user@host:6333",
        "qdrant://host",
        "qdrant:host",
        "grpc://host:6334",
        "file:///tmp/store",
        "sqlite:///store",
        "",
        " ",
    ],
)
def test_what_nobody_means_as_a_directory_becomes_none(
    location: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        open_store(location)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("location", ["http", "https.d", "qdrant", "localhost.d", "host/6333", "./127.0.0.1", "a:b", "1.2.3"])
def test_what_may_be_a_directory_is_one(location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_store(location) as store:
        assert store.collections() == []


@pytest.mark.parametrize("url", [f"http://host:6333/dashboard#/{KEY}", "http://host:6333/#x"])
def test_an_address_from_the_browser_is_said_so(url: str) -> None:
    with pytest.raises(ConfigurationError, match="nothing after a #") as caught:
        open_store(url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((404, PAGE, b"<html>nginx</html>"), "check the address and its path"),
        (error(404), "check the address and its path"),
        ((200, PAGE, b"<html>the dashboard</html>"), "does not answer like Qdrant"),
        ((200, {}, b'{"result": {"collections": []}, "status": "ok"}'), "does not answer like Qdrant"),
        ((301, {"Location": f"https://user:{KEY}@other:8443/x?key={KEY}"}, b""), "redirects to https://other:8443/x ("),
        ((308, {"Location": f"//[{KEY}"}, b""), "redirects to elsewhere"),
        ((302, {}, b""), "redirects to"),
        ((400, PAGE, b"<html>The plain HTTP request was sent to HTTPS port</html>"), "refuses the request: 400"),
        ((403, PAGE, b"<html>denied</html>"), "something in front of"),
        ((401, PAGE, b"<html>log in</html>"), "something in front of"),
        ((401, {}, b"Must provide an API key"), "API key"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_answers_in_the_servers_place_is_said_at_once(answer: Answer, words: str) -> None:
    with http_server(answer) as url:
        caught = failure(lambda: open_store(f"{url}/prefix", api_key=KEY))
    assert type(caught) is StoreError
    assert words in str(caught)
    assert KEY not in str(caught)


def test_another_service_that_greets_alike_is_told_apart() -> None:
    greeting = b'{"title": "Elastic\\nthing", "version": "9.0.0"}'
    with (
        http_server((200, {}, greeting)) as url,
        pytest.raises(StoreError, match="is not Qdrant, but Elastic thing: check") as caught,
    ):
        open_store(f"{url}/prefix")
    assert type(caught.value) is StoreError


def test_a_proxy_that_loses_the_collections_does_not_lose_them() -> None:
    """A 404 from a proxy is no word about a collection, which a run would make anew."""
    with http_server((404, PAGE, b"<html>nginx</html>")) as url, open_store(url) as store:
        assert type(failure(lambda: store.count("docs"))) is StoreError


def test_a_server_behind_a_path_works_and_a_wrong_path_is_said_so(server: Address, collection: str) -> None:
    with FaultyProxy(server.url, lambda _: None, prefix="/db/qdrant") as proxy:
        with open_store(f"{proxy.url}/db/qdrant/", api_key=KEY) as store:
            store.ensure(manifest(collection), CollectionOptions())
            store.upsert(collection, [point(1)])
            assert store.count(collection) == 1
            store.drop(collection)
        for path in ("", "/", "/db", "/qdrant", "/db/qdrant/dashboard"):
            assert_permanent(f"{proxy.url}{path}", "check the address")


# --- the wrong port or scheme


def test_https_to_a_port_without_tls(server: Address) -> None:
    assert_permanent(f"https{server.url.removeprefix('http')}", "write http://")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_grpc_port(server: Address, scheme: str) -> None:
    assert_permanent(f"{scheme}://127.0.0.1:{server.grpc_port}", "speaks gRPC at port")


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.9\r\n", b"-ERR unknown command 'GET'\r\n", b"\0\0"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_port_that_speaks_something_else(greeting: bytes, scheme: str) -> None:
    with speaking(greeting) as port:
        assert_permanent(f"{scheme}://127.0.0.1:{port}", "does not speak HTTP")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_port_that_hangs_up_may_be_a_server_that_goes_down(scheme: str) -> None:
    with speaking(b"") as port:
        caught = failure(lambda: ServerStore(f"{scheme}://127.0.0.1:{port}"))
    assert type(caught) is StoreUnavailableError


def test_the_rest_port_as_grpc_port(server: Address) -> None:
    port = int(server.url.rpartition(":")[2])
    assert_permanent(server.url, "speaks HTTP/1, not gRPC", grpc_port=port)


def test_another_service_at_the_grpc_port(server: Address) -> None:
    with speaking(b"SSH-2.0-OpenSSH_9.9\r\n") as port:
        assert_permanent(server.url, "does not speak gRPC", grpc_port=port)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[QdrantProcess]:
    with QdrantProcess(tmp_path_factory.mktemp("qdrant"), tls_settings(certificate), ca_file=certificate) as server:
        yield server


def test_http_to_a_port_with_tls(encrypted: QdrantProcess) -> None:
    assert_permanent(f"http{encrypted.address.url.removeprefix('https')}", "write https://")


def test_the_grpc_port_with_tls(encrypted: QdrantProcess, certificate: Path) -> None:
    assert_permanent(f"https://127.0.0.1:{encrypted.address.grpc_port}", "TLS", ca_file=certificate)


def test_a_grpc_port_with_tls_beside_rest_without(encrypted: QdrantProcess, server: Address) -> None:
    assert_permanent(server.url, "speaks TLS", grpc_port=encrypted.address.grpc_port)


def test_a_grpc_port_without_tls_beside_rest_with_it(encrypted: QdrantProcess, server: Address, certificate: Path) -> None:
    assert_permanent(encrypted.address.url, "without TLS", grpc_port=server.grpc_port, ca_file=certificate)


def assert_permanent(url: str, words: str, *, grpc_port: int | None = None, ca_file: Path | None = None) -> None:
    prefer_grpc = True if grpc_port else None
    caught = failure(lambda: open_store(url, api_key=KEY, grpc_port=grpc_port, prefer_grpc=prefer_grpc, ca_file=ca_file))
    assert type(caught) is StoreError  # no StoreUnavailableError, which would be tried again for minutes
    assert words in str(caught)


@contextmanager
def speaking(greeting: bytes) -> Iterator[int]:
    """A port whose service answers anything with its greeting and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(greeting)
                    connection.recv(65536)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()
