"""One reindex of a collection at a time, whatever process or host it runs on.

A note of the live collection names the process. It changes every few seconds while that process lives, so another one that
watches it for a while knows, without comparing clocks, whether it may take over what was interrupted.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from ingest.errors import JobRunningError, StoreError
from ingest.process import is_running
from ingest.store.contract import Store

logger = logging.getLogger(__name__)

NOTE = "reindexing"
"""The key of the note. It belongs to the collection and is not copied to another one."""

BEAT_SECONDS = 10.0

_MISSED_BEATS = 3
"""Beats that a process may miss before it counts as dead."""

_LOOKS_PER_BEAT = 20


class ExclusiveReindex:
    """The right to reindex `name`, held in a `with` block. Not thread-safe.

    Args:
        live: the collection that is replaced.
        beat: seconds between two changes of the note.

    Entering raises `JobRunningError` if another reindex is under way. After one that was killed on another host, that is known
    only after some beats; on this host at once.
    """

    def __init__(self, store: Store, name: str, live: str, *, beat: float = BEAT_SECONDS) -> None:
        self._store = store
        self._name = name
        self._live = live
        self._beat = beat
        self._own = {"token": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid()}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"reindex {name}", daemon=True)

    def __enter__(self) -> Self:
        found = self._note()
        if found is not None and self._is_alive(found):
            raise JobRunningError(
                f"another reindex of {self._name} is under way, in process {found.get('pid')} on {found.get('host')}, so this one"
                " changed nothing: run it again when that one has ended"
            )
        self._write(0)
        self._thread.start()
        return self

    def check(self) -> None:
        """Raise `JobRunningError` if another reindex took over, as it does if this process was suspended for a while."""
        found = self._note()
        if not self._is_own(found):
            raise JobRunningError(
                f"another reindex of {self._name} took over, so this one ended without a swap: see how that one ends"
                if found
                else f"the note {NOTE} of {self._live} was removed, so this reindex ended without a swap: run it again"
            )

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(StoreError):  # dropped, or unreachable: the next reindex sees that the note is not renewed
            if self._is_own(self._note()):
                self._store.update_notes(self._live, {NOTE: None})

    def _renew(self) -> None:
        beats = 0
        while not self._ended.wait(self._beat):
            beats += 1
            try:
                if not self._is_own(self._note()):
                    return
                self._write(beats)
            except StoreError as exc:
                logger.debug("the note of the reindex of %s was not renewed: %s", self._name, exc)

    def _is_alive(self, found: dict[str, Any]) -> bool:
        """Return whether the process of a note still renews it."""
        if found.get("host") == self._own["host"] and not is_running(int(found.get("pid", 0))):
            return False
        logger.info("watching whether the reindex of %s by process %s still runs", self._name, found.get("pid"))
        for _ in range(_LOOKS_PER_BEAT * _MISSED_BEATS):
            self._ended.wait(self._beat / _LOOKS_PER_BEAT)
            if (now := self._note()) != found:
                return now is not None
        return False

    def _note(self) -> dict[str, Any] | None:
        found = self._store.notes(self._live).get(NOTE)
        return found if isinstance(found, dict) else None

    def _is_own(self, found: dict[str, Any] | None) -> bool:
        return found is not None and found.get("token") == self._own["token"]

    def _write(self, beats: int) -> None:
        self._store.update_notes(self._live, {NOTE: {**self._own, "beats": beats}})
