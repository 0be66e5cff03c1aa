from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.encode.batching import CPU_TOKENS, MAX_PADDING_SHARE, AdaptiveBatchController, BatchQueue
from ingest.encode.devices import GIBIBYTE, GPUMemorySnapshot


def _all_batches(queue: BatchQueue, budget: int) -> list[list[int]]:
    batches = []
    while len(batch := queue.take(budget)):
        batches.append(batch.tolist())
    return batches


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 2000))
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], budget: int) -> None:
    queue = BatchQueue(np.array(lengths, np.int64))
    batches = _all_batches(queue, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        cost = max(lengths[index] for index in batch) * len(batch)
        assert cost <= budget or len(batch) == 1
    longest = [max(lengths[index] for index in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 200), st.integers(1, 200))
def test_a_batch_put_back_comes_again_in_smaller_pieces(lengths: list[int], budget: int, smaller: int) -> None:
    queue = BatchQueue(np.array(lengths, np.int64))
    first = queue.take(budget)
    queue.put_back(first)
    again = _all_batches(queue, min(budget, smaller))
    assert sorted(index for batch in again for index in batch) == list(range(len(lengths)))


def test_a_cleared_queue_is_empty() -> None:
    queue = BatchQueue(np.array([1, 2, 3], np.int64))
    queue.put_back(queue.take(1))
    queue.clear()
    assert len(queue.take(10)) == 0


@given(st.lists(st.integers(1, 8192), min_size=1, max_size=300), st.integers(1, 10_000_000))
def test_padding_is_bounded_at_any_budget(lengths: list[int], budget: int) -> None:
    array = np.array(lengths, np.int64)
    queue = BatchQueue(array)
    padded = sum(queue.padded_cost(np.array(batch)) for batch in _all_batches(queue, budget))
    assert padded - array.sum() <= MAX_PADDING_SHARE * padded


def test_similar_texts_share_few_batches() -> None:
    """Padding saved by the long texts goes to the short ones, so that a window needs about as many batches as at best."""
    queue = BatchQueue(_window(np.random.default_rng(0)))
    assert len(_all_batches(queue, 1_000_000)) <= 9


def _window(random: np.random.Generator, texts: int = 2048) -> NDArray[np.int64]:
    """Token counts of chunks with a limit of 256 tokens: most near the limit, the ends of documents short."""
    return np.clip(random.lognormal(4.7, 0.6, texts), 8, 256).astype(np.int64)


@dataclass(frozen=True)
class GPU:
    """A GPU whose speed depends on the batch: `half_speed` tokens reach half of the maximum."""

    half_speed: float
    bytes_per_token: int
    memory: int
    start: int

    def seconds(self, cost: int) -> float:
        return (cost + self.half_speed) / 1e6


LARGE_GPU_SMALL_MODEL = GPU(half_speed=8_000, bytes_per_token=9_216, memory=80 * GIBIBYTE, start=65_536)
LARGE_GPU_LARGE_MODEL = GPU(half_speed=1_500, bytes_per_token=32_768, memory=80 * GIBIBYTE, start=16_384)
SMALL_GPU_SMALL_MODEL = GPU(half_speed=500, bytes_per_token=9_216, memory=16 * GIBIBYTE, start=65_536)


@pytest.mark.parametrize("gpu", [LARGE_GPU_SMALL_MODEL, LARGE_GPU_LARGE_MODEL, SMALL_GPU_SMALL_MODEL])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_after_200_windows_batches_are_as_large_as_speed_needs_and_hardly_padded(gpu: GPU, noise: float) -> None:
    random = np.random.default_rng(0)
    controller = AdaptiveBatchController({"m": gpu.start})
    peak = GIBIBYTE
    shares, speeds = [], []
    for _ in range(200):
        lengths = _window(random)
        queue = BatchQueue(lengths)
        costs, seconds = [], 0.0
        while len(batch := queue.take(controller.budget("m", "cuda:0"))):
            costs.append(queue.padded_cost(batch))
            seconds += gpu.seconds(costs[-1]) * random.normal(1, noise)
        peak = max(peak, GIBIBYTE + max(costs) * gpu.bytes_per_token)
        tokens, memory = int(lengths.sum()), GPUMemorySnapshot("cuda:0", peak, gpu.memory)
        controller.succeeded("m", "cuda:0", tokens=tokens, largest=max(costs), seconds=seconds, memory=memory)
        shares.append(1 - tokens / sum(costs))
        speeds.append(tokens / sum(gpu.seconds(cost) for cost in costs))
    assert max(shares) <= MAX_PADDING_SHARE
    assert controller.budget("m", "cuda:0") <= 2 * max(gpu.start, 16 * gpu.half_speed)
    assert np.median(speeds[-20:]) >= 0.95 * max(np.median(speeds[first : first + 3]) for first in range(0, 198, 3))


def test_a_processor_starts_at_its_best_and_does_not_grow_beyond() -> None:
    controller = AdaptiveBatchController({"m": 50_000})
    assert controller.budget("m", "cpu") == CPU_TOKENS
    for _ in range(20):
        controller.succeeded("m", "cpu", tokens=CPU_TOKENS, largest=CPU_TOKENS, seconds=1.0)
        assert controller.budget("m", "cpu") == CPU_TOKENS


def _passes(controller: AdaptiveBatchController, speeds: Sequence[float], memory: GPUMemorySnapshot | None = None) -> list[int]:
    """The budget after each pass with full batches, at these speeds in tokens per second."""
    budgets = []
    for speed in speeds:
        cost = controller.budget("m", "cuda:0")
        controller.succeeded("m", "cuda:0", tokens=4 * cost, largest=cost, seconds=4 * cost / speed, memory=memory)
        budgets.append(controller.budget("m", "cuda:0"))
    return budgets


def test_a_budget_doubles_while_that_is_faster_then_returns_to_the_last_that_was() -> None:
    controller = AdaptiveBatchController({"m": 1_000})
    assert _passes(controller, [100] * 3) == [1_000, 1_000, 2_000]
    assert _passes(controller, [150] * 3) == [2_000, 2_000, 4_000]
    assert _passes(controller, [152] * 3) == [4_000, 4_000, 2_000]
    assert _passes(controller, [10, 1_000] * 10) == [2_000] * 20


def test_one_slow_or_fast_pass_does_not_decide() -> None:
    controller = AdaptiveBatchController({"m": 1_000})
    _passes(controller, [100] * 3)
    assert _passes(controller, [20, 150, 150])[-1] == 4_000
    assert _passes(controller, [900, 151, 150])[-1] == 2_000


def test_a_pass_of_small_batches_says_nothing_about_the_budget() -> None:
    controller = AdaptiveBatchController({"m": 1_000})
    for _ in range(9):
        controller.succeeded("m", "cuda:0", tokens=7_000, largest=700, seconds=1.0)
    assert controller.budget("m", "cuda:0") == 1_000
    assert _passes(controller, [100] * 3)[-1] == 2_000
    controller.succeeded("m", "cuda:0", tokens=7_000, largest=900, seconds=1.0)
    assert controller.budget("m", "cuda:0") == 1_000
    assert _passes(controller, [100] * 3)[-1] == 2_000


def test_growth_ends_under_the_soft_limit() -> None:
    memory = GPUMemorySnapshot("cuda:0", used_bytes=70, total_bytes=100)
    controller = AdaptiveBatchController({"m": 1_000})
    assert _passes(controller, [100] * 9, memory)[-1] == 1_000
    assert _passes(controller, [100] * 1)[-1] == 2_000  # the memory is free again
    half = GPUMemorySnapshot("cuda:0", used_bytes=50, total_bytes=100)
    assert _passes(AdaptiveBatchController({"m": 1_000}), [100] * 3, half)[-1] == 1_600
    assert _passes(AdaptiveBatchController({"m": 1_000}, soft_limit_gb=1.0), [100] * 3, memory)[-1] == 2_000


def test_running_out_of_memory_halves_then_creeps_back_below_what_failed() -> None:
    controller = AdaptiveBatchController({"m": 1_000})
    controller.overflowed("m", "cuda:0", 1_000)
    assert controller.budget("m", "cuda:0") == 500
    assert 800 < _passes(controller, [100] * 3)[-1] < 1_000
    assert _passes(controller, [100] * 3)[-1] == 500  # no faster
    assert controller.budget("other", "cuda:0") != controller.budget("m", "cuda:0")


def test_what_failed_is_tried_again_much_later_if_larger_batches_are_faster() -> None:
    controller = AdaptiveBatchController({"m": 1_000})
    controller.overflowed("m", "cuda:0", 1_000)
    budgets = _passes(controller, [100.0 * 1.1**index for index in range(60)])
    assert budgets[10] < 1_000 < budgets[-1]


def test_a_budget_never_falls_below_one() -> None:
    controller = AdaptiveBatchController()
    for _ in range(40):
        controller.overflowed("m", "cpu", controller.budget("m", "cpu"))
    assert controller.budget("m", "cpu") == 1


def test_what_was_learned_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "learned" / "batches.json"
    controller = AdaptiveBatchController()
    controller.overflowed("m", "cpu", 600)
    controller.save(path)
    later = AdaptiveBatchController()
    later.load(path)
    assert later.budget("m", "cpu") == 300
    path.write_text('{"broken": 1}')
    fresh = AdaptiveBatchController()
    fresh.load(path)
    fresh.load(tmp_path / "never written")
    assert fresh.budget("m", "cpu") == CPU_TOKENS


def test_a_budget_on_trial_is_not_kept(tmp_path: Path) -> None:
    controller = AdaptiveBatchController({"m": 1_000})
    assert _passes(controller, [100] * 3)[-1] == 2_000
    controller.save(tmp_path / "batches.json")
    later = AdaptiveBatchController()
    later.load(tmp_path / "batches.json")
    assert later.budget("m", "cuda:0") == 1_000


def test_what_a_batch_costs_on_a_processor_can_be_said(tmp_path: Path) -> None:
    controller = AdaptiveBatchController(cpu_tokens=512)
    controller.succeeded("m", "cpu", tokens=512, largest=512, seconds=1.0)
    assert controller.budget("m", "cpu") == 512
    controller.save(tmp_path / "batches.json")
    told = AdaptiveBatchController(cpu_tokens=1024)
    told.load(tmp_path / "batches.json")
    assert told.budget("m", "cpu") == 1024  # it was told, not learned
