"""Weights that are found on one half of the questions and tried on the other."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import count, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import ConfigurationError
from ingest.records import ScoredPoint
from ingest.search.beir import is_held_out
from ingest.search.fusion import fuse
from ingest.search.tuning import WEIGHTS, Tuned, TunedHalf, tune

TRAINING = list(islice((str(n) for n in count() if not is_held_out(str(n))), 4))
HELD_OUT = list(islice((str(n) for n in count() if is_held_out(str(n))), 3))
QUESTIONS = [*TRAINING, *HELD_OUT]

RRF = partial(fuse, method="rrf")

RIGHT = ["right", *(f"other-{number}" for number in range(9)), "wrong"]
WRONG = ["wrong", *(f"another-{number}" for number in range(19)), "right"]


def found(documents: Sequence[str]) -> list[ScoredPoint]:
    return [ScoredPoint(id_, float(-rank), {"doc_id": id_}) for rank, id_ in enumerate(documents)]


def everywhere(**documents: Sequence[str]) -> dict[str, dict[str, list[ScoredPoint]]]:
    """The same rankings for every question."""
    return {question: {vector: found(ids) for vector, ids in documents.items()} for question in QUESTIONS}


def test_the_split_is_in_halves_and_forever() -> None:
    assert 450 < sum(is_held_out(str(number)) for number in range(1000)) < 550
    assert [number for number in range(10) if is_held_out(str(number))] == [0, 1, 4, 5, 6, 7, 9]


@pytest.mark.parametrize(
    ("rankings", "weights"),
    [
        # With weight w of the bad vector, 1/60 + w/80 beats 1/70 + w/60 from w = 0.57 down: 1/2 is the nearest step.
        (everywhere(good=RIGHT, bad=WRONG), {"good": 1.0, "bad": 0.5}),
        (everywhere(bad=WRONG, good=RIGHT), {"bad": 1.0, "good": 2.0}),
        (everywhere(good=RIGHT, bad=WRONG, idle=[]), {"good": 1.0, "bad": 0.5, "idle": 1.0}),
        # Nothing to gain: equal weights stay.
        (everywhere(good=RIGHT, same=RIGHT), {"good": 1.0, "same": 1.0}),
        (everywhere(lost=["x"], too=["y"]), {"lost": 1.0, "too": 1.0}),
    ],
)
def test_a_misleading_vector_loses_weight(
    rankings: Mapping[str, Mapping[str, Sequence[ScoredPoint]]], weights: dict[str, float]
) -> None:
    tuned = tune(rankings, {question: {"right": 1} for question in QUESTIONS}, RRF)
    assert tuned.weights == pytest.approx(weights)
    assert (tuned.training.queries, tuned.held_out.queries) == (4, 3)
    best = 1.0 if "good" in weights else 0.0
    assert (tuned.training.tuned, tuned.held_out.tuned) == (best, best)
    assert (tuned.training.equal < best) == (tuned.weights != dict.fromkeys(weights, 1.0))


DOCUMENTS = [f"d{number}" for number in range(12)]
RANKING = st.lists(st.sampled_from(DOCUMENTS), unique=True, max_size=12)
JUDGED = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 3), min_size=1)


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_never_worse_than_equal_weights_where_it_looked_and_it_looked_nowhere_else(data: st.DataObject) -> None:
    rankings = {question: {v: found(data.draw(RANKING)) for v in ("one", "two", "three")} for question in QUESTIONS}
    judgements = {question: data.draw(JUDGED) for question in QUESTIONS}

    tuned = tune(rankings, judgements, RRF)
    assert tuned.training.tuned >= tuned.training.equal
    assert tuned.weights["one"] == 1.0
    assert set(tuned.weights.values()) <= set(WEIGHTS)

    elsewhere = {question: data.draw(JUDGED) if question in HELD_OUT else judgements[question] for question in QUESTIONS}
    again = tune(rankings, elsewhere, RRF)
    assert (again.weights, again.training) == (tuned.weights, tuned.training)


def test_a_gain_that_is_likely_luck_changes_nothing() -> None:
    """With less of the other vector, one of four questions does better, and one a little less worse."""
    rankings = everywhere(good=RIGHT, bad=WRONG)
    judgements = {question: {"right": 1} for question in QUESTIONS}
    assert tune(rankings, judgements, RRF).weights["bad"] == 0.5
    mixed = {**judgements, TRAINING[1]: {"wrong": 2, "right": 1}, TRAINING[2]: {"nobody": 1}, TRAINING[3]: {"nobody": 1}}
    assert tune(rankings, mixed, RRF).weights == {"good": 1.0, "bad": 1.0}


def test_what_cannot_be_tuned() -> None:
    with pytest.raises(ConfigurationError, match="only alone"):
        tune(everywhere(alone=RIGHT), {question: {"right": 1} for question in QUESTIONS}, RRF)
    with pytest.raises(ConfigurationError, match="too few"):
        tune(everywhere(good=RIGHT, bad=WRONG), {TRAINING[0]: {"right": 1}}, RRF)


def test_the_weights_are_written_as_settings() -> None:
    half = TunedHalf(1, 0.0, 0.0)
    tuned = Tuned({"jina-code-embeddings-1.5b": 1.0, "bm25": 2**-0.5}, half, half)
    assert tomllib.loads(tuned.toml) == {"weights": {"jina-code-embeddings-1.5b": 1.0, "bm25": pytest.approx(0.7071, abs=1e-4)}}
