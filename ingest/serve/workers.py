"""The threads that answer requests, and a bounded queue in front of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from starlette.exceptions import HTTPException

from ingest.serve.problems import RETRY_SECONDS

T = TypeVar("T")


class Workers:
    """Threads that run blocking calls for an event loop.

    Args:
        threads: calls that run at a time.
        queue: calls that may wait for a thread. One more is refused with 429.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self._most = threads + queue
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="ingest-serve")
        self._pending = 0

    @property
    def pending(self) -> int:
        """The number of calls that run or wait. A call whose client has given up counts until it ends."""
        return self._pending

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns. Cancelled, a call that waits is dropped; one that runs ends unseen.

        Raises `HTTPException` 429 if the queue is full.
        """
        if self._pending >= self._most:
            raise HTTPException(
                429, "too many requests are waiting: try again later, more slowly", headers={"Retry-After": str(RETRY_SECONDS)}
            )
        loop = asyncio.get_running_loop()
        self._pending += 1
        future = self._executor.submit(call)
        future.add_done_callback(lambda done: self._ended(done, loop))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for the calls that run, and end the threads. Idempotent."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _ended(self, _done: Future[T], loop: asyncio.AbstractEventLoop) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        self._pending -= 1
