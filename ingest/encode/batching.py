"""Batches of texts. The cost of a batch is its longest text times the number of texts, because padding is computed too."""

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
"""Padded tokens per batch on the CPU, 8 to 16 texts of 128 tokens: larger batches exceed its caches and are slower."""

ACCELERATOR_TOKENS = 16_384

SOFT_LIMIT_SHARE = 0.8

_GROWTH = 1.25
_FULL = 0.8


class BatchQueue:
    """A queue of texts to encode, longest first: a text that does not fit fails at once, and later batches need less memory.

    Thread-safe.

    Args:
        lengths: tokens of each text, > 0.
        waiting: indices of the texts in the queue. None: all.
    """

    def __init__(self, lengths: NDArray[np.int64], waiting: Indices | None = None) -> None:
        indices = np.arange(len(lengths)) if waiting is None else waiting
        self._lengths = lengths
        self._order: Indices = indices[np.argsort(-lengths[indices], kind="stable")]
        self._next = 0
        self._returned: list[Indices] = []
        self._lock = threading.Lock()

    def take(self, budget: int) -> Indices:
        """Return the next texts whose padded cost is within `budget`, but at least one; empty at the end."""
        with self._lock:
            if self._returned:
                waiting = self._returned.pop()
                fitting, rest = np.split(waiting, [self._fitting(waiting[0], budget)])
                if len(rest):
                    self._returned.append(rest)
                return fitting
            if self._next == len(self._order):
                return self._order[:0]
            start = self._next
            self._next = min(len(self._order), start + self._fitting(self._order[start], budget))
            return self._order[start : self._next]

    def put_back(self, batch: Indices) -> None:
        """Return a failed batch to the queue. It comes next."""
        with self._lock:
            self._returned.append(batch)

    def clear(self) -> None:
        """Empty the queue."""
        with self._lock:
            self._next = len(self._order)
            self._returned.clear()

    def padded_cost(self, batch: Indices) -> int:
        """Return the padded tokens of a batch."""
        return int(self._lengths[batch].max()) * len(batch)

    def _fitting(self, longest: np.intp, budget: int) -> int:
        return max(1, budget // max(1, int(self._lengths[longest])))


@dataclass(slots=True)
class _Budget:
    """The padded tokens that a batch may cost.

    Attributes:
        ceiling: cost of the last batch that ran out of memory, None if none did.
    """

    tokens: int
    ceiling: int | None = None


class AdaptiveBatchController:
    """The budgets of padded tokens per batch, learned for each model on each device. Thread-safe.

    On an accelerator a budget grows while full batches succeed and memory stays under the soft limit. On any device it halves
    when memory runs out, then grows slowly to just below the cost that failed. On the CPU it never grows beyond its initial
    value.

    Args:
        hints: model key → initial padded tokens per batch on an accelerator.
        soft_limit_gb: used GiB of a GPU at which budgets stop growing. None: 80 % of the GPU.
        cpu_tokens: padded tokens per batch on the CPU.
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
        self._cpu_tokens = checked("cpu_tokens", parse_integer, cpu_tokens, least=1)
        self._budgets: dict[tuple[str, str], _Budget] = {}
        self._lock = threading.Lock()

    def budget(self, model: str, device: str) -> int:
        """Return the padded tokens that the next batch may cost."""
        with self._lock:
            return self._get(model, device).tokens

    def succeeded(self, model: str, device: str, cost: int, memory: GPUMemorySnapshot | None = None) -> None:
        """Record a batch of that padded cost that succeeded, with the memory of the GPU after it."""
        with self._lock:
            budget = self._get(model, device)
            if cost < budget.tokens * _FULL or (memory is not None and self._is_tight(memory)):
                return
            grown = int(budget.tokens * _GROWTH) + 1
            if not is_accelerator(device):
                grown = min(grown, self._cpu_tokens)
            if budget.ceiling is not None:
                # A batch that ran out of memory may fit later, when another program has left the GPU: raise the ceiling slowly.
                budget.ceiling += budget.ceiling // 100 + 1
                grown = min(grown, budget.ceiling * 9 // 10)
            budget.tokens = max(budget.tokens, grown)

    def overflowed(self, model: str, device: str, cost: int) -> None:
        """Record a batch of that padded cost that ran out of memory."""
        with self._lock:
            budget = self._get(model, device)
            budget.ceiling = cost
            budget.tokens = max(1, min(budget.tokens, cost // 2))

    def save(self, path: Path) -> None:
        """Write the learned budgets as JSON, for the next run."""
        with self._lock:
            learned = [[*key, budget.tokens, budget.ceiling] for key, budget in sorted(self._budgets.items())]
        replace_private(path, json.dumps(learned).encode())

    def load(self, path: Path) -> None:
        """Read the budgets that an earlier run learned. Ignores a missing or damaged file."""
        try:
            learned = {
                (str(m), str(d)): _Budget(max(1, int(tokens)), ceiling and int(ceiling))
                for m, d, tokens, ceiling in _read(path)
                if ceiling or is_accelerator(d)  # on the CPU only a ceiling is learned
            }
        except (OSError, ValueError, TypeError):
            return
        with self._lock:
            self._budgets.update(learned)

    def _get(self, model: str, device: str) -> _Budget:
        start = self._hints.get(model, ACCELERATOR_TOKENS) if is_accelerator(device) else self._cpu_tokens
        return self._budgets.setdefault((model, device), _Budget(start))

    def _is_tight(self, memory: GPUMemorySnapshot) -> bool:
        limit = memory.total_bytes * SOFT_LIMIT_SHARE if self._soft_limit_gb is None else self._soft_limit_gb * GIBIBYTE
        return memory.used_bytes * _GROWTH > limit


def _read(path: Path) -> list[tuple[str, str, int, int | None]]:
    learned: list[tuple[str, str, int, int | None]] = json.loads(path.read_text())
    return learned
