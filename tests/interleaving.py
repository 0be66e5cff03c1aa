"""Two processes at one store, in an order that a test chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ingest.store.contract import Store


class Interleaved:
    """A store as one process has it: another process takes its step just before, or just after, its first call of a method."""

    def __init__(self, store: Store, method: str, step: Callable[[], object], *, after: bool = False) -> None:
        self._store = store
        self._method = method
        self._step: Callable[[], object] | None = step
        self._after = after

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if name != self._method:
            return attribute

        def interleaved(*arguments: Any) -> Any:
            step, self._step = self._step, None
            if step is not None and not self._after:
                step()
            try:
                return attribute(*arguments)
            finally:
                if step is not None and self._after:
                    step()

        return interleaved
