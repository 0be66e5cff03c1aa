"""Whose turn it is to write: the run of a job, or a client. A run lets clients in between its windows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from ingest.errors import JobRunningError

GIVE_WAY_SECONDS = 1.0
"""Seconds between two windows of a run after which no further client gets a turn, so that the run goes on."""


class WriteTurns:
    """The turns of one process. One thread runs jobs, any threads may write for clients.

    A client never writes a source while a run reads it: the run may have read a document before the client changed it, and would
    overwrite the newer one, delete what the client brought back, and count points that it does not know.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._writer: Literal["run", "client"] | None = None
        self._sources: frozenset[str] = frozenset()
        self._waiting: list[str | None] = []

    @contextmanager
    def of_run(self, sources: Iterable[str]) -> Iterator[Callable[[], None]]:
        """Have the turn during the context. Yield a function to call between windows, which lets waiting clients write.

        `sources`: the names of the sources that the run writes.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._writer is None)
            self._writer, self._sources = "run", frozenset(sources)
        try:
            yield self._give_way
        finally:
            with self._changed:
                self._sources = frozenset()
                self._end()

    @contextmanager
    def of_client(self, source: str | None, deadline: float) -> Iterator[None]:
        """Have the turn during the context.

        Args:
            source: the name of the source to write. None: any.
            deadline: monotonic time in seconds at which to give up.

        Raises `JobRunningError` if a run has not let it in by then.
        """
        with self._changed:
            self._waiting.append(source)
            try:
                free = self._changed.wait_for(lambda: self._is_free(source), max(0.0, deadline - time.monotonic()))
            finally:
                self._waiting.remove(source)
                self._changed.notify_all()
            if not free:
                raise JobRunningError(self._why_not(source))
            self._writer = "client"
        try:
            yield
        finally:
            with self._changed:
                self._end()

    def _give_way(self) -> None:
        with self._changed:
            if self._writer != "run" or not self._others_wait():
                return
            self._end()
            self._changed.wait_for(lambda: self._writer is None and not self._others_wait(), GIVE_WAY_SECONDS)
            self._changed.wait_for(lambda: self._writer is None)
            self._writer = "run"

    def _end(self) -> None:
        self._writer = None
        self._changed.notify_all()

    def _is_free(self, source: str | None) -> bool:
        return self._writer is None and not self._is_read(source)

    def _is_read(self, source: str | None) -> bool:
        return bool(self._sources) if source is None else source in self._sources

    def _others_wait(self) -> bool:
        return any(not self._is_read(source) for source in self._waiting)

    def _why_not(self, source: str | None) -> str:
        if self._is_read(source):
            concerned = "a source" if source is None else f"the source {source!r}"
            return f"a job reads {concerned} and would undo what is written meanwhile: try again when it has ended"
        return "a job writes and has not let this request in, because its windows take long: try again"
