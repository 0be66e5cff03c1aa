"""A device in one process: a thread lock for turns, a file lock that excludes other processes, and the resident model.

A process that waits for the file lock holds a second one, the queue, which the holder checks after each lease and, by a thread,
while it is idle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from ingest.encode.contract import Model
from ingest.encode.devices import release_cached_memory
from ingest.encode.holder import Holder
from ingest.process import HomeProcess, keep_for_parent

_POLL_SECONDS = 0.02


class LeasedDevice:
    """A device in this process. Only the thread whose turn it is uses anything but `turn`.

    Args:
        directory: folder of the lock files.
        identity: name of the files, the same in every process and container: see `identity_of`.
        name: name of the device in this process.
    """

    def __init__(self, directory: Path, identity: str, name: str) -> None:
        self.name = name
        self._home = HomeProcess(f"the lease of {name}")
        self.turn = threading.Lock()
        self.resident: Model | None = None
        self.waited = False
        self.holder = Holder(directory / f"{identity}.json")
        self._lock = FileLock(directory / f"{identity}.lock", thread_local=False, mode=0o600, poll_interval=_POLL_SECONDS)
        self._queue = FileLock(directory / f"{identity}.queue.lock", thread_local=False, mode=0o600, poll_interval=_POLL_SECONDS)
        keep_for_parent(self)

    def held_by_parent(self) -> Iterable[object]:
        """Return the file locks, which a forked child must not finalize: that would release them."""
        return [self._lock, self._queue]

    @property
    def held(self) -> bool:
        """Whether this process excludes others from the device."""
        return self._lock.is_locked

    def wanted(self) -> bool:
        """Return whether another process waits, holding the lock of the queue."""
        if not self.held:
            return False
        try:
            self._queue.acquire(timeout=0)
        except Timeout:
            return True
        self._queue.release()
        return False

    def hold(self, seconds: float) -> bool:
        """Exclude other processes, after those that wait already. Returns False if that takes longer than `seconds`."""
        if self.held:
            return True
        deadline = time.monotonic() + seconds
        try:
            with self._queue.acquire(timeout=seconds):
                self._lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
        except Timeout:
            return False
        return True

    def give_back(self) -> None:
        """Offload the resident model and let other processes in. Does nothing in a forked child: the lease is the parent's."""
        if not self._home.is_current:
            return
        try:
            evict([self])
        finally:
            if self.held:
                self.holder.clear()
                self._lock.release()


def evict(devices: Sequence[LeasedDevice], *, unless: Model | None = None) -> None:
    """Offload the resident models of the devices, each once."""
    left = [device for device in devices if device.resident is not None and device.resident is not unless]
    models = {id(device.resident): device.resident for device in left}
    for device in left:
        device.resident = None
    for model in models.values():
        if model is not None:
            model.offload()
    if left:
        release_cached_memory([device.name for device in left])
