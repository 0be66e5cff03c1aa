"""Clients that write while a run is under way: between its windows, and never what the run reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving import RULES, client_of, opened, stored_rules

import ingest
from ingest.errors import JobRunningError
from ingest.serve.app import create_app
from ingest.serve.options import ServeOptions
from ingest.serve.served import ServedCollections
from ingest.serve.turns import WriteTurns
from ingest.store.schema import _normalize_collection_name

DOCUMENTS = "/v1/collections/rules/documents"
PUSHED = {"id": "canteen", "text": "The canteen opens at noon."}


def test_a_client_writes_during_a_run_that_deletes_what_is_missing(tmp_path: Path) -> None:
    begun, ended = threading.Event(), threading.Event()

    def rules() -> Iterator[dict[str, Any]]:
        yield RULES[0]
        begun.set()
        assert ended.wait(60)
        yield {**RULES[1], "text": "Every employee has forty days of leave."}

    with stored_rules(tmp_path, "rules") as store, ThreadPoolExecutor(1) as threads:
        served = ServedCollections(store, lambda name: opened(store, name, tmp_path), _normalize_collection_name)

        def run() -> ingest.Receipt:
            with opened(store, "rules", tmp_path) as collection, served.turns.of_run(["rules"]) as give_way:

                def stop() -> bool:
                    give_way()
                    return False

                return collection.sync(rules(), name="rules", delete="full", max_delete="100%", stop=stop)

        with client_of(create_app(served, ServeOptions(writable=True))) as client:
            running = threads.submit(run)
            assert begun.wait(60)
            pushed = client.post(DOCUMENTS, json={"source": "intranet", "documents": [PUSHED]})
            assert (pushed.status_code, pushed.json()["written"], running.done()) == (200, 1, False)
            with pytest.raises(JobRunningError, match="'rules'"), served.turns.of_client("rules", 0.0):
                pass
            ended.set()
            receipt = running.result(60)
            assert (receipt.read, receipt.updated, receipt.deleted, receipt.balanced) == (2, 1, 1, True)
            assert client.get(f"{DOCUMENTS}/canteen").status_code == 200
            again = client.post(DOCUMENTS, json={"source": "rules", "documents": [{**PUSHED, "id": "laptops"}]})
            assert (again.json()["written"], again.json()["balanced"]) == (1, True)


def test_a_client_that_is_not_let_in_is_told_to_try_again(tmp_path: Path) -> None:
    with stored_rules(tmp_path, "rules") as store:
        served = ServedCollections(store, lambda name: opened(store, name, tmp_path), _normalize_collection_name)
        app = create_app(served, ServeOptions(writable=True, deadline=2))
        with client_of(app) as client, served.turns.of_run(["intranet"]):
            refused = client.post(DOCUMENTS, json={"source": "intranet", "documents": [PUSHED]})
        assert (refused.status_code, refused.headers["retry-after"]) == (409, "1")
        assert refused.json()["error"]["type"] == "JobRunningError"
        assert "the source 'intranet'" in refused.json()["detail"]


def test_a_run_that_lets_nobody_in_and_a_write_to_any_source_are_told_apart() -> None:
    turns = WriteTurns()
    with turns.of_run(["rules"]) as give_way:
        with pytest.raises(JobRunningError, match="windows take long"), turns.of_client("intranet", 0.0):
            pass
        with pytest.raises(JobRunningError, match="a job reads a source"), turns.of_client(None, 0.0):
            pass
        give_way()
    for source in ("rules", None):
        with turns.of_client(source, 0.0):
            pass
