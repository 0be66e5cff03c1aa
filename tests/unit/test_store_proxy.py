"""Proxies of the environment: this machine is never asked through one, and a key reaches none without a word."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from qdrant_server import Address, free_ports
from recording_proxy import RecordingProxy, recording_proxy
from server_answers import failure
from store_data import manifest, point

from ingest.errors import ConfigurationError, StoreError, StoreUnavailableError
from ingest.store import open_store
from ingest.store.contract import CollectionOptions
from ingest.store.server.address import parse_address, proxy_for
from ingest.store.server.store import ServerStore

KEY = "s3cret-key"
VARIABLES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "grpc_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.lower().endswith("_proxy"):
            monkeypatch.delenv(variable)


@pytest.fixture
def proxy(server: Address) -> Iterator[RecordingProxy]:
    """It leads to the server."""
    with recording_proxy(server) as running:
        yield running


@pytest.mark.parametrize("prefer_grpc", [None, False, True])
def test_a_store_on_this_machine_is_asked_directly(
    server: Address, proxy: RecordingProxy, collection: str, monkeypatch: pytest.MonkeyPatch, prefer_grpc: bool | None
) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
    port = server.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost"):
        with open_store(f"http://{host}:{port}", api_key=KEY, grpc_port=server.grpc_port, prefer_grpc=prefer_grpc) as store:
            store.ensure(manifest(collection), CollectionOptions())
            store.upsert(collection, [point(1)])
            assert store.count(collection) == 1
    with open_store(server.url) as store:
        store.drop(collection)
    assert proxy.asked == []


def test_a_proxy_that_cannot_be_used_is_no_matter_for_this_machine(server: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    open_store(server.url, api_key=KEY).close()


@pytest.mark.parametrize("prefer_grpc", [None, False, True])
def test_another_host_is_asked_through_the_proxy(
    server: Address, proxy: RecordingProxy, collection: str, monkeypatch: pytest.MonkeyPatch, prefer_grpc: bool | None
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{KEY}@127.0.0.1:{proxy.port}")
    with open_store("http://qdrant.invalid:6333", prefer_grpc=prefer_grpc) as store:
        store.ensure(manifest(collection), CollectionOptions())
        store.upsert(collection, [point(1)])
        assert store.count(collection) == 1
        store.drop(collection)
    assert ("GET", "http://qdrant.invalid:6333/", None) in proxy.asked
    assert any(method == "CONNECT" for method, _, _ in proxy.asked) is bool(prefer_grpc)


def test_a_key_for_plain_http_does_not_go_to_a_proxy_unless_allowed(
    proxy: RecordingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:hunter2@127.0.0.1:{proxy.port}")
    with pytest.raises(ConfigurationError, match=rf"through the proxy http://127\.0\.0\.1:{proxy.port}: .*ALLOW_PLAIN") as caught:
        open_store("http://qdrant.invalid:6333", api_key=KEY)
    assert "hunter2" not in str(caught.value)
    assert proxy.asked == []
    open_store("http://qdrant.invalid:6333", api_key=KEY, allow_plain_http_key=True).close()
    assert proxy.asked == [("GET", "http://qdrant.invalid:6333/", KEY)]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_named_without_its_password(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with recording_proxy() as refusing:
        monkeypatch.setenv("ALL_PROXY", f"http://user:hunter2@127.0.0.1:{refusing.port}")
        caught = failure(lambda: open_store(f"{scheme}://qdrant.invalid:6333"))
    assert type(caught) is StoreError  # asking again would not help
    assert f"through the proxy http://127.0.0.1:{refusing.port}" in str(caught)
    assert "403" in str(caught)
    assert "API key" not in str(caught)
    assert "hunter2" not in str(caught)


def test_a_proxy_that_is_down_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    [port] = free_ports(1)
    monkeypatch.setenv("ALL_PROXY", f"127.0.0.1:{port}")
    caught = failure(lambda: ServerStore("http://qdrant.invalid:6333", timeout=5))
    assert type(caught) is StoreUnavailableError
    assert f"through the proxy http://127.0.0.1:{port}" in str(caught)


@pytest.mark.parametrize(
    "url", ["socks5://user:hunter2@127.0.0.1:1", "ftp://user:hunter2@127.0.0.1:1", "http://user:hunter2@host:x"]
)
def test_a_proxy_that_cannot_be_used_is_said_so(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", url)
    for prefer_grpc in (False, True):
        with pytest.raises(ConfigurationError, match="NO_PROXY") as caught:
            open_store("http://qdrant.invalid:6333", prefer_grpc=prefer_grpc)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "no_proxy", "through"),
    [
        ("http://qdrant.example:6333", "", True),
        ("http://127.0.0.1:6333", "", False),
        ("http://127.8.8.8", "", False),
        ("http://127.1", "", False),
        ("http://LOCALHOST", "", False),
        ("https://[::1]:6333", "", False),
        ("http://[::ffff:127.0.0.1]", "", False),
        ("http://localhost.example", "", True),
        ("http://127.example", "", True),
        ("http://0.0.0.0", "", True),
        ("http://qdrant.example", "*", False),
        ("http://qdrant.example", "other.example, qdrant.example", False),
        ("http://qdrant.example", "Qdrant.Example:6333", False),
        ("http://qdrant.example", "qdrant.example:80", True),
        ("http://qdrant.example", ".example", False),
        ("http://qdrant.example", "*.example", False),
        ("http://qdrant.example", "example", False),
        ("http://qdrant.example", "drant.example", True),
        ("http://qdrant.db.svc.cluster.local", ".svc.cluster.local", False),
        ("http://10.1.2.3", "10.0.0.0/8", False),
        ("http://11.1.2.3", "10.0.0.0/8", True),
        ("http://[fd00::1]:6333", "fd00::/8", False),
        ("http://[fd00::1]:6333", "[fd00::1]", False),
    ],
)
def test_who_is_asked_directly(url: str, no_proxy: str, through: bool) -> None:
    found = proxy_for(parse_address(url), {"all": "http://proxy:3128", "no": no_proxy})
    assert (found is not None) is through


def test_a_proxy_for_the_scheme_comes_before_the_one_for_all() -> None:
    proxies = {"all": "http://all:1", "http": "plain:2"}
    assert str(proxy_for(parse_address("http://host"), proxies)) == "http://plain:2"
    assert str(proxy_for(parse_address("https://host"), proxies)) == "http://all:1"
