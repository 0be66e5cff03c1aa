"""How long a run would take, by what earlier ones measured."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.receipt import ModelReport
from ingest.sync.preview import estimate
from ingest.sync.rates import Measured, learn, load_rates, measured_rates, save_rates

AT = {"a": ("fp-a", "cpu"), "b": ("fp-b", "cuda:0")}


def report(key: str, chunks: int, seconds: float, device: str = "cpu") -> ModelReport:
    return ModelReport(key, "dense", key, 4, "float32", device, "torch", chunks, chunks * 100, seconds)


def test_models_take_turns_so_their_times_add_up() -> None:
    rates = {AT["a"]: Measured(100, 10), AT["b"]: Measured(100, 1)}
    assert estimate({"a": 50, "b": 50}, measured_rates(rates, AT)).seconds == pytest.approx(5.5)


def test_a_model_that_was_never_measured_here_makes_it_unknown_unless_it_is_not_needed() -> None:
    rates = {AT["a"]: Measured(100, 10), ("fp-b", "cpu"): Measured(1, 1), ("older revision", "cuda:0"): Measured(1, 1)}
    unknown = estimate({"a": 50, "b": 1}, measured_rates(rates, AT))
    assert (unknown.seconds, unknown.unmeasured) == (None, ("b",))
    assert estimate({"a": 50, "b": 0}, measured_rates(rates, AT)).seconds == 5.0
    assert estimate({"a": 0, "b": 0}, measured_rates({}, AT)).seconds == 0.0


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0.01, 10**5)), min_size=1, max_size=20))
def test_a_learned_rate_lies_between_those_measured(runs: list[tuple[int, float]]) -> None:
    rates: dict[tuple[str, str], Measured] = {}
    for chunks, seconds in runs:
        rates = learn(rates, {"a": "fp-a"}, [report("a", chunks, seconds)])
    measured = [chunks / seconds for chunks, seconds in runs]
    assert min(measured) * 0.999 <= rates[AT["a"]].per_second <= max(measured) * 1.001


def test_later_runs_count_for_more_and_empty_ones_for_nothing() -> None:
    rates = learn({}, {"a": "fp-a"}, [report("a", 100, 10.0)])
    rates = learn(rates, {"a": "fp-a"}, [report("a", 0, 5.0)])
    assert rates[AT["a"]].per_second == 10.0
    for _ in range(5):
        rates = learn(rates, {"a": "fp-a"}, [report("a", 100, 1.0)])
    assert rates[AT["a"]].per_second > 80


def test_rates_are_kept_for_their_owner(tmp_path: Path) -> None:
    path, rates = tmp_path / "new" / "rates.json", {AT["a"]: Measured(100, 10)}
    save_rates(path, rates)
    assert load_rates(path) == rates
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "{", "[[1]]", "[]", '[["a", "cpu", 1, 0]]', '{"a": 1}', "3"])
def test_a_file_that_holds_no_rates_teaches_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "rates.json").write_text(content)
    assert load_rates(tmp_path / "rates.json") == {}
    assert load_rates(tmp_path / "nowhere.json") == {}
