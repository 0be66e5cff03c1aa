from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.encode.batching import CPU_TOKENS, AdaptiveBatchController, BatchQueue
from ingest.encode.devices import GPUMemorySnapshot


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


def test_a_processor_starts_at_its_best_and_does_not_grow_beyond() -> None:
    controller = AdaptiveBatchController({"m": 50_000})
    assert controller.budget("m", "cpu") == CPU_TOKENS
    for _ in range(20):
        controller.succeeded("m", "cpu", CPU_TOKENS)
    assert controller.budget("m", "cpu") == CPU_TOKENS


def test_an_accelerator_starts_from_the_hint_and_grows_with_full_batches_only() -> None:
    controller = AdaptiveBatchController({"m": 1_000})
    controller.succeeded("m", "cuda:0", 100)
    assert controller.budget("m", "cuda:0") == 1_000
    controller.succeeded("m", "cuda:0", 950)
    assert controller.budget("m", "cuda:0") > 1_000


def test_growth_ends_under_the_soft_limit() -> None:
    controller = AdaptiveBatchController({"m": 1_000})
    controller.succeeded("m", "cuda:0", 1_000, GPUMemorySnapshot("cuda:0", used_bytes=70, total_bytes=100))
    assert controller.budget("m", "cuda:0") == 1_000
    roomy = AdaptiveBatchController({"m": 1_000}, soft_limit_gb=1.0)
    roomy.succeeded("m", "cuda:0", 1_000, GPUMemorySnapshot("cuda:0", used_bytes=70, total_bytes=100))
    assert roomy.budget("m", "cuda:0") > 1_000


def test_running_out_of_memory_halves_then_creeps_back_below_what_failed() -> None:
    controller = AdaptiveBatchController({"m": 1_000})
    controller.overflowed("m", "cuda:0", 1_000)
    assert controller.budget("m", "cuda:0") == 500
    for _ in range(3):
        controller.succeeded("m", "cuda:0", controller.budget("m", "cuda:0"))
    assert 500 < controller.budget("m", "cuda:0") < 1_000
    assert controller.budget("other", "cuda:0") != controller.budget("m", "cuda:0")


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


def test_what_a_batch_costs_on_a_processor_can_be_said(tmp_path: Path) -> None:
    controller = AdaptiveBatchController(cpu_tokens=512)
    controller.succeeded("m", "cpu", 512)
    assert controller.budget("m", "cpu") == 512
    controller.save(tmp_path / "batches.json")
    told = AdaptiveBatchController(cpu_tokens=1024)
    told.load(tmp_path / "batches.json")
    assert told.budget("m", "cpu") == 1024  # it was told, not learned
