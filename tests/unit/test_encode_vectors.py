"""The border that every vector crosses on its way out of a model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recording_models import DIM, RecordingModel, vector_of

from ingest.encode.contract import Encoded, Encoder, Vectors
from ingest.encode.lease import lease_gpus
from ingest.encode.runner import BatchRunner
from ingest.encode.vectors import finite_rows, unit_rows
from ingest.errors import ModelError
from ingest.records import SparseVector


class Making(RecordingModel):
    """A model, and its encoder, that makes what it is told to: `dim` None for sparse vectors."""

    def __init__(self, make: Callable[[Sequence[str]], Any], dim: int | None = DIM) -> None:
        super().__init__("making")
        self.make = make
        self.dim = dim  # type: ignore[assignment]  # its parent is dense

    def to_device(self, device: str) -> Encoder:  # type: ignore[override]  # its parent records
        return self

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        made: Vectors = self.make(texts)
        return made

    encode_queries = encode_documents


def _run(model: Making, texts: list[str], directory: Path) -> Encoded:
    with BatchRunner([model], devices=("cpu",), lease_directory=directory) as runner:
        return runner.run({"making": texts})["making"]


def _sparse(*values: float) -> SparseVector:
    return SparseVector(np.arange(len(values), dtype=np.uint32), np.array(values, np.float32))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_dense_vector_that_is_not_finite_fails_its_text_alone(tmp_path: Path, number: float) -> None:
    def make(texts: Sequence[str]) -> Any:
        rows = np.stack([vector_of(text) for text in texts])
        rows[[index for index, text in enumerate(texts) if text == "bad"], 2] = number
        return rows

    texts = ["a", "bad", "b", "bad"]
    encoded = _run(Making(make), texts, tmp_path)
    assert set(encoded.failed) == {1, 3}
    assert encoded.failed[1] == "making made a vector that is not finite, computing in float32"
    nothing = np.zeros(DIM, np.float32)
    expected = np.stack([vector_of("a"), nothing, vector_of("b"), nothing])
    assert isinstance(encoded.vectors, np.ndarray)
    assert np.array_equal(encoded.vectors, expected)


def test_a_sparse_vector_that_is_not_finite_fails_its_text_alone(tmp_path: Path) -> None:
    made = {"a": _sparse(1.0, 2.0), "empty": _sparse(), "bad": _sparse(1.0, math.nan), "b": _sparse(3.0)}
    encoded = _run(Making(lambda texts: [made[text] for text in texts], None), list(made), tmp_path)
    assert set(encoded.failed) == {2}
    assert isinstance(encoded.vectors, list)
    assert [vector.values.tolist() for vector in encoded.vectors if isinstance(vector, SparseVector)] == [
        [1.0, 2.0],
        [],
        [],
        [3.0],
    ]


@pytest.mark.parametrize(
    ("dim", "made", "says"),
    [
        pytest.param(4, np.ones((2, 5), np.float32), "float32 (2, 5) where float32 (2, 4)", id="another dimension"),
        pytest.param(4, np.ones((1, 4), np.float32), "float32 (1, 4) where float32 (2, 4)", id="too few rows"),
        pytest.param(4, np.ones(8, np.float32), "float32 (8,) where float32 (2, 4)", id="no matrix"),
        pytest.param(4, np.ones((2, 4), np.float64), "float64 (2, 4) where float32 (2, 4)", id="another dtype"),
        pytest.param(4, [_sparse(1.0)] * 2, "2 sparse vectors where float32 (2, 4)", id="sparse where dense was due"),
        pytest.param(None, np.ones((2, 4), np.float32), "float32 (2, 4) where 2 sparse vectors", id="dense where sparse was due"),
        pytest.param(None, [_sparse(1.0)], "1 sparse vectors where 2 sparse vectors", id="too few sparse vectors"),
        pytest.param(
            None,
            [_sparse(1.0), SparseVector(np.array([1], np.uint32), np.array([], np.float32))],
            "each with as many indices as values",
            id="an index without a value",
        ),
    ],
)
def test_what_is_not_this_models_kind_ends_the_run(tmp_path: Path, dim: int | None, made: Any, says: str) -> None:
    with pytest.raises(ModelError, match=re.escape(says)):
        _run(Making(lambda _: made, dim), ["a", "b"], tmp_path)


@pytest.mark.parametrize(("dim", "made"), [(4, np.full((1, 4), math.nan, np.float32)), (None, [_sparse(math.inf)])])
def test_a_question_whose_vector_is_not_finite_is_an_error(dim: int | None, made: Any) -> None:
    with lease_gpus(Making(lambda _: made, dim), ()) as lease, pytest.raises(ModelError, match="cannot encode this query"):
        lease.encoder.encode_queries(["?"])


numbers = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(st.lists(numbers, max_size=4), max_size=12))
def test_sparse_vectors_are_judged_each_by_its_own_numbers(made: list[list[float]]) -> None:
    found = finite_rows(Making(list, None), [_sparse(*values) for values in made], len(made))
    assert found.tolist() == [all(map(math.isfinite, values)) for values in made]


def test_a_row_of_zeros_has_no_direction() -> None:
    rows = unit_rows(np.array([[3, 4], [0, 0]], np.float32))
    assert rows[0].tolist() == pytest.approx([0.6, 0.8])
    assert np.isnan(rows[1]).all()
