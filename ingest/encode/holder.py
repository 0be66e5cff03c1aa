"""Who holds a device: a note beside its lock, written by the holder for the one who waits in vain."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from ingest.atomic_files import make_private_folder, replace_private
from ingest.errors import LeaseError

_PLAIN_WORD = re.compile(r"[a-z][a-z-]*")


class Holder:
    """The note at `path`. It only tells a person; the lock decides, so what a killed process left does no harm."""

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
        """For the message of whoever gave up waiting."""
        try:
            note = json.loads(self._path.read_text())
            return f"process {note['pid']} on {note['host']} ({note['command']}, model {note['model']}, since {note['since']})"
        except (OSError, ValueError, KeyError):
            return "a process that left no note"


def command_line(arguments: list[str]) -> str:
    """Program and subcommand. Nothing more: what follows may be a URL or an option that carries a password."""
    program = Path(arguments[0]).name if arguments and arguments[0] else "python"
    subcommand = arguments[1] if len(arguments) > 1 and _PLAIN_WORD.fullmatch(arguments[1]) else ""
    return f"{program} {subcommand}".strip()


def private_directory(directory: Path) -> None:
    """Creates it for this user alone. Raises `LeaseError` if it is somebody else's: a lock there would prove nothing."""
    try:
        make_private_folder(directory)
        owner = directory.stat().st_uid
    except OSError as exc:
        raise LeaseError(f"cannot create the lease directory {directory} ({exc.strerror}): name another one") from exc
    if owner != os.getuid():
        raise LeaseError(f"the lease directory {directory} belongs to user {owner}, not to this one: name another one")
