"""Processes that lease the same fake GPUs and are killed at random: no GPU ever has two holders, and no lease is lost.

Each worker proves that it is alone by file locks of its own, which the operating system also releases when it is killed: one
while it computes on a GPU, one while its model is resident there.
"""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path

from recording_models import RecordingEncoder, RecordingModel

from ingest.encode.lease import lease_gpus
from ingest.errors import LeaseTimeoutError
from ingest.testing import FakeAccelerator, use_accelerator

TESTS = Path(__file__).parent
ORDERS = ((0, 1), (1, 0))
DEVICES = (("cuda:0",), ("cuda:1",), ("cuda:0", "cuda:1"))


@dataclass(slots=True)
class Soak:
    """What happened.

    Attributes:
        leases: leases that were taken and ended.
        kills: workers that were killed.
        faults: lines of workers that found another holder, waited in vain or broke.
        free: whether every GPU could be leased at once at the end.
    """

    leases: int = 0
    kills: int = 0
    faults: list[str] = field(default_factory=list)
    free: bool = False


class Alone:
    """Locks that no two workers may hold: one for each GPU. Opened first, so that a killed process releases them first."""

    def __init__(self, folder: Path, what: str) -> None:
        self._files = {number: os.open(folder / f"{what}-{number}", os.O_RDWR | os.O_CREAT) for number in ORDERS[0]}
        self._what = what

    def enter(self, number: int) -> None:
        try:
            fcntl.flock(self._files[number], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"fault: GPU {number} has two processes: {self._what}")

    def leave(self, number: int) -> None:
        fcntl.flock(self._files[number], fcntl.LOCK_UN)


class SoakedModel(RecordingModel):
    """A model that proves that no other process has one on its GPUs."""

    def __init__(self, key: str, resident: Alone, order: Sequence[int]) -> None:
        super().__init__(key)
        self._resident, self._order = resident, order
        self._places: set[int] = set()

    def to_device(self, device: str) -> RecordingEncoder:
        number = _number(device, self._order)
        if number not in self._places:
            self._resident.enter(number)
            self._places.add(number)
        return super().to_device(device)

    def offload(self) -> None:
        for number in self._places:
            self._resident.leave(number)
        self._places.clear()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def work(folder: Path, order: Sequence[int], seed: int) -> None:
    """Take leases until the parent ends this process. Prints a line for each that ended."""
    computing, resident = Alone(folder, "computing"), Alone(folder, "resident")
    rng = random.Random(seed)
    models = [SoakedModel(key, resident, order) for key in "ab"]
    with use_accelerator(FakeAccelerator(visible=order)):
        while True:
            devices = rng.choice(DEVICES)
            with (
                lease_gpus(
                    rng.choice(models), devices, directory=folder / "leases", timeout=60.0, keep=rng.random() < 0.7
                ) as lease,
                ExitStack() as stack,
            ):
                for device in devices:
                    computing.enter(_number(device, order))
                    stack.callback(computing.leave, _number(device, order))
                lease.encoder.encode_documents(["x"])
                time.sleep(rng.random() / 1000)
            _say("lease")


def soak(folder: Path, *, leases: int, processes: int = 4, kill_every: int = 50, seed: int = 1) -> Soak:
    """Run workers until they have taken `leases` leases. Kills one at random after every `kill_every` of them."""
    rng = random.Random(seed)
    with ExitStack() as stack:
        parent = _Parent(folder, stack, leases, kill_every, seed)
        for _ in range(processes):
            parent.start()
        while parent.wait():
            parent.kill(rng.randrange(processes))
            parent.start()
    parent.found.free = _all_free(folder)
    return parent.found


class _Parent:
    def __init__(self, folder: Path, stack: ExitStack, leases: int, kill_every: int, seed: int) -> None:
        self._folder, self._stack = folder, stack
        self._leases, self._kill_every = leases, kill_every
        self._seeds, self._orders = count(seed), cycle(ORDERS)
        self._workers: list[subprocess.Popen[str]] = []
        self._lock, self._wake = threading.Lock(), threading.Event()
        self.found = Soak()

    def start(self) -> None:
        worker = self._stack.enter_context(_worker(self._folder, next(self._orders), next(self._seeds)))
        self._workers.append(worker)
        threading.Thread(target=self._read, args=(worker,), daemon=True).start()

    def kill(self, index: int) -> None:
        victim = self._workers.pop(index)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        with self._lock:
            self.found.kills += 1

    def wait(self) -> bool:
        """Wait until a worker is to be killed. Returns False at the end, or after a fault."""
        if not self._wake.wait(60.0):
            self.found.faults.append("fault: no lease within a minute")
        self._wake.clear()
        return not self.found.faults and self.found.leases < self._leases

    def _read(self, worker: subprocess.Popen[str]) -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            with self._lock:
                if line == "lease\n":
                    self.found.leases += 1
                else:
                    self.found.faults.append(line.rstrip())
                due = min(self._leases, (self.found.kills + 1) * self._kill_every)
                if self.found.faults or self.found.leases >= due:
                    self._wake.set()


@contextmanager
def _worker(folder: Path, order: Sequence[int], seed: int) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, __file__, str(folder), ",".join(map(str, order)), str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
    ) as worker:
        try:
            yield worker
        finally:
            worker.kill()


def _number(device: str, order: Sequence[int]) -> int:
    return order[int(device.partition(":")[2])]


def _all_free(folder: Path) -> bool:
    with use_accelerator(FakeAccelerator(2)):
        try:
            with lease_gpus(RecordingModel("last"), DEVICES[-1], directory=folder / "leases", timeout=0.0):
                return True
        except LeaseTimeoutError:
            return False


if __name__ == "__main__":
    work(Path(sys.argv[1]), [int(number) for number in sys.argv[2].split(",")], int(sys.argv[3]))
