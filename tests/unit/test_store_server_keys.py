"""The server store's keys and certificates: what lets us in, what is refused, and that no secret is repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from certificates import self_signed, tls_settings
from qdrant_server import QdrantProcess
from server_answers import error, failure, http_server
from store_data import manifest, point

from ingest.errors import ConfigurationError, StoreError, StoreUnavailableError
from ingest.retry import RetryPolicy
from ingest.search import Searcher
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Manifest, VectorSpec
from ingest.store.server.store import ServerStore
from ingest.testing import HashEncoder

OPTIONS = CollectionOptions()
KEY = "s3cret-key"

# --- keys and certificates


@pytest.mark.parametrize("key", ["schlüssel-1", "zero\u200bwidth", "two\nlines", "newline\n", " "])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with http_server(error(500)) as url, pytest.raises(ConfigurationError, match="API key") as caught:
        ServerStore(url, api_key=key)
    assert key.strip() not in str(caught.value) or not key.strip()


@pytest.mark.parametrize("url", ["http://qdrant.example:6333", "http://10.0.0.1", "http://0.0.0.0:1"])
def test_a_key_does_not_travel_unencrypted(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"unencrypted.*INGEST_ALLOW_PLAIN_HTTP_KEY=true") as caught:
        open_store(url, api_key=KEY)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("text", [None, "no certificate"])
def test_a_certificate_file_must_hold_a_certificate(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text:
        file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"ca\.pem"):
        ServerStore("https://localhost", ca_file=file)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[QdrantProcess]:
    """A real server that requires TLS and a key."""
    keys = {"QDRANT__SERVICE__API_KEY": KEY, "QDRANT__SERVICE__READ_ONLY_API_KEY": "read-only"}
    environment = {**tls_settings(certificate), **keys}
    with QdrantProcess(tmp_path_factory.mktemp("qdrant"), environment, ca_file=certificate) as server:
        yield server


@pytest.mark.parametrize("prefer_grpc", [False, True])
def test_tls_and_the_key_let_us_in(guarded: QdrantProcess, certificate: Path, collection: str, prefer_grpc: bool) -> None:
    address = guarded.address
    with open_store(address.url, api_key=KEY, ca_file=certificate, grpc_port=address.grpc_port, prefer_grpc=prefer_grpc) as store:
        store.ensure(manifest(collection), OPTIONS)
        store.upsert(collection, [point(1)])
        assert store.count(collection) == 1
        assert KEY not in f"{store.location} {store!r}"


@pytest.mark.parametrize("prefer_grpc", [False, True])
@pytest.mark.parametrize("key", [None, "wrong-key", "read-only"])
def test_a_key_that_does_not_fit_is_named_but_not_shown(
    guarded: QdrantProcess, certificate: Path, collection: str, key: str | None, prefer_grpc: bool
) -> None:
    address = guarded.address
    options: dict[str, Any] = {"ca_file": certificate, "grpc_port": address.grpc_port, "prefer_grpc": prefer_grpc}

    def use() -> None:
        with open_store(address.url, api_key=key, **options) as store:
            store.ensure(manifest(collection), OPTIONS)

    caught = failure(use)
    assert type(caught) is StoreError
    assert "API key" in str(caught)
    assert key is None or key not in str(caught)


def test_an_unknown_authority_is_not_trusted(guarded: QdrantProcess) -> None:
    caught = failure(lambda: ServerStore(guarded.address.url, api_key=KEY))
    assert type(caught) is StoreError
    assert "certificate" in str(caught)


# --- the same through a searcher


@pytest.fixture
def searchable(guarded: QdrantProcess, certificate: Path, collection: str) -> str:
    encoder = HashEncoder("hash", 8)
    spec = VectorSpec(encoder.key, encoder.dim, encoder.fingerprint, space=encoder.space)
    with open_store(guarded.address.url, api_key=KEY, ca_file=certificate) as store:
        store.ensure(Manifest(collection, collection, (spec,)), OPTIONS)
    return collection


def hashes(keys: Sequence[str]) -> list[HashEncoder]:
    return [HashEncoder(key, 8) for key in keys]


@pytest.mark.parametrize("prefer_grpc", [False, True])
def test_a_searcher_takes_the_key_and_the_certificate(
    guarded: QdrantProcess, certificate: Path, searchable: str, prefer_grpc: bool
) -> None:
    address = guarded.address
    with Searcher.open(
        searchable,
        address.url,
        models=hashes,
        api_key=KEY,
        ca_file=certificate,
        timeout=5,
        prefer_grpc=prefer_grpc,
        grpc_port=address.grpc_port,
        retry=RetryPolicy(attempts=1),
    ) as searcher:
        assert searcher.search("x").hits == ()


def test_a_searcher_reads_no_key_from_the_environment(
    guarded: QdrantProcess, certificate: Path, searchable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_API_KEY", KEY)
    caught = failure(lambda: Searcher.open(searchable, guarded.address.url, models=hashes, ca_file=certificate))
    assert type(caught) is StoreError
    assert "API key" in str(caught)


def test_a_searcher_sends_no_key_unencrypted_unless_that_is_allowed(certificate: Path) -> None:
    with pytest.raises(ConfigurationError, match="unencrypted"):
        Searcher.open("docs", "http://10.0.0.1", api_key=KEY)
    once = RetryPolicy(attempts=1)
    with http_server(error(500)) as url:
        caught = failure(lambda: Searcher.open("docs", url, api_key=KEY, allow_plain_http_key=True, retry=once))
    assert type(caught) is StoreUnavailableError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", KEY),
        ("ca_file", "ca.pem"),
        ("timeout", 5.0),
        ("prefer_grpc", False),
        ("grpc_port", 6334),
        ("allow_plain_http_key", True),
        ("retry", RetryPolicy()),
    ],
)
def test_an_open_store_is_given_none_of_them(tmp_path: Path, name: str, value: object) -> None:
    with open_store(tmp_path) as store, pytest.raises(ConfigurationError, match=f"{name}.*open_store") as caught:
        Searcher.open("docs", store, **{name: value})  # type: ignore[arg-type]  # one of several kinds
    assert KEY not in str(caught.value)
