"""The exclusive right to put a model on a device: host-wide, one holder per device, released at once when its process dies.

A process may keep a device between leases (`keep`), so that the next pass of the same model copies nothing.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.encode.contract import Encoder, Model, as_remote
from ingest.encode.devices import (
    GIBIBYTE,
    GPUMemorySnapshot,
    check_devices,
    check_usable,
    default_devices,
    identity_of,
    is_accelerator,
    is_out_of_memory,
    memory_snapshots,
    translate_error,
    wait_for_moves,
)
from ingest.encode.holder import default_lease_directory, private_directory
from ingest.encode.idle import IdleWatch
from ingest.encode.leased_device import LeasedDevice, evict, make_room
from ingest.encode.leased_encoder import LeasedEncoder, leased_encoder, translated_errors
from ingest.errors import DeviceMemoryError, LeaseError, LeaseTimeoutError
from ingest.process import call_after_fork
from ingest.telemetry import ThroughputMonitor

DEFAULT_TIMEOUT = 3600.0
"""Seconds to wait for a device. Another run releases it after its current pass, which on a CPU can take minutes."""

logger = logging.getLogger(__name__)

__all__ = ["DEFAULT_TIMEOUT", "GPULease", "GPUMemorySnapshot", "default_lease_directory", "give_back", "lease_gpus"]


def devices_of(model: Model, chosen: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the devices that a model leases: the chosen ones, by default the first accelerator if it uses one, else the CPU.

    A remote model leases none, and by default neither does one that runs anywhere.
    """
    if model.runs_on == "remote":
        return ()
    if chosen is not None:
        return tuple(dict.fromkeys(chosen))
    if model.runs_on == "anywhere":
        return ()
    return default_devices() if model.runs_on == "accelerator" else ("cpu",)


def places_of(model: Model, devices: tuple[str, ...]) -> tuple[str, ...]:
    """Return where a model that leases `devices` computes: the devices, `cpu`, or `remote` once for each request at a time."""
    if model.runs_on == "remote":
        remote = as_remote(model)
        return ("remote",) * (remote.concurrency if remote else 1)
    return devices or ("cpu",)


def name_places(places: Sequence[str]) -> str:
    """Return the places as a `ModelReport` names them."""
    return ",".join(dict.fromkeys(places))


