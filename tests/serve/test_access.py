"""Who may ask what: tokens, host names and origins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import ApiClient, api, stored_rules

from ingest.errors import ConfigurationError
from ingest.serve.access import Grant, Tokens, is_local_name
from ingest.serve.options import ServeOptions
from ingest.serve.server import bind
from ingest.store.contract import Store
from ingest.store.schema import _normalize_collection_name

READER, WRITER = "reader-0123456789abcdef", "writer-0123456789abcdef"

FILE = f"""
[app]
token = "{READER}"
collections = ["Rules"]

[nightly]
token = "{WRITER}"
collections = ["*"]
access = "write"
"""


def read_tokens(folder: Path, text: str) -> Tokens:
    file = folder / "tokens.toml"
    file.write_text(text)
    return Tokens.read(file, _normalize_collection_name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[Store]:
    with stored_rules(folder, "rules", "others") as opened_store:
        yield opened_store


@pytest.fixture(scope="module")
def client(store: Store, folder: Path) -> Iterator[ApiClient]:
    with api(store, folder, ServeOptions(tokens=read_tokens(folder, FILE))) as running:
        yield running


def test_tokens_grant_what_their_table_says(tmp_path: Path) -> None:
    tokens = read_tokens(tmp_path, FILE)
    assert tokens.find(f"Bearer {READER}") == Grant("app", frozenset({"rules"}), write=False)
    assert tokens.find(f"bearer {WRITER}") == Grant("nightly", None, write=True)
    for header in (None, "", "Bearer", "Bearer ", f"Basic {READER}", READER, f"Bearer {READER}x", "Bearer é"):
        assert tokens.find(header) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no token"),
        ("[app", "cannot be read"),
        ('token = "x"', "not a mapping"),
        ('[app]\ncollections = ["a"]', "token: it is missing"),
        ('[app]\ntoken = "short-secret"\ncollections = ["a"]', "at least 16"),
        (f'[app]\ntoken = "{READER}"', "collections is missing"),
        (f'[app]\ntoken = "{READER}"\ncollections = ["!"]', "no collection name"),
        (f'[app]\ntoken = "{READER}"\ncollections = ["a"]\naccess = "all"', "read, write"),
        (f'[app]\ntoken = "{READER}"\ncollections = ["a"]\nexpires = 1', "unknown key expires"),
        (f'[a]\ntoken = "{READER}"\ncollections = ["a"]\n[b]\ntoken = "{READER}"\ncollections = ["b"]', "also that of [a]"),
    ],
)
def test_a_token_file_that_is_wrong_is_refused_without_showing_a_token(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_tokens(tmp_path, text)
    assert message in str(refused.value)
    assert READER not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_operation_requires_a_token_for_its_collection(client: ApiClient) -> None:
    url = "/v1/collections/rules/search?q=leave"
    missing = client.get(url)
    assert (missing.status_code, missing.headers["www-authenticate"]) == (401, "Bearer")
    for token, path, status in (
        (READER, url, 200),
        (READER, "/v1/collections/RULES/search?q=leave", 200),
        (READER, "/v1/collections/others/search?q=leave", 403),
        (READER, "/v1/collections/nothing/search?q=leave", 403),
        (WRITER, "/v1/collections/others/search?q=leave", 200),
        ("unknown-0123456789", url, 401),
    ):
        assert client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == status, (token, path)


def test_a_token_lists_its_own_collections(client: ApiClient) -> None:
    listed = client.get("/v1/collections", headers={"Authorization": f"Bearer {READER}"}).json()["collections"]
    assert [each["name"] for each in listed] == ["rules"]
    assert client.get("/v1/collections").status_code == 401
    assert client.get("/metrics").status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
def test_what_shows_no_data_requires_no_token(client: ApiClient, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:8711", "localhost", "[::1]:80", "127.8.9.10"])
def test_names_of_this_machine_are_local(host: str) -> None:
    assert is_local_name(host)


@pytest.mark.parametrize("host", [None, "", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "a:b:c"])
def test_other_names_are_not(host: str | None) -> None:
    assert not is_local_name(host)


def test_without_tokens_only_names_of_this_machine_are_answered(store: Store, folder: Path, client: ApiClient) -> None:
    with api(store, folder) as open_to_all:
        refused = open_to_all.get("/v1/collections", headers={"Host": "rebound.example"})
    assert (refused.status_code, refused.headers["content-type"]) == (421, "application/problem+json")
    allowed = client.get("/v1/collections", headers={"Host": "search.example", "Authorization": f"Bearer {WRITER}"})
    assert allowed.status_code == 200


def test_pages_of_other_origins_are_let_in_only_if_named(store: Store, folder: Path) -> None:
    headers = {"Origin": "https://intranet.example", "Access-Control-Request-Method": "POST"}
    with api(store, folder) as closed:
        assert (
            "access-control-allow-origin"
            not in closed.request("OPTIONS", "/v1/collections/rules/search", headers=headers).headers
        )
    with api(store, folder, ServeOptions(cors_origins=("https://intranet.example",))) as named:
        let_in = named.request("OPTIONS", "/v1/collections/rules/search", headers=headers)
        assert let_in.headers["access-control-allow-origin"] == "https://intranet.example"
        mcp = "authorization,content-type,last-event-id,mcp-method,mcp-name,mcp-protocol-version,mcp-session-id"
        asked = named.request("OPTIONS", "/v1/collections", headers={**headers, "Access-Control-Request-Headers": mcp})
        assert (asked.status_code, asked.text) == (200, "OK")
        exposed = named.get("/v1/collections", headers={"Origin": headers["Origin"]}).headers["access-control-expose-headers"]
        assert {"Retry-After", "Mcp-Session-Id", "Mcp-Protocol-Version"} <= set(exposed.split(", "))
        other = named.request("OPTIONS", "/v1/collections/rules/search", headers={**headers, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_without_tokens_only_this_machine_is_served() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(ConfigurationError, match="pass --token-file"):
            bind(host, 0, public=False)
    taken = pytest.raises(ConfigurationError, match="choose another --host or --port")
    with bind("127.0.0.1", 0, public=False) as listening, taken:
        bind("127.0.0.1", listening.getsockname()[1], public=False)
