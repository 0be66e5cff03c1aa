"""An actor that tracks the run: the attempts and notes of each part, its progress, and the parts that may write."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ingest.cluster.connection import WorkerMetrics
from ingest.cluster.uploads import UploadLimit


@dataclass(frozen=True, slots=True)
class PartStarted:
    """The coordinator's reply to a worker that starts a part.

    Attributes:
        attempt: 1, and one more for each worker that died while reading the part.
        notes: the notes of those workers, in order; see `ingest.cluster.retries`.
        stopping: True if the run is stopping, so the part must not be read.
    """

    attempt: int
    notes: tuple[bytes, ...]
    stopping: bool


@dataclass(frozen=True, slots=True)
class RunProgress:
    """The documents read and done so far by all workers."""

    read: int
    done: int


class Coordinator:
    """The actor that all workers report to. Parts are identified by number.

    The notes of a part are kept only while it is being read, so memory stays bounded.
    """

    def __init__(self) -> None:
        self._attempts: dict[int, int] = {}
        self._notes: dict[int, list[bytes]] = {}
        self._progress: dict[int, tuple[int, int]] = {}
        self._ended = (0, 0)
        self._stopping = False
        self._uploads = UploadLimit()
        self._writing: set[int] = set()
        self._changed = asyncio.Condition()
        self._metrics = WorkerMetrics()

    async def begin(self, part: int) -> PartStarted:
        await self._free(part)
        self._attempts[part] = self._attempts.get(part, 0) + 1
        return PartStarted(self._attempts[part], tuple(self._notes.get(part, ())), self._stopping)

    async def note(self, part: int, note: bytes) -> None:
        """Keep a note for the worker that takes the part over if this one dies."""
        self._notes.setdefault(part, []).append(note)

    async def report(self, part: int, read: int, done: int) -> bool:
        """Record the progress of a part, and return whether the run is stopping."""
        self._progress[part] = (read, done)
        return self._stopping

    async def end(self, part: int) -> None:
        read, done = self._progress.pop(part, (0, 0))
        self._ended = (self._ended[0] + read, self._ended[1] + done)
        self._notes.pop(part, None)
        await self._free(part)

    async def acquire(self, part: int) -> None:
        """Wait until the part may send one write request."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._writing) < max(1, int(self._uploads.allowed)))
            self._writing.add(part)

    async def release(self, part: int, points: int, seconds: float, refused: bool) -> None:
        self._uploads.record_response(points, seconds, refused=refused)
        self._metrics.show_uploads(self._uploads.allowed)
        await self._free(part)

    async def stop(self) -> None:
        """Stop the run: no part is started any more, and those being read end with their current window."""
        self._stopping = True

    async def progress(self) -> RunProgress:
        read, done = self._ended
        running = self._progress.values()
        return RunProgress(read + sum(each for each, _ in running), done + sum(each for _, each in running))

    async def _free(self, part: int) -> None:
        """Record that the part is not writing. A worker that died has not released its request itself."""
        async with self._changed:
            self._writing.discard(part)
            self._changed.notify_all()
