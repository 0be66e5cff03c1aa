"""Which texts go through a model together. A batch costs its longest text times their number: padding is computed too."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ingest.atomic_files import replace_private
from ingest.encode.devices import GIBIBYTE, GPUMemorySnapshot, is_accelerator
from ingest.parameters import checked, optional, parse_integer, parse_mapping, parse_number

Indices = NDArray[np.intp]

CPU_TOKENS = 2_048
"""8 to 16 texts of 128 tokens: larger batches leave a processor's caches and are slower."""

ACCELERATOR_TOKENS = 16_384

SOFT_LIMIT_SHARE = 0.8

_GROWTH = 1.25
_FULL = 0.8


class BatchQueue:
    """Texts waiting to be encoded, the longest first: what does not fit shows at once, and later batches need less memory.

    Safe from several threads.

    Args:
        lengths: cost of each text, > 0.
        waiting: indices of the texts to hand out; all unless given.
    """

    def __init__(self, lengths: NDArray[np.int64], waiting: Indices | None = None) -> None:
        chosen = np.arange(len(lengths)) if waiting is None else waiting
        self._lengths = lengths
        self._order: Indices = chosen[np.argsort(-lengths[chosen], kind="stable")]
        self._next = 0
        self._again: list[Indices] = []
        self._lock = threading.Lock()

    def take(self, budget: int) -> Indices:
        """The next texts whose padded cost is within `budget`, but at least one; empty when none are left."""
        with self._lock:
            if self._again:
                waiting = self._again.pop()
                fitting, rest = np.split(waiting, [self._fitting(waiting[0], budget)])
                if len(rest):
                    self._again.append(rest)
                return fitting
            if self._next == len(self._order):
                return self._order[:0]
            start = self._next
            self._next = min(len(self._order), start + self._fitting(self._order[start], budget))
            return self._order[start : self._next]

    def put_back(self, batch: Indices) -> None:
        """A batch that did not go through."""
        with self._lock:
            self._again.append(batch)

    def clear(self) -> None:
        """Nothing more is handed out."""
        with self._lock:
            self._next = len(self._order)
            self._again.clear()

    def padded_cost(self, batch: Indices) -> int:
        """Longest times number."""
        return int(self._lengths[batch].max()) * len(batch)

    def _fitting(self, longest: np.intp, budget: int) -> int:
        return max(1, budget // max(1, int(self._lengths[longest])))


@dataclass(slots=True)
class _Budget:
    """`ceiling` is the cost that last proved too much, None while nothing did."""

    tokens: int
    ceiling: int | None = None


class AdaptiveBatchController:
    """Learns how many padded tokens a batch may cost, for each model on each device. Safe from several threads.

    On an accelerator a budget grows while full batches go well and memory stays under the soft limit; anywhere it halves when
    memory runs out, then creeps up to just under what failed. On a processor it starts at its best and never grows beyond.

    Args:
        hints: model key → tokens to start from on an accelerator.
        soft_limit_gb: GiB of a card that may be in use before budgets stop growing; 80 % of the card unless given.
        cpu_tokens: that a batch costs on a processor.
    """

    def __init__(
        self,
        hints: Mapping[str, int] | None = None,
        *,
        soft_limit_gb: float | None = None,
        cpu_tokens: int = CPU_TOKENS,
    ) -> None:
        self._hints = checked("hints", parse_mapping, hints or {}, partial(parse_integer, least=1))
        self._soft_limit_gb = checked("soft_limit_gb", optional(parse_number), soft_limit_gb, positive=True)
        self._processor_tokens = checked("cpu_tokens", parse_integer, cpu_tokens, least=1)
        self._budgets: dict[tuple[str, str], _Budget] = {}
        self._lock = threading.Lock()

    def budget(self, model: str, device: str) -> int:
        """Padded tokens the next batch may cost."""
        with self._lock:
            return self._get(model, device).tokens

    def succeeded(self, model: str, device: str, cost: int, memory: GPUMemorySnapshot | None = None) -> None:
        """A batch of that padded cost went through; `memory` as it was right after, where there is a card."""
        with self._lock:
            budget = self._get(model, device)
            if cost < budget.tokens * _FULL or (memory is not None and self._is_tight(memory)):
                return
            grown = int(budget.tokens * _GROWTH) + 1
            if not is_accelerator(device):
                grown = min(grown, self._processor_tokens)
            if budget.ceiling is not None:
                # What ran out of memory once may fit later, when another program has left the card: try again, little by little.
                budget.ceiling += budget.ceiling // 100 + 1
                grown = min(grown, budget.ceiling * 9 // 10)
            budget.tokens = max(budget.tokens, grown)

    def overflowed(self, model: str, device: str, cost: int) -> None:
        """A batch of that padded cost ran out of memory."""
        with self._lock:
            budget = self._get(model, device)
            budget.ceiling = cost
            budget.tokens = max(1, min(budget.tokens, cost // 2))

    def save(self, path: Path) -> None:
        """What was learned, as JSON, for the next run."""
        with self._lock:
            learned = [[*key, budget.tokens, budget.ceiling] for key, budget in sorted(self._budgets.items())]
        replace_private(path, json.dumps(learned).encode())

    def load(self, path: Path) -> None:
        """What an earlier run learned. A file that is not there or not readable as such teaches nothing."""
        try:
            learned = {
                (str(m), str(d)): _Budget(max(1, int(tokens)), ceiling and int(ceiling))
                for m, d, tokens, ceiling in _read(path)
                if ceiling or is_accelerator(d)  # a processor teaches nothing but what is too much
            }
        except (OSError, ValueError, TypeError):
            return
        with self._lock:
            self._budgets.update(learned)

    def _get(self, model: str, device: str) -> _Budget:
        start = self._hints.get(model, ACCELERATOR_TOKENS) if is_accelerator(device) else self._processor_tokens
        return self._budgets.setdefault((model, device), _Budget(start))

    def _is_tight(self, memory: GPUMemorySnapshot) -> bool:
        limit = memory.total_bytes * SOFT_LIMIT_SHARE if self._soft_limit_gb is None else self._soft_limit_gb * GIBIBYTE
        return memory.used_bytes * _GROWTH > limit


def _read(path: Path) -> list[tuple[str, str, int, int | None]]:
    learned: list[tuple[str, str, int, int | None]] = json.loads(path.read_text())
    return learned
