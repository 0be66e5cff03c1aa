"""Batches of texts. The cost of a batch is its longest text times the number of texts, because padding is computed too."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from ingest.atomic_files import replace_private
from ingest.encode.devices import GIBIBYTE, GPUMemorySnapshot, is_accelerator
from ingest.parameters import checked, optional, parse_integer, parse_mapping, parse_number

Indices = NDArray[np.intp]

CPU_TOKENS = 2_048
"""Padded tokens per batch on the CPU, 8 to 16 texts of 128 tokens: larger batches exceed its caches and are slower."""

ACCELERATOR_TOKENS = 16_384

MAX_PADDING_SHARE = 0.1
"""Maximum share of padding in the computed tokens of a pass, whatever the budget."""

SOFT_LIMIT_SHARE = 0.8

_BATCH_PADDING_SHARE = 0.08
"""Share of padding at which a batch ends. What it leaves of `MAX_PADDING_SHARE` goes to the short texts at the end of a pass,
which would otherwise need several small batches."""

_GROWTH = 2.0
_MIN_GROWTH = 1.25
_WORTHWHILE_SPEEDUP = 1.03
_TRIAL_PASSES = 3
"""Passes at each budget, whose median speed counts: a single slow or fast one decides nothing."""

_FULL = 0.8
_CEILING_RECOVERY = 1.02
_CEILING_SHARE = 0.9


class BatchQueue:
    """A queue of texts to encode, longest first: a text that does not fit fails at once, and later batches need less memory.

    Texts of a batch have similar lengths: padding is at most `MAX_PADDING_SHARE` of all computed tokens. Thread-safe.

    Args:
        lengths: tokens of each text, > 0.
        waiting: indices of the texts in the queue. None: all.
    """

    def __init__(self, lengths: NDArray[np.int64], waiting: Indices | None = None) -> None:
        indices = np.arange(len(lengths)) if waiting is None else waiting
        self._lengths = lengths
        self._order: Indices = indices[np.argsort(-lengths[indices], kind="stable")]
        self._next = 0
        self._padded = 0
        self._padding = 0
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
            candidates = self._order[start : start + self._fitting(self._order[start], budget)]
            self._next += self._similar(self._lengths[candidates])
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

    def _similar(self, lengths: NDArray[np.int64]) -> int:
        """Return how many of these lengths, in descending order, make a batch with little padding, and count its tokens."""
        padded = lengths[0] * np.arange(1, len(lengths) + 1)
        padding = padded - np.cumsum(lengths)
        unused = MAX_PADDING_SHARE * self._padded - self._padding
        similar = (padding <= _BATCH_PADDING_SHARE * padded) | (padding <= unused)
        count = len(lengths) if similar.all() else max(1, int(np.argmin(similar)))
        self._padded += int(padded[count - 1])
        self._padding += int(padding[count - 1])
        return count


class RequestQueue(BatchQueue):
    """A queue of a remote model, whose batches are requests: nothing is padded, and the number of texts is limited, too.

    Args:
        most_texts: returns the maximum number of texts in the next batch.
    """

    def __init__(self, lengths: NDArray[np.int64], waiting: Indices, most_texts: Callable[[], int]) -> None:
        super().__init__(lengths, waiting)
        self._most_texts = most_texts

    def padded_cost(self, batch: Indices) -> int:
        """Return the tokens of a batch."""
        return int(self._lengths[batch].sum())

    def _fitting(self, longest: np.intp, budget: int) -> int:
        return min(super()._fitting(longest, budget), self._most_texts())

    def _similar(self, lengths: NDArray[np.int64]) -> int:
        return len(lengths)


@dataclass(slots=True)
class _Budget:
    """The padded tokens that a batch may cost, and the search for the smallest budget with full speed.

    Attributes:
        tokens: the budget in use.
        ceiling: cost of the last batch that ran out of memory, None if none did.
        best: the largest budget that was worth it, and its tokens per second. None: none has been measured yet.
        trials: tokens per second of the passes with `tokens`.
        settled: whether a larger budget was tried and was not faster.
    """

    tokens: int
    ceiling: int | None = None
    best: tuple[int, float] | None = None
    trials: list[float] = field(default_factory=list)
    settled: bool = False

    @property
    def proven(self) -> int:
        """The budget without the one on trial."""
        return self.tokens if self.best is None else min(self.tokens, self.best[0])

    def measure(self, tokens_per_second: float, limit: float) -> None:
        """Record the speed of a pass. Grows up to `limit` if the last growth was worth it, else returns to the budget before."""
        if self.ceiling is not None:
            # A batch that ran out of memory may fit later, when another program has left the GPU: raise the ceiling slowly.
            self.ceiling = int(self.ceiling * _CEILING_RECOVERY) + 1
            limit = min(limit, self.ceiling * _CEILING_SHARE)
        if self.settled:
            return
        self.trials.append(tokens_per_second)
        if len(self.trials) < _TRIAL_PASSES:
            return
        speed = median(self.trials)
        if self.best is not None and self.best[0] < self.tokens and speed < self.best[1] * _WORTHWHILE_SPEEDUP:
            self.tokens, self.settled = self.best[0], True
            return
        self.best = self.tokens, speed
        grown = int(min(self.tokens * _GROWTH, limit))
        if grown >= self.tokens * _MIN_GROWTH:
            self.tokens = grown
            self.trials.clear()
        else:
            del self.trials[0]

    def end_trial(self) -> None:
        """Return to the proven budget, for lack of texts to try a larger one with."""
        if self.proven < self.tokens:
            self.tokens = self.proven
            self.trials.clear()

    def shrink(self, cost: int) -> None:
        """Halve the budget after a batch of that cost ran out of memory, and measure again from there."""
        self.ceiling = cost
        self.tokens = max(1, min(self.tokens, cost // 2))
        self.best = None
        self.trials.clear()
        self.settled = False


class AdaptiveBatchController:
    """The budgets of padded tokens per batch, learned for each model on each device. Thread-safe.

    A GPU is known by its identity, so that a budget belongs to it in every process; the CPU by its name.

    On an accelerator a budget doubles while that makes passes faster and memory stays under the soft limit; it then returns to
    the smallest budget with that speed. On any device it halves when memory runs out, and grows again to just below the cost
    that failed. On the CPU it never grows beyond its initial value.

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
        """Return the padded tokens that a batch of the next pass may cost."""
        with self._lock:
            return self._get(model, device).tokens

    def succeeded(
        self,
        model: str,
        device: str,
        *,
        tokens: int,
        largest: int,
        seconds: float,
        memory: GPUMemorySnapshot | None = None,
    ) -> None:
        """Record a pass on a device. A pass without a batch that fills the budget says nothing about it.

        Args:
            model, device: what computed.
            tokens: tokens encoded, without padding.
            largest: padded cost of the largest batch.
            seconds: duration.
            memory: memory of the GPU after the pass.
        """
        with self._lock:
            budget = self._get(model, device)
            if seconds <= 0 or largest < budget.tokens * _FULL:
                budget.end_trial()
            else:
                budget.measure(tokens / seconds, self._limit(device, budget.tokens, memory))

    def overflowed(self, model: str, device: str, cost: int) -> None:
        """Record a batch of that padded cost that ran out of memory."""
        with self._lock:
            self._get(model, device).shrink(cost)

    def save(self, path: Path) -> None:
        """Write the learned budgets as JSON, for the next run."""
        with self._lock:
            learned = [[*key, budget.proven, budget.ceiling] for key, budget in sorted(self._budgets.items())]
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
        if (model, device) not in self._budgets:
            start = self._hints.get(model, ACCELERATOR_TOKENS) if is_accelerator(device) else self._cpu_tokens
            self._budgets[model, device] = _Budget(start)
        return self._budgets[model, device]

    def _limit(self, device: str, tokens: int, memory: GPUMemorySnapshot | None) -> float:
        """Return the largest budget that the device allows, if its memory grows no faster than the budget."""
        if not is_accelerator(device):
            return self._cpu_tokens
        if memory is None:
            return math.inf
        limit = memory.total_bytes * SOFT_LIMIT_SHARE if self._soft_limit_gb is None else self._soft_limit_gb * GIBIBYTE
        return tokens * limit / max(1, memory.used_bytes)


def _read(path: Path) -> list[tuple[str, str, int, int | None]]:
    learned: list[tuple[str, str, int, int | None]] = json.loads(path.read_text())
    return learned
