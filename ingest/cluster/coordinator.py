"""An actor that knows how the run stands: who reads what, since when, how far, and who may write."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ingest.cluster.connection import Figures
from ingest.cluster.uploads import UploadLimit


@dataclass(frozen=True, slots=True)
class PartStarted:
    """What a worker is told when it begins a part.

    Attributes:
        attempt: 1, or more where workers died that had begun it.
        notes: what they noted before they wrote, in order.
        stopping: it should not begin at all.
    """

    attempt: int
    notes: tuple[bytes, ...]
    stopping: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Documents read and done so far, by all."""

    read: int
    done: int


class Coordinator:
    """Parts go by their numbers. What is noted of a part is kept only while it is being read, so that memory stays bounded."""

    def __init__(self) -> None:
        self._attempts: dict[int, int] = {}
        self._notes: dict[int, list[bytes]] = {}
        self._standing: dict[int, tuple[int, int]] = {}
        self._ended = (0, 0)
        self._stopping = False
        self._uploads = UploadLimit()
        self._writing: set[int] = set()
        self._changed = asyncio.Condition()
        self._figures = Figures()

    async def begin(self, part: int) -> PartStarted:
        await self._free(part)
        self._attempts[part] = self._attempts.get(part, 0) + 1
        return PartStarted(self._attempts[part], tuple(self._notes.get(part, ())), self._stopping)

    async def note(self, part: int, note: bytes) -> None:
        """Something that a worker which takes over must know."""
        self._notes.setdefault(part, []).append(note)

    async def report(self, part: int, read: int, done: int) -> bool:
        """How far it has come; gives whether to stop."""
        self._standing[part] = (read, done)
        return self._stopping

    async def end(self, part: int) -> None:
        read, done = self._standing.pop(part, (0, 0))
        self._ended = (self._ended[0] + read, self._ended[1] + done)
        self._notes.pop(part, None)
        await self._free(part)

    async def acquire(self, part: int) -> None:
        """Returns when the part may send one request that writes."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._writing) < max(1, int(self._uploads.allowed)))
            self._writing.add(part)

    async def release(self, part: int, points: int, seconds: float, refused: bool) -> None:
        self._uploads.answered(points, seconds, refused=refused)
        self._figures.show_uploads(self._uploads.allowed)
        await self._free(part)

    async def stop(self) -> None:
        """Nobody begins a part any more, and who is reading one ends with the window in hand."""
        self._stopping = True

    async def standing(self) -> Standing:
        read, done = self._ended
        running = self._standing.values()
        return Standing(read + sum(each for each, _ in running), done + sum(each for _, each in running))

    async def _free(self, part: int) -> None:
        """The part writes nothing now; of one whose worker died, nobody else would say so."""
        async with self._changed:
            self._writing.discard(part)
            self._changed.notify_all()
