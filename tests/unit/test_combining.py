"""Queries of several threads are encoded together, and each thread gets its own vectors or its own error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from ingest.encode.combining import MAX_TOGETHER, CombinedEncoding
from ingest.encode.contract import Vectors
from ingest.errors import ModelError
from ingest.testing import HashEncoder


@dataclass
class GatedEncoder:
    """Encodes by hash once its gate is open, and remembers what it was asked for in each call."""

    gate: threading.Event = field(default_factory=threading.Event)
    calls: list[list[str]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    failure: Callable[[Sequence[str]], BaseException | None] = lambda _: None

    def __call__(self, queries: Sequence[str]) -> Vectors:
        self.calls.append(list(queries))
        self.begun.set()
        assert self.gate.wait(60)
        if (error := self.failure(queries)) is not None:
            raise error
        return HashEncoder().encode_queries(queries)


def encode_while_one_computes(
    combined: CombinedEncoding, encoder: GatedEncoder, waiting: Sequence[Sequence[str]]
) -> list[object]:
    """Encode `first`, and `waiting`, each in a thread of its own, which comes while `first` is computed. Return what each got."""

    def encode(queries: Sequence[str]) -> object:
        try:
            return combined.encode(queries, encoder)
        except (ModelError, KeyError) as exc:
            return exc

    with ThreadPoolExecutor(len(waiting) + 1) as threads:
        first = threads.submit(encode, ["first"])
        assert encoder.begun.wait(60)
        others = [threads.submit(encode, queries) for queries in waiting]
        while len(combined._waiting) < len(waiting):
            pass
        encoder.gate.set()
        return [first.result(60), *(other.result(60) for other in others)]


def assert_vectors(found: object, queries: Sequence[str]) -> None:
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, HashEncoder().encode_queries(queries))


def test_those_that_wait_are_encoded_in_one_call_and_get_their_own_vectors() -> None:
    encoder, waiting = GatedEncoder(), [["a"], ["b", "c"], ["d"]]
    found = encode_while_one_computes(CombinedEncoding(), encoder, waiting)
    assert encoder.calls[0] == ["first"]
    assert sorted(encoder.calls[1]) == ["a", "b", "c", "d"]
    assert len(encoder.calls) == 2
    for each, queries in zip(found, [["first"], *waiting], strict=True):
        assert_vectors(each, queries)


def test_a_call_has_no_more_queries_than_the_most_unless_one_thread_has_them() -> None:
    encoder, waiting = GatedEncoder(), [[f"{number} {n}" for n in range(MAX_TOGETHER // 2 + 1)] for number in range(3)]
    encode_while_one_computes(CombinedEncoding(), encoder, waiting)
    assert [len(call) for call in encoder.calls] == [1, 17, 17, 17]
    alone = CombinedEncoding().encode([str(n) for n in range(100)], encoder)
    assert len(alone) == 100


def test_a_fault_fails_the_thread_that_has_it_alone() -> None:
    encoder = GatedEncoder(failure=lambda queries: ModelError("bad text") if "bad" in queries else None)
    first, good, bad = encode_while_one_computes(CombinedEncoding(), encoder, [["good"], ["bad"]])
    assert_vectors(first, ["first"])
    assert_vectors(good, ["good"])
    assert isinstance(bad, ModelError)


def test_an_exception_that_ends_a_thread_leaves_the_others_to_the_next_one() -> None:
    encoder = GatedEncoder()
    encoder.failure = lambda queries: KeyError("a bug") if len(encoder.calls) == 2 else None
    found = encode_while_one_computes(CombinedEncoding(), encoder, [["a"], ["b"]])
    assert_vectors(found[0], ["first"])
    assert sorted(type(each).__name__ for each in found[1:]) == ["KeyError", "ndarray"]


def test_a_free_encoder_is_used_at_once() -> None:
    encoder = GatedEncoder()
    encoder.gate.set()
    combined = CombinedEncoding()
    for query in ("a", "b"):
        assert_vectors(combined.encode([query], encoder), [query])
    assert encoder.calls == [["a"], ["b"]]
    encoder.failure = lambda _: ModelError("bad text")
    with pytest.raises(ModelError):
        combined.encode(["c"], encoder)
