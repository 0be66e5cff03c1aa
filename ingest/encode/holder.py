"""A note beside the lock of a device that names the process that holds the lock."""

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
        try:
            note = json.loads(self._path.read_text())
            return f"process {note['pid']} on {note['host']} ({note['command']}, model {note['model']}, since {note['since']})"
        except (OSError, ValueError, KeyError):
            return "an unknown process"


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
    if owner != os.getuid():
        raise LeaseError(f"the lease directory {directory} belongs to user {owner}, not to this one: choose another one")
