"""The server store's keys and certificates: what lets us in, what is refused, and that no secret is repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import self_signed, tls_settings
from qdrant_server import QdrantProcess
from server_answers import error, failure, http_server
from store_data import manifest, point

from ingest.errors import ConfigurationError, StoreError
from ingest.store import open_store
from ingest.store.contract import CollectionOptions
from ingest.store.server import ServerStore

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
