"""A run for asyncio: in another thread, and cancellable at the end of a window."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run_in_thread(run: Callable[[Callable[[], bool]], T], stop: Callable[[], bool]) -> T:
    """Return `run(stop)`, run in another thread.

    Cancelling makes the stop function of the run return True, waits for the run to end, and then raises `CancelledError`.
    """
    cancelled = threading.Event()
    running = asyncio.ensure_future(asyncio.to_thread(run, lambda: cancelled.is_set() or stop()))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait([running])
        raise
