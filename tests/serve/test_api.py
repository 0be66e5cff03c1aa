"""The HTTP API: what each operation answers, and what it refuses."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import RULES, ApiClient, Blocking, api, opened, stored_rules

from ingest.search.request import SearchOptions
from ingest.serve.options import ServeOptions
from ingest.serve.schemas import SearchBody, SearchQuery
from ingest.store.contract import Store
from ingest.testing import FlakyStore

RULES_URL = "/v1/collections/rules"
BODY_ALONE = {"weights", "like", "group_size", "diversity"}
"""The options of a search that depend on others, or that a URL cannot have."""

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[Store]:
    with stored_rules(folder, "rules", "others") as opened_store:
        yield opened_store


@pytest.fixture(scope="module")
def client(store: Store, folder: Path) -> Iterator[ApiClient]:
    with api(store, folder) as running:
        yield running


def test_a_search_returns_what_the_collection_returns(client: ApiClient, store: Store, folder: Path) -> None:
    options: dict[str, Any] = {
        "limit": 2,
        "where": {"metadata.year": {"gte": 2021}},
        "snippets": True,
        "facets": ["metadata.lang"],
    }
    answered = client.post(f"{RULES_URL}/search", json={"query": "days of leave", **options}).json()
    with opened(store, "rules", folder) as collection:
        expected = collection.search("days of leave", **options)
    assert [hit["id"] for hit in answered["hits"]] == [hit.id for hit in expected]
    assert [hit["score"] for hit in answered["hits"]] == pytest.approx([hit.score for hit in expected])
    assert answered["hits"][0]["doc_id"] == "rules/leave"
    assert answered["hits"][0]["snippet"] == expected[0].snippet
    assert [hit["place"] for hit in answered["hits"]] == [hit.place for hit in expected]
    assert answered["facets"] == {"metadata.lang": {"de": 1, "en": 1}}
    assert answered["collection"] == "rules"


def test_a_query_in_the_url_is_the_same_search(client: ApiClient) -> None:
    body = {"query": "leave", "limit": 2, "where": ["metadata.lang=en"], "snippets": True}
    posted = client.post(f"{RULES_URL}/search", json=body).json()
    got = client.get(
        f"{RULES_URL}/search", params={"q": "leave", "limit": "2", "where": "metadata.lang=en", "snippets": "true"}
    ).json()
    assert got["hits"] == posted["hits"]
    assert len(got["hits"]) == 2


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_group_has_the_type_of_its_values(client: ApiClient) -> None:
    answered = client.get(f"{RULES_URL}/search", params={"q": "leave", "group_by": "metadata.year"})
    assert {hit["group"] for hit in answered.json()["hits"]} == {2020, 2021, 2022}


def test_a_name_may_be_spelled_in_any_way(client: ApiClient) -> None:
    assert client.get("/v1/collections/Rules/search", params={"q": "leave"}).json()["collection"] == "rules"


def test_a_body_has_every_option_of_a_search() -> None:
    assert SearchBody.model_fields.keys() == SearchOptions.__annotations__.keys() | {"query"}
    assert SearchQuery.model_fields.keys() == SearchOptions.__annotations__.keys() - BODY_ALONE | {"q"}


def test_the_defaults_in_the_documentation_are_those_of_the_search() -> None:
    from ingest.search.request import SearchRequest  # noqa: PLC0415

    request = SearchRequest.of({})
    for name, field in SearchBody.model_fields.items():
        if hasattr(request, name) and name not in {"boost", "facets"}:
            assert field.default == getattr(request, name), name


def test_collections_are_listed_and_described(client: ApiClient) -> None:
    listed = client.get("/v1/collections").json()["collections"]
    assert [(each["name"], each["points"], each["vectors"]) for each in listed] == [
        ("others", 3, ["hash", "bm25"]),
        ("rules", 3, ["hash", "bm25"]),
    ]
    described = client.get(RULES_URL).json()
    assert described["points"] == 3
    assert [(each["name"], each["kind"]) for each in described["vectors"]] == [("hash", "dense"), ("bm25", "sparse")]
    assert described["indexes"]["metadata.lang"]["type"] == "keyword"


def test_facets_are_those_of_the_indexed_metadata_or_of_the_named_fields(client: ApiClient) -> None:
    assert client.get(f"{RULES_URL}/facets").json() == {"facets": {"metadata.lang": {"en": 2, "de": 1}}}
    named = client.get(f"{RULES_URL}/facets", params={"field": ["source", "metadata.year"], "where": "metadata.year>2020"}).json()
    assert named == {"facets": {"source": {"rules": 2}, "metadata.year": {"2021": 1, "2022": 1}}}


def test_a_document_is_read_with_its_chunks_even_if_its_id_has_a_slash(client: ApiClient) -> None:
    document = client.get(f"{RULES_URL}/documents/rules/leave").json()
    assert (document["doc_id"], document["source"], document["title"]) == ("rules/leave", "rules", "Leave")
    assert [chunk["text"] for chunk in document["chunks"]] == [RULES[1]["text"]]
    assert client.get(f"{RULES_URL}/documents/rules%2Fleave").json() == document


@pytest.mark.parametrize(
    ("request_line", "arguments", "status", "detail"),
    [
        (f"GET {RULES_URL}/documents/nothing", {}, 404, "no such document"),
        ("GET /v1/collections/nothing", {}, 404, "nothing"),
        ("GET /v1/nothing", {}, 404, "Not Found"),
        (f"PUT {RULES_URL}/search", {}, 405, "Method Not Allowed"),
        (f"GET {RULES_URL}/search", {"params": {"q": " "}}, 422, "query"),
        (f"GET {RULES_URL}/search", {"params": {"q": "x", "limit": "many"}}, 422, "limit"),
        (f"GET {RULES_URL}/search?q=x&q=y", {}, 422, "q: it is given more than once"),
        (f"POST {RULES_URL}/search", {"json": {"query": "x", "limit": "1"}}, 422, "limit"),
        (f"POST {RULES_URL}/search", {"json": {"query": "x", "offset": 9_999}}, 422, "offset"),
        (f"POST {RULES_URL}/search", {"json": {"query": "x", "unknown": 1}}, 422, "unknown"),
        (f"POST {RULES_URL}/search", {"json": {"query": "x", "vectors": ["no"]}}, 409, "hash, bm25"),
        (f"POST {RULES_URL}/search", {"json": {"like": "nothing"}}, 409, "no document or chunk 'nothing'"),
        (f"POST {RULES_URL}/search", {"json": {"query": "x", "limit": 5.5}}, 422, "limit"),
        (f"GET {RULES_URL}/search", {"params": {"like": "refunds"}}, 422, "q: Field required"),
        (f"POST {RULES_URL}/search", {"json": ["x"]}, 422, "object"),
        (f"POST {RULES_URL}/search", {"content": b'{"query": "\\ud800"}', "headers": JSON}, 422, ""),
        (f"POST {RULES_URL}/search", {"content": b"{", "headers": JSON}, 422, "JSON"),
        (f"POST {RULES_URL}/search", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "application/json"),
        (f"POST {RULES_URL}/search", {"json": {}, "headers": {"content-encoding": "gzip"}}, 415, "without Content-Encoding"),
    ],
)
def test_every_error_is_a_problem(
    client: ApiClient, request_line: str, arguments: dict[str, Any], status: int, detail: str
) -> None:
    response = client.request(*request_line.split(" "), **arguments)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert detail in problem["detail"]


def test_a_store_that_is_away_is_a_503_with_the_time_to_wait(store: Store, folder: Path) -> None:
    from ingest.errors import StoreUnavailableError  # noqa: PLC0415

    away = StoreUnavailableError("the server does not answer", retry_after=7.0)
    flaky = FlakyStore(store, lambda method, number: ("before", away), methods=frozenset({"query"}))
    with api(flaky, folder) as client:
        response = client.get(f"{RULES_URL}/search", params={"q": "leave"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert response.json()["error"]["type"] == "StoreUnavailableError"


def test_a_body_over_the_limit_is_refused(store: Store, folder: Path) -> None:
    with api(store, folder, ServeOptions(max_body=100)) as client:
        assert client.post(f"{RULES_URL}/search", json={"query": "x" * 200}).status_code == 413
        assert client.post(f"{RULES_URL}/search", json={"query": "x" * 20}).status_code == 200


def test_a_full_queue_refuses_the_next_request_and_the_others_are_answered(store: Store, folder: Path) -> None:
    blocking = Blocking(store)
    with api(blocking.store, folder, ServeOptions(threads=1, queue=1)) as client:
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(client.get(f"{RULES_URL}/search", params={"q": "leave"}).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert blocking.begun.acquire(timeout=60)
        while client.get("/healthz").json()["pending"] < 2:
            pass
        refused = client.get(f"{RULES_URL}/search", params={"q": "leave"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        blocking.released.set()
        for thread in threads:
            thread.join()
    assert statuses == [200, 200]


def test_a_request_over_its_deadline_is_a_504_and_the_server_goes_on(store: Store, folder: Path) -> None:
    blocking = Blocking(store)
    with api(blocking.store, folder, ServeOptions(deadline=0.05, threads=1)) as client:
        late = client.get(f"{RULES_URL}/search", params={"q": "leave"})
        assert (late.status_code, late.headers["content-type"]) == (504, "application/problem+json")
        assert client.get("/healthz").json() == {"status": "ok", "pending": 1}
        blocking.released.set()


def test_named_collections_are_loaded_first_and_no_others_are_served(store: Store, folder: Path) -> None:
    with api(store, folder, names=("rules",)) as client:
        while (ready := client.get("/readyz")).status_code == 503:
            assert ready.json()["detail"] == "the models are being loaded"
        assert ready.json()["status"] == "ok"
        assert [each["name"] for each in client.get("/v1/collections").json()["collections"]] == ["rules"]
        assert client.get("/v1/collections/others/search", params={"q": "x"}).status_code == 404


def test_a_collection_that_cannot_be_loaded_is_not_ready(store: Store, folder: Path) -> None:
    with api(store, folder, names=("nothing",)) as client:
        while "nothing" not in (ready := client.get("/readyz")).json()["detail"]:
            pass
        assert ready.status_code == 503
        assert client.get("/healthz").status_code == 200


def test_metrics_count_requests_by_operation(store: Store, folder: Path) -> None:
    with api(store, folder) as client:
        client.get(f"{RULES_URL}/search", params={"q": "leave"})
        text = client.get("/metrics").text
    assert 'ingest_requests_total{method="GET",path="/v1/collections/{name}/search",status="200"} 1.0' in text


def test_no_text_is_logged(store: Store, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    bug = FlakyStore(
        store, lambda method, number: ("before", RuntimeError("a sentence of a document")), methods=frozenset({"query"})
    )
    caplog.set_level(logging.DEBUG)
    with api(bug, folder) as client:
        response = client.post(f"{RULES_URL}/search", json={"query": "a secret wish"})
    assert response.status_code == 500
    assert "RuntimeError at " in caplog.text
    for text in (caplog.text, response.text):
        assert "wish" not in text
        assert "sentence" not in text


def test_the_openapi_document_describes_every_operation(client: ApiClient) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) >= {
        "/v1/collections",
        "/v1/collections/{name}",
        "/v1/collections/{name}/search",
        "/v1/collections/{name}/facets",
        "/v1/collections/{name}/documents/{doc_id}",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    body = document["components"]["schemas"]["SearchBody"]
    assert body["properties"]["limit"]["maximum"] == 1_000
    identifiers = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(identifiers) == len(set(identifiers))