@dataclass(slots=True)
class GPULease:
    """One model on its devices, for the duration of a `with` block.

    Attributes:
        model: registry key of the model.
        devices: leased devices; empty for the CPU without a lock, and for a remote model or one that runs anywhere.
        places: where the encoders compute: `devices`, or `cpu` or `remote` if there are none; see `places_of`.
        encoders: one per place, in that order. They are not thread-safe and stop working when the lease ends.
        seconds: time since the devices were leased.
        swap_seconds: time spent moving models.
        before: GPU → memory at the start, before the model moved in if it was not resident; empty without a GPU.
    """

    model: str
    devices: tuple[str, ...]
    places: tuple[str, ...]
    before: dict[str, GPUMemorySnapshot] = field(default_factory=dict)
    swap_seconds: float = 0.0
    _encoders: list[LeasedEncoder] = field(default_factory=list)
    _held: tuple[LeasedDevice, ...] = ()
    _resident_bytes: dict[str, int] = field(default_factory=dict)
    _after: dict[str, GPUMemorySnapshot] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    _ended: float | None = None

    @property
    def encoders(self) -> tuple[Encoder, ...]:
        return tuple(self._encoders)

    @property
    def encoder(self) -> Encoder:
        """The first encoder."""
        return self._encoders[0]

    @property
    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._started

    def wanted(self) -> bool:
        """Return whether another process waits for one of the devices."""
        return any(device.wanted() for device in self._held)

    def get_vram_delta_gb(self, device: str) -> float:
        """Return the GiB that the model uses on `device`, its batches and what torch caches for them included; 0.0 without a GPU.

        Also true for a model that was resident already. After the lease: what it used at the end. The memory that other programs
        take or free meanwhile is counted as well.
        """
        return self._used_bytes(device) / GIBIBYTE

    def summarize(self) -> dict[str, Any]:
        """Return the cost of the lease as JSON values."""
        return {
            "model": self.model,
            "devices": list(self.devices),
            "seconds": round(self.seconds, 6),
            "swap_seconds": round(self.swap_seconds, 6),
            "vram_delta_gb": {device: round(self.get_vram_delta_gb(device), 3) for device in self.before},
        }

    def _used_bytes(self, device: str) -> int:
        if device not in self.before:
            return 0
        now = self._after.get(device) or memory_snapshots([device])[device]
        return self._resident_bytes.get(device, 0) + now.used_bytes - self.before[device].used_bytes

    def _make_room(self, model: Model) -> None:
        started = time.monotonic()
        if model.runs_on == "accelerator":
            self.before = make_room(self._held, model)
            self._resident_bytes = {each.name: found.used_bytes for each in self._held if (found := each.find(model))}
        else:
            self.before = memory_snapshots(self.devices)
        self.swap_seconds += time.monotonic() - started

    def _move_in(self, model: Model) -> None:
        started = time.monotonic()
        if model.runs_on == "accelerator":
            for device in self._held:
                device.move_in(model)
        for name in self.places:
            with translated_errors(model, name):
                encoder = self._move_to(model, name)
            self._encoders.append(leased_encoder(encoder, model, name))
        for name in self.places:
            with translated_errors(model, name):
                wait_for_moves([name])
        self.swap_seconds += time.monotonic() - started

    def _move_to(self, model: Model, name: str) -> Encoder:
        try:
            return model.to_device(name)
        except Exception as exc:
            if not is_out_of_memory(exc):
                raise
            traceback.clear_frames(exc.__traceback__)  # they hold the part that did fit
        evict(self._held, unless=model)
        try:
            return model.to_device(name)
        except Exception as exc:
            if not is_out_of_memory(exc):
                raise
            traceback.clear_frames(exc.__traceback__)
            raise DeviceMemoryError(
                f"model {model.key!r} does not fit the memory of {name} ({_in_use(name)}): free some, or use another device",
                device=name,
            ) from exc

    def _end(self, model: Model, *, stays: bool) -> None:
        for encoder in self._encoders:
            encoder.end()
        started = time.monotonic()
        try:
            self._measure(model)
        finally:
            try:
                if not stays:
                    evict(self._held)
            finally:
                self._ended = time.monotonic()
                self.swap_seconds += self._ended - started
        logger.debug("a lease has ended: %s", self.summarize())

    def _measure(self, model: Model) -> None:
        """Note the memory at the end. A GPU that failed tells nothing, and its error is on its way already."""
        for device in self.devices:
            try:
                self._after |= memory_snapshots([device])
            except Exception as exc:
                if translate_error(exc, device) is None:
                    raise
                self._after[device] = self.before[device]
        if model.runs_on == "accelerator":
            for held in self._held:
                held.measured(model, self._used_bytes(held.name))


def _in_use(device: str) -> str:
    memory = memory_snapshots([device]).get(device)
    if memory is None:
        return "it is full"
    return f"{memory.used_bytes / GIBIBYTE:.1f} of {memory.total_bytes / GIBIBYTE:.1f} GiB are in use"


_devices: dict[tuple[Path, str], LeasedDevice] = {}
_devices_guard = threading.Lock()
_this_thread = threading.local()


def _reset_after_fork() -> None:
    """Forget the parent's leases and the turns of its threads in a forked child."""
    global _devices_guard, _this_thread, _idle  # noqa: PLW0603  another thread's lock can only be replaced
    _devices.clear()
    _devices_guard = threading.Lock()
    _this_thread = threading.local()
    _idle = IdleWatch(_give_back_wanted)


call_after_fork(_reset_after_fork)


def _device(directory: Path, name: str) -> LeasedDevice:
    identity = identity_of(name)
    with _devices_guard:
        if (directory, identity) not in _devices:
            _devices[directory, identity] = LeasedDevice(directory, identity, name)
        return _devices[directory, identity]


@contextmanager
def lease_gpus(
    model: Model,
    devices: Sequence[str],
    *,
    exclusive: bool = True,
    timeout: float = DEFAULT_TIMEOUT,
    directory: Path | None = None,
    monitor: ThroughputMonitor | None = None,
    keep: bool = False,
) -> Iterator[GPULease]:
    """Load the model, wait for the devices, make room on them and move the model in. Releases the devices at the end.

    Args:
        devices: `cuda:0`, `cpu`, `cpu:1`, with a replica on each; see `devices_of`. Empty: the CPU, without a lease.
        exclusive: True leases host-wide; False only among the threads of this process, where an orchestrator owns the devices.
        timeout: seconds to wait, excluding loading.
        directory: folder of the lock files; default `default_lease_directory()`.
        monitor: receives the acquire and the release.
        keep: after a block without an error, keep the devices and the model until another process or another lease needs them, or
            `give_back` is called.

    Raises `LeaseTimeoutError`, which names the holder, `LeaseError` if the thread has a lease already, and the errors of loading
    and moving.
    """
    names = devices_of(model, devices)
    check_usable(check_devices(names))
    model.load()
    with ExitStack() as stack:
        stays = False
        held: tuple[LeasedDevice, ...] = ()
        if names:
            where = (directory or default_lease_directory()).resolve()
            deadline = time.monotonic() + timeout
            held = _take_turns(stack, names, where, deadline)
            stack.callback(lambda: _idle.start() if stays else _give_back(held))
            if exclusive:
                _hold_host_wide(held, model.key, where, deadline)
        lease = GPULease(model=model.key, devices=names, places=places_of(model, names), _held=held)
        lease._make_room(model)  # noqa: SLF001 - only this function starts and ends a lease
        stack.callback(lambda: _log(monitor, "release", lease, lease._after))  # noqa: SLF001
        _log(monitor, "acquire", lease, lease.before)
        stack.callback(lambda: lease._end(model, stays=stays))  # noqa: SLF001
        lease._move_in(model)  # noqa: SLF001
        yield lease
        stays = keep and not lease.wanted()


