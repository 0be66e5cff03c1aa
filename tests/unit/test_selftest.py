"""The self-test measures every way there is, and recommends what is clearly faster."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import DIM, tiny_dense

from ingest.encode import selftest
from ingest.encode.selftest import Trial, best_of, run_selftest
from ingest.errors import ModelError


def trial(backend: str, precision: str, batch_tokens: int, rate: float) -> Trial:
    return Trial(backend, precision, batch_tokens, rate, rate * 100)


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ([("torch", "float32", 2048, 30), ("openvino", "int8", 2048, 110)], ("openvino", 2048)),
        ([("torch", "float32", 1024, 31), ("torch", "float32", 2048, 30)], ("torch", 2048)),
        ([("torch", "float32", 1024, 40), ("torch", "float32", 2048, 30)], ("torch", 1024)),
        ([("openvino", "float32", 2048, 108), ("openvino", "int8", 1024, 110)], ("openvino", 1024)),
        ([("torch", "bfloat16", 16_384, 990), ("torch", "bfloat16", 65_536, 1000)], ("torch", 16_384)),
    ],
    ids=["backend", "about as fast", "clearly faster", "another precision", "on a card"],
)
def test_the_usual_batches_are_kept_unless_others_are_clearly_faster(
    rates: list[tuple[str, str, int, float]], best: tuple[str, int]
) -> None:
    found = best_of([trial(*rate) for rate in rates])
    assert (found.backend, found.batch_tokens) == best


def test_every_way_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "TRIAL_SECONDS", 0.01)
    own = {"tiny": {"path": str(tiny_dense(tmp_path / "dense")), "dim": DIM, "max_tokens": 256}}
    found = run_selftest(
        "tiny", cache_directory=tmp_path / "cache", lease_directory=tmp_path / "leases", devices=["cpu"], custom_models=own
    )
    ways = {(each.backend, each.precision) for each in found.trials}
    assert ways | {tuple(way.split()) for way in found.left_out} >= {
        ("torch", "float32"),
        ("openvino", "float32"),
        ("openvino", "int8"),
    }
    assert all(each.texts_per_second > 0 and each.tokens_per_second > 0 for each in found.trials)
    assert {each.batch_tokens for each in found.trials} == {1024, 2048, 4096}
    assert found.best in found.trials


def test_a_model_that_is_not_there_cannot_be_measured(tmp_path: Path) -> None:
    own = {"gone": {"path": str(tmp_path / "gone"), "dim": DIM, "max_tokens": 256}}
    with pytest.raises(ModelError, match=r"'gone' could not be measured: .*must contain"):
        run_selftest("gone", cache_directory=tmp_path, lease_directory=tmp_path, devices=["cpu"], custom_models=own)
