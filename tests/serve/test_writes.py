"""Writing documents over HTTP, and the list of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from serving import ApiClient, api, stored_rules

from ingest.schedule.status import JobStatus
from ingest.serve.options import ServeOptions
from ingest.serve.schemas import ServedJob
from ingest.store.contract import Store

DOCUMENTS = "/v1/collections/rules/documents"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with stored_rules(tmp_path, "rules") as opened_store:
        yield opened_store


@pytest.fixture
def client(store: Store, tmp_path: Path) -> Iterator[ApiClient]:
    with api(store, tmp_path, ServeOptions(writable=True)) as running:
        yield running


def found(client: ApiClient, query: str) -> list[str]:
    hits = client.get("/v1/collections/rules/search", params={"q": query, "vectors": "bm25"}).json()["hits"]
    return [hit["doc_id"] for hit in hits]


def test_pushed_documents_are_found_and_those_before_them_stay(client: ApiClient) -> None:
    first = {"id": "parking", "text": "Bicycles are parked in the yard.", "metadata": {"lang": "en"}}
    pushed = client.post(DOCUMENTS, json={"source": "intranet", "documents": [first]})
    assert pushed.status_code == 200
    assert {name: pushed.json()[name] for name in ("read", "written", "rejected", "balanced")} == {
        "read": 1,
        "written": 1,
        "rejected": 0,
        "balanced": True,
    }
    second = {"id": "canteen", "text": "The canteen opens at noon.", "title": "Canteen"}
    again = client.post(DOCUMENTS, json={"source": "intranet", "documents": [first, second]}).json()
    assert (again["written"], again["unchanged"]) == (1, 1)
    client.post(DOCUMENTS, json={"source": "intranet", "documents": [second]})
    assert found(client, "bicycles") == ["parking"]
    assert found(client, "canteen") == ["canteen"]
    assert found(client, "refunds") == ["refunds"]


def test_a_document_that_cannot_be_used_is_told_with_its_reason(client: ApiClient) -> None:
    documents = [{"id": "good", "text": "Good."}, {"id": "good", "text": "The same id."}, {"id": "empty", "text": " "}]
    receipt = client.post(DOCUMENTS, json={"source": "intranet", "documents": documents}).json()
    assert (receipt["read"], receipt["rejected"], receipt["balanced"]) == (3, 2, True)
    assert {reject["doc_id"] for reject in receipt["rejects"]} == {"good", "empty"}
    assert all(reject["reason"] for reject in receipt["rejects"])


def test_a_document_is_deleted_once(client: ApiClient) -> None:
    assert client.request("DELETE", f"{DOCUMENTS}/rules/leave").json() == {"collection": "rules", "deleted": 1}
    assert client.request("DELETE", f"{DOCUMENTS}/rules/leave").status_code == 404
    assert client.request("DELETE", f"{DOCUMENTS}/refunds", params={"source": "other"}).status_code == 404
    assert found(client, "leave") == []
    assert found(client, "refunds") == ["refunds"]


def test_a_server_that_is_not_writable_has_no_such_operations(store: Store, tmp_path: Path) -> None:
    with api(store, tmp_path) as client:
        assert client.post(DOCUMENTS, json={"source": "x", "documents": [{"id": "x", "text": "x"}]}).status_code == 404
        assert client.request("DELETE", f"{DOCUMENTS}/refunds").status_code == 405
        assert not [path for path, methods in client.get("/openapi.json").json()["paths"].items() if "delete" in methods]


def test_jobs_are_listed_with_their_last_runs(store: Store, tmp_path: Path) -> None:
    status = JobStatus("nightly", "done", last_success=datetime(2026, 1, 2, tzinfo=UTC), receipt={"read": 3})
    with api(store, tmp_path, read_jobs=lambda: [ServedJob("rules", status)]) as client:
        [job] = client.get("/v1/jobs").json()["jobs"]
    assert (job["collection"], job["status"]["job"], job["status"]["status"]) == ("rules", "nightly", "done")
    assert job["status"]["receipt"] == {"read": 3}
    assert job["status"]["last_success"] == "2026-01-02T00:00:00Z"
