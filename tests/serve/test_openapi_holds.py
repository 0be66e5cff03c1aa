"""What `/openapi.json` says is true: Schemathesis sends what it allows and what it forbids, and runs all its checks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from serving import RULES, application, on_port, stored_rules
from tiny_reranker import tiny_reranker

from ingest.encode.embedder import Embedder
from ingest.search.rerank import RerankPipeline
from ingest.serve.models_api import model_endpoints
from ingest.serve.options import ServeOptions
from ingest.testing import HashEncoder

# Grammars that no pattern can express.
schemathesis.openapi.format("filter", st.sampled_from(["metadata.lang=en", "not metadata.year>=2020 or doc_id in (a, b)"]))
schemathesis.openapi.format("boost", st.sampled_from(["metadata.year:2000..2030*0.5", "metadata.date:30d"]))

EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "2"))
"""Requests of each kind to each operation. A change of the API is worth 200."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("openapi")
    reranker = RerankPipeline(tiny_reranker(folder / "reranker"), lease_directory=folder / "leases")
    embedder = Embedder(lambda: [HashEncoder(dim=8)], ["hash"], lease_directory=folder / "leases")
    with stored_rules(folder, "rules") as store:
        more = model_endpoints(embedder, reranker)
        with on_port(application(store, folder, ServeOptions(writable=True), more=more, reranker=reranker)) as url:
            yield url


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_every_operation_does_what_the_document_says(url: str, mode: schemathesis.GenerationMode) -> None:
    described = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [each.ok() for each in described.get_all_operations()]
    assert len(operations) == 17
    for operation in operations:
        if mode is schemathesis.GenerationMode.POSITIVE or takes_something(operation):
            check_operation(operation, mode)


def takes_something(operation: Any) -> bool:
    return bool(operation.definition.raw["parameters"] or "requestBody" in operation.definition.raw)


def check_operation(operation: Any, mode: schemathesis.GenerationMode) -> None:
    cases = operation.as_strategy(generation_mode=mode)

    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(cases, st.booleans(), st.sampled_from(RULES))
    def check(case: Any, known: bool, rule: dict[str, Any]) -> None:
        names = {"name": "rules", "doc_id": rule["id"], "model": "hash"}
        if known and mode is schemathesis.GenerationMode.POSITIVE:
            case.path_parameters = {name: names[name] for name in case.path_parameters or {}}
        case.call_and_validate(timeout=120)  # the first of its kind imports what it needs

    check()