def _give_back_wanted() -> bool:
    """Release the devices that this process keeps and another one waits for. Return whether it still keeps any."""
    for device in list(_devices.values()):
        if device.held and device.turn.acquire(blocking=False):
            try:
                if device.wanted():
                    device.give_back()
            finally:
                device.turn.release()
    return any(device.held for device in list(_devices.values()))


_idle = IdleWatch(_give_back_wanted)


def give_back(devices: Sequence[str], directory: Path | None = None) -> None:
    """Release devices that this process keeps, and offload their models. Skips devices that another thread uses."""
    where = (directory or default_lease_directory()).resolve()
    _give_back_idle([_device(where, name) for name in devices])


def _take_turns(stack: ExitStack, names: tuple[str, ...], directory: Path, deadline: float) -> tuple[LeasedDevice, ...]:
    if getattr(_this_thread, "leases", False):
        raise LeaseError("this thread already holds a lease: end it before taking another, or the two could wait for each other")
    private_directory(directory)
    _this_thread.leases = True
    stack.callback(setattr, _this_thread, "leases", False)
    # Always in the same order, so that two leases of the same devices cannot wait for each other.
    devices = {name: _device(directory, name) for name in names}
    for device in sorted(devices.values(), key=_lease_order):
        if not device.turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise LeaseTimeoutError(f"{device.name} is leased by another thread of this process: wait for that lease to end")
        stack.callback(device.turn.release)
    return tuple(devices[name] for name in names)


def _lease_order(device: LeasedDevice) -> str:
    """Return the identity, because the names of two GPUs may be swapped in another process."""
    return device.identity


def _hold_host_wide(devices: tuple[LeasedDevice, ...], model: str, directory: Path, deadline: float) -> None:
    started = time.monotonic()
    if any(device.wanted() for device in devices):
        _give_back(devices)
    if not all(device.hold(0.0) for device in devices):
        # Keep nothing while waiting: another process may keep the device we wait for and wait for one that we keep.
        _give_back(devices)
        _give_back_idle([device for (where, _), device in list(_devices.items()) if where == directory and device not in devices])
        for device in sorted(devices, key=_lease_order):
            if device.hold(0.0):
                continue
            _log_waiting(device, model)
            if not device.hold(max(0.0, deadline - time.monotonic())):
                raise LeaseTimeoutError(
                    f"{device.name} is leased by {device.holder.describe()}; gave up after "
                    f"{time.monotonic() - started:.1f} s: wait for it to end, increase the lease timeout, or use another device",
                )
    for device in devices:
        device.holder.write(model)


def _log_waiting(device: LeasedDevice, model: str) -> None:
    """Log a wait for a device, at level INFO only once: jobs that take turns wait in every window."""
    level = logging.DEBUG if device.waited else logging.INFO
    device.waited = True
    logger.log(level, "%s waits for %s, leased by %s", model, device.name, device.holder.describe())


def _give_back(devices: Sequence[LeasedDevice]) -> None:
    with ExitStack() as stack:
        for device in devices:
            stack.callback(device.give_back)


def _give_back_idle(devices: Sequence[LeasedDevice]) -> None:
    for device in devices:
        if device.turn.acquire(blocking=False):
            try:
                device.give_back()
            finally:
                device.turn.release()


def _log(monitor: ThroughputMonitor | None, event: str, lease: GPULease, memory: Mapping[str, GPUMemorySnapshot]) -> None:
    if monitor is not None:
        used = {name: snapshot.used_bytes for name, snapshot in memory.items()}
        monitor.log_lease(event, lease.model, [name for name in lease.devices if is_accelerator(name)], used)
