"""A device in one process: a thread lock for turns, a file lock that excludes other processes, and the resident models.

A process that waits for the file lock holds a second one, the queue, which the holder checks after each lease and, by a thread,
while it is idle.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ingest.encode.contract import Model
from ingest.encode.devices import GIBIBYTE, GPUMemorySnapshot, memory_snapshots, release_cached_memory
from ingest.encode.holder import Holder
from ingest.process import HomeProcess, keep_for_parent

RESIDENT_SHARE = 0.5
"""Share of a GPU's memory up to which models stay resident together."""

NOTABLE_SHARE = 0.05
"""Share of a GPU's memory from which the use by other programs is worth a word. CUDA itself needs half a GiB for each process."""

_POLL_SECONDS = 0.02

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Resident:
    """A model on a device, with the memory that it uses there between leases, its cache included."""

    model: Model
    used_bytes: int = 0


class LeasedDevice:
    """A device in this process. Only the thread whose turn it is uses anything but `turn`.

    Args:
        directory: folder of the lock files.
        identity: name of the files, the same in every process and container: see `identity_of`.
        name: name of the device in this process.
    """

    def __init__(self, directory: Path, identity: str, name: str) -> None:
        self.name = name
        self.identity = identity
        self._home = HomeProcess(f"the lease of {name}")
        self.turn = threading.Lock()
        self.residents: list[Resident] = []
        self.waited = False
        self._peaks: dict[tuple[str, str], int] = {}
        self._told = False
        self.holder = Holder(directory / f"{identity}.json")
        self._lock = FileLock(directory / f"{identity}.lock", thread_local=False, mode=0o600, poll_interval=_POLL_SECONDS)
        self._queue = FileLock(directory / f"{identity}.queue.lock", thread_local=False, mode=0o600, poll_interval=_POLL_SECONDS)
        self._file: tuple[int, int] | None = None
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
        """Exclude other processes, after those that wait already. Returns False if that takes longer than `seconds`.

        A lock whose file was deleted, as cleaners of temporary files do after days, no longer excludes others: it is taken again.
        """
        if self.held:
            if self._file == _identity(self._lock):
                return True
            self._lock.release()
        deadline = time.monotonic() + seconds
        try:
            with self._queue.acquire(timeout=seconds):
                self._lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
        except Timeout:
            return False
        self._file = _identity(self._lock)
        return True

    def find(self, model: Model) -> Resident | None:
        """Return the model's entry if it is resident."""
        return next((each for each in self.residents if each.model is model), None)

    def move_in(self, model: Model) -> None:
        """Note that a model is resident from now on."""
        if self.find(model) is None:
            self.residents.append(Resident(model))

    def measured(self, model: Model, used_bytes: int) -> None:
        """Note the memory that a resident model and its batches used in a lease."""
        key = model.key, model.dtype
        self._peaks[key] = max(used_bytes, self._peaks.get(key, 0))
        if (resident := self.find(model)) is not None:
            resident.used_bytes = used_bytes

    def has_room(self, model: Model, memory: GPUMemorySnapshot | None) -> bool:
        """Return whether a model can compute while the others stay: see `make_room`."""
        peak = self._peaks.get((model.key, model.dtype))
        if memory is None or peak is None:
            return False
        resident = self.find(model)
        growth = max(0, peak - (resident.used_bytes if resident else 0))
        return memory.used_bytes + growth <= memory.total_bytes * RESIDENT_SHARE

    def tell_others(self, memory: GPUMemorySnapshot) -> None:
        """Warn once if other programs use much memory of the GPU."""
        if memory.other_bytes > max(GIBIBYTE, memory.total_bytes * NOTABLE_SHARE) and not self._told:
            self._told = True
            logger.warning(
                "other programs use %.1f of the %.1f GiB of %s: batches stay smaller, or do not fit",
                memory.other_bytes / GIBIBYTE,
                memory.total_bytes / GIBIBYTE,
                self.name,
            )

    def give_back(self) -> None:
        """Offload the resident models and let other processes in. Does nothing in a forked child: the lease is the parent's."""
        if not self._home.is_current:
            return
        try:
            evict([self])
        finally:
            if self.held:
                self.holder.clear()
                self._lock.release()


def _identity(lock: FileLock) -> tuple[int, int] | None:
    """Return which file the path of a lock names, or None if it is gone."""
    try:
        found = Path(lock.lock_file).stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def make_room(devices: Sequence[LeasedDevice], model: Model) -> dict[str, GPUMemorySnapshot]:
    """Offload the models that must leave for `model`. Return GPU → its memory afterwards.

    Several models of this process may be resident on a GPU, although one at a time computes, if they fit with room to spare: with
    everything in use and the peak of `model`, half of the memory must stay free. A model that was never measured on the GPU has
    it to itself, and so has every model on the CPU.
    """
    names = [device.name for device in devices]
    memory = memory_snapshots(names)
    shared = any(resident.model is not model for device in devices for resident in device.residents)
    if shared and not all(device.has_room(model, memory.get(device.name)) for device in devices):
        evict(devices, unless=model)
        memory = memory_snapshots(names)
    for device in devices:
        if device.name in memory:
            device.tell_others(memory[device.name])
    return memory


def evict(devices: Sequence[LeasedDevice], *, unless: Model | None = None) -> None:
    """Offload the resident models of the devices, each once, then free what torch caches of them."""
    leaving = {id(each.model): each.model for device in devices for each in device.residents if each.model is not unless}
    for device in devices:
        device.residents = [each for each in device.residents if each.model is unless]
    for model in leaving.values():
        model.offload()
    if leaving:
        release_cached_memory([device.name for device in devices])
