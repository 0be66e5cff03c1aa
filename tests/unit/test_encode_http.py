"""Remote models against a real HTTP server: what is sent, how answers are read, and what each fault comes to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from endpoint import DIM, TEXTS, FakeEndpoint, Refusal, encode, remote_model

from ingest.encode.http.pacing import Pacer, renewed_in, retry_after
from ingest.encode.queries import as_queries
from ingest.encode.runner import BatchRunner
from ingest.errors import ModelUnavailableError
from ingest.records import SparseVector
from ingest.telemetry import ThroughputMonitor
from ingest.testing import FakeClock, HashEncoder


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint() as running:
        yield running


def expected(texts: Sequence[str] = TEXTS, **of_model: Any) -> Any:
    return HashEncoder(dim=DIM, **of_model).encode_documents(texts)


# --- the formats


@pytest.mark.parametrize(
    ("api", "path", "sent", "queried"),
    [
        ("openai", "/embeddings", {"model": "m", "encoding_format": "base64", "dimensions": 16}, {}),
        ("tei", "/embed", {"normalize": True, "truncate": False, "dimensions": 16}, {"truncate": True}),
        ("ollama", "/api/embed", {"model": "m", "truncate": False, "dimensions": 16}, {"truncate": True}),
        (
            "cohere",
            "/v2/embed",
            {
                "model": "m",
                "input_type": "search_document",
                "truncate": "NONE",
                "output_dimension": 16,
                "embedding_types": ["float"],
            },
            {"input_type": "search_query", "truncate": "END"},
        ),
        (
            "voyage",
            "/embeddings",
            {"model": "m", "input_type": "document", "truncation": False, "output_dimension": 16, "encoding_format": "base64"},
            {"input_type": "query", "truncation": True},
        ),
        (
            "jina",
            "/embeddings",
            {
                "model": "m",
                "task": "retrieval.passage",
                "normalized": True,
                "embedding_type": "base64",
                "truncate": False,
                "dimensions": 16,
            },
            {"task": "retrieval.query", "truncate": True},
        ),
    ],
)
def test_each_api_is_spoken(endpoint: FakeEndpoint, api: str, path: str, sent: dict[str, Any], queried: dict[str, Any]) -> None:
    model = remote_model(endpoint, api=api, dim=32, dimensions=DIM, document_prompt="passage: ", query_prompt="query: ")
    encoded = encode(model, ["a chair", "a table"])
    np.testing.assert_allclose(encoded.vectors, expected(["passage: a chair", "passage: a table"]), rtol=1e-5)
    [row] = encode(as_queries(model), ["chair"]).vectors
    np.testing.assert_allclose(row, expected(["query: chair"])[0], rtol=1e-5)
    fields = {"input", "inputs", "texts"}
    bodies = [(where, {name: value for name, value in body.items() if name not in fields}) for where, body in endpoint.requests]
    assert bodies == [(path, sent), (path, {**sent, **queried})]


def test_sparse_vectors_of_tei(endpoint: FakeEndpoint) -> None:
    found = encode(remote_model(endpoint, api="tei", kind="sparse", dim=1), ["a chair"]).vectors
    [vector] = found
    assert isinstance(vector, SparseVector)
    assert vector.indices.tolist() == [3, 7]


def test_vectors_are_of_unit_norm_whatever_the_endpoint_returns(endpoint: FakeEndpoint) -> None:
    endpoint.cue = lambda _, texts: Refusal(200, [[3.0] + [0.0] * 14 + [4.0] for _ in texts])
    vectors = encode(remote_model(endpoint, api="tei"), ["a", "b"]).vectors
    np.testing.assert_allclose(vectors[:, [0, 15]], [[0.6, 0.8]] * 2, rtol=1e-6)


def test_a_vector_of_zeros_rejects_its_text_alone(endpoint: FakeEndpoint) -> None:
    endpoint.cue = lambda _, texts: Refusal(200, [[0.0 if text == "b" else 1.0] * DIM for text in texts])
    assert list(encode(remote_model(endpoint, api="tei"), ["a", "b", "c"]).failed) == [1]


# --- limits


def test_requests_have_at_most_the_configured_texts_and_tokens_and_run_at_a_time(endpoint: FakeEndpoint) -> None:
    meet = threading.Barrier(3, timeout=20)
    endpoint.cue = lambda number, _: (meet.wait(), None)[1] if number <= 3 else None
    monitor = ThroughputMonitor()
    encoded = encode(remote_model(endpoint, batch_texts=8, batch_tokens=80, concurrency=3), monitor=monitor)
    np.testing.assert_allclose(encoded.vectors, expected(), rtol=1e-5)
    assert max(len(body["input"]) for _, body in endpoint.requests) == 80 // 16  # a text is estimated at 16 tokens
    assert endpoint.busiest == 3
    [report] = monitor.model_reports()
    assert (report.device, report.backend, report.tokens) == ("remote", "http", 10 * len(TEXTS))


def test_a_request_that_is_too_large_is_halved_and_the_next_ones_are_smaller(endpoint: FakeEndpoint) -> None:
    endpoint.most_texts = 8
    texts = [f"text {number}" for number in range(200)]
    encoded = encode(remote_model(endpoint, batch_texts=50, concurrency=1), texts)
    np.testing.assert_allclose(encoded.vectors, expected(texts), rtol=1e-5)
    assert not encoded.failed
    refused = [len(body["input"]) for _, body in endpoint.requests if len(body["input"]) > 8]
    assert refused[:3] == [50, 25, 12]
    assert max(refused[3:]) < 25
    assert len(refused) < len(endpoint.requests) / 2


def test_a_text_that_is_refused_is_rejected_alone(endpoint: FakeEndpoint) -> None:
    endpoint.cue = lambda _, texts: Refusal(400, {"error": {"message": "bad\nword"}}) if TEXTS[17] in texts else None
    encoded = encode(remote_model(endpoint))
    assert list(encoded.failed) == [17]
    assert "400 Bad Request, bad word" in encoded.failed[17]
    others = [number for number in range(50) if number != 17]
    np.testing.assert_allclose(encoded.vectors[others], expected()[others], rtol=1e-5)


@pytest.mark.parametrize(
    "fault",
    [
        Refusal(429, headers={"Retry-After": "0"}),
        Refusal(429, headers={"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1ms"}),
        Refusal(500),
        Refusal(503),
        Refusal(424),
        Refusal(200, {"data": []}),
        Refusal(200, {"data": [{"index": 0, "embedding": [1.0] * DIM}]}),
        Refusal(200, {"surprise": 1}),
        Refusal(200, {"data": [{"index": number, "embedding": [1.0] * 3} for number in range(50)]}),
    ],
    ids=["429", "renewed", "500", "503", "424", "no vectors", "fewer vectors", "no answer", "wrong dim"],
)
def test_a_fault_that_passes_changes_nothing(endpoint: FakeEndpoint, fault: Refusal) -> None:
    endpoint.cue = lambda number, _: fault if number <= 3 else None
    encoded = encode(remote_model(endpoint))
    np.testing.assert_allclose(encoded.vectors, expected(), rtol=1e-5)
    assert len(endpoint.requests) == 4


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Refusal(401), "api_key_env"),
        (Refusal(404, {"error": 'model "m" not found'}), 'model "m" not found'),
        (Refusal(307, {}, {"Location": "http://127.0.0.1:9/"}), "307"),
        (Refusal(429, {"error": {"message": "no money", "code": "insufficient_quota"}}), "no money"),
    ],
)
def test_what_no_retry_helps_ends_the_run_at_once(endpoint: FakeEndpoint, fault: Refusal, says: str) -> None:
    endpoint.cue = lambda *_: fault
    with pytest.raises(ModelUnavailableError, match=says):
        encode(remote_model(endpoint, concurrency=1))
    assert len(endpoint.requests) == 1


def test_an_endpoint_that_is_down_is_unavailable() -> None:
    with FakeEndpoint() as gone:
        model = remote_model(gone)
    with pytest.raises(ModelUnavailableError, match=r"127\.0\.0\.1.*gave up after 6 attempts"):
        encode(model)


def test_a_model_that_fails_stops_the_remote_ones_beside_it(endpoint: FakeEndpoint) -> None:
    """They wait for the next attempt at that moment, and do not wait on."""
    asked = threading.Event()

    def refuse(*_: Any) -> Refusal:
        asked.set()
        return Refusal(503, headers={"Retry-After": "200"})

    endpoint.cue = refuse

    class Failing(HashEncoder):
        def encode_documents(self, texts: Sequence[str]) -> Any:
            asked.wait(20)
            raise RuntimeError("the local model failed")

    runner = BatchRunner([remote_model(endpoint), Failing(runs_on="cpu")], devices=())
    with runner, pytest.raises(RuntimeError, match="the local model failed"):
        runner.run({"far": TEXTS, "hash": TEXTS})


def test_a_run_that_fails_does_not_wait_for_the_limits_of_an_account(endpoint: FakeEndpoint) -> None:
    """The endpoint says that they are used up for minutes. What waits for that would outlive the test."""
    endpoint.answer_headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9m0s"}
    model = remote_model(endpoint, concurrency=1, batch_texts=5)

    class Failing(HashEncoder):
        def encode_documents(self, texts: Sequence[str]) -> Any:
            while model.take_usage() == 0:  # the first request was answered, so the next one waits
                threading.Event().wait(0.001)
            raise RuntimeError("the local model failed")

    with BatchRunner([model, Failing(runs_on="cpu")], devices=()) as runner, pytest.raises(RuntimeError, match="local model"):
        runner.run({"far": TEXTS, "hash": TEXTS})
    assert len(endpoint.requests) == 1


def test_a_remote_model_works_while_a_local_one_computes(endpoint: FakeEndpoint) -> None:
    asked, computing = threading.Event(), threading.Event()

    def wait(*_: Any) -> None:
        asked.set()
        assert computing.wait(20)

    endpoint.cue = wait

    class Local(HashEncoder):
        def encode_documents(self, texts: Sequence[str]) -> Any:
            assert asked.wait(20)
            computing.set()
            return super().encode_documents(texts)

    with BatchRunner([Local(runs_on="cpu"), remote_model(endpoint)], devices=()) as runner:
        encoded = runner.run({"far": TEXTS, "hash": TEXTS})
    assert list(encoded) == ["hash", "far"]
    np.testing.assert_allclose(np.asarray(encoded["far"].vectors), expected(), rtol=1e-5)


def test_requests_are_spread_over_the_minute() -> None:
    clock = FakeClock()
    pacer = Pacer(30, 6000, clock=clock, sleep=clock.sleep)
    for tokens in (100, 500, 100):
        pacer.wait(tokens)
    assert clock.now == pytest.approx(2 + 5)
    pacer.pause(60)
    pacer.wait(100)
    assert clock.now == pytest.approx(7 + 60)


def test_a_request_takes_its_turn_with_its_tokens(endpoint: FakeEndpoint) -> None:
    model = remote_model(endpoint, requests_per_minute=1e9, tokens_per_minute=1e9)
    encode(model)
    assert model.client._pacer._next_tokens > model.client._pacer._next_request > 0


def test_what_endpoints_say_about_their_limits() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after({"retry-after": "3"}) == 3
    assert retry_after({"retry-after-ms": "250", "retry-after": "3"}) == 0.25
    assert retry_after({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, lambda: now) == 30
    assert retry_after({"retry-after": "soon"}) is None
    used_up = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}
    assert renewed_in(used_up) == 360
    assert renewed_in({**used_up, "x-ratelimit-remaining-requests": "7"}) is None
    assert renewed_in({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1767225600"}) is None


def test_queries_keep_within_the_texts_of_a_request(endpoint: FakeEndpoint) -> None:
    encode(as_queries(remote_model(endpoint, batch_texts=8)))
    assert max(len(body["input"]) for _, body in endpoint.requests) == 8
