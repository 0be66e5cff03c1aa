"""Remote models against what servers really answer: formats that differ, and faults whose status says less than it seems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from endpoint import DIM, QUICK, TEXTS, FakeEndpoint, Refusal, encode, remote_model

from ingest.encode.http.proving import prove
from ingest.encode.queries import as_queries
from ingest.errors import ModelUnavailableError
from ingest.testing import HashEncoder

LONG = 60
"""Words from which a text is too long for `batch_too_small`."""


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with FakeEndpoint() as running:
        yield running


def expected(texts: Sequence[str] = TEXTS) -> Any:
    return HashEncoder(dim=DIM).encode_documents(texts)


def batch_too_small(_: int, texts: Sequence[str]) -> Refusal | None:
    """As llama.cpp answers to a text of more tokens than its physical batch."""
    message = "input (520 tokens) is too large to process. increase the physical batch size"
    too_long = any(len(text.split()) >= LONG for text in texts)
    return Refusal(500, {"error": {"code": 500, "message": message, "type": "server_error"}}) if too_long else None


@pytest.mark.parametrize("left_out", ["first", "all"])
def test_a_vector_without_an_index_belongs_to_its_place(endpoint: FakeEndpoint, left_out: str) -> None:
    """Gemini's OpenAI-compatible API leaves out an index of 0, others leave out all."""

    def answer(_: int, texts: Sequence[str]) -> Refusal:
        rows = [{"index": place, "embedding": row.tolist()} for place, row in enumerate(expected(texts))]
        for row in rows if left_out == "all" else rows[:1]:
            del row["index"]
        return Refusal(200, {"data": rows})

    endpoint.cue = answer
    np.testing.assert_allclose(encode(remote_model(endpoint)).vectors, expected(), rtol=1e-5)


def test_a_server_that_refuses_the_format_of_vectors_is_not_sent_one(endpoint: FakeEndpoint) -> None:
    """LiteLLM in front of Bedrock or Vertex AI refuses `encoding_format`, whatever it says."""
    refused = Refusal(400, {"error": {"message": "bedrock does not support parameters: {'encoding_format': 'base64'}"}})
    endpoint.cue = lambda number, _: refused if "encoding_format" in endpoint.requests[number - 1][1] else None
    model = remote_model(endpoint, concurrency=1, batch_texts=10)
    np.testing.assert_allclose(encode(model).vectors, expected(), rtol=1e-5)
    assert ["encoding_format" in body for _, body in endpoint.requests] == [True] + [False] * 5


def test_a_text_that_is_refused_is_not_sent_in_another_format(endpoint: FakeEndpoint) -> None:
    endpoint.cue = lambda _, texts: Refusal(422) if TEXTS[17] in texts else None
    model = remote_model(endpoint, concurrency=1, batch_texts=10)
    assert list(encode(model).failed) == [17]
    assert all("encoding_format" in body for _, body in endpoint.requests)


def test_a_text_on_which_the_server_fails_is_rejected_alone(endpoint: FakeEndpoint) -> None:
    """Ollama answers 500 where a vector has a NaN."""
    nan = Refusal(500, {"error": "failed to encode response: json: unsupported value: NaN"})
    endpoint.cue = lambda _, texts: nan if TEXTS[17] in texts else None
    encoded = encode(remote_model(endpoint))
    assert list(encoded.failed) == [17]
    assert "unsupported value: NaN), 5 times, although it encodes other texts" in encoded.failed[17]
    others = [number for number in range(50) if number != 17]
    np.testing.assert_allclose(encoded.vectors[others], expected()[others], rtol=1e-5)


def test_a_server_that_fails_on_long_texts_reads_that_much(endpoint: FakeEndpoint) -> None:
    endpoint.cue = batch_too_small
    proof = prove(remote_model(endpoint), QUICK)
    assert (proof.measured, LONG - 8 <= proof.reads < LONG) == (256, True)


@pytest.mark.parametrize("status", [400, 413, 500])
def test_no_text_is_blamed_for_a_server_that_refuses_all(endpoint: FakeEndpoint, status: int) -> None:
    """Such as that of an account that is no longer paid for, or of a model that was unloaded."""
    endpoint.cue = lambda number, _: Refusal(status, {"error": "no models loaded"}) if number > 1 else None
    with pytest.raises(ModelUnavailableError, match="no models loaded"):
        encode(remote_model(endpoint, concurrency=1, batch_texts=10))
    with pytest.raises(ModelUnavailableError, match="no models loaded"):
        encode(as_queries(remote_model(endpoint)), ["a query"])


def test_an_error_that_is_sent_as_a_success_is_repeated_in_the_message(endpoint: FakeEndpoint) -> None:
    """OpenRouter does so."""
    endpoint.cue = lambda *_: Refusal(200, {"error": {"code": 429, "message": "No successful provider responses"}})
    with pytest.raises(ModelUnavailableError, match=r"cannot be read .*\(No successful provider responses\)"):
        encode(remote_model(endpoint))


def test_a_server_that_has_no_such_operation_is_not_asked_again(endpoint: FakeEndpoint) -> None:
    endpoint.cue = lambda *_: Refusal(501, {"error": {"message": "This server does not support embeddings"}})
    with pytest.raises(ModelUnavailableError, match="does not support embeddings"):
        encode(remote_model(endpoint, concurrency=1))
    assert len(endpoint.requests) == 1
