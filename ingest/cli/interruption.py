"""SIGINT and SIGTERM: the first signal ends a run after its window, the second at once."""

from __future__ import annotations

import os
import queue
import signal
from threading import Event
from types import FrameType, TracebackType
from typing import Self

STDERR = 2

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """A stop function that returns True from the first signal on; the second signal raises `KeyboardInterrupt`.

    Use it as `with StopSignals() as stop:`, in the main thread.
    """

    def __init__(self) -> None:
        self._stopped = False
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()  # its put is safe in a signal handler, an Event's set is not

    def __call__(self) -> bool:
        return self._stopped

    def wait(self, seconds: float) -> None:
        try:
            self._woken.get(timeout=seconds)
        except queue.Empty:
            return

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self._stopped:
            raise KeyboardInterrupt
        self._stopped = True
        self._woken.put(None)
        message = f"{signal.Signals(number).name}: stopping after this window; once more to stop at once\n"
        os.write(STDERR, message.encode())  # a stream may be in the middle of a line of its own


class StopRequest(Event):
    """A stop function that returns True once another thread has called `set`."""

    def __call__(self) -> bool:
        return self.is_set()
