"""Remote models against a real HTTP server: what is sent, how answers are read, and what each fault comes to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from endpoint import KEY, FakeEndpoint, Refusal

from ingest.encode.http.client import EndpointClient
from ingest.encode.http.endpoint import Endpoint
from ingest.encode.http.model import HttpModel
from ingest.encode.http.pacing import Pacer, renewed_in, retry_after
from ingest.encode.http.proof import CANARIES, find_changes, proof_from_json
from ingest.encode.http.proving import prove
from ingest.encode.models import ModelManager
from ingest.encode.queries import as_queries
from ingest.encode.registry import EnsembleConfig, find_model, known_models
from ingest.encode.resolve import resolve
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError, IngestError, ModelError, ModelUnavailableError
from ingest.records import SparseVector
from ingest.retry import RetryPolicy
from ingest.telemetry import ThroughputMonitor
from ingest.testing import FakeClock, HashEncoder

DIM = 16
QUICK = RetryPolicy(attempts=6, first=0.0, longest=0.0)
TEXTS = [f"text number {number} of the window" for number in range(50)]


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint() as running:
        yield running


def options(endpoint: FakeEndpoint, **changes: Any) -> dict[str, Any]:
    return {"backend": "http", "api": "openai", "url": endpoint.url, "model": "m", "dim": DIM, "max_tokens": 256, **changes}


def remote(endpoint: FakeEndpoint, **changes: Any) -> HttpModel:
    return HttpModel(find_model("far", custom={"far": options(endpoint, **changes)}))


def encode(
    model: Any, texts: Sequence[str] = TEXTS, *, retry: RetryPolicy = QUICK, monitor: ThroughputMonitor | None = None
) -> Any:
    with BatchRunner([model], retry=retry, monitor=monitor) as runner:
        return runner.run({model.key: texts})[model.key]


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
    model = remote(endpoint, api=api, dim=32, dimensions=DIM, document_prompt="passage: ", query_prompt="query: ")
    encoded = encode(model, ["a chair", "a table"])
    np.testing.assert_allclose(encoded.vectors, expected(["passage: a chair", "passage: a table"]), rtol=1e-5)
    [row] = encode(as_queries(model), ["chair"]).vectors
    np.testing.assert_allclose(row, expected(["query: chair"])[0], rtol=1e-5)
    fields = {"input", "inputs", "texts"}
    bodies = [(where, {name: value for name, value in body.items() if name not in fields}) for where, body in endpoint.requests]
    assert bodies == [(path, sent), (path, {**sent, **queried})]


def test_sparse_vectors_of_tei(endpoint: FakeEndpoint) -> None:
    found = encode(remote(endpoint, api="tei", kind="sparse", dim=1), ["a chair"]).vectors
    [vector] = found
    assert isinstance(vector, SparseVector)
    assert vector.indices.tolist() == [3, 7]


def test_vectors_are_of_unit_norm_whatever_the_endpoint_returns(endpoint: FakeEndpoint) -> None:
    endpoint.cue = lambda _, texts: Refusal(200, [[3.0] + [0.0] * 14 + [4.0] for _ in texts])
    vectors = encode(remote(endpoint, api="tei"), ["a", "b"]).vectors
    np.testing.assert_allclose(vectors[:, [0, 15]], [[0.6, 0.8]] * 2, rtol=1e-6)


def test_a_vector_of_zeros_rejects_its_text_alone(endpoint: FakeEndpoint) -> None:
    endpoint.cue = lambda _, texts: Refusal(200, [[0.0 if text == "b" else 1.0] * DIM for text in texts])
    assert list(encode(remote(endpoint, api="tei"), ["a", "b", "c"]).failed) == [1]


# --- limits


def test_requests_have_at_most_the_configured_texts_and_tokens_and_run_at_a_time(endpoint: FakeEndpoint) -> None:
    meet = threading.Barrier(3, timeout=20)
    endpoint.cue = lambda number, _: (meet.wait(), None)[1] if number <= 3 else None
    monitor = ThroughputMonitor()
    encoded = encode(remote(endpoint, batch_texts=8, batch_tokens=80, concurrency=3), monitor=monitor)
    np.testing.assert_allclose(encoded.vectors, expected(), rtol=1e-5)
    assert max(len(body["input"]) for _, body in endpoint.requests) == 80 // 16  # a text is estimated at 16 tokens
    assert endpoint.busiest == 3
    [report] = monitor.model_reports()
    assert (report.device, report.backend, report.tokens) == ("remote", "http", 10 * len(TEXTS))


def test_a_request_that_is_too_large_is_halved_and_the_next_ones_are_smaller(endpoint: FakeEndpoint) -> None:
    endpoint.most_texts = 8
    encoded = encode(remote(endpoint, batch_texts=50, concurrency=1))
    np.testing.assert_allclose(encoded.vectors, expected(), rtol=1e-5)
    assert not encoded.failed
    refused = [len(body["input"]) for _, body in endpoint.requests if len(body["input"]) > 8]
    assert refused[:3] == [50, 25, 12]
    assert len(refused) < len(endpoint.requests) / 2


def test_a_text_that_is_refused_is_rejected_alone(endpoint: FakeEndpoint) -> None:
    endpoint.cue = lambda _, texts: Refusal(400, {"error": {"message": "bad\nword"}}) if TEXTS[17] in texts else None
    encoded = encode(remote(endpoint))
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
        Refusal(200, {"surprise": 1}),
        Refusal(200, {"data": [{"index": number, "embedding": [1.0] * 3} for number in range(50)]}),
    ],
    ids=["429", "renewed", "500", "503", "424", "no vectors", "no answer", "wrong dim"],
)
def test_a_fault_that_passes_changes_nothing(endpoint: FakeEndpoint, fault: Refusal) -> None:
    endpoint.cue = lambda number, _: fault if number <= 3 else None
    encoded = encode(remote(endpoint))
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
        encode(remote(endpoint, concurrency=1))
    assert len(endpoint.requests) == 1


def test_an_endpoint_that_is_down_is_unavailable() -> None:
    with FakeEndpoint() as gone:
        model = remote(gone)
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

    runner = BatchRunner([remote(endpoint), Failing(runs_on="cpu")], devices=())
    with runner, pytest.raises(RuntimeError, match="the local model failed"):
        runner.run({"far": TEXTS, "hash": TEXTS})


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

    with BatchRunner([Local(runs_on="cpu"), remote(endpoint)], devices=()) as runner:
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
    values = {name: value for name, value in options(endpoint, **changes).items() if value is not None}
    with pytest.raises(ConfigurationError, match=says) as caught:
        known_models({"far": values})
    assert "hunter2" not in str(caught.value)


def test_a_key_is_sent_and_never_repeated(
    endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    model = remote(endpoint, api_key_env="FAR_KEY")
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
    assert len({remote(endpoint, **changes).fingerprint for changes in same}) == 1
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
    assert len({remote(endpoint, **changes).fingerprint for changes in other}) == len(other)


def test_tokens_are_counted_by_the_tokenizer_that_is_named(endpoint: FakeEndpoint) -> None:
    minilm = resolve(find_model("all-miniLM-l6")).folder
    for name in ("all-miniLM-l6", str(minilm)):
        limit = remote(endpoint, tokenizer=name).token_limit
        assert limit.count(["Hello world"]) == [4]
    with pytest.raises(ModelError, match="tokenizer 'nothing'"):
        remote(endpoint, tokenizer="nothing").token_limit.count(["x"])
    assert remote(endpoint).token_limit.count(["Hello world", "東京"]) == [6, 3]


def test_a_price_is_that_of_the_tokens(endpoint: FakeEndpoint) -> None:
    assert remote(endpoint).price(["Hello world"]) is None
    assert remote(endpoint, price_per_million_tokens=2.0, tokenizer="all-miniLM-l6").price(["Hello world"] * 3) == 24e-6
    assert remote(endpoint, price_per_million_tokens=2.0).price(["Hello world!"]) == 6e-6


def test_a_query_that_an_api_would_refuse_is_shortened(endpoint: FakeEndpoint) -> None:
    endpoint.refuses = 10
    model = remote(endpoint, tokenizer="all-miniLM-l6", max_tokens=8)
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
    model = remote(endpoint, max_tokens=300)
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
    assert HttpModel(remote(endpoint, model="n").config, stored).proof is None


@pytest.mark.parametrize("silent", [True, False])
def test_a_length_at_which_an_endpoint_truncates_or_refuses_is_the_limit(
    endpoint: FakeEndpoint, silent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.reads, endpoint.refuses = (200, None) if silent else (None, 201)
    model = remote(endpoint, max_tokens=1000)
    proof = prove(model, QUICK)
    assert 170 <= proof.reads <= 200
    assert HttpModel(model.config, proof).token_limit.max_tokens == proof.reads
    assert "reads only the first" in caplog.text


def test_an_endpoint_with_one_vector_for_all_texts_is_refused(endpoint: FakeEndpoint) -> None:
    endpoint.reads = 0
    with pytest.raises(ModelError, match="of different ends"):
        prove(remote(endpoint), QUICK)


def test_a_sparse_endpoint_proves_itself(endpoint: FakeEndpoint) -> None:
    model = remote(endpoint, api="tei", kind="sparse")
    proof = prove(model, QUICK)
    stored = proof_from_json(proof.to_json())
    assert stored is not None
    assert find_changes(stored, proof) == []
    endpoint.revision = "2"
    assert find_changes(stored, prove(model, QUICK))


def test_the_manager_builds_remote_models(endpoint: FakeEndpoint, tmp_path: Path) -> None:
    custom = {"far": options(endpoint), "words": options(endpoint, api="tei", kind="sparse")}
    manager = ModelManager(EnsembleConfig(("far", "words")), devices=("cpu",), custom_models=custom)
    assert [(each.key, each.kind, each.dim, each.backend, each.runs_on) for each in manager.members] == [
        ("far", "dense", DIM, "http", "remote"),
        ("words", "sparse", None, "http", "remote"),
    ]
