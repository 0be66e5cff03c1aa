"""A thread that looks after the devices that this process keeps while it computes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable

_INTERVAL = 0.1
"""Seconds between two looks: about as long as another process waits for a device that is kept idle."""


class IdleWatch:
    """A daemon thread that calls `look` at intervals, from `start` until `look` returns False.

    Args:
        look: releases what others wait for, and returns whether anything is kept.
    """

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._runs = False

    def start(self) -> None:
        """Start the thread, unless it runs."""
        with self._lock:
            if self._runs:
                return
            self._runs = True
        threading.Thread(target=self._run, name="idle-devices", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(_INTERVAL)
            with self._lock:
                self._runs = False  # also if `look` raises, so that the next start makes a new thread
                if not self._look():
                    return
                self._runs = True
