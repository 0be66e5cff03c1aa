"""The lease directory, and the note beside the lock of a device that names the process that holds the lock."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ingest.atomic_files import make_private_folder, replace_private
from ingest.errors import LeaseError
from ingest.process import is_running, user_name

_PLAIN_WORD = re.compile(r"[a-z][a-z-]*")


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """The process that holds the lease of a device.

    Attributes:
        device: identity of the device, the same in every process: `cpu`, or the UUID of a GPU.
        pid, host: the process, and the name of its host.
        command: program and subcommand.
        model: registry key of the model.
        since: when it took the lease.
    """

    device: str
    pid: int
    host: str
    command: str
    model: str
    since: datetime


class Holder:
    """The note at `path`. It is for messages only; the lock decides, so the note of a killed process does no harm."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, model: str) -> None:
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "model": model,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command_line(sys.argv),
        }
        replace_private(self._path, json.dumps(note).encode())

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def describe(self) -> str:
        """Return the holder in words, for the message of a process that waits."""
        note = _read(self._path)
        if note is None:
            return "an unknown process"
        return f"process {note.pid} on {note.host} ({note.command}, model {note.model}, since {note.since.isoformat()})"


def default_lease_directory() -> Path:
    """Return the folder of the lock files that all processes of this user on this host share."""
    return Path(tempfile.gettempdir()) / f"ingest-leases-{user_name()}"


def lease_holders(directory: Path) -> list[LeaseHolder]:
    """Return the processes that hold leases of the devices of a lease directory, by device. Takes no lock.

    The note of a process of this host that is gone is left out; it was killed, and its leases are free.
    """
    found = [note for path in sorted(directory.glob("*.json")) if (note := _read(path)) is not None]
    return [note for note in found if note.host != socket.gethostname() or is_running(note.pid)]


def _read(path: Path) -> LeaseHolder | None:
    """Return a note, or None if there is none or it cannot be read."""
    try:
        note = json.loads(path.read_text())
        return LeaseHolder(
            device=path.stem,
            pid=int(note["pid"]),
            host=str(note["host"]),
            command=str(note["command"]),
            model=str(note["model"]),
            since=datetime.fromisoformat(note["since"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def command_line(arguments: list[str]) -> str:
    """Return the program and the subcommand. Nothing more: the other arguments may contain a password."""
    program = Path(arguments[0]).name if arguments and arguments[0] else "python"
    subcommand = arguments[1] if len(arguments) > 1 and _PLAIN_WORD.fullmatch(arguments[1]) else ""
    return f"{program} {subcommand}".strip()


def private_directory(directory: Path) -> None:
    """Create a directory that only this user can read. Raises `LeaseError` if it belongs to another user."""
    try:
        make_private_folder(directory)
        owner = directory.stat().st_uid
    except OSError as exc:
        raise LeaseError(f"cannot create the lease directory {directory} ({exc.strerror}): choose another one") from exc
    if hasattr(os, "getuid") and owner != os.getuid():
        raise LeaseError(f"the lease directory {directory} belongs to user {owner}, not to this one: choose another one")
