"""A model that computes other vectors than those it has stored is stopped before it adds one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from job_bench import Bench, document

from ingest.errors import ModelError, PrecisionError
from ingest.records import DenseMatrix
from ingest.store.edge.store import EdgeStore
from ingest.testing import HashEncoder, ListSource

OLD = [document(f"d{n}", f"an old text of number {n}") for n in range(6)]
NEW = [*OLD, document("new", "a new text")]


class Computed(HashEncoder):
    """A model that torch computes, `noise` away from its vectors."""

    backend = "torch"
    dtype = "float32"

    def __init__(self, *, noise: float = 0.0, dtype: str = "float32", revision: str = "1") -> None:
        super().__init__(record=True, revision=revision)
        self.dtype = dtype
        self._noise = noise

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        vectors = super().encode_documents(texts)
        vectors[:, 0] += self._noise
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with EdgeStore(tmp_path / "qdrant") as store:
        made = Bench(store, tmp_path)
        made.run(ListSource(OLD), models=[Computed()])
        yield made


def test_a_model_within_rounding_goes_on_and_encodes_a_few_stored_chunks_once(bench: Bench) -> None:
    model = Computed(noise=0.05, dtype="bfloat16")
    receipt = bench.run(ListSource([*NEW, *(document(f"n{n}", f"text {n}") for n in range(9))]), models=[model], window=2)
    assert (receipt.written, receipt.balanced) == (10, True)
    assert len([text for text in model.encoded if text.startswith("an old text")]) == 4
    assert len(model.encoded) == 14


def test_a_model_that_differs_is_stopped_before_it_writes(bench: Bench) -> None:
    before = bench.stored()
    with pytest.raises(ModelError, match=r"'hash' in float32 differs .*mean cosine 0\.[0-9]+, required: >= 0\.99\): use the lib"):
        bench.run(ListSource(NEW), models=[Computed(noise=0.5)])
    with pytest.raises(PrecisionError, match=r"in float16 differs from the stored vectors.*use --precision float32"):
        bench.run(ListSource(NEW), models=[Computed(noise=0.5, dtype="float16")])
    with pytest.raises(PrecisionError, match="mean cosine nan"):
        bench.run(ListSource(NEW), models=[Computed(noise=float("nan"), dtype="float16")])
    assert bench.stored() == before


def test_nothing_is_probed_where_nothing_is_encoded(bench: Bench) -> None:
    model = Computed(noise=0.5)
    assert bench.run(ListSource(OLD), models=[model]).unchanged == len(OLD)
    assert model.encoded == []


def test_vectors_of_another_model_are_no_measure(bench: Bench) -> None:
    points = list(bench.store.scroll("docs"))
    foreign = {p.id: {**p.payload, "_ingest": {**p.payload["_ingest"], "vectors": {"hash": "another"}}} for p in points}
    bench.store.set_payload("docs", foreign)
    model = Computed(noise=0.5)
    assert bench.run(ListSource(OLD), models=[model]).balanced
    assert len(model.encoded) == len(OLD)
