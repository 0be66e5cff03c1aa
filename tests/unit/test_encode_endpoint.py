"""The configuration of remote models: what is refused, keys, fingerprints, tokens and prices, and what an endpoint proves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from endpoint import DIM, KEY, QUICK, FakeEndpoint, encode, endpoint_options, remote_model

from ingest.encode.http.client import EndpointClient
from ingest.encode.http.endpoint import Endpoint
from ingest.encode.http.model import HttpModel
from ingest.encode.http.proof import CANARIES, find_changes, proof_from_json
from ingest.encode.http.proving import prove
from ingest.encode.models import ModelManager
from ingest.encode.queries import as_queries
from ingest.encode.registry import EnsembleConfig, find_model, known_models
from ingest.encode.resolve import resolve
from ingest.errors import ConfigurationError, IngestError, ModelError, ModelUnavailableError


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint() as running:
        yield running


# --- the configuration


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"api": "azure"}, "azure"),
        ({"url": "ftp://host"}, "cannot be read"),
        ({"url": "https://me:hunter2@host/v1"}, "api_key_env"),
        ({"url": "https://host/v1?key=hunter2"}, "api_key_env"),
        ({"api": "tei", "url": None}, "url"),
        ({"api_key_env": "hunter2-is-no-name"}, "environment variable"),
        ({"url": "http://far.example", "api_key_env": "FAR_KEY"}, "unencrypted"),
        ({"kind": "sparse"}, "tei"),
        ({"kind": "reranker"}, "cohere"),
        ({"dimensions": 32}, "more than"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"batch_texts": 0}, "batch_texts"),
        ({"path": "models/house"}, "computed here"),
        ({"backend": "torch", "hub_id": "a/b"}, "backend"),
        ({"api_key": "hunter2"}, "api_key_env"),
    ],
)
def test_an_option_that_cannot_be_is_refused_without_repeating_secrets(
    endpoint: FakeEndpoint, changes: dict[str, Any], says: str
) -> None:
    values = {name: value for name, value in endpoint_options(endpoint, **changes).items() if value is not None}
    with pytest.raises(ConfigurationError, match=says) as caught:
        known_models({"far": values})
    assert "hunter2" not in str(caught.value)


def test_a_key_is_sent_and_never_repeated(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    model = remote_model(endpoint, api_key_env="FAR_KEY")
    with pytest.raises(ConfigurationError, match="FAR_KEY"):
        encode(model)
    monkeypatch.setenv("FAR_KEY", KEY)
    endpoint.key = KEY
    assert not encode(model).failed
    endpoint.key = "another"
    with pytest.raises(ModelUnavailableError, match=r"Incorrect API key provided: Bearer \*\*\*") as caught:
        encode(model)
    assert KEY not in f"{caught.value!r}{caught.value.__cause__!r}{model.config!r}{caplog.text}"


def test_the_fingerprint_is_that_of_what_shapes_the_vectors(endpoint: FakeEndpoint) -> None:
    same: list[dict[str, Any]] = [
        {},
        {"max_tokens": 100},
        {"api_key_env": "FAR_KEY"},
        {"batch_texts": 3, "concurrency": 9, "timeout": 5.0},
    ]
    assert len({remote_model(endpoint, **changes).fingerprint for changes in same}) == 1
    other: list[dict[str, Any]] = [
        {},
        {"model": "n"},
        {"api": "ollama"},
        {"url": f"{endpoint.url}/v1"},
        {"url": "http://127.0.0.1:9"},
        {"dim": 32, "dimensions": 16, "query_prompt": "q: "},
        {"document_prompt": "d: "},
        {"dim": 32},
        {"task": "none"},
    ]
    assert len({remote_model(endpoint, **changes).fingerprint for changes in other}) == len(other)


def test_tokens_are_counted_by_the_tokenizer_that_is_named(endpoint: FakeEndpoint) -> None:
    minilm = resolve(find_model("all-miniLM-l6")).folder
    for name in ("all-miniLM-l6", str(minilm)):
        limit = remote_model(endpoint, tokenizer=name).token_limit
        assert limit.count(["Hello world"]) == [4]
    with pytest.raises(ModelError, match="tokenizer 'nothing'"):
        remote_model(endpoint, tokenizer="nothing").token_limit.count(["x"])
    assert remote_model(endpoint).token_limit.count(["Hello world", "東京"]) == [6, 3]


def test_a_price_is_that_of_the_tokens(endpoint: FakeEndpoint) -> None:
    assert remote_model(endpoint).price(["Hello world"]) is None
    assert remote_model(endpoint, price_per_million_tokens=2.0, tokenizer="all-miniLM-l6").price(["Hello world"] * 3) == 24e-6
    assert remote_model(endpoint, price_per_million_tokens=2.0).price(["Hello world!"]) == 6e-6


def test_a_query_that_an_api_would_refuse_is_shortened(endpoint: FakeEndpoint) -> None:
    endpoint.refuses = 10
    model = remote_model(endpoint, tokenizer="all-miniLM-l6", max_tokens=8)
    assert not encode(as_queries(model), ["word " * 40]).failed
    assert endpoint.texts == ["word word word word word word"]


@pytest.mark.parametrize(
    "kind",
    [
        each
        for each in vars(httpx).values()
        if isinstance(each, type) and issubclass(each, Exception) and each is not httpx.HTTPError
    ],
    ids=lambda kind: kind.__name__,
)
def test_whatever_the_library_raises_is_a_model_that_is_unavailable(kind: type[Exception]) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        if kind is httpx.HTTPStatusError:
            raise httpx.HTTPStatusError("two\nlines", request=request, response=httpx.Response(500))
        try:
            raise kind("two\nlines")
        except TypeError:
            raise kind() from None

    client = EndpointClient("far", Endpoint("openai", "http://localhost:9", "m"), transport=httpx.MockTransport(fail))
    with pytest.raises(IngestError) as caught:
        client.post("/embeddings", {})
    assert type(caught.value) is ModelUnavailableError
    assert "\n" not in str(caught.value)


# --- proofs


def test_an_endpoint_proves_itself_and_a_change_is_found(endpoint: FakeEndpoint) -> None:
    model = remote_model(endpoint, max_tokens=300)
    proof = prove(model, QUICK)
    assert (proof.measured, proof.reads) == (300, 300)
    stored = proof_from_json(proof.to_json())
    assert stored is not None
    again = HttpModel(model.config, stored)
    before = len(endpoint.texts)
    assert find_changes(stored, prove(again, QUICK)) == []
    assert endpoint.texts[before:] == list(CANARIES)  # what is known is not measured again
    endpoint.revision = "2"
    assert len(find_changes(stored, prove(again, QUICK))) == len(CANARIES)
    assert HttpModel(remote_model(endpoint, model="n").config, stored).proof is None


@pytest.mark.parametrize("silent", [True, False])
def test_a_length_at_which_an_endpoint_truncates_or_refuses_is_the_limit(
    endpoint: FakeEndpoint, silent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.reads, endpoint.refuses = (200, None) if silent else (None, 201)
    model = remote_model(endpoint, max_tokens=1000)
    proof = prove(model, QUICK)
    assert 170 <= proof.reads <= 200
    assert HttpModel(model.config, proof).token_limit.max_tokens == proof.reads
    assert "reads only the first" in caplog.text


def test_an_endpoint_with_one_vector_for_all_texts_is_refused(endpoint: FakeEndpoint) -> None:
    endpoint.reads = 0
    with pytest.raises(ModelError, match="of different ends"):
        prove(remote_model(endpoint), QUICK)


def test_a_sparse_endpoint_proves_itself(endpoint: FakeEndpoint) -> None:
    model = remote_model(endpoint, api="tei", kind="sparse")
    proof = prove(model, QUICK)
    stored = proof_from_json(proof.to_json())
    assert stored is not None
    assert find_changes(stored, proof) == []
    endpoint.revision = "2"
    assert find_changes(stored, prove(model, QUICK))


def test_the_manager_builds_remote_models(endpoint: FakeEndpoint) -> None:
    custom = {"far": endpoint_options(endpoint), "words": endpoint_options(endpoint, api="tei", kind="sparse")}
    manager = ModelManager(EnsembleConfig(("far", "words")), devices=("cpu",), custom_models=custom)
    assert [(each.key, each.kind, each.dim, each.backend, each.runs_on) for each in manager.members] == [
        ("far", "dense", DIM, "http", "remote"),
        ("words", "sparse", None, "http", "remote"),
    ]
